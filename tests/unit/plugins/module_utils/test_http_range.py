# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers over HTTP Range, from a server that can be told to misbehave."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Iterator

import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils import _gguf, _http_range

TOKEN = "secret-token"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.seen.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        _empty, mode, name = self.path.split("?")[0].split("/", 2)
        if mode == "redirect":
            return self.redirect("%s/file/%s" % (server.other or "", name))
        if mode == "loop":
            return self.redirect("/loop/" + name)
        if mode == "away":
            return self.redirect("file:///etc/passwd")
        if mode == "private" and self.headers.get("Authorization") != "Bearer " + TOKEN:
            return self.send_error(401)
        if mode == "expires" and "sig=2" not in self.path:
            return self.redirect("/signed/%s?sig=%d" % (name, 1 + sum(p.startswith("/expires") for p, _r, _a in server.seen)))
        if mode == "slow":
            time.sleep(3)
        path = server.directory / name
        if not path.exists():
            return self.send_error(404)
        size = path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if mode == "whole" or match is None:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            try:
                for _n in range(1 << 20):
                    self.wfile.write(b"\0" * 65536)
                    server.sent += 65536
            except OSError:
                pass
            return None
        first, last = int(match.group(1)), min(int(match.group(2)), size - 1)
        if mode == "shifted":
            first += 1
        with open(path, "rb") as stream:
            stream.seek(first)
            data = stream.read(last - first + 1)
        self.send_response(206)
        self.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, size + (mode == "grows" and first > 0)))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data[:len(data) // 2] if mode == "cut" else data)
        except OSError:
            # the client gave up, as it should
            self.close_connection = True
        return None

    def redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory = directory
        self.seen: list = []
        self.sent = 0
        self.other = ""
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    sparse_gguf.write(sparse_gguf.SHAPES["llama-405b"](), tmp_path / "big.gguf")
    running = Server(tmp_path)
    yield running
    running.shutdown()
    running.server_close()


def test_a_228_gb_model_s_header_is_one_small_request(server: Server) -> None:
    model = _http_range.read_remote_gguf_model(server.url + "/file/big.gguf")
    local = _gguf.read_gguf_model(str(server.directory / "big.gguf"))
    assert model.tensors == local.tensors and model.metadata == local.metadata
    assert model.file_size_bytes == local.file_size_bytes > 200e9
    assert model.first.bytes_read <= 5 << 16
    assert len(server.seen) == 1


def test_all_parts_from_any_part(server: Server) -> None:
    sparse_gguf.write_split(sparse_gguf.SHAPES["llama-8b"](), server.directory, 3)
    model = _http_range.read_remote_gguf_model(server.url + "/file/llama-8b-00002-of-00003.gguf?download=true")
    assert len(model.files) == 3 and len(model.tensors) == 292
    assert model.architecture == "llama"


def test_the_token_stays_with_the_server_it_is_for(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path)
    server.other = other.url
    try:
        _http_range.read_remote_gguf_model(server.url + "/redirect/big.gguf", token=TOKEN)
    finally:
        other.shutdown()
        other.server_close()
    assert server.seen[0][2] == "Bearer " + TOKEN
    assert [authorization for _path, _range, authorization in other.seen] == [None]


def test_a_private_model_needs_the_token(server: Server) -> None:
    with pytest.raises(_gguf.GgufError, match="may need a token"):
        _http_range.read_remote_gguf_model(server.url + "/private/big.gguf")
    with pytest.raises(_gguf.GgufError, match="token is not accepted") as caught:
        _http_range.read_remote_gguf_model(server.url + "/private/big.gguf", token="wrong")
    assert "wrong" not in str(caught.value)
    assert _http_range.read_remote_gguf_model(server.url + "/private/big.gguf", token=TOKEN).tensors


def test_a_server_without_range_is_not_downloaded_from(server: Server) -> None:
    with pytest.raises(_gguf.GgufError, match="ignores requests for a part"):
        _http_range.read_remote_gguf_model(server.url + "/whole/big.gguf")
    assert server.sent < 64 << 20


@pytest.mark.parametrize(("path", "message"), [
    ("/file/none.gguf", "does not exist"),
    ("/loop/big.gguf", "redirects more than"),
    ("/away/big.gguf", "other than http"),
    ("/shifted/big.gguf", "another part"),
    ("/cut/big.gguf", "broke off"),
])
def test_a_misbehaving_server_is_one_sentence(server: Server, path: str, message: str) -> None:
    with pytest.raises(_gguf.GgufError, match=message) as caught:
        _http_range.read_remote_gguf_model(server.url + path)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer(server: Server) -> None:
    with pytest.raises(_gguf.GgufError, match="did not answer within"):
        _http_range.read_remote_gguf_model(server.url + "/slow/big.gguf", timeout_seconds=0.3)
    with pytest.raises(_gguf.GgufError, match="cannot be reached"):
        _http_range.read_remote_gguf_model("http://127.0.0.1:1/model.gguf", timeout_seconds=2)


@pytest.mark.parametrize("url", ["ftp://host/model.gguf", "file:///etc/passwd", "http://", "http://[::1"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(_gguf.GgufError):
        _http_range.read_remote_gguf_model(url)


def test_secrets_are_not_shown(server: Server) -> None:
    url = server.url.replace("http://", "http://user:pass@") + "/file/none.gguf?signature=abc"
    with pytest.raises(_gguf.GgufError) as caught:
        _http_range.read_remote_gguf_model(url)
    assert not any(word in str(caught.value) for word in ("pass", "signature", "abc"))


def test_a_file_that_is_no_gguf(server: Server) -> None:
    (server.directory / "page.gguf").write_text("<html>please log in</html>")
    with pytest.raises(_gguf.GgufError):
        _http_range.read_remote_gguf_model(server.url + "/file/page.gguf")
