# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has no key can neither close the API nor fill the machine's disk: attacks on the role's own nginx before a real llama-server.

    pytest tests/integration/test_llama_server_proxy.py

It needs nginx with its stream module (the packages nginx and libnginx-mod-stream) and root, for a /tmp of nginx's own as its unit has it.
Addresses of the loopback network stand for machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import api_rig
import pytest
import requests
from api_rig import CYRILLIC, FRIEND, KEY, REGEX, SECOND, Proxy

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nginx"), reason="it needs root and nginx")

ROOT = Path(__file__).absolute().parents[2]
sys.path.insert(0, str(ROOT / "roles" / "llama_server" / "files"))

import proxy_keys  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
STRANGER = "127.0.0.66"


class Crowd:
    """Connections that are held open until the end of the `with`; each has sent the same bytes, or as many of them as were taken."""

    def __init__(self, port: int, count: int, sent: bytes, address: str = STRANGER) -> None:
        self._port, self._count, self._sent, self._address = port, count, sent, address
        self.members: list[socket.socket] = []

    def __enter__(self) -> Crowd:
        for _number in range(self._count):
            client = socket.socket()
            client.settimeout(0.5)
            client.bind((self._address, 0))
            with contextlib.suppress(OSError):
                client.connect(("127.0.0.1", self._port))
                client.sendall(self._sent)
            self.members.append(client)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.members:
            client.close()

    def open(self) -> int:
        """How many the server has not closed."""
        found = 0
        for client in self.members:
            client.setblocking(False)
            try:
                found += client.recv(1 << 16) != b""
            except BlockingIOError:
                found += 1
            except OSError:
                pass
        return found


def head(method: str, path: str, length: int, key: str = "", more: str = "") -> bytes:
    return (f"{method} {path} HTTP/1.1\r\nHost: x\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "") + more
            + f"Content-Length: {length}\r\n\r\n").encode()


@pytest.fixture(scope="module", autouse=True)
def many_files() -> None:
    """One process of this test stands for a thousand clients."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 20000), limit))


@pytest.fixture(scope="module")
def llama_server(llama_cpp_bin: Path, smollm2: Path) -> Iterator[Path]:
    with api_rig.llama_server(llama_cpp_bin, smollm2) as folder:
        yield folder


@pytest.fixture(scope="module")
def proxy(llama_server: Path) -> Iterator[Proxy]:
    running = Proxy(llama_server, 20580)
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("key", [KEY, SECOND, REGEX, CYRILLIC])
def test_each_key_of_the_file_is_let_in_as_it_stands(proxy: Proxy, key: str) -> None:
    assert proxy.ask(key=key)[0] == 200
    assert proxy.ask(key=None, X_Api_Key=key.encode())[0] == 200
    for other in (key[:-1], key + "x", key.upper() if key != REGEX else "kx+", "", "Bearer"):
        status, said = proxy.ask(key=other)
        assert (status, json.loads(said)["error"]["message"]) == (401, "Invalid API Key"), other


def test_64_connections_without_a_key_do_not_close_the_api(proxy: Proxy) -> None:
    """Each has asked for a completion and keeps back its question."""
    with Crowd(proxy.port, 64, head("POST", "/v1/completions", 1000)):
        assert proxy.completes() == 200


def test_a_body_without_a_key_is_not_kept(proxy: Proxy) -> None:
    part = b"x" * (2 * MIB)
    with Crowd(proxy.port, 8, head("POST", "/v1/completions", 15 * MIB) + part):
        time.sleep(0.5)
        assert proxy.stored() == 0
        assert proxy.completes() == 200


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_for_health_is_not_kept(proxy: Proxy, method: str, chunked: bool) -> None:
    part = b"x" * (2 * MIB)
    start = f"{method} /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{15 * MIB:x}\r\n".encode() if chunked else head(
        method, "/health", 15 * MIB)
    with Crowd(proxy.port, 8, start + part):
        time.sleep(0.5)
        assert proxy.stored() == 0
        assert proxy.ask(path="/health", key=None)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost:", head("POST", "/v1/completions", 1000)], ids=["nothing", "half a header", "no body"])
def test_1400_connections_of_one_stranger_leave_room_for_others(proxy: Proxy, sent: bytes) -> None:
    with Crowd(proxy.port, 1400, sent) as crowd:
        assert proxy.completes() == 200
        assert crowd.open() <= 256
        assert proxy.ask(path="/health", key=None, address="127.0.0.10")[0] == 200


def test_one_address_with_the_key_may_have_all_that_is_let_in_at_a_time(proxy: Proxy) -> None:
    """A front end, or a laboratory behind one address."""
    with Crowd(proxy.port, 64, head("POST", "/v1/completions", 1000, KEY), FRIEND) as crowd:
        time.sleep(0.5)
        assert crowd.open() == 64
        status, said = proxy.ask()
        assert (status, json.loads(said)["error"]["message"]) == (503, "Too many requests at a time, try again")
        assert proxy.ask(path="/health", key=None)[0] == 200
    ends = time.monotonic() + 10
    while proxy.completes() != 200:
        assert time.monotonic() < ends


def test_twenty_strangers_leave_room_for_others(proxy: Proxy) -> None:
    """Each with all the connections that an address may have, in the middle of a header."""
    with contextlib.ExitStack() as crowds:
        for number in range(20):
            crowds.enter_context(Crowd(proxy.port, 256, b"GET /health HTTP/1.1\r\nHost:", f"127.0.1.{number + 1}"))
        assert proxy.completes() == 200


def test_questions_for_health_by_one_stranger_leave_llama_server_free(proxy: Proxy, llama_server: Path) -> None:
    """While llama-server hangs they wait; those of others, and who has the key, find a way to it as soon as it goes on."""
    server = int((llama_server / "pid").read_text())
    os.kill(server, signal.SIGSTOP)
    try:
        with Crowd(proxy.port, 200, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as crowd:
            refused, ends = 0, time.monotonic() + 9
            while refused < 200 - 16 and time.monotonic() < ends:
                refused += sum(b"Too many requests" in client.recv(1 << 16) for client in crowd.members if ready(client))
            assert refused == 200 - 16
            with ThreadPoolExecutor(1) as pool:
                other = pool.submit(proxy.ask, path="/health", key=None, address="127.0.0.10")
                time.sleep(0.2)
                os.kill(server, signal.SIGCONT)
                assert other.result()[0] == 200
        assert proxy.completes() == 200
    finally:
        os.kill(server, signal.SIGCONT)


def ready(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


@pytest.mark.parametrize(("method", "path", "key", "chunked", "status", "says"), [
    ("POST", "/v1/completions", "wrong", False, 401, "Invalid API Key"),
    ("POST", "/v1/completions", "wrong", True, 401, "Invalid API Key"),
    ("POST", "/health", None, False, 405, "This is asked by GET, without a body"),
    ("POST", "/v1/completions", KEY, False, 413, "The request is larger than 16 MiB"),
    ("POST", "/v1/completions", KEY, True, 413, "The request is larger than 16 MiB"),
])
def test_who_is_refused_in_the_middle_of_a_body_hears_why(proxy: Proxy, method: str, path: str, key: str | None, chunked: bool, status: int, says: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = b"x" * ((17 if status == 413 else 12) * MIB)
    for _time in range(3):
        parts = (body[at : at + MIB] for at in range(0, len(body), MIB)) if chunked else body
        answer = requests.request(method, f"http://127.0.0.1:{proxy.port}{path}", data=parts, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, says)


def test_who_sends_slowly_what_is_refused_hears_why_and_not_for_ever(proxy: Proxy) -> None:
    """By a line of 2 MiB/s, with a pause; whoever goes on is ended in the end."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other:
        client.sendall(head("POST", "/v1/completions", 17 * MIB, KEY))
        other.sendall(head("POST", "/v1/completions", 170 * MIB, KEY))
        began = time.monotonic()
        for part in range(17):
            client.sendall(b"x" * MIB)
            other.sendall(b"x")
            time.sleep(3 if part == 8 else 0.4)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        with pytest.raises(OSError):
            while time.monotonic() - began < 60:
                other.sendall(b"x")
                time.sleep(0.5)
    assert 25 < time.monotonic() - began < 45


def test_the_keys_are_for_nginx_alone(proxy: Proxy) -> None:
    kept = proxy.folder / "keys.conf"
    assert (kept.stat().st_mode & 0o777, len(kept.read_text().splitlines())) == (0o600, 4)
    assert KEY not in (proxy.folder / "proxy.conf").read_text() + (proxy.folder / "nginx.log").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="it needs systemd-analyze")
def test_systemd_understands_its_unit(proxy: Proxy) -> None:
    unit = str(proxy.folder / "llama-server-proxy.service")
    told = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_file_without_a_key_lets_nobody_in(tmp_path: Path) -> None:
    """llama-server would let everybody in."""
    (tmp_path / "api-key").write_text("# none\n\n", encoding="utf-8")
    assert proxy_keys.main(str(tmp_path / "api-key"), str(tmp_path / "keys.conf")) == 0
    assert (tmp_path / "keys.conf").read_text() == ""
    assert proxy_keys.main(str(tmp_path / "nowhere"), str(tmp_path / "keys.conf")) == 1


def test_a_web_page_is_open_without_the_key_and_nothing_else(llama_server: Path) -> None:
    """Which of its parts there are, llama-server knows; this one has none, so it says 404 where it was asked."""
    running = Proxy(llama_server, 20581, llama_server_webui=True)
    try:
        assert running.ask(path="/", key=None)[0] == 404
        assert running.ask("POST", "/", key=None, body=b"x")[0] == 401
        for path in ("/v1/models", "/models", "/%6dodels", "/api/tags", "/props", "/slots"):
            assert running.ask(path=path, key=None)[0] in (401, 404), path
        with Crowd(running.port, 64, head("POST", "/v1/completions", 1000)):
            assert running.completes() == 200
    finally:
        running.stop()


def test_the_same_holds_behind_tls(llama_server: Path) -> None:
    running = Proxy(llama_server, 20582, llama_server_tls="given", llama_server_tls_certificate_file="/x", llama_server_tls_key_file="/x")
    try:
        def ask(scheme: str = "https", key: str = KEY) -> requests.Response:
            return requests.get(f"{scheme}://127.0.0.1:{running.port}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=20,
                                verify=str(running.folder / "tls-certificate"))

        with Crowd(running.port, 1400, b"") as crowd:
            assert [ask().status_code, ask(key="x").status_code] == [200, 401]
            assert crowd.open() <= 256
        assert (ask("http").status_code, ask("http").json()["error"]["message"]) == (400, "This port speaks TLS: ask it by https")
    finally:
        running.stop()


def test_each_address_is_counted_by_itself(llama_server: Path) -> None:
    """nginx sees clients behind the part of it that counts connections, and knows who they are all the same."""
    running = Proxy(llama_server, 20583, llama_server_max_requests_per_client=2, llama_server_max_connections_per_client=4)
    try:
        with Crowd(running.port, 2, head("POST", "/v1/completions", 1000, KEY), "127.0.0.31"):
            time.sleep(0.3)
            assert [running.ask(address=address)[0] for address in ("127.0.0.31", "127.0.0.32")] == [503, 200]
        # Those of before count until nginx has seen that they are closed.
        for _try in range(20):
            with Crowd(running.port, 9, b"", "127.0.0.31") as crowd:
                time.sleep(0.3)
                held = crowd.open()
                assert running.ask(address="127.0.0.32")[0] == 200
            if held >= 4:
                break
        assert held == 4
    finally:
        running.stop()
