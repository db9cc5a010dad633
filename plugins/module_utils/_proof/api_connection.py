# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to an API of this machine: by TCP, by TLS where the name in the certificate is not what one connects to, or by
a socket in the file system whose other end must be a certain process.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import typing as t
from dataclasses import dataclass


class WrongPeer(OSError):
    """The socket belongs to another process than it should."""


@dataclass(frozen=True)
class Target:
    """Where to connect. ``path`` wins over address and port; ``pid`` is who must hold it."""

    address: str = ""
    port: int = 0
    path: str = ""
    pid: int = 0
    tls: bool = False
    name: str = ""
    ca_file: str = ""


class Connection(http.client.HTTPConnection):
    """http.client and not urllib: a proxy from the environment has no business between a machine and itself."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        super().__init__(target.address or "localhost", target.port or 80, timeout=timeout_s)
        self._target = target

    def connect(self) -> None:
        target = self._target
        if target.path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(target.path)
            peer = peer_pid(self.sock)
            if target.pid and peer != target.pid:
                raise WrongPeer("%s is held by process %d and not by %d" % (target.path, peer, target.pid))
        else:
            super().connect()
        if target.tls:
            context = ssl.create_default_context(cafile=target.ca_file or None)
            self.sock = context.wrap_socket(self.sock, server_hostname=target.name or target.address)


def peer_pid(connected: socket.socket) -> int:
    """Who called listen() at the other end of a socket in the file system (SO_PEERCRED, struct ucred)."""
    return t.cast(int, struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
