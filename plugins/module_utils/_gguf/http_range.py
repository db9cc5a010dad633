# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read parts of a file on a web server, so that a model's header can be looked at before the model is downloaded."""

from __future__ import annotations

import base64
import http.client
import io
import re
import socket
import time
import typing as t
import urllib.error
import urllib.request
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError, GgufMissing
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import GgufFile, read_gguf_from
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.reader import Reader
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import GgufModel, read_gguf_parts
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import origin, user_and_password, without_secrets

MAX_REDIRECTS = 8
# At most this much is asked for at once: a header's pieces are smaller, and a server that sends more is cut off.
MAX_PIECE_BYTES = 8 << 20
# Sizes are 64-bit numbers; int() of a header full of digits would raise.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_NO_LENGTH = re.compile(r"bytes [0-9]{1,19}-[0-9]{1,19}/[*]")
_Result = t.TypeVar("_Result")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by the reader itself, which knows where the token may go."""

    def redirect_request(self, *_args: t.Any, **_kwargs: t.Any) -> None:
        return None


class _RawWithDeadline(io.RawIOBase):
    """What a socket sends, until a moment: a timeout of the socket alone starts again with every byte that drips in."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> t.Optional[int]:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _SocketWithDeadline:
    """As much of a connected socket as http.client uses, for one request and its answer."""

    def __init__(self, sock: t.Any, seconds: float) -> None:
        self._sock = sock
        self._end = time.monotonic() + seconds

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_RawWithDeadline(self._sock, self._end))

    def close(self) -> None:
        self._sock.close()


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = t.cast(t.Any, _SocketWithDeadline(self.sock, t.cast(float, self.timeout)))


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = t.cast(t.Any, _SocketWithDeadline(self.sock, t.cast(float, self.timeout)))


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> t.Any:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> t.Any:
        return self.do_open(_HTTPSConnection, req)


class _Asker:
    """Asks one address, and whatever it redirects to, with what it may be asked with.

    The token, or the user and password in the address, go to the server that was named and to no other: a redirect to another
    host, port or scheme (as model hubs do to their storage) is followed without them. Raises GgufError with a sentence.
    """

    def __init__(self, url: str, token: t.Optional[str], timeout_seconds: float) -> None:
        try:
            scheme, host, _port = origin(url)
        except ValueError as exc:
            raise GgufError("the URL is not valid: %s" % exc) from exc
        self.label = printable(without_secrets(url), 400)
        if scheme not in ("http", "https") or not host:
            raise GgufError("%s is not an http or https URL" % self.label)
        user = user_and_password(url)
        if user:
            # urllib takes it for a part of the host's name
            url = url.replace(user + "@", "", 1)
        self.url = url
        self.has_token = bool(token or user)
        self._authorization = "Bearer %s" % token if token else "Basic %s" % base64.b64encode(unquote_to_bytes(user)).decode() if user else ""
        self._timeout = timeout_seconds
        self._opener = urllib.request.build_opener(_NoRedirect, _HTTPHandler, _HTTPSHandler)

    def ask(self, work: t.Callable[[], _Result]) -> _Result:
        """Does what asks, and says in a sentence what went wrong."""
        try:
            return work()
        except (socket.timeout, TimeoutError) as exc:
            raise GgufError("%s did not answer within %g seconds" % (self.label, self._timeout)) from exc
        except urllib.error.URLError as exc:
            if isinstance(exc.reason, TimeoutError):
                raise GgufError("%s did not answer within %g seconds" % (self.label, self._timeout)) from exc
            raise GgufError("%s cannot be reached: %s" % (self.label, printable(str(exc.reason)))) from exc
        except (http.client.InvalidURL, ValueError) as exc:
            # urllib quotes the address, and the token with it
            raise GgufError("%s cannot be asked for: its address%s has letters that HTTP does not carry" % (
                self.label, " or the token" if self.has_token else "")) from exc
        except (http.client.HTTPException, OSError) as exc:
            raise GgufError("%s broke off: %s" % (self.label, printable(str(exc)) or type(exc).__name__)) from exc

    def open(self, url: str, headers: t.Mapping[str, str]) -> t.Tuple[t.Any, str]:
        """The answer, whatever its status is, and the address that gave it."""
        for _hop in range(MAX_REDIRECTS):
            sent = {"Accept-Encoding": "identity", "User-Agent": "herd.llama_cpp", **headers}
            if self._authorization and origin(url) == origin(self.url):
                sent["Authorization"] = self._authorization
            try:
                response = self._opener.open(urllib.request.Request(url, headers=sent), timeout=self._timeout)
            except urllib.error.HTTPError as exc:
                # HTTPError is a response, too
                response = exc
            if response.code not in (301, 302, 303, 307, 308):
                return response, url
            where = response.headers.get("Location")
            response.close()
            if not where:
                raise GgufError("%s redirects to nowhere" % self.label)
            was = url
            try:
                url = urljoin(url, where)
                origin(url)
            except ValueError as exc:
                raise GgufError("%s redirects to an address that is not valid" % self.label) from exc
            if urlsplit(url).scheme not in ("http", "https"):
                raise GgufError("%s redirects to something other than http" % self.label)
            if urlsplit(was).scheme == "https" and urlsplit(url).scheme == "http":
                raise GgufError("%s redirects from https to plain http" % self.label)
        raise GgufError("%s redirects more than %d times" % (self.label, MAX_REDIRECTS))


def fetch_document(url: str, token: t.Optional[str] = None, timeout_seconds: float = 30, max_bytes: int = 1 << 25) -> t.Tuple[int, bytes]:
    """Status and body of what a web server answers; a body of more than ``max_bytes`` is an error."""
    asker = _Asker(url, token, timeout_seconds)

    def fetch() -> t.Tuple[int, bytes]:
        response, _where = asker.open(asker.url, {})
        with response:
            body = response.read(max_bytes + 1)
            if len(body) > max_bytes:
                raise GgufError("%s sends more than %d MiB" % (asker.label, max_bytes >> 20))
            return response.code, body

    return asker.ask(fetch)


class RangeReader(Reader):
    """A file on a web server that answers requests for a range of bytes.

    The place a redirect leads to is remembered for the next piece.
    """

    def __init__(self, url: str, token: t.Optional[str] = None, timeout_seconds: float = 30) -> None:
        self._asker = _Asker(url, token, timeout_seconds)
        self.label = self._asker.label
        self.bytes_read = 0
        self._target = self._asker.url
        self.size_bytes = 0
        # the parser looks at the first bytes, then asks for 256 KiB from there: one request answers both
        self._first = self._fetch(0, (1 << 18) + (1 << 16))

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.size_bytes - offset)
        pieces = []
        while size > 0:
            if offset + size <= len(self._first):
                piece = self._first[offset:offset + size]
            else:
                piece = self._fetch(offset, min(size, MAX_PIECE_BYTES))
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _fetch(self, offset: int, size: int) -> bytes:
        return self._asker.ask(lambda: self._request(offset, size))

    def _request(self, offset: int, size: int) -> bytes:
        for attempt in ("as remembered", "from the start"):
            response = self._open(offset, size)
            # a signed link may have run out: ask the first server for a new one, once
            if response.code in (401, 403, 410) and self._target != self._asker.url and attempt == "as remembered":
                response.close()
                self._target = self._asker.url
                continue
            break
        with response:
            if response.code == 206:
                return self._body(response, offset, size)
            if response.code == 200:
                raise GgufError(
                    "%s ignores requests for a part of a file, so its header cannot be read without downloading all of it;"
                    " download the file and give its path" % self.label)
            if response.code in (401, 403):
                raise GgufError("%s refuses access (HTTP %d); %s" % (
                    self.label, response.code, "the token is not accepted" if self._asker.has_token else "it may need a token"))
            if response.code == 404:
                raise GgufMissing("%s does not exist (HTTP 404)" % self.label)
            raise GgufError("%s answered HTTP %d" % (self.label, response.code))

    def _open(self, offset: int, size: int) -> t.Any:
        response, self._target = self._asker.open(self._target, {"Range": "bytes=%d-%d" % (offset, offset + size - 1)})
        return response

    def _body(self, response: t.Any, offset: int, size: int) -> bytes:
        said = (response.headers.get("Content-Range") or "").strip()
        if _NO_LENGTH.fullmatch(said):
            raise GgufError("%s does not say how long the file is, so nothing can be said of its weights; download the file and give its path" % self.label)
        match = _CONTENT_RANGE.fullmatch(said)
        first, last, total = (int(group) for group in match.groups()) if match else (-1, -1, -1)
        if first != offset or not first <= last < total:
            raise GgufError("%s answers a request for a part of the file with another part" % self.label)
        if self.size_bytes and total != self.size_bytes:
            raise GgufError("%s changed while it was read" % self.label)
        self.size_bytes = total
        wanted = min(size, total - offset)
        data: bytes = response.read(wanted)
        self.bytes_read += len(data)
        if len(data) < wanted:
            raise GgufError("%s broke off after %d of %d bytes" % (self.label, len(data), wanted))
        return data


def read_remote_gguf_model(url: str, token: t.Optional[str] = None, timeout_seconds: float = 30) -> GgufModel:
    """The header of a model on a web server; of a split model, those of all its parts, whichever of them is named."""
    # what follows the path (a query, a signature) stays with every part
    path, mark, rest = re.fullmatch(r"([^?#]*)([?#]?)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]
    return read_gguf_parts(path, lambda name: _read_one(name + mark + rest, token, timeout_seconds))


def _read_one(url: str, token: t.Optional[str], timeout_seconds: float) -> GgufFile:
    reader = RangeReader(url, token, timeout_seconds)
    try:
        return read_gguf_from(reader)
    finally:
        reader.close()
