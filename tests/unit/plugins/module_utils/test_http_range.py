# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers over HTTP Range, from a server that can be told to misbehave."""

from __future__ import annotations

import io
import re
import socket
import struct
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import GgufModel, read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import http_range
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make
from ansible_collections.herd.llama_cpp.tests.support.model_server import ModelServer

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
        if mode == "broken":
            return self.redirect(server.other)
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
    model = http_range.read_remote_gguf_model(server.url + "/file/big.gguf")
    local = read_gguf_model(str(server.directory / "big.gguf"))
    assert model.tensors == local.tensors and model.metadata == local.metadata
    assert model.file_size_bytes == local.file_size_bytes > 200e9
    assert model.first.bytes_read <= 5 << 16
    assert len(server.seen) == 1


def test_all_parts_from_any_part(server: Server) -> None:
    sparse_gguf.write_split(sparse_gguf.SHAPES["llama-8b"](), server.directory, 3)
    model = http_range.read_remote_gguf_model(server.url + "/file/llama-8b-00002-of-00003.gguf?download=true")
    assert len(model.files) == 3 and len(model.tensors) == 292
    assert model.architecture == "llama"


def test_the_token_stays_with_the_server_it_is_for(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path)
    server.other = other.url
    try:
        http_range.read_remote_gguf_model(server.url + "/redirect/big.gguf", token=TOKEN)
    finally:
        other.shutdown()
        other.server_close()
    assert server.seen[0][2] == "Bearer " + TOKEN
    assert [authorization for _path, _range, authorization in other.seen] == [None]


def test_a_private_model_needs_the_token(server: Server) -> None:
    with pytest.raises(GgufError, match="may need a token"):
        http_range.read_remote_gguf_model(server.url + "/private/big.gguf")
    with pytest.raises(GgufError, match="token is not accepted") as caught:
        http_range.read_remote_gguf_model(server.url + "/private/big.gguf", token="wrong")
    assert "wrong" not in str(caught.value)
    assert http_range.read_remote_gguf_model(server.url + "/private/big.gguf", token=TOKEN).tensors


def test_a_server_without_range_is_not_downloaded_from(server: Server) -> None:
    with pytest.raises(GgufError, match="ignores requests for a part"):
        http_range.read_remote_gguf_model(server.url + "/whole/big.gguf")
    assert server.sent < 64 << 20


@pytest.mark.parametrize(("path", "message"), [
    ("/file/none.gguf", "does not exist"),
    ("/grows/big.gguf", "changed while it was read"),
    ("/loop/big.gguf", "redirects more than"),
    ("/away/big.gguf", "other than http"),
    ("/shifted/big.gguf", "another part"),
    ("/cut/big.gguf", "broke off"),
])
def test_a_misbehaving_server_is_one_sentence(server: Server, path: str, message: str) -> None:
    if "grows" in path:
        # a header of more than one piece
        pairs = [make.pair("k%d" % number, "string", "x" * 1000) for number in range(600)]
        (server.directory / "big.gguf").write_bytes(make.gguf_bytes(pairs, [make.f32("t", 8)]))
    with pytest.raises(GgufError, match=message) as caught:
        http_range.read_remote_gguf_model(server.url + path)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer(server: Server) -> None:
    with pytest.raises(GgufError, match="did not answer within"):
        http_range.read_remote_gguf_model(server.url + "/slow/big.gguf", timeout_seconds=0.3)
    with pytest.raises(GgufError, match="cannot be reached"):
        http_range.read_remote_gguf_model("http://127.0.0.1:1/model.gguf", timeout_seconds=2)


@pytest.mark.parametrize("url", ["ftp://host/model.gguf", "file:///etc/passwd", "http://", "http://[::1"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(GgufError):
        http_range.read_remote_gguf_model(url)


def test_secrets_are_not_shown(server: Server) -> None:
    url = server.url.replace("http://", "http://user:pass@") + "/file/none.gguf?signature=abc"
    with pytest.raises(GgufError) as caught:
        http_range.read_remote_gguf_model(url)
    assert not any(word in str(caught.value) for word in ("pass", "signature", "abc"))


def test_a_file_that_is_no_gguf(server: Server) -> None:
    (server.directory / "page.gguf").write_text("<html>please log in</html>")
    with pytest.raises(GgufError):
        http_range.read_remote_gguf_model(server.url + "/file/page.gguf")


@pytest.mark.parametrize("where", [
    "http://[::1/x", "http://127.0.0.1:99999999/x", "http://127.0.0.1:1/with space", "http://127.0.0.1/\xfc\xfc", "http://.\xad./", "//", "x:y",
    "ftp://127.0.0.1/big.gguf", "data:,GGUF", "javascript:0"])
def test_a_redirect_to_nonsense_is_one_sentence(server: Server, where: str) -> None:
    server.other = where
    sentence(server.url + "/broken/big.gguf", token=TOKEN)


def test_a_token_is_not_sent_over_a_redirect_to_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Opener:
        def open(self, request: urllib.request.Request, timeout: float) -> Any:
            asked.append((request.full_url, request.get_header("Authorization")))
            answer = urllib.request.addinfourl(io.BytesIO(), {"Location": "http://models.example/big.gguf"}, request.full_url)
            answer.code = 302
            return answer

    monkeypatch.setattr(urllib.request, "build_opener", lambda *_handlers: Opener())
    with pytest.raises(GgufError, match="redirects from https to plain http"):
        http_range.read_remote_gguf_model("https://models.example/big.gguf", token=TOKEN)
    assert asked == [("https://models.example/big.gguf", "Bearer " + TOKEN)]


def test_another_port_is_another_server(server: Server, tmp_path: Path) -> None:
    """The token does not come back into play further along either: host A to host B to host B."""
    other = Server(tmp_path)
    server.other = other.url.replace("127.0.0.1", "localhost")
    other.other = other.url
    try:
        model = http_range.read_remote_gguf_model(server.url + "/redirect/big.gguf", token=TOKEN)
    finally:
        other.shutdown()
        other.server_close()
    assert model.tensors
    assert {authorization for _path, _range, authorization in other.seen} == {None}


def test_a_token_http_cannot_carry_is_not_shown(server: Server) -> None:
    said = sentence(server.url + "/file/big.gguf", token="top\nsecret")
    assert "secret" not in said and "the token" in said


@pytest.mark.parametrize("path", ["/file/a b.gguf", "/file/\u2713.gguf", "/file/\n.gguf"])
def test_an_address_http_cannot_carry(server: Server, path: str) -> None:
    assert "letters that HTTP does not carry" in sentence(server.url + path + "?signature=abc")


# -- a server that keeps to no rule at all ----------------------------------------------------------------------------

def sentence(url: str, token: str = "", timeout: float = 5) -> str:
    with pytest.raises(GgufError) as caught:
        http_range.read_remote_gguf_model(url, token=token or None, timeout_seconds=timeout)
    said = str(caught.value)
    assert said.isprintable() and not said.endswith(".") and len(said) < 400
    return said


@pytest.fixture
def hostile() -> Iterator[Callable[[Callable[[socket.socket, bytes], None]], str]]:
    """Gives the URL of a server that reads a request and then does with the connection what it was told to."""
    listeners = []

    def start(answer: Callable[[socket.socket, bytes], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    answer(connection, connection.recv(65536))
                except OSError:
                    # the client went away, as it should
                    pass

        def serve() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return "http://127.0.0.1:%d/model.gguf" % listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


def partial(total: int, body: bytes = b"", last: int = -1, length: int = -1) -> bytes:
    return b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-%d/%d\r\nContent-Length: %d\r\n\r\n%s" % (
        last if last >= 0 else total - 1, total, length if length >= 0 else total, body)


HEADER = make.header(make.standard_pairs(), make.standard_tensors())


@pytest.mark.parametrize(("answer", "message"), [
    (b"", "broke off"),
    (b"\0\x01\r\n garbage \x1b[31m\r\n\r\n", "broke off"),
    (b"HTTP/1.1 206 Partial Content\r\n" + b"X: y\r\n" * 200 + b"\r\n", "broke off"),
    (b"HTTP/1.1 206 Partial Content\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "broke off"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\nGGUF", "another part"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/*\r\n\r\nGGUF", "does not say how long the file is"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/" + b"9" * 5000 + b"\r\n\r\nGGUF", "another part"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/4\r\n\r\nGGUF", "another part"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/0\r\n\r\n", "another part"),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/100\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broke off"),
    (partial(1000, HEADER[:200], length=200), "broke off after 200 of"),
    (partial(1000, HEADER[:200]), "broke off"),
    (partial(200, HEADER[:200]), "cut off or damaged in its header"),
    (b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n", "HTTP 416"),
    (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "redirects to nowhere"),
    (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", "HTTP 999"),
])
def test_an_answer_that_lies_is_one_sentence(hostile: Any, answer: bytes, message: str) -> None:
    assert message in sentence(hostile(lambda connection, _request: connection.sendall(answer)))


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 206 Partial Content\r\nX: ", partial(10**9)])
def test_a_slow_drip_ends_when_the_time_is_up(hostile: Any, start: bytes) -> None:
    """A byte now and then, before the status, in the headers or in the body, must not start the time again."""
    def drip(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    assert "did not answer within 0.6 seconds" in sentence(hostile(drip), timeout=0.6)
    assert time.monotonic() - began < 3


def test_an_endless_body_is_not_read_on(hostile: Any) -> None:
    sent = []

    def endless(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-%d/%d\r\n\r\n" % (10**15 - 1, 10**15))
        while True:
            connection.sendall(b"GGUF" + b"\0" * 65532)
            sent.append(65536)

    assert "of version 0" in sentence(hostile(endless))
    assert sum(sent) < 64 << 20


@pytest.mark.parametrize(("start", "body"), [
    (struct.pack("<QQ", 1 << 40, 0), b"\0" * 8),
    (struct.pack("<QQ", 0, 1 << 40), b"\0" * 8),
    (struct.pack("<QQ", 0, 1) + make.text("k") + struct.pack("<IQ", 8, 1 << 30), b"\0" * 8),
    (struct.pack("<QQ", 0, 1) + make.text("k") + struct.pack("<IIQ", 9, 8, 1 << 30), b"\0" * 8),
    # this one is walked over until it is too long
    (struct.pack("<QQ", 0, 1) + make.text("k") + struct.pack("<IIQ", 9, 8, 1 << 21), struct.pack("<Q", 992) + b"y" * 992),
], ids=["tensors", "keys", "text", "texts", "long texts"])
def test_a_header_without_end_is_given_up(hostile: Any, start: bytes, body: bytes) -> None:
    """A file said to be 4 EiB long, whose header goes on for as long as someone reads."""
    start = b"GGUF" + struct.pack("<I", 3) + start
    endless = body * ((2 << 20) // len(body))
    sent = []

    def answer(connection: socket.socket, request: bytes) -> None:
        found = re.search(rb"bytes=(\d+)-(\d+)", request)
        assert found
        first, last = int(found.group(1)), int(found.group(2))
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (first, last, 1 << 62))
        data = start if first == 0 else b""
        data += endless[max(0, first - len(start)) % len(body):]
        connection.sendall(data[:last - first + 1])
        sent.append(last - first + 1)

    began = time.monotonic()
    assert re.search("(no|any) real", sentence(hostile(answer)))
    assert time.monotonic() - began < 5
    assert sum(sent) <= (1 << 26) + (1 << 19)


# -- split models by URL: the checks are those of local files, see test_gguf.py ---------------------------------------

@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Any]:
    make.write_split(tmp_path, "big")
    running = ModelServer(tmp_path).start()
    yield running
    running.shutdown()
    running.server_close()


def remote(parts: ModelServer, number: int = 1, query: str = "") -> GgufModel:
    return http_range.read_remote_gguf_model("%s/files/big-%05d-of-00003.gguf%s" % (parts.url, number, query))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_split_model_is_the_same_by_url_from_any_part(parts: ModelServer, number: int) -> None:
    local = read_gguf_model(str(parts.directory / "big-00001-of-00003.gguf"))
    found = remote(parts, number, "?sig=1")
    assert found.tensors == local.tensors and found.metadata == local.metadata
    assert [item.label.rpartition("/")[2] for item in found.files] == ["big-0000%d-of-00003.gguf" % part for part in (1, 2, 3)]
    assert len(parts.asked("GET", "big-")) == 3


def part_pairs(number: int, count: int = 3, total: int = 7) -> list:
    return [make.pair("split.no", "uint16", number), make.pair("split.count", "uint16", count), make.pair("split.tensors.count", "int32", total)]


@pytest.mark.parametrize("where", ["local", "url"])
@pytest.mark.parametrize(("number", "pairs", "tensors", "words"), [
    (2, part_pairs(1), [make.f32("x", 1)], "says it is part 2 of 3, but by its name it is part 3 of 3"),
    (2, part_pairs(2, 4), [make.f32("x", 1)], "says it is part 3 of 4, but by its name it is part 3 of 3"),
    (1, [], [make.f32("x", 1)], "says it is part 1 of 1, but by its name it is part 2 of 3"),
    (2, part_pairs(2), [make.f32("output_norm.weight", 64)], "both have the tensor output_norm.weight"),
    (2, part_pairs(2), [make.f32("x", 1), make.f32("y", 1)], "says the model has 7 tensors, but its 3 files have 8"),
    (1, part_pairs(1, total=9), [make.f32("x", 1)], "is of another model than .*: it says the model has 9 tensors, not 7"),
    (1, [make.pair("general.architecture", "string", "qwen2"), *part_pairs(1)], [make.f32("x", 1)],
     "is of another model than .*: its architecture is qwen2, not llama"),
    (0, part_pairs(0), make.standard_tensors()[:3], None),
    (1, None, None, "cannot be used alone: part big-00002-of-00003.gguf of a model in 3 files is missing"),
])
def test_parts_that_do_not_belong_together(parts: ModelServer, where: str, number: int, pairs: Any, tensors: Any, words: str) -> None:
    path = parts.directory / ("big-%05d-of-00003.gguf" % (number + 1))
    if pairs is None:
        path.unlink()
    else:
        path.write_bytes(make.gguf_bytes(pairs, tensors))
    asked = 3 if number != 2 else 1

    def read() -> GgufModel:
        return remote(parts, asked) if where == "url" else read_gguf_model(str(parts.directory / ("big-%05d-of-00003.gguf" % asked)))

    if words is None:
        # a first part without an architecture is odd, but still one model
        assert read().architecture == ""
        return
    with pytest.raises(GgufError, match=words) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_part_under_another_name_by_url(parts: ModelServer) -> None:
    (parts.directory / "big-00002-of-00003.gguf").rename(parts.directory / "renamed.gguf")
    with pytest.raises(GgufError, match="does not end in -00002-of-00003.gguf"):
        http_range.read_remote_gguf_model(parts.url + "/files/renamed.gguf")
