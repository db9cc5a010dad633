# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""rpc_device_info against a real rpc-server on the loopback address."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.client import WorkerBusy, ask_idle_worker
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SS_ARGUMENTS, parse_ss

ROOT = Path(__file__).absolute().parents[2]
ADDRESS = "127.0.0.82"
HELLO = struct.pack("<BQ", 14, 24) + bytes(24)
HELLO_ANSWER_BYTES = 8 + 28


def look() -> list:
    return parse_ss(subprocess.run(["ss", *SS_ARGUMENTS], capture_output=True, text=True, check=True).stdout)


def wait_until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the worker closed the connection"
        data += piece
    return data


class Running:
    """An rpc-server with two devices, the processor twice."""

    def __init__(self, directory: Path) -> None:
        program = next(str(directory / name) for name in ("ggml-rpc-server", "rpc-server") if (directory / name).exists())
        with socket.create_server((ADDRESS, 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [program, "-H", ADDRESS, "-p", str(self.port), "-d", "CPU,CPU"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Python ignores SIGPIPE and its children inherit that; a worker started by hand does not.
            restore_signals=True,
        )
        wait_until(lambda: any(s.local_port == self.port for s in look()))

    def connect(self) -> socket.socket:
        return socket.create_connection((ADDRESS, self.port), timeout=5)

    def client(self) -> socket.socket:
        """One that is being served."""
        connection = self.connect()
        connection.sendall(HELLO)
        receive(connection, HELLO_ANSWER_BYTES)
        return connection

    def connections(self) -> int:
        return sum(s.local_port == self.port and s.state != "listening" for s in look())

    def ask(self, **arguments: Any) -> dict:
        """The module's result, by Ansible."""
        parameters = {"address": ADDRESS, "port": self.port, **arguments}
        ansible = shutil.which("ansible", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        assert ansible
        done = subprocess.run(
            [ansible, "localhost", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
             "-m", "herd.llama_cpp.rpc_device_info", "-a", json.dumps(parameters)],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        _status, arrow, result = done.stdout.partition(" => ")
        assert arrow, done.stdout + done.stderr
        return json.loads(result)


@pytest.fixture
def worker(llama_cpp_bin: Path) -> Iterator[Running]:
    running = Running(llama_cpp_bin)
    yield running
    running.process.kill()
    running.process.wait(10)


def test_an_idle_worker_says_what_it_has_and_lives_on(worker: Running) -> None:
    total_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    for _again in range(2):
        result = worker.ask()
        assert result["busy"] is False and result["busy_reason"] == "" and result["changed"] is False
        assert result["protocol_version"].startswith("7.")
        assert [device["index"] for device in result["devices"]] == [0, 1]
        assert [device["total_mib"] for device in result["devices"]] == [total_mib, total_mib]
        assert all(0 < device["free_mib"] <= total_mib for device in result["devices"])
        assert result["pid"] == worker.process.pid
        assert result["process"].endswith("rpc-server")
        assert worker.connections() == 0
    for _again in range(50):
        assert len(ask_idle_worker(ADDRESS, worker.port, look).devices) == 2
    assert worker.process.poll() is None


def test_a_busy_worker_is_left_alone(worker: Running) -> None:
    with worker.client() as client:
        result = worker.ask(timeout_s=2)
        assert result["busy"] is True and result["devices"] == [] and result["protocol_version"] == ""
        assert "ss shows a connection from %s:%d" % client.getsockname()[:2] in result["busy_reason"]
    wait_until(lambda: worker.connections() == 0)
    assert worker.ask()["busy"] is False
    assert worker.process.poll() is None


def test_a_client_that_came_after_the_first_look_is_not_harmed(worker: Running) -> None:
    with worker.client() as client:
        looks = []

        def late() -> list:
            looks.append(look())
            return [s for s in looks[-1] if len(looks) > 1 or s.state == "listening"]

        with pytest.raises(WorkerBusy, match="ss shows a connection"):
            ask_idle_worker(ADDRESS, worker.port, late, 2)
        client.sendall(struct.pack("<BQ", 15, 0))
        assert receive(client, 12) == struct.pack("<QI", 4, 2)
    wait_until(lambda: worker.connections() == 0)
    time.sleep(0.5)
    assert worker.process.poll() is None
    assert len(ask_idle_worker(ADDRESS, worker.port, look).devices) == 2


def test_a_worker_that_hangs_is_found_out_without_a_byte(worker: Running) -> None:
    worker.process.send_signal(signal.SIGSTOP)
    result = worker.ask(timeout_s=1)
    assert result["busy"] is True and "did not accept a connection within 1 s" in result["busy_reason"]
    worker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: worker.connections() == 0)
    assert len(ask_idle_worker(ADDRESS, worker.port, look).devices) == 2
    assert worker.process.poll() is None


def test_nothing_listens(worker: Running) -> None:
    worker.process.kill()
    worker.process.wait(10)
    result = worker.ask()
    assert result["msg"] == f"{ADDRESS}:{worker.port} has no listener on this machine; start the worker."


def test_why_all_this_a_greeting_that_gives_up_ends_a_busy_worker(worker: Running) -> None:
    """When this fails, llama.cpp has become more robust and the module may become simpler."""
    with worker.client():
        with worker.connect() as probe:
            probe.sendall(HELLO)
            time.sleep(0.2)
    assert worker.process.wait(10) == -signal.SIGPIPE
