# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which RPC protocol an executable speaks, found out by running it for a moment on this machine's loopback address.

An RPC server is started on a free port and greeted. llama-server is given a worker that this module plays: it is greeted by llama-server,
answers with a version, and sees whether llama-server goes on or hangs up. Both ends of a cluster can so be tried before any of them is
put into use, and nobody else's worker is spoken to.

Messages (ggml/src/ggml-rpc/ggml-rpc.cpp of llama.cpp, protocol 7.0.0) are little-endian, without padding: request ``command: u8, size: u64,
data``; answer ``size: u64, data``. HELLO and the first three bytes of its answer are the same in every protocol since 1.0.0; the capabilities in
it came with 4.0.0.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.unprivileged import NoUserError, own_user_id, unprivileged

LOOPBACK = "127.0.0.1"
_CMD_HELLO = 14
# RPC_CONN_CAPS_SIZE of transport.h, since protocol 4.0.0.
_CAPABILITIES = 24
_VERSION = re.compile(r"^(\d{1,3})\.(\d{1,3})\.(\d{1,3})$")
_PAUSE_S = 0.05


class HelloError(Exception):
    """The executable cannot be asked. The text is the end of a sentence that begins with its name."""


def parse_version(text: str) -> t.Tuple[int, int, int]:
    """The three numbers of a protocol version."""
    match = _VERSION.match(text.strip())
    if not match or any(int(part) > 255 for part in match.groups()):
        raise HelloError("cannot be compared with %r, which is no protocol version such as 7.0.0" % text)
    return int(match.group(1)), int(match.group(2)), int(match.group(3))


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _receive(connection: socket.socket, size: int) -> t.Optional[bytes]:
    """Exactly so many bytes, or None where the other end closes before."""
    data = b""
    while len(data) < size:
        try:
            piece = connection.recv(size - len(data))
        except socket.timeout:
            raise
        except OSError:
            return None
        if not piece:
            return None
        data += piece
    return data


def greet(port: int, capabilities: int, timeout_s: float) -> t.Optional[str]:
    """The version that the RPC server on a loopback port answers HELLO with, or None where it hangs up."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout_s) as connection:
        connection.sendall(struct.pack("<BQ", _CMD_HELLO, capabilities) + bytes(capabilities))
        head = _receive(connection, 8)
        if head is None:
            return None
        (size,) = struct.unpack("<Q", head)
        if not 3 <= size <= 256:
            return None
        answer = _receive(connection, size)
        return None if answer is None else "%d.%d.%d" % tuple(answer[:3])


class _Child:
    """An executable that runs for a moment, as nobody in particular where that can be, without a GPU, and never longer than its with statement."""

    def __init__(self, command: t.Sequence[str]) -> None:
        self._output = tempfile.TemporaryFile()
        environment = dict(os.environ, GGML_NO_BACKTRACE="1", CUDA_VISIBLE_DEVICES="", LLAMA_CACHE="/nonexistent", HOME="/")
        try:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                start_new_session=True,
                preexec_fn=unprivileged(own_user_id()),
            )
        except (OSError, subprocess.SubprocessError, NoUserError) as error:
            self._output.close()
            raise HelloError("cannot be run (%s)" % (getattr(error, "strerror", None) or error)) from error

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *dummy: t.Any) -> None:
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except OSError:
                self.process.kill()
        self.process.wait()
        self._output.close()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The last line it printed."""
        self._output.seek(0)
        lines = [line.strip() for line in self._output.read().decode("utf-8", "replace").splitlines()]
        return next((line for line in reversed(lines) if line), "it said nothing")


def ask_server(executable: str, timeout_s: float = 30.0) -> str:
    """Start an RPC server on loopback and return the protocol version it answers with."""
    deadline = time.monotonic() + timeout_s
    port = free_port()
    with _Child([executable, "-H", LOOPBACK, "-p", str(port)]) as server:
        # The short greeting is that of the protocols before 4.0.0; a newer one has hung up on it, and the other way round.
        for capabilities in (_CAPABILITIES, 0):
            while True:
                if server.ended:
                    raise HelloError("ended with code %d before it was asked: %s" % (server.process.returncode, server.last_words()))
                try:
                    version = greet(port, capabilities, max(deadline - time.monotonic(), 0.1))
                    break
                except socket.timeout as error:
                    raise HelloError("did not answer HELLO within %g s" % timeout_s) from error
                except OSError as error:
                    if time.monotonic() >= deadline:
                        raise HelloError("does not listen within %g s" % timeout_s) from error
                    time.sleep(_PAUSE_S)
            if version is not None:
                return version
        raise HelloError("answers HELLO in no way that is known: %s" % server.last_words())


def _is_accepted(connection: socket.socket, version: t.Tuple[int, int, int]) -> t.Optional[bool]:
    """Play the worker on one connection: whether the client goes on after the version; None where it was no RPC client at all."""
    head = _receive(connection, 9)
    if head is None:
        return None
    command, size = struct.unpack("<BQ", head)
    if command != _CMD_HELLO or size > 256 or (size and _receive(connection, size) is None):
        return None
    answer = bytes(version) + bytes(1 + size if size else 0)
    connection.sendall(struct.pack("<Q", len(answer)) + answer)
    return _receive(connection, 1) is not None


def ask_client(executable: str, version: str, timeout_s: float = 30.0) -> bool:
    """Whether llama-server accepts a worker that speaks this version."""
    numbers = parse_version(version)
    deadline = time.monotonic() + timeout_s
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(8)
        endpoint = "%s:%d" % (LOOPBACK, listener.getsockname()[1])
        with _Child([executable, "--rpc", endpoint, "--list-devices"]) as client:
            while time.monotonic() < deadline:
                ready = select.select([listener], [], [], 0.2)[0]
                if not ready:
                    if client.ended:
                        raise HelloError("ended with code %d without greeting a worker: %s" % (client.process.returncode, client.last_words()))
                    continue
                connection = listener.accept()[0]
                with connection:
                    connection.settimeout(max(deadline - time.monotonic(), 0.1))
                    try:
                        accepted = _is_accepted(connection, numbers)
                    except OSError as error:
                        raise HelloError("greeted a worker and then did not go on within %g s" % timeout_s) from error
                if accepted is not None:
                    return accepted
    raise HelloError("did not greet a worker within %g s" % timeout_s)
