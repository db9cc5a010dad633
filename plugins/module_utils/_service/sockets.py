# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP sockets of a machine, read from the output of iproute2's ``ss -H -n -t -a -i -p -O``.

``ss`` and not a connection of our own: an rpc-server serves one client at a time, and one that speaks to it and leaves can
end it. Looking at the kernel's table disturbs nobody.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import read_unit_of_process

SS_ARGUMENTS = ("-H", "-n", "-t", "-a", "-i", "-p", "-O")

# The addresses a listener may be bound to and still take connections for any IPv4 address. ss prints "*" for an IPv6 socket
# that takes IPv4 too and "[::]" for one that does not.
ANY_IPV4 = frozenset(("0.0.0.0", "*"))

# CLOSE-WAIT: the other end is gone and this one's program has not noticed yet.
_STATES = {"LISTEN": "listening", "ESTAB": "established", "CLOSE-WAIT": "abandoned"}
# A process can give itself any name, quotes and pid=1 included, but ss ends it at a closing parenthesis: the last pid counts.
_USERS = re.compile(r'\busers:\((?P<list>(?:\("[^)]*"(?:,\w+=\d+)+\),?)+)\)')
_USER = re.compile(r'\("(?P<name>[^)]*)",pid=(?P<pid>\d+)(?:,\w+=\d+)*\)')
_COUNTER = re.compile(r"\b(bytes_sent|bytes_acked|bytes_received):(\d+)")
_HAS_TCP_INFO = re.compile(r"\bcwnd:\d")


class SocketsError(ValueError):
    """The output of ss is not what it should be."""


@dataclass(frozen=True)
class SocketProcess:
    """A process that holds a socket."""

    name: str
    pid: int


def held_by(process: t.Optional[SocketProcess], unit: str, is_root: bool) -> str:
    """Who holds a socket, as a part of a sentence. The kernel tells only root of other users' processes, and nobody of those in other name spaces."""
    if process is None:
        return "a program of another name space, such as a container's" if is_root else "a program that only root can see"
    return "%s (pid %d%s)" % (process.name, process.pid, ", " + unit if unit else "")


def is_reached_at(local_address: str, address: str) -> bool:
    """Whether a connection to this IPv4 address reaches a listener on ``local_address``."""
    return local_address == address or local_address in ANY_IPV4


def stands_in_the_way(local_address: str, address: str) -> bool:
    """Whether a listener on ``local_address`` keeps another program from listening on the same port of this IPv4 address."""
    if address in ANY_IPV4:
        return ":" not in local_address
    return is_reached_at(local_address, address)


@dataclass(frozen=True)
class TcpSocket:
    """One listening, established or abandoned TCP socket."""

    state: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    receive_queue: int
    send_queue: int
    processes: t.Tuple[SocketProcess, ...] = field(default_factory=tuple)
    bytes_sent: t.Optional[int] = None
    bytes_received: t.Optional[int] = None

    def takes_connections_to(self, address: str, port: int) -> bool:
        """Whether a connection to this IPv4 address and port would reach this listener."""
        return self.state == "listening" and self.local_port == port and is_reached_at(self.local_address, address)

    def stands_in_the_way_of(self, address: str, port: int) -> bool:
        """Whether this listener keeps another program from listening on this IPv4 address and port."""
        return self.state == "listening" and self.local_port == port and stands_in_the_way(self.local_address, address)


def _address(text: str) -> t.Tuple[str, int]:
    """Split ``[::1]%lo:22``, ``127.0.0.1:22`` or ``*:*``; an interface is dropped, an IPv4-mapped address becomes IPv4."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port == "*" or port.isdigit()):
        raise SocketsError("%r is not an address and a port" % text)
    host = host.partition("%")[0].replace("[", "").replace("]", "")
    if host.lower().startswith("::ffff:") and "." in host:
        host = host[7:]
    return host, 0 if port == "*" else int(port)


def _processes(text: str) -> t.Tuple[SocketProcess, ...]:
    users = _USERS.search(text)
    if users is None:
        return ()
    # A process that holds the same socket twice, or whose threads do, is still one process.
    found = {int(user.group("pid")): user.group("name") for user in _USER.finditer(users.group("list"))}
    return tuple(SocketProcess(name, pid) for pid, name in sorted(found.items()))


def _joined_lines(text: str) -> t.Iterator[str]:
    """One line per socket, also where ss was too old for ``-O`` and put the details on a line of their own."""
    current = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            current += " " + line.strip()
        elif line.strip():
            if current:
                yield current
            current = line.rstrip()
    if current:
        yield current


def parse_ss(text: str) -> t.List[TcpSocket]:
    """All listening, established and abandoned sockets; those still being made or already given up are left out."""
    sockets = []
    for line in _joined_lines(text):
        columns = line.split(None, 5)
        if len(columns) < 5:
            raise SocketsError("ss printed a line that is not a socket: %r" % line[:120])
        state = _STATES.get(columns[0])
        if state is None:
            continue
        try:
            receive_queue, send_queue = int(columns[1]), int(columns[2])
        except ValueError as error:
            raise SocketsError("ss printed a line that is not a socket: %r" % line[:120]) from error
        details = columns[5] if len(columns) > 5 else ""
        local, remote = _address(columns[3]), _address(columns[4])
        sent, received = None, None
        if state != "listening" and _HAS_TCP_INFO.search(details):
            # A counter that is still zero is not printed.
            counters = {name: int(value) for name, value in _COUNTER.findall(details)}
            sent = counters.get("bytes_sent", counters.get("bytes_acked", 0))
            received = counters.get("bytes_received", 0)
        sockets.append(
            TcpSocket(
                state=state,
                local_address=local[0],
                local_port=local[1],
                remote_address=remote[0],
                remote_port=remote[1],
                receive_queue=receive_queue,
                send_queue=send_queue,
                processes=_processes(details),
                bytes_sent=sent,
                bytes_received=received,
            )
        )
    return sockets


def select_sockets(
    sockets: t.Iterable[TcpSocket],
    ports: t.Collection[int] = (),
    match: str = "local",
    states: t.Collection[str] = ("listening", "established"),
) -> t.List[TcpSocket]:
    """The sockets in one of ``states`` whose local, remote or either port is one of ``ports`` (all when there are none)."""

    def wanted(socket: TcpSocket) -> bool:
        if socket.state not in states:
            return False
        if not ports:
            return True
        return (match in ("local", "either") and socket.local_port in ports) or (
            match in ("remote", "either") and socket.remote_port in ports
        )

    return [socket for socket in sockets if wanted(socket)]


def read_sockets(run: t.Callable[[t.Sequence[str]], t.Tuple[int, str, str]], ss: t.Optional[str]) -> t.List[TcpSocket]:
    """The machine's sockets by the program ``ss``. Raises SocketsError, whose text is a sentence without its full stop."""
    if ss is None:
        raise SocketsError("The command ss is not on this machine; install iproute2")
    rc, out, err = run([ss, *SS_ARGUMENTS])
    if rc != 0:
        raise SocketsError("ss could not list the machine's sockets: %s" % (err.strip() or "exit code %d" % rc))
    try:
        return parse_ss(out)
    except SocketsError as error:
        raise SocketsError("The machine's sockets cannot be read: %s" % error) from error


def as_result(socket: TcpSocket) -> t.Dict[str, t.Any]:
    """A socket as the module tcp_socket_info returns it."""
    others = [process for process in socket.processes if process.pid != 1]
    first = next(iter(others or socket.processes), None)
    unit = read_unit_of_process(first.pid) if first else ""
    return {
        "state": socket.state,
        "local_address": socket.local_address,
        "local_port": socket.local_port,
        "remote_address": socket.remote_address,
        "remote_port": socket.remote_port,
        "process": first.name if first else "",
        "pid": first.pid if first else 0,
        "unit": unit,
        "held_by": held_by(first, unit, os.geteuid() == 0),
        "processes": [{"name": process.name, "pid": process.pid} for process in socket.processes],
        "bytes_sent": socket.bytes_sent,
        "bytes_received": socket.bytes_received,
        "receive_queue": socket.receive_queue,
        "send_queue": socket.send_queue,
    }
