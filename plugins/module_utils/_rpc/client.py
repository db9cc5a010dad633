# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an idle rpc-server for its protocol version and its devices' memory.

An rpc-server serves one client at a time; the next ones wait in its listen queue. One of those that has sent HELLO and gives up
ends the server: the answer to it goes to a closed connection, which is SIGPIPE. So HELLO is sent only once the kernel's socket
table shows that our connection is the only one and has been accepted. Before that nothing is sent, and a connection that
closes without a byte is one the server lets go of quietly.

Messages (ggml/src/ggml-rpc/ggml-rpc.cpp of llama.cpp, protocol 7.0.0), little-endian, without padding:
request ``command: u8, size: u64, data``; answer ``size: u64, data``.
"""

from __future__ import annotations

import socket
import struct
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import ANY_IPV4, TcpSocket

# RPC_PROTO_MAJOR_VERSION of ggml/include/ggml-rpc.h. Another major version may number or lay out its commands otherwise, all but HELLO.
PROTOCOL_MAJOR = 7

_CMD_GET_DEVICE_MEMORY = 11
_CMD_HELLO = 14
_CMD_DEVICE_COUNT = 15
# RPC_CONN_CAPS_SIZE of transport.h. All zero offers no transport but the TCP connection at hand.
_NO_CAPABILITIES = bytes(24)
_HELLO_ANSWER_BYTES = 4 + len(_NO_CAPABILITIES)
# GGML_SCHED_MAX_BACKENDS is 16: more devices than these are of no use to a client, and a number far above is no device count.
_MAX_DEVICES = 64
_LOOK_INTERVAL_S = 0.05

Look = t.Callable[[], t.List[TcpSocket]]


class RpcError(Exception):
    """The worker cannot be asked. The text is the end of a sentence that begins with the endpoint."""


class _ConnectionLost(RpcError):
    """The worker's end of the connection went away."""


class WorkerBusy(Exception):
    """The worker must not be asked now. The text says how that was seen, as the end of a sentence that begins with the endpoint."""

    def __init__(self, reason: str, listener: TcpSocket) -> None:
        super().__init__(reason)
        self.listener = listener


@dataclass(frozen=True)
class RpcDevice:
    """A device as its worker reports it."""

    index: int
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class WorkerReport:
    """What an idle worker says of itself."""

    protocol_version: str
    devices: t.Tuple[RpcDevice, ...]
    listener: TcpSocket


def find_listener(sockets: t.Iterable[TcpSocket], address: str, port: int) -> t.Optional[TcpSocket]:
    """The socket that takes connections to this address: the one bound to it, else one bound to every address."""
    found = [s for s in sockets if s.takes_connections_to(address, port)]
    return next((s for s in found if s.local_address == address), found[0] if found else None)


def connections_of(sockets: t.Iterable[TcpSocket], listener: TcpSocket) -> t.List[TcpSocket]:
    """The connections that came through a listener.

    An abandoned one counts: its worker has not noticed that the client is gone, and may still be computing for it.
    """
    return [
        s
        for s in sockets
        if s.state != "listening"
        and s.local_port == listener.local_port
        and (listener.local_address in ANY_IPV4 or s.local_address == listener.local_address)
    ]


def _peers(connections: t.Iterable[TcpSocket]) -> str:
    return ", ".join(
        "%s:%d%s" % (c.remote_address, c.remote_port, "" if c.state == "established" else " (gone, but not let go of)")
        for c in connections
    )


def _refuse_if_busy(listener: TcpSocket, others: t.List[TcpSocket], waiting: int) -> None:
    if others:
        raise WorkerBusy("serves a client: ss shows a connection from %s" % _peers(others), listener)
    if waiting:
        raise WorkerBusy("has not accepted %d connection(s) that wait for it, as ss shows" % waiting, listener)


class _Conversation:
    """One connection to a worker, all of it within one deadline."""

    def __init__(self, connection: socket.socket, deadline: float, timeout_s: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._timeout_s = timeout_s

    def _arm(self) -> None:
        # A timeout of 0 would mean "do not block".
        self._connection.settimeout(max(self._deadline - time.monotonic(), 0.001))

    def _receive(self, size: int, what: str) -> bytes:
        data = b""
        while len(data) < size:
            self._arm()
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise _ConnectionLost("closed the connection instead of answering %s" % what)
            data += piece
        return data

    def ask(self, command: int, what: str, data: bytes, sizes: t.Collection[int]) -> bytes:
        """Send a command and return the answer's data, whose size must be one of ``sizes``."""
        try:
            self._arm()
            self._connection.sendall(struct.pack("<BQ", command, len(data)) + data)
            (size,) = struct.unpack("<Q", self._receive(8, what))
            if size not in sizes:
                raise RpcError("answered %s with something that is not RPC protocol %d" % (what, PROTOCOL_MAJOR))
            return self._receive(size, what)
        except socket.timeout as error:
            raise RpcError("accepted the connection but did not answer %s within %g s; it hangs" % (what, self._timeout_s)) from error
        except OSError as error:
            raise _ConnectionLost("broke off the connection at %s (%s)" % (what, error.strerror or error)) from error

    def finish(self) -> None:
        """Close, and wait until the worker has closed too: it is free for the next client then."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
            while True:
                self._arm()
                if not self._connection.recv(4096):
                    return
        except OSError:
            # It is gone or does not answer; there is nothing left to close properly.
            return


def _hello(conversation: _Conversation) -> str:
    try:
        answer = conversation.ask(_CMD_HELLO, "HELLO", _NO_CAPABILITIES, range(3, 257))
    except _ConnectionLost as error:
        raise RpcError(
            "%s: it is no rpc-server, or one of another llama.cpp release whose protocol is not %d" % (error, PROTOCOL_MAJOR)
        ) from error
    version = "%d.%d.%d" % tuple(answer[:3])
    if answer[0] != PROTOCOL_MAJOR or len(answer) != _HELLO_ANSWER_BYTES:
        raise RpcError(
            "speaks RPC protocol %s and this module %d; install the same llama.cpp build on all machines" % (version, PROTOCOL_MAJOR)
        )
    return version


def _devices(conversation: _Conversation) -> t.Iterator[RpcDevice]:
    (count,) = struct.unpack("<I", conversation.ask(_CMD_DEVICE_COUNT, "DEVICE_COUNT", b"", (4,)))
    if count > _MAX_DEVICES:
        raise RpcError("says that it has %d devices, which cannot be" % count)
    for index in range(count):
        what = "GET_DEVICE_MEMORY of device %d" % index
        answer = conversation.ask(_CMD_GET_DEVICE_MEMORY, what, struct.pack("<I", index), (16,))
        free, total = struct.unpack("<QQ", answer)
        yield RpcDevice(index, free, total)


def _wait_for_our_turn(listener: TcpSocket, connection: socket.socket, look: Look, deadline: float, timeout_s: float) -> TcpSocket:
    """Return once the worker has accepted this connection and no other."""
    ours = connection.getsockname()[:2]
    endpoint = connection.getpeername()[:2]
    while True:
        sockets = look()
        current = find_listener(sockets, *endpoint)
        if current is None:
            raise RpcError("stopped listening while it was asked")
        connections = connections_of(sockets, current)
        mine = [c for c in connections if (c.remote_address, c.remote_port) == ours and c.state == "established"]
        _refuse_if_busy(current, [c for c in connections if c not in mine], 0)
        # The queue of a listening socket is the number of connections that its program has not accepted.
        if mine and current.receive_queue == 0:
            return current
        if time.monotonic() >= deadline:
            raise WorkerBusy(
                "did not accept a connection within %g s, though ss shows no other client; it hangs or still ends its last"
                " conversation" % timeout_s,
                listener,
            )
        time.sleep(_LOOK_INTERVAL_S)


def ask_idle_worker(address: str, port: int, look: Look, timeout_s: float = 10.0) -> WorkerReport:
    """Ask the worker that listens on this machine's ``address`` and ``port``, unless somebody else is connected.

    ``look`` returns the machine's sockets as they are at that moment.
    """
    deadline = time.monotonic() + timeout_s
    sockets = look()
    listener = find_listener(sockets, address, port)
    if listener is None:
        raise RpcError("has no listener on this machine; start the worker")
    _refuse_if_busy(listener, connections_of(sockets, listener), listener.receive_queue)
    try:
        connection = socket.create_connection((address, port), timeout=timeout_s)
    except socket.timeout as error:
        raise WorkerBusy("did not take a connection within %g s: its queue is full" % timeout_s, listener) from error
    except OSError as error:
        raise RpcError("cannot be connected to (%s)" % (error.strerror or error)) from error
    with connection:
        listener = _wait_for_our_turn(listener, connection, look, deadline, timeout_s)
        conversation = _Conversation(connection, deadline, timeout_s)
        try:
            version = _hello(conversation)
            devices = tuple(_devices(conversation))
        finally:
            conversation.finish()
    return WorkerReport(version, devices, listener)
