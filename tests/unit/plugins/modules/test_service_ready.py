# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for services: a machine that is played, and a real HTTP server on the loopback interface for the head."""

from __future__ import annotations

import dataclasses
import http.server
import itertools
import json
import os
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import readiness
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.readiness import StartFailed
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SocketProcess, TcpSocket
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import JournalRun, UnitState
from ansible_collections.herd.llama_cpp.plugins.modules import llama_server_ready, rpc_server_ready

UNIT = "u.service"
ALIVE = UnitState(UNIT, "loaded", "active", "running", main_pid=10)
DEAD = dataclasses.replace(ALIVE, active_state="activating", sub_state="auto-restart", main_pid=0, exit_code="exited")


class Played:
    """A machine whose unit goes through the states given, the last of which stays."""

    def __init__(self, states, sockets, log=""):
        self._states = itertools.chain(states, itertools.repeat(states[-1]))
        self._sockets = sockets
        self._log = log

    def units(self, names):
        return {name: dataclasses.replace(next(self._states), unit=name) for name in names}

    def unit(self, name):
        return self.units([name])[name]

    def sockets(self):
        return self._sockets

    def runs(self, unit):
        return [JournalRun("a", self._log, "")]


def listener(address, port, pid=10, name="ggml-rpc-server"):
    return TcpSocket("listening", address, port, "0.0.0.0", 0, 0, 1, (SocketProcess(name, pid),))


@pytest.fixture(autouse=True)
def units_of_processes(monkeypatch):
    monkeypatch.setattr(readiness, "read_unit_of_process", lambda pid: UNIT if pid == 10 else "")


INSTANCE = {"unit": UNIT, "address": "10.0.0.1", "port": 50052}


def wait_for_worker(machine, timeout_s=1.0, stable_s=0.3):
    return rpc_server_ready.wait(machine, [INSTANCE], timeout_s, stable_s)


def test_worker_that_listens_and_stays():
    begin = time.monotonic()
    assert wait_for_worker(Played([ALIVE], [listener("10.0.0.1", 50052)])) == [10]
    assert time.monotonic() - begin >= 0.3


def test_worker_that_listens_and_goes_again():
    machine = Played([ALIVE, ALIVE, DEAD], [listener("10.0.0.1", 50052)], "error: unknown device: CUDA0")
    with pytest.raises(StartFailed, match="CUDA0") as caught:
        wait_for_worker(machine, stable_s=5)
    assert caught.value.failure["kind"] == "unknown_device"


def test_worker_whose_port_is_taken_names_who_has_it():
    machine = Played([DEAD], [listener("0.0.0.0", 50052, 7, "python3")], "Failed to create server socket")
    with pytest.raises(StartFailed, match=r"port 50052 on 10\.0\.0\.1 is taken by python3 \(pid 7") as caught:
        wait_for_worker(machine)
    assert caught.value.failure["line"] == "Failed to create server socket"


def test_worker_that_never_listens():
    with pytest.raises(StartFailed, match="does not listen on 10.0.0.1:50052"):
        wait_for_worker(Played([ALIVE], []), timeout_s=0.3)


TLS_INSTANCE = {**INSTANCE, "tls_unit": "tls.service"}


class PlayedTls(Played):
    """A worker in a network of its own, and the process that speaks TLS for it."""

    def __init__(self, sockets, inside):
        super().__init__([ALIVE], sockets)
        self._inside = inside

    def units(self, names):
        return {name: dataclasses.replace(ALIVE, unit=name, main_pid=11 if name == "tls.service" else 10) for name in names}

    def sockets_around(self, pid):
        return self._inside if pid == 10 else []


@pytest.mark.parametrize(("outside", "inside", "networks", "ready"), [
    ([listener("10.0.0.1", 50052, 11)], [listener("127.0.0.1", 50052)], {10: 7, 11: 7, 1: 1}, True),
    # each of these lets the wrong ones in, or nobody
    ([listener("10.0.0.1", 50052, 11)], [listener("127.0.0.1", 50052)], {10: 7, 11: 8, 1: 1}, False),
    ([listener("10.0.0.1", 50052, 11)], [listener("127.0.0.1", 50052)], {10: 1, 11: 1, 1: 1}, False),
    ([listener("10.0.0.1", 50052, 10)], [listener("127.0.0.1", 50052)], {10: 7, 11: 7, 1: 1}, False),
    ([listener("10.0.0.1", 50052, 11)], [], {10: 7, 11: 7, 1: 1}, False),
    ([], [listener("127.0.0.1", 50052)], {10: 7, 11: 7, 1: 1}, False),
], ids=["ready", "two networks", "the machine's network", "no tls", "no worker", "no port"])
def test_worker_behind_tls(monkeypatch, outside, inside, networks, ready):
    monkeypatch.setattr(rpc_server_ready, "network_of", networks.get)
    machine = PlayedTls(outside, inside)
    if ready:
        assert rpc_server_ready.wait(machine, [TLS_INSTANCE], 1, 0.1) == [10]
    else:
        with pytest.raises(StartFailed, match="does not listen on 10.0.0.1:50052"):
            rpc_server_ready.wait(machine, [TLS_INSTANCE], 0.3, 0.1)


class Api(http.server.BaseHTTPRequestHandler):
    """What llama-server answers, by the attributes of its server."""

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        self.answer(self.server.health.pop(0) if len(self.server.health) > 1 else self.server.health[0], {})

    def do_POST(self):
        self.server.asked.append((self.headers.get("Authorization"), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        time.sleep(self.server.delay_s)
        try:
            self.answer(self.server.status, {"choices": [{"text": "!"}]} if self.server.status == 200 else {"error": "no"})
        except OSError:
            pass

    def log_message(self, *arguments):
        pass


@pytest.fixture
def api():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.health, server.status, server.delay_s, server.asked = [200], 200, 0, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def head(api, states=(ALIVE,), log="", pid=10):
    port = api.server_address[1]
    machine = Played(list(states), [listener("127.0.0.1", port, pid, "llama-server")], log)
    return llama_server_ready.Head(machine, UNIT, "127.0.0.1", port, "secret", "default")


def test_head_is_ready_once_a_token_came(api):
    api.health = [503, 200]
    server = head(api)
    server.wait(60)
    assert server.pid == 10 and server.attempts >= 2
    assert [(key, body["max_tokens"]) for key, body in api.asked] == [("Bearer secret", 1)]


def test_head_whose_worker_hangs_is_not_ready(api):
    api.delay_s = 9
    with pytest.raises(StartFailed, match="completed no token"):
        head(api).wait(3)


def test_head_that_dies_at_the_question(api):
    api.delay_s = 3
    log = "ggml-rpc.cpp:547: Failed to connect to 198.18.7.12:50052"
    with pytest.raises(StartFailed, match="198.18.7.12:50052"):
        head(api, [ALIVE, ALIVE, DEAD], log).wait(60)


def test_head_that_refuses_its_key(api):
    api.status = 401
    with pytest.raises(StartFailed, match="API key"):
        head(api).wait(60)


def test_head_that_answers_with_an_error(api, monkeypatch):
    """Also where the time is up in the middle of the next question."""
    api.status, answer = 500, head(api)
    asked = []

    def complete(deadline: float) -> SimpleNamespace:
        asked.append(deadline)
        return SimpleNamespace(status=500, body="no") if len(asked) == 1 else SimpleNamespace(status=0, body="")

    monkeypatch.setattr(answer, "_complete", complete)
    with pytest.raises(StartFailed, match="status 500"):
        answer.wait(3)
    assert len(asked) > 1


def test_the_key_is_not_sent_to_another_program(api):
    with pytest.raises(StartFailed, match="is taken by llama-server"):
        head(api, pid=77).wait(1)
    assert api.asked == []


class SocketServer(http.server.ThreadingHTTPServer):
    """The same at a socket in the file system; this process is who listens."""

    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)

    def get_request(self):
        return self.socket.accept()[0], ("", 0)


@pytest.fixture
def api_by_socket(tmp_path):
    server = SocketServer(str(tmp_path / "api.sock"), Api)
    server.health, server.status, server.delay_s, server.asked = [200], 200, 0, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def head_by_socket(api, pid):
    machine = Played([dataclasses.replace(ALIVE, main_pid=pid)], [])
    return llama_server_ready.Head(machine, UNIT, "127.0.0.1", 1, "secret", "default", api.server_address)


def test_head_behind_a_proxy_is_asked_by_its_socket(api_by_socket):
    head_by_socket(api_by_socket, os.getpid()).wait(60)
    assert [key for key, _body in api_by_socket.asked] == ["Bearer secret"]


def test_the_key_is_not_sent_to_another_program_at_the_socket(api_by_socket):
    with pytest.raises(StartFailed, match="u.service"):
        head_by_socket(api_by_socket, 77).wait(1)
    assert api_by_socket.asked == []


def proxy(api, states=(ALIVE,), **options):
    target = llama_server_ready.Target("127.0.0.1", api.server_address[1], **options)
    return llama_server_ready.Proxy(Played(list(states), []), "p.service", target)


def test_proxy_that_leads_to_it(api):
    api.health = [502, 200]
    proxy(api).wait(time.monotonic() + 60)


def test_proxy_that_leads_nowhere(api):
    api.health = [502]
    with pytest.raises(StartFailed, match=r"p.service does not lead to llama-server from 127.0.0.1:\d+: says status 502"):
        proxy(api).wait(time.monotonic() + 4)


def test_proxy_that_dies(api):
    api.health = [502]
    with pytest.raises(StartFailed, match="p.service does not stay up"):
        proxy(api, [ALIVE, DEAD]).wait(time.monotonic() + 60)


def test_proxy_whose_certificate_is_not_trusted(api, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    api.socket = context.wrap_socket(api.socket, server_side=True)
    proxy(api, tls=True, ca_file=certificate[0]).wait(time.monotonic() + 60)
    proxy(api, tls=True, ca_file=certificate[0], name="chat.example.com").wait(time.monotonic() + 60)
    for options in ({}, {"ca_file": certificate[0], "name": "other.example.com"}):
        begin = time.monotonic()
        with pytest.raises(StartFailed, match="certificate"):
            proxy(api, tls=True, **options).wait(begin + 120)
        assert time.monotonic() - begin < 60
