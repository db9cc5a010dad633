# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watchdog sees: processes in /proc, sockets in the kernel's own tables, and HTTP servers of the cluster.

No connection is ever made to an rpc-server: it serves one client at a time, and one that speaks to it and leaves can end it.
"""
from __future__ import annotations

import glob
import http.client
import json
import os
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import api_keys
import verdict
from text import printable

# Where a service's control group may be: version 2, version 2 beside version 1, version 1.
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
TICKS = os.sysconf("SC_CLK_TCK")

# include/net/tcp_states.h
ESTABLISHED, SYN_SENT, CLOSE_WAIT, LISTEN = 1, 2, 8, 10


def read(path: str) -> str:
    """The text of a file, or nothing when it cannot be read (any more)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


# --- processes ----------------------------------------------------------------------------------------------------------


def pids_of(unit: str) -> List[int]:
    """The processes of a system service, from its control group."""
    prefix = unit.partition("@")[0]
    folder = "system-%s.slice/%s" % (prefix.replace("-", "\\x2d"), unit) if "@" in unit else unit
    for root in CGROUPS:
        text = read("%s/system.slice/%s/cgroup.procs" % (root, folder))
        if text:
            return sorted(int(line) for line in text.split())
    return []


def process_of(unit: str) -> Optional[verdict.Process]:
    """The unit's first process; None where it has none."""
    for pid in pids_of(unit):
        # The name, in parentheses, may hold anything: what follows the last one counts.
        fields = read("/proc/%d/stat" % pid).rpartition(")")[2].split()
        if len(fields) < 20 or fields[0] in ("Z", "X"):
            continue
        return verdict.Process(pid=pid, started=int(fields[19]), state=fields[0], cpu_ns=cpu_ns(pid, fields))
    return None


def cpu_ns(pid: int, fields: List[str]) -> int:
    """Processor time of all threads in ns; the kernel's own count is finer than the ticks in stat (10 ms)."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        total += int((read(path).split() or ["0"])[0])
    # Threads that have ended are in the ticks only.
    return max(total, (int(fields[11]) + int(fields[12])) * 10**9 // TICKS)


# --- files --------------------------------------------------------------------------------------------------------------


def read_json(path: str) -> Dict[str, Any]:
    """A JSON file's object; an empty one where there is none to be read."""
    try:
        found = json.loads(read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def build_of(bin_dir: str) -> verdict.Build:
    """The llama.cpp in a directory, as the role llama_cpp notes it beside its builds."""
    stamp = read_json(os.path.join(os.path.dirname(os.path.realpath(bin_dir)), "stamp.json"))
    return verdict.Build(str(stamp.get("version") or ""), str(stamp.get("protocol") or ""))


def model_of(path: str) -> verdict.Model:
    """What the check before llama-server's start has said, and whether a file that it found good was written to since.

    A file that was replaced is another file: the one that llama-server has mapped stays as it was.
    """
    said = read_json(path)
    altered = []
    for file in said.get("files") or []:
        try:
            stat = os.stat(file["path"])
        except OSError:
            continue
        if stat.st_ino == file["inode"] and [stat.st_size, str(stat.st_mtime_ns)] != file["look"]:
            altered.append(file["path"])
    return verdict.Model(str(said.get("refused") or ""), ", ".join(altered))


def disk_full(directory: str) -> bool:
    """Whether the file system has no room for a tensor: those that are cached have more than 10 MiB each."""
    try:
        state = os.statvfs(directory)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < 16 << 20


def cached_since_check(directory: str) -> bool:
    """Whether a tensor was written to an rpc-server's cache since its start, which checks it and notes that beside it.

    rpc-server makes a new file for each. The directories' own times are all that other users may see of a cache.
    """
    try:
        return os.stat(os.path.join(directory, "rpc")).st_mtime_ns > os.stat(os.path.join(directory, "checked.json")).st_mtime_ns
    except OSError:
        return False


# --- sockets ------------------------------------------------------------------------------------------------------------


def connections_to(endpoints: Dict[str, Tuple[str, int]]) -> Tuple[Dict[str, List[verdict.Connection]], List[str]]:
    """This machine's connections to each endpoint, and all of them as LOCAL:PORT>REMOTE:PORT.

    NETLINK_SOCK_DIAG (linux/inet_diag.h, linux/tcp.h) tells of each socket what was acknowledged and received; any user may ask.
    """
    wanted = {endpoint: key for key, endpoint in endpoints.items()}
    found: Dict[str, List[verdict.Connection]] = {key: [] for key in endpoints}
    pairs = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for state, local, remote, retransmits, unacked, info in _diag(family):
            key = wanted.get(remote)
            if key is None:
                continue
            name = {ESTABLISHED: "established", SYN_SENT: "connecting"}.get(state, "closing")
            acked, received = struct.unpack_from("=QQ", info, 120) if len(info) >= 136 else (0, 0)
            found[key].append(verdict.Connection(name, acked, received, unacked, retransmits))
            pairs.append("%s:%d>%s:%d" % (local + remote))
    return found, sorted(pairs)


def _diag(family: int) -> List[Tuple[int, Tuple[str, int], Tuple[str, int], int, int, bytes]]:
    """All TCP sockets in one of three states: (state, local, remote, retransmits, bytes not acknowledged, struct tcp_info)."""
    states = 1 << ESTABLISHED | 1 << SYN_SENT | 1 << CLOSE_WAIT
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << 1, 0, states) + bytes(48)
    header = struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0)
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4) as netlink:
        netlink.settimeout(2)
        netlink.sendto(header + request, (0, 0))
        done = False
        while not done:
            data, at = netlink.recv(1 << 18), 0
            while at + 16 <= len(data) and not done:
                length, kind = struct.unpack_from("=IH", data, at)
                # NLMSG_ERROR (the family is not there) or NLMSG_DONE.
                done = kind in (2, 3) or length < 16
                if kind == 20 and length >= 16 + 72:
                    found.append(_diag_message(data[at + 16 : at + length]))
                at += (length + 3) & ~3
    return found


def _diag_message(body: bytes) -> Tuple[int, Tuple[str, int], Tuple[str, int], int, int, bytes]:
    family, state, _timer, retransmits = struct.unpack_from("=BBBB", body)
    ports = struct.unpack_from("!HH", body, 4)
    size = 4 if family == socket.AF_INET else 16
    local, remote = (socket.inet_ntop(family, body[at : at + size]) for at in (8, 24))
    unacked = struct.unpack_from("=I", body, 60)[0]
    info, at = b"", 72
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        if kind == 2:
            info = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return state, (_plain(local), ports[0]), (_plain(remote), ports[1]), retransmits, unacked, info


def _plain(address: str) -> str:
    return address[7:] if address.startswith("::ffff:") and "." in address else address


@dataclass(frozen=True)
class Port:
    """A listening port as /proc/PID/net/tcp shows it, in whatever network namespace the process is."""

    clients: Tuple[verdict.Client, ...]
    waiting: int


def clients_of(pid: int, port: int) -> Port:
    """Who is connected to the port, and how many the program has not accepted yet (they have no inode)."""
    return parse_proc_net_tcp(read("/proc/%d/net/tcp" % pid), port)


def parse_proc_net_tcp(text: str, port: int) -> Port:
    clients, waiting = [], 0
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or int(fields[1].rpartition(":")[2], 16) != port:
            continue
        state = int(fields[3], 16)
        if state not in (ESTABLISHED, CLOSE_WAIT):
            continue
        if fields[9] == "0":
            # One that has left again waits for nothing.
            waiting += state == ESTABLISHED
            continue
        unacked, unread = (int(number, 16) for number in fields[4].split(":"))
        # In CLOSE-WAIT the end of the stream counts as one unread byte.
        host, _colon, remote_port = fields[2].rpartition(":")
        peer = "%s:%d" % (socket.inet_ntoa(struct.pack("=I", int(host, 16))), int(remote_port, 16))
        name = "established" if state == ESTABLISHED else "closing"
        clients.append(verdict.Client(peer, name, max(unread - (name == "closing"), 0), unacked, int(fields[6], 16)))
    return Port(tuple(clients), waiting)


# --- HTTP ---------------------------------------------------------------------------------------------------------------


class NoAnswer(Exception):
    """``link``: refused, unreachable, silent where the connection was taken and nothing came, closed where it was ended instead of an answer, or
    why TLS was not trusted."""

    def __init__(self, link: str) -> None:
        super().__init__(link)
        self.link = link


@dataclass(frozen=True)
class Way:
    """How a server is reached that does not speak HTTP at its port: by a socket in the file system, or by TLS."""

    socket: str = ""
    tls: bool = False
    name: str = ""
    ca: str = ""


class Connection(http.client.HTTPConnection):
    """A connection by such a way."""

    def __init__(self, address: str, port: int, timeout: float, way: Way) -> None:
        super().__init__(address, port, timeout=timeout)
        self._way = way

    def connect(self) -> None:
        if self._way.socket:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._way.socket)
        else:
            super().connect()
        if self._way.tls:
            context = ssl.create_default_context(cadata=self._way.ca or None)
            self.sock = context.wrap_socket(self.sock, server_hostname=self._way.name or self.host)


def ask(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    address: str, port: int, path: str, timeout: float, key: str = "", body: Optional[Dict[str, Any]] = None, way: Way = Way(),
) -> Tuple[int, Any]:
    """Status and JSON (None where it is none) of one request."""
    connection = Connection(address, port, timeout, way)
    try:
        try:
            connection.connect()
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NoAnswer("refused") from error
        except ssl.SSLCertVerificationError as error:
            raise NoAnswer("its certificate is not trusted: %s" % error.verify_message) from error
        except OSError as error:
            raise NoAnswer("unreachable") from error
        headers = api_keys.authorization(key)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read(1 << 22)
        except socket.timeout as error:
            raise NoAnswer("silent") from error
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer("closed") from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, None


def report_of(address: str, port: int, unit: str, timeout: float) -> verdict.Report:
    """What the watchdog on a worker's machine says of its rpc-server."""
    try:
        status, answer = ask(address, port, "/status", timeout)
    except NoAnswer as error:
        return verdict.Report(link=error.link)
    build = answer.get("build") if status == 200 and isinstance(answer, dict) else None
    known = answer.get("workers", {}) if status == 200 and isinstance(answer, dict) else {}
    mine = known.get(unit) if isinstance(known, dict) else None
    if not isinstance(mine, dict):
        return verdict.Report(link="refused")
    return verdict.Report(
        link="ok", process_state=printable(str(mine.get("process_state", "")), 20), cpu_ns=mine.get("cpu_ns") if isinstance(mine.get("cpu_ns"), int) else None,
        state=printable(str(mine.get("state", "")), 20), reason=printable(str(mine.get("reason", "")), 200),
        build=verdict.Build(*(printable(str(build.get(key) or ""), 100) for key in ("version", "protocol"))) if isinstance(build, dict) else verdict.Build(),
    )


def peer_exists(peer: str, local: str, port: int, timeout: float) -> Optional[bool]:
    """Whether the head at the other end still has this connection; None where it cannot be asked."""
    address = peer.rpartition(":")[0]
    try:
        status, answer = ask(address, port, "/status", timeout)
    except NoAnswer:
        return None
    if status != 200 or not isinstance(answer, dict) or not isinstance(answer.get("connections"), list):
        return None
    return any(str(pair).startswith(peer + ">") for pair in answer["connections"])


def work_of(slots: Any) -> Tuple[bool, int]:
    """Whether a request is under way, and a number that rises with every token read or written, from llama-server's /slots."""
    busy, tokens = False, 0
    for slot in slots if isinstance(slots, list) else []:
        busy |= bool(slot.get("is_processing"))
        tokens += int(slot.get("id_task") or 0) * 1_000_003 + int(slot.get("n_prompt_tokens_processed") or 0)
        following = slot.get("next_token")
        for one in following if isinstance(following, list) else [following]:
            tokens += int((one or {}).get("n_decoded") or 0)
    return busy, tokens


def monotonic() -> float:
    """Seconds that a clock set off by a day does not change."""
    return time.monotonic()
