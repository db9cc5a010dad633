# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""TCP probes against real sockets on the loopback interface."""

from __future__ import annotations

import errno
import socket
import time

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import tcp_probe
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.tcp_probe import EndpointError, parse_endpoint, probe


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.77", 0)) as server:
        yield "127.0.0.77:%d" % server.getsockname()[1]


@pytest.fixture
def closed():
    with socket.create_server(("127.0.0.78", 0)) as server:
        port = server.getsockname()[1]
    return "127.0.0.78:%d" % port


@pytest.fixture
def silent():
    """A listener whose queue is full: the kernel drops further connections, as a firewall that drops does."""
    with socket.socket() as server:
        server.bind(("127.0.0.79", 0))
        server.listen(0)
        address = server.getsockname()
        fillers = []
        for dummy in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        time.sleep(0.05)
        yield "%s:%d" % address
        for filler in fillers:
            filler.close()


def test_connected_refused_and_timeout_in_the_order_asked(listener, closed, silent):
    results = probe([silent, listener, closed], timeout_s=0.5)
    assert [result.state for result in results] == ["timeout", "connected", "refused"]
    assert [result.reachable for result in results] == [False, True, True]
    assert [result.endpoint for result in results] == [silent, listener, closed]
    assert results[1].detail == ""
    assert results[2].detail == "Connection refused"


def test_many_silent_endpoints_cost_one_timeout(silent):
    started = time.monotonic()
    assert {result.state for result in probe([silent] * 20, timeout_s=0.4)} == {"timeout"}
    assert time.monotonic() - started < 1.0


def test_nothing_is_sent(listener):
    with socket.create_server(("127.0.0.77", 0)) as server:
        server.settimeout(5)
        probe(["127.0.0.77:%d" % server.getsockname()[1]])
        connection, _address = server.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(1) == b""


def test_no_endpoints_no_results():
    assert probe([]) == []


def test_the_source_address_is_used(listener):
    assert probe([listener], source_address="127.0.0.80")[0].state == "connected"
    assert probe([listener], source_address="198.51.100.1")[0].state == "no_route"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, "connected"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EHOSTUNREACH, "no_route"),
        (errno.ENETUNREACH, "no_route"),
        (errno.EMFILE, "error"),
    ],
)
def test_what_each_error_means(code, state):
    assert tcp_probe._state_of(code) == state


@pytest.mark.parametrize(
    "endpoint",
    ["", "1.2.3.4", "1.2.3.4:", ":80", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:x", "host:80", "[::1]:80", "1.2.3.4.5:80", "1.2.3.4:²"],
)
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises(EndpointError):
        parse_endpoint(endpoint)


def test_an_endpoint_is_an_address_and_a_port():
    assert parse_endpoint(" 198.18.0.11:50052 ") == ("198.18.0.11", 50052)
