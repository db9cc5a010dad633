# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can this machine open a TCP connection to that address and port?

Nothing is ever sent: the connection is closed as soon as it stands. All endpoints are tried at
the same time, so many dead ones cost one timeout.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import time
import typing as t
from dataclasses import asdict, dataclass

CONNECTED = "connected"
REFUSED = "refused"
TIMEOUT = "timeout"
NO_ROUTE = "no_route"
ERROR = "error"

# "Refused" comes from the machine itself (nothing listens there yet): the way to it is open.
REACHABLE_STATES = (CONNECTED, REFUSED)

_NO_ROUTE_ERRORS = (
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EACCES,
    errno.EPERM,
)


class EndpointError(ValueError):
    """An endpoint is not ADDRESS:PORT."""


@dataclass(frozen=True)
class ProbeResult:
    """What became of one connection attempt."""

    endpoint: str
    address: str
    port: int
    state: str
    reachable: bool
    seconds: float
    detail: str

    def as_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


def parse_endpoint(endpoint: str) -> t.Tuple[str, int]:
    """Split ADDRESS:PORT; the address is an IPv4 literal, as llama.cpp's RPC wants it."""
    address, separator, port_text = str(endpoint).strip().rpartition(":")
    if not separator or not address:
        raise EndpointError("%r is not ADDRESS:PORT" % (endpoint,))
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise EndpointError("%r does not begin with an IPv4 address" % (endpoint,)) from error
    if not (port_text.isascii() and port_text.isdigit()) or not 0 < int(port_text) < 65536:
        raise EndpointError("%r does not end with a port from 1 to 65535" % (endpoint,))
    return address, int(port_text)


def _state_of(code: int) -> str:
    if code == 0:
        return CONNECTED
    if code in (errno.ECONNREFUSED, errno.ECONNRESET):
        return REFUSED
    if code == errno.ETIMEDOUT:
        return TIMEOUT
    if code in _NO_ROUTE_ERRORS:
        return NO_ROUTE
    return ERROR


def probe(endpoints: t.Sequence[str], timeout_s: float = 5.0, source_address: str = "") -> t.List[ProbeResult]:
    """Try every endpoint at once; the results come in the order of ``endpoints``."""
    targets = [parse_endpoint(endpoint) for endpoint in endpoints]
    results: t.Dict[int, ProbeResult] = {}
    started = time.monotonic()
    selector = selectors.DefaultSelector()

    def settle(index: int, code: int, state: str = "") -> None:
        address, port = targets[index]
        state = state or _state_of(code)
        results[index] = ProbeResult(
            endpoint="%s:%d" % (address, port),
            address=address,
            port=port,
            state=state,
            reachable=state in REACHABLE_STATES,
            seconds=round(time.monotonic() - started, 3),
            detail=os.strerror(code) if code else "",
        )

    try:
        for index, target in enumerate(targets):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                if source_address:
                    sock.bind((source_address, 0))
                code = sock.connect_ex(target)
            except OSError as error:
                code = error.errno or errno.EIO
            if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
                selector.register(sock, selectors.EVENT_WRITE, index)
            else:
                sock.close()
                settle(index, code)
        while len(results) < len(targets):
            left = timeout_s - (time.monotonic() - started)
            if left <= 0:
                break
            for key, _events in selector.select(left):
                sock = t.cast(socket.socket, key.fileobj)
                settle(key.data, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                selector.unregister(sock)
                sock.close()
        for key in list(selector.get_map().values()):
            settle(key.data, errno.ETIMEDOUT, TIMEOUT)
            t.cast(socket.socket, key.fileobj).close()
    finally:
        selector.close()
    return [results[index] for index in range(len(targets))]
