# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking an rpc-server: a small server that speaks its protocol, and a socket table that is played."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.client import RpcError, WorkerBusy, ask_idle_worker, connections_of, find_listener
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import TcpSocket

ADDRESS = "127.0.0.81"
CLIENT = ("10.0.0.9", 40000)
HELLO, DEVICE_COUNT, GET_DEVICE_MEMORY = 14, 15, 11
VERSION_7 = bytes([7, 0, 0, 0]) + bytes(24)


def sized(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


class Worker:
    """One that serves a client at a time. ``answers`` replaces what it says to a command; None is silence, b"" the end."""

    def __init__(self, devices=((100 << 20, 200 << 20),), answers=None, accepts=True):
        self.devices = devices
        self.answers = answers or {}
        self.accepts = accepts
        self.received = []
        self.peers = []
        self.ended = []
        self.others = []
        self._stop = threading.Event()
        self._socket = socket.create_server((ADDRESS, 0), backlog=1)
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_arguments):
        self._stop.set()
        self._thread.join(5)
        self._socket.close()

    def sockets(self):
        """The table as ss would show it."""
        waiting = 0 if self.accepts else 1
        table = [TcpSocket("listening", ADDRESS, self.port, "0.0.0.0", 0, 0, 1)] + list(self.others)
        for peer in self.peers:
            table.append(TcpSocket("established", ADDRESS, self.port, peer[0], peer[1], 0, 0))
        return [s if s.state != "listening" or not self.looked() else TcpSocket("listening", ADDRESS, self.port, "0.0.0.0", 0, waiting, 1) for s in table]

    def looked(self):
        self.looks = getattr(self, "looks", 0) + 1
        return self.looks > 1

    def _run(self):
        while not self._stop.is_set():
            if not self.accepts:
                time.sleep(0.01)
                continue
            try:
                connection, peer = self._socket.accept()
            except socket.timeout:
                continue
            with connection:
                connection.settimeout(5)
                self.peers.append(peer)
                try:
                    self._serve(connection)
                except OSError as error:
                    self.ended.append(error)
                self.peers.remove(peer)

    def _serve(self, connection):
        stream = connection.makefile("rb")
        while True:
            command = stream.read(1)
            if not command:
                self.ended.append("closed")
                return
            (size,) = struct.unpack("<Q", stream.read(8))
            data = stream.read(size)
            self.received.append((command[0], data))
            if command[0] in self.answers:
                answer = self.answers[command[0]]
                if answer is None:
                    self._stop.wait(3)
                    return
                if not answer:
                    return
                connection.sendall(answer)
            elif command[0] == HELLO:
                connection.sendall(sized(VERSION_7))
            elif command[0] == DEVICE_COUNT:
                connection.sendall(sized(struct.pack("<I", len(self.devices))))
            else:
                connection.sendall(sized(struct.pack("<QQ", *self.devices[struct.unpack("<I", data)[0]])))


def ask(worker: Worker, timeout_s: float = 3.0):
    return ask_idle_worker(ADDRESS, worker.port, worker.sockets, timeout_s)


def test_an_idle_worker_is_asked_and_left_as_it_was():
    with Worker(devices=[(1, 2), (23854 << 20, 24124 << 20), (2**63, 2**64 - 1)]) as worker:
        for _again in range(3):
            report = ask(worker)
            assert report.protocol_version == "7.0.0"
            assert [(d.index, d.free_bytes, d.total_bytes) for d in report.devices] == [
                (0, 1, 2), (1, 23854 << 20, 24124 << 20), (2, 2**63, 2**64 - 1)]
        assert worker.received[:5] == [
            (HELLO, bytes(24)), (DEVICE_COUNT, b""), (GET_DEVICE_MEMORY, b"\0\0\0\0"), (GET_DEVICE_MEMORY, b"\1\0\0\0"), (GET_DEVICE_MEMORY, b"\2\0\0\0")]
        # It had noticed the end before ask() returned.
        assert worker.ended == ["closed"] * 3


def test_no_device_is_no_error():
    with Worker(devices=[]) as worker:
        assert ask(worker).devices == ()


@pytest.mark.parametrize("state", ["established", "abandoned"])
def test_a_busy_worker_is_not_even_connected_to(state):
    with Worker() as worker:
        worker.others = [TcpSocket(state, ADDRESS, worker.port, *CLIENT, 0, 0)]
        with pytest.raises(WorkerBusy, match=r"ss shows a connection from 10\.0\.0\.9:40000") as caught:
            ask(worker)
        assert caught.value.listener.local_port == worker.port
        time.sleep(0.1)
        assert not worker.peers and not worker.ended


def test_who_comes_between_the_look_and_the_connection_is_seen_before_a_byte_is_sent():
    with Worker() as worker:
        first = worker.sockets

        def look():
            table = first()
            if worker.looks > 1:
                table.append(TcpSocket("established", ADDRESS, worker.port, *CLIENT, 0, 0))
            return table

        with pytest.raises(WorkerBusy, match="10.0.0.9:40000"):
            ask_idle_worker(ADDRESS, worker.port, look, 3)
        time.sleep(0.2)
        assert worker.received == []
        assert worker.ended in (["closed"], [])


def test_a_worker_that_does_not_accept_gets_no_byte():
    with Worker(accepts=False) as worker:
        begin = time.monotonic()
        with pytest.raises(WorkerBusy, match="did not accept a connection within 0.4 s"):
            ask(worker, 0.4)
        assert time.monotonic() - begin < 2
        worker.accepts = True
        time.sleep(0.3)
        assert worker.received == [] and worker.ended == ["closed"]


def test_connections_that_wait_make_it_busy():
    table = [TcpSocket("listening", ADDRESS, 1, "0.0.0.0", 0, 1, 1)]
    with pytest.raises(WorkerBusy, match="has not accepted 1 connection"):
        ask_idle_worker(ADDRESS, 1, lambda: table, 1)


def test_nothing_listens():
    with pytest.raises(RpcError, match="has no listener"):
        ask_idle_worker(ADDRESS, 1, list, 1)


def test_the_table_says_it_listens_and_it_does_not():
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
    table = [TcpSocket("listening", ADDRESS, port, "0.0.0.0", 0, 0, 1)]
    with pytest.raises(RpcError, match="cannot be connected to .*refused"):
        ask_idle_worker(ADDRESS, port, lambda: table, 1)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({HELLO: None}, "did not answer HELLO within 0.5 s; it hangs"),
        ({HELLO: b""}, "closed the connection instead of answering HELLO: it is no rpc-server, or one of another llama.cpp"),
        ({HELLO: sized(bytes([8, 1, 2, 0]) + bytes(24))}, "speaks RPC protocol 8.1.2 and this module 7"),
        ({HELLO: sized(bytes([3, 6, 0]))}, "speaks RPC protocol 3.6.0"),
        ({HELLO: b"SSH-2.0-OpenSSH_9.2p1\r\n"}, "answered HELLO with something that is not RPC"),
        ({HELLO: b"\x1c\0\0"}, "did not answer HELLO within"),
        ({DEVICE_COUNT: sized(b"\xff\xff\xff\xff")}, "says that it has 4294967295 devices"),
        ({DEVICE_COUNT: sized(b"")}, "answered DEVICE_COUNT with something"),
        ({GET_DEVICE_MEMORY: b""}, "closed the connection instead of answering GET_DEVICE_MEMORY of device 0"),
        ({GET_DEVICE_MEMORY: None}, "did not answer GET_DEVICE_MEMORY of device 0"),
    ],
)
def test_what_goes_wrong_is_one_sentence_within_the_time(answers, message):
    with Worker(answers=answers) as worker:
        begin = time.monotonic()
        with pytest.raises(RpcError, match=message) as caught:
            ask(worker, 0.5)
        assert time.monotonic() - begin < 2
        assert "\n" not in str(caught.value)


def listening(address, port=50052):
    return TcpSocket("listening", address, port, "0.0.0.0", 0, 0, 1)


def test_the_listener_of_that_address_comes_before_one_of_every_address():
    both = [listening("0.0.0.0"), listening("10.0.0.1")]
    assert find_listener(both, "10.0.0.1", 50052).local_address == "10.0.0.1"
    assert find_listener(both, "10.0.0.2", 50052).local_address == "0.0.0.0"
    assert find_listener([listening("10.0.0.1")], "10.0.0.2", 50052) is None


def test_a_connection_to_another_address_or_from_here_is_not_the_workers():
    table = [
        TcpSocket("established", "10.0.0.2", 50052, *CLIENT, 0, 0),
        TcpSocket("established", "10.0.0.1", 40000, "10.0.0.7", 50052, 0, 0),
        TcpSocket("established", "10.0.0.1", 50052, *CLIENT, 0, 0),
    ]
    assert connections_of(table, listening("10.0.0.1")) == table[2:]
    assert connections_of(table, listening("0.0.0.0")) == [table[0], table[2]]
