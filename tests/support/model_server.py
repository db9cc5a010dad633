# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server for tests of model downloads: plain files with Range, misbehaviour on request, and a stand-in for the hub.

    python tests/support/model_server.py --directory DIR [--address 127.0.0.1] [--port 0] [--token SECRET]

It serves

    /files/NAME             the file, with Range
    /plain/NAME             the file, without Range
    /cut/BYTES/NAME         closes the connection after that many bytes of an answer
    /cut-once/BYTES/NAME    the same, but only the first time the file is asked for
    /html/NAME              an HTML page with status 200, as a login page would be
    /error/STATUS/NAME      that status
    /private/NAME           the file, for who has --password
    /larger/NAME            a GET sends 2 MiB more than a HEAD announces
    /endless/NAME           8 MiB of zeros of which nothing says how many they are
    /api/models/OWNER/REPO/revision/REV, /OWNER/REPO/resolve/REV/FILE
                            what the hf client needs to download from DIR/OWNER/REPO/; with --token only with it. A server that is told of
                            an elsewhere redirects there, a REPO that begins with "old-" to the one without it, and a file
                            NAME.listing in DIR/OWNER/REPO/ holds other fields for what the API says of NAME

and prints its address on its first line. Every request is a line on standard error.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class ModelServer(ThreadingHTTPServer):
    """Serves one directory until shut down; remembers what was asked for."""

    daemon_threads = True

    def __init__(self, directory: Path, address: str = "127.0.0.1", port: int = 0, token: str = "", password: str = "") -> None:
        super().__init__((address, port), Handler)
        self.directory = directory
        self.token = token
        self.password = password
        self.elsewhere = ""
        # How long a file takes.
        self.seconds = 0.0
        #: path and Authorization of each request that had one
        self.authorized: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.cut: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def asked(self, method: str, part: str) -> list[str]:
        """The Range headers of the requests with that method whose path contains the part."""
        with self.lock:
            return [range_ for kind, path, range_ in self.requests if kind == method and part in path]

    def start(self) -> ModelServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        print(f"{self.command} {self.path} {self.headers.get('Range', '-')}", file=sys.stderr, flush=True)

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests.append((self.command, path, self.headers.get("Range", "")))
            if self.headers.get("Authorization"):
                self.server.authorized.append((path, self.headers["Authorization"]))
        kind, slash, rest = path.lstrip("/").partition("/")
        if kind in ("files", "plain"):
            self.send_path(rest, ranges=kind == "files")
        elif kind in ("cut", "cut-once"):
            size, slash, name = rest.partition("/")
            # The size of the file and its header, a range with an end, must be askable without using up the only cut.
            with self.server.lock:
                first = path not in self.server.cut
                if self.command == "GET" and not re.search(r"-\d", self.headers.get("Range", "")):
                    self.server.cut.add(path)
            self.send_path(name, ranges=True, limit=int(size) if kind == "cut" or first else None)
        elif kind == "html":
            self.send_bytes(200, b"<!DOCTYPE html><html><title>Sign in</title></html>\n", "text/html")
        elif kind == "private":
            expected = "Basic " + base64.b64encode(self.server.password.encode()).decode()
            if self.headers.get("Authorization") != expected:
                self.send_bytes(401, b"no\n", "text/plain", {"WWW-Authenticate": 'Basic realm="models"'})
            else:
                self.send_path(rest, ranges=True)
        elif kind == "larger":
            self.send_path(rest, ranges=False, more=2 << 20)
        elif kind == "endless":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for _piece in range(8 if self.command == "GET" else 0):
                self.wfile.write(bytes(1 << 20))
        elif kind == "error":
            self.send_bytes(int(rest.partition("/")[0]), b"no\n", "text/plain")
        else:
            self.hub(path)

    def hub(self, path: str) -> None:
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.send_bytes(401, b'{"error":"Invalid username or password."}', "application/json", {"X-Error-Code": "RepoNotFound"})
            return
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        if self.server.elsewhere or "/old-" in path:
            where = self.server.elsewhere + self.path if self.server.elsewhere else self.path.replace("/old-", "/")
            # The hub says there already what the client wants to know of a file.
            wanted = self.server.directory / file.group(1) / file.group(3) if file else None
            known = self.known(wanted, file.group(1)) if file and wanted and wanted.is_file() else {}
            self.send_bytes(307, b"", "text/plain", {"Location": where, **known})
            return
        repository = self.server.directory / match.group(1) if match else None
        commit = hashlib.sha1(match.group(1).encode()).hexdigest() if match else ""
        if not match or not repository or not repository.is_dir() or match.group(2) not in (None, "main", commit):
            code = "RevisionNotFound" if repository and repository.is_dir() else "RepoNotFound"
            self.send_bytes(404, b'{"error":"not found"}', "application/json", {"X-Error-Code": code})
            return
        if api:
            siblings = [
                {
                    "rfilename": str(item.relative_to(repository)),
                    "size": item.stat().st_size,
                    "lfs": {"sha256": sha256(item), "size": item.stat().st_size, "pointerSize": 134},
                }
                for item in sorted(repository.rglob("*"))
                if item.is_file() and item.suffix != ".listing"
            ]
            for entry in siblings:
                other = repository / f"{entry['rfilename']}.listing"
                if other.is_file():
                    entry.update(json.loads(other.read_text()))
            body = {"id": match.group(1), "sha": commit, "private": False, "gated": False, "siblings": siblings}
            self.send_bytes(200, json.dumps(body).encode(), "application/json")
            return
        wanted = repository / match.group(3)
        if not wanted.is_file():
            self.send_bytes(404, b"Entry not found", "text/plain", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        self.send_path(str(wanted.relative_to(self.server.directory)), ranges=True, extra=self.known(wanted, match.group(1)))

    def known(self, wanted: Path, repository: str) -> dict[str, str]:
        """The headers in which the hub says what a file is."""
        digest = f'"{sha256(wanted)}"'
        commit = hashlib.sha1(repository.encode()).hexdigest()
        return {"X-Repo-Commit": commit, "ETag": digest, "X-Linked-Etag": digest, "X-Linked-Size": str(wanted.stat().st_size)}

    def send_bytes(self, status: int, body: bytes, kind: str, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(extra or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_path(self, name: str, ranges: bool, limit: int | None = None, extra: dict[str, str] | None = None, more: int = 0) -> None:
        path = self.server.directory / name
        if not path.is_file() or ".." in name:
            self.send_bytes(404, b"Not Found\n", "text/plain")
            return
        size = path.stat().st_size
        start, end = 0, size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if ranges else None
        if asked:
            start = int(asked.group(1))
            end = min(size, int(asked.group(2)) + 1) if asked.group(2) else size
            if start >= size:
                self.send_bytes(416, b"", "text/plain", {"Content-Range": f"bytes */{size}"})
                return
        self.send_response(206 if asked else 200)
        length = end - start + (more if self.command == "GET" else 0)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length), **(extra or {})}
        if ranges:
            headers["Accept-Ranges"] = "bytes"
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        time.sleep(self.server.seconds)
        with path.open("rb") as file:
            file.seek(start)
            left = end - start if limit is None else min(limit, end - start)
            while left > 0:
                piece = file.read(min(left, 1 << 16))
                if not piece:
                    break
                self.wfile.write(piece)
                left -= len(piece)
        self.wfile.write(bytes(more))
        if limit is not None and limit < end - start:
            self.close_connection = True


def sha256(path: Path) -> str:
    """The checksum of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="A web server for tests of model downloads.")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    parser.add_argument("--password", default="", help="USER:PASSWORD")
    options = parser.parse_args()
    server = ModelServer(options.directory, options.address, options.port, options.token, options.password)
    print(server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
