# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets out of what a real ss printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import (
    SocketProcess,
    SocketsError,
    TcpSocket,
    held_by,
    parse_ss,
    select_sockets,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "ss"


def sockets(name: str) -> list[TcpSocket]:
    return parse_ss((FIXTURES / f"{name}.txt").read_text(encoding="utf-8"))


def only(name: str, **wanted) -> TcpSocket:
    found = [s for s in sockets(name) if all(getattr(s, key) == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_states_other_than_ours_are_left_out():
    states = [socket.state for socket in sockets("root")]
    assert sorted(states) == ["abandoned"] + ["established"] * 4 + ["listening"] * 5


def test_worker_with_its_client():
    listening = only("root", state="listening", local_port=50052)
    assert (listening.local_address, listening.remote_address, listening.remote_port) == ("127.0.0.2", "0.0.0.0", 0)
    assert (listening.bytes_sent, listening.bytes_received) == (None, None)
    served = only("root", state="established", local_port=50052)
    assert (served.remote_address, served.bytes_sent, served.bytes_received) == ("127.0.0.1", 77, 5000)


def test_the_other_side_sees_the_mirror_image():
    client = only("root", state="established", remote_port=50052)
    assert (client.bytes_sent, client.bytes_received, client.receive_queue) == (5000, 77, 77)


def test_a_counter_that_ss_does_not_print_is_zero():
    mapped = only("root", state="established", local_port=50062)
    assert (mapped.bytes_sent, mapped.bytes_received) == (0, 5)
    assert (mapped.local_address, mapped.remote_address) == ("127.0.0.1", "127.0.0.1")


def test_a_connection_whose_other_end_is_gone():
    left = only("root", state="abandoned")
    assert (left.remote_address, left.remote_port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize(("port", "address"), [(8080, "0.0.0.0"), (50063, "::"), (50062, "*"), (53, "127.0.0.53")])
def test_how_listeners_are_bound(port, address):
    assert only("root", state="listening", local_port=port).local_address == address


def test_every_process_that_holds_a_socket():
    processes = only("root", state="listening", local_port=50052).processes
    assert [process.name for process in processes] == ["python3", "odd"]
    assert processes[0].pid < processes[1].pid


def test_without_root_nothing_is_lost_but_the_processes():
    assert all(socket.processes == () for socket in sockets("not_root"))
    key = [(s.state, s.local_address, s.local_port, s.bytes_sent, s.bytes_received) for s in sockets("root")]
    assert [(s.state, s.local_address, s.local_port, s.bytes_sent, s.bytes_received) for s in sockets("not_root")] == key


def test_details_on_a_line_of_their_own():
    assert sockets("two_lines") == sockets("root")


def test_a_name_cannot_pretend_to_be_another_process():
    line = 'LISTEN 0 1 127.0.0.1:1 0.0.0.0:* users:(("x",pid=636,fd=3",pid=7,fd=3),("y",pid=8,fd=4))'
    assert [process.pid for process in parse_ss(line)[0].processes] == [7, 8]


def test_an_old_kernel_without_bytes_sent():
    line = "ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 cubic cwnd:10 bytes_acked:12 bytes_received:3"
    assert (parse_ss(line)[0].bytes_sent, parse_ss(line)[0].bytes_received) == (12, 3)


def test_no_details_is_unknown_and_not_zero():
    assert parse_ss("ESTAB 0 0 10.0.0.1:1 10.0.0.2:2")[0].bytes_received is None


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_sockets(text):
    assert parse_ss(text) == []


@pytest.mark.parametrize("text", ["Cannot open netlink socket", "ESTAB x 0 1.2.3.4:1 1.2.3.4:2", "LISTEN 0 1 nowhere 0.0.0.0:*"])
def test_something_else_is_an_error_and_not_an_empty_machine(text):
    with pytest.raises(SocketsError):
        parse_ss(text)


def listener(address: str, port: int = 50052) -> TcpSocket:
    return TcpSocket("listening", address, port, "0.0.0.0", 0, 0, 1, (SocketProcess("x", 1),))


@pytest.mark.parametrize(
    ("bound", "wanted", "takes", "blocks"),
    [
        ("10.0.0.1", "10.0.0.1", True, True),
        ("10.0.0.2", "10.0.0.1", False, False),
        ("0.0.0.0", "10.0.0.1", True, True),
        ("*", "10.0.0.1", True, True),
        ("::", "10.0.0.1", False, False),
        ("10.0.0.2", "0.0.0.0", False, True),
        ("::", "0.0.0.0", False, False),
    ],
)
def test_who_is_in_whose_way(bound, wanted, takes, blocks):
    assert listener(bound).takes_connections_to(wanted, 50052) is takes
    assert listener(bound).stands_in_the_way_of(wanted, 50052) is blocks
    assert not listener(bound, 50053).stands_in_the_way_of(wanted, 50052)


@pytest.mark.parametrize(("match", "count"), [("local", 2), ("remote", 1), ("either", 3)])
def test_select_by_port_and_end(match, count):
    assert len(select_sockets(sockets("root"), [50052], match)) == count


def test_select_by_state():
    assert [s.local_port for s in select_sockets(sockets("root"), [50052, 53], states=["listening"])] == [50052, 53]
    assert select_sockets(sockets("root"), states=["abandoned"]) == [only("root", state="abandoned")]


@pytest.mark.parametrize(("process", "unit", "is_root", "said"), [
    (SocketProcess("python3", 7), "squatter.service", True, "python3 (pid 7, squatter.service)"),
    (SocketProcess("python3", 7), "", False, "python3 (pid 7)"),
    (None, "", False, "a program that only root can see"),
    (None, "", True, "a program of another name space, such as a container's"),
])
def test_who_holds_a_port_in_words(process, unit, is_root, said):
    assert held_by(process, unit, is_root) == said
