# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watchdog decides, and nothing else: observations in, verdicts out. No clock, no file, no network.

Three judges. ``HeadJudge`` looks at llama-server and its connections to the workers, ``ProxyJudge`` at what stands before it, ``WorkerJudge`` at
one rpc-server. Each restarts only the unit of its own machine: a worker that hangs is ended by the watchdog beside it, which breaks the head's
connection, which the head's watchdog sees. So the order is always worker first, then head, and nobody needs rights elsewhere.

A verdict rests on evidence that something is wrong and never on a mere lack of news, because a model is loaded and a long prompt
is computed in silence. What counts as progress: a byte on a connection, a token, time of the processor.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Mapping, Optional, Tuple

# Part of one core that llama-server must use to count as computing; answering a watchdog's own questions takes a tenth of it.
COMPUTING = 0.05
# The same for an rpc-server, which uses none at all while it waits: one that a limit slows down to a hundredth still computes.
WORKER_COMPUTING = 0.002
# Timer expiries without an acknowledgement after which a connection is called unanswered (the third is after 1.4 s).
RETRANSMITS = 3


@dataclass(frozen=True)
class Limits:
    """Seconds that a condition must have held without a break before it is acted upon."""

    # The process is stopped (SIGSTOP), which no load and no answer ever does.
    stopped: float = 5
    # llama-server or the proxy takes connections and says nothing; that is said and not acted upon.
    silent: float = 2
    # A connection of a loaded head is gone. The head ends itself at its next token, if one is under way.
    dead: float = 2
    # The other machine acknowledges nothing. TCP by itself mends what is shorter.
    cut: float = 15
    # An rpc-server uses no processor and leaves what was sent to it unread.
    worker_stall: float = 20
    # An rpc-server does not notice that its client has left.
    left: float = 10
    # Somebody waits for an rpc-server whose client no longer exists.
    stale: float = 4
    # The same where the client's machine cannot be asked: longer than two idle probes are apart.
    stale_unasked: float = 90
    # Work is under way and nothing moves: no byte, no token, no processor of head or worker.
    stall: float = 60
    # The same where the watchdog of a worker says nothing, so that nobody knows whether the worker computes.
    stall_unseen: float = 300
    # A connection attempt goes on although the worker's machine answers: its next packet may be a minute away.
    connect: float = 4
    # The proxy takes connections and says nothing, although what is asked of it is answered by itself.
    proxy: float = 10
    # Two looks further apart than this say nothing of the time between them: the machine stood still, or this program did.
    gap: float = 10


@dataclass(frozen=True)
class Process:
    """A unit's main process. ``started`` tells two with the same number apart."""

    pid: int
    started: int
    state: str
    cpu_ns: int

    @property
    def identity(self) -> Tuple[int, int]:
        return self.pid, self.started


@dataclass(frozen=True)
class Connection:
    """One of the head's connections to a worker. ``state``: established, closing (the worker left) or connecting."""

    state: str
    acked: int = 0
    received: int = 0
    unacked: int = 0
    retransmits: int = 0


@dataclass(frozen=True)
class Build:
    """The llama.cpp that a machine's next start takes; empty where nothing says."""

    version: str = ""
    protocol: str = ""

    def __str__(self) -> str:
        return self.version + (" (RPC protocol %s)" % self.protocol if self.protocol else "")


@dataclass(frozen=True)
class Model:
    """What is known of the model's files. ``refused``: why llama-server was not started; ``altered``: what was written to since it was."""

    refused: str = ""
    altered: str = ""


@dataclass(frozen=True)
class Report:
    """What the watchdog beside a worker says. ``link``: ok, silent or closed (it took the connection), refused, unreachable, unknown."""

    link: str = "unknown"
    process_state: str = ""
    cpu_ns: Optional[int] = None
    state: str = ""
    reason: str = ""
    build: Build = Build()


@dataclass(frozen=True)
class WorkerSeen:
    """A worker as the head's machine sees it."""

    name: str
    connections: Tuple[Connection, ...] = ()
    report: Report = Report()

    def any(self, state: str) -> bool:
        return any(connection.state == state for connection in self.connections)


@dataclass(frozen=True)
class HeadSeen:
    """The head at one moment, by what is seen at llama-server itself. ``api``: ready, loading, silent (took the connection, said nothing) or down."""

    at: float
    process: Optional[Process]
    api: str
    busy: bool = False
    # Rises with every token read or written; None where the server does not tell.
    tokens: Optional[int] = None
    workers: Mapping[str, WorkerSeen] = field(default_factory=dict)
    build: Build = Build()
    model: Model = Model()


@dataclass(frozen=True)
class Verdict:
    """``state``: idle, busy, loading, waiting, down, refused, altered, mismatch, suspect, dead, hung, cut, stalled, untrusted or unknown.

    ``restart`` asks for the machine's own unit.
    """

    state: str
    reason: str = ""
    worker: str = ""
    restart: bool = False
    for_s: float = 0.0

    @property
    def good(self) -> bool:
        return self.state in ("idle", "busy")

    @property
    def urgent(self) -> bool:
        """What may serve garbage waits for no pause. A client has loaded a model before it, so it repeats no faster than models are loaded."""
        return self.state == "suspect"

    @property
    def words(self) -> str:
        return (self.worker + ": " if self.worker else "") + self.reason


class Held:
    """For how long each named condition has held without a break."""

    def __init__(self) -> None:
        self._since: Dict[str, float] = {}

    def seconds(self, name: str, holds: bool, at: float) -> float:
        if not holds:
            self._since.pop(name, None)
            return -1.0
        return at - self._since.setdefault(name, at)

    def clear(self) -> None:
        self._since.clear()


class Computing:
    """Since when a process has used no processor worth the name."""

    def __init__(self) -> None:
        self._marks: Dict[str, Tuple[float, int]] = {}

    def quiet(self, name: str, cpu_ns: int, at: float, share: float) -> float:
        since, then = self._marks.setdefault(name, (at, cpu_ns))
        if cpu_ns < then or cpu_ns - then > max(at - since, 0.5) * share * 1e9:
            self._marks[name] = (at, cpu_ns)
            return 0.0
        return at - since


class Stopped:
    """For how long a process has been stopped without having run in between."""

    def __init__(self) -> None:
        self._since = 0.0
        self._cpu_ns: Optional[int] = None

    def seconds(self, process: Process, at: float) -> float:
        if process.state != "T" or process.cpu_ns != self._cpu_ns:
            self._since, self._cpu_ns = at, process.cpu_ns
        return at - self._since if process.state == "T" else -1.0


class Looks:
    """Whether a look follows the last one closely enough for what was true at both to have been true in between."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._last: Optional[float] = None

    def torn(self, at: float) -> bool:
        last, self._last = self._last, at
        return last is not None and at - last > self._gap


class HeadJudge:
    """llama-server, judged once a second or so."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._identity: Optional[Tuple[int, int]] = None
        self._held, self._computing, self._stopped = Held(), Computing(), Stopped()
        self._looks = Looks(limits.gap)
        self._counters: Dict[str, Tuple[Tuple[int, ...], float]] = {}
        self._connected: FrozenSet[str] = frozenset()

    def _unchanged(self, name: str, counters: Tuple[int, ...], at: float) -> float:
        known, since = self._counters.get(name, ((), at))
        if known != counters:
            self._counters[name] = (counters, at)
            return 0.0
        return at - since

    def judge(self, seen: HeadSeen) -> Verdict:
        at, limits, process = seen.at, self.limits, seen.process
        if process is None or process.identity != self._identity:
            # Another process owes nothing to what the last one did.
            self._identity = process.identity if process else None
            self._held, self._computing, self._stopped = Held(), Computing(), Stopped()
            self._counters, self._connected = {}, frozenset()
        if self._looks.torn(at):
            # What was suspected is to be seen anew. That it was ready, and connected to whom, is no suspicion.
            self._held, self._computing, self._stopped = Held(), Computing(), Stopped()
            self._counters = {name: value for name, value in self._counters.items() if name == "ready"}
        if seen.model.refused:
            # What runs, if anything does, is another look at the file.
            return Verdict("refused", seen.model.refused)
        if process is None:
            return self._obstacle(seen, "down") or Verdict("down", "llama-server does not run")
        found = [self._worker(worker, seen) for _endpoint, worker in sorted(seen.workers.items())]
        quiet = self._quiet(seen)
        if seen.api == "ready":
            self._connected |= {endpoint for endpoint, worker in seen.workers.items() if worker.any("established")}
        stopped = self._stopped.seconds(process, at)
        if stopped >= 0:
            return Verdict("hung", "llama-server is stopped (process state T)", "", stopped >= limits.stopped, stopped)
        if seen.model.altered and self._was_ready(seen):
            # It maps the file, so what it computes with has changed under it. Before it starts again the file is looked at.
            return Verdict("altered", "%s was written to while llama-server uses it" % seen.model.altered, "", True)
        # The one to act upon first, then the one that has lasted longest.
        problems = sorted((one for one in found if one), key=lambda one: (not one.restart, -one.for_s))
        if problems:
            return problems[0]
        if seen.api == "loading" or (seen.api == "down" and not self._was_ready(seen)):
            return self._obstacle(seen, "loading") or Verdict("loading", "llama-server loads the model")
        silent = self._held.seconds("silent", seen.api in ("silent", "down"), at)
        if seen.api == "down" or min(silent, quiet) >= limits.silent:
            return Verdict("hung", "llama-server does not answer HTTP", "", min(silent, quiet) >= self._patience(seen), silent)
        if seen.api == "silent":
            # Its slots are asked for between two batches, each of which may take longer than a question waits.
            return Verdict("busy")
        working = self._held.seconds("working", seen.busy, at)
        still = min(working, quiet)
        if seen.busy and still >= limits.cut:
            what = "nothing has moved for %d s: no byte, no token, no processor" % still
            return Verdict("stalled", what, self._suspect(seen), still >= self._patience(seen), still)
        return Verdict("busy" if seen.busy else "idle")

    def _obstacle(self, seen: HeadSeen, state: str) -> Optional[Verdict]:
        """What keeps llama-server, which is not ready and may end and begin again every few seconds, from getting ready."""
        workers = [worker for _endpoint, worker in sorted(seen.workers.items())]
        for worker in workers:
            there = worker.report.build
            # Of two versions that differ it is not known whether they understand each other.
            if seen.build.version and there.version and there.version != seen.build.version:
                return Verdict("mismatch", "it has %s, and the head has %s: deploy.yml gives all machines the same" % (there, seen.build), worker.name)
        for worker in workers:
            if worker.report.link == "unreachable":
                return Verdict(state, "its machine does not answer, and llama-server needs it", worker.name)
        for worker in workers:
            if worker.report.state in ("down", "hung", "stalled", "cut", "dead"):
                return Verdict(state, "its own watchdog says: %s" % worker.report.reason, worker.name)
        return None

    def _was_ready(self, seen: HeadSeen) -> bool:
        """Whether this process has ever been ready: a port that does not listen yet is a load, one that no longer does is not."""
        if seen.api == "ready":
            self._counters["ready"] = ((1,), seen.at)
        return "ready" in self._counters

    def _patience(self, seen: HeadSeen) -> float:
        complete = all(worker.report.link == "ok" and worker.report.cpu_ns is not None for worker in seen.workers.values())
        return self.limits.stall if complete else self.limits.stall_unseen

    def _quiet(self, seen: HeadSeen) -> float:
        """Seconds without any progress anywhere."""
        assert seen.process is not None
        self._was_ready(seen)
        spans = [self._computing.quiet("head", seen.process.cpu_ns, seen.at, COMPUTING), self._unchanged("tokens", (seen.tokens or 0,), seen.at)]
        for endpoint, worker in seen.workers.items():
            moved = tuple(number for one in worker.connections for number in (one.acked, one.received))
            spans.append(self._unchanged("bytes " + endpoint, moved, seen.at))
            if worker.report.cpu_ns is not None:
                spans.append(self._computing.quiet("worker " + endpoint, worker.report.cpu_ns, seen.at, WORKER_COMPUTING))
        return min(spans)

    def _suspect(self, seen: HeadSeen) -> str:
        """The worker that was sent something last and has not answered, where it is only one that was."""
        waiting = [worker.name for worker in seen.workers.values() if any(one.unacked for one in worker.connections)]
        hung = [worker.name for worker in seen.workers.values() if worker.report.process_state in ("T", "D")]
        return (hung or waiting or [""])[0]

    def _worker(self, worker: WorkerSeen, seen: HeadSeen) -> Optional[Verdict]:
        at, limits, name, report = seen.at, self.limits, worker.name, worker.report
        loaded = seen.api in ("ready", "silent")
        endpoint = next(key for key, value in seen.workers.items() if value is worker)
        established = worker.any("established")
        gone = not established and (worker.any("closing") or (loaded and endpoint in self._connected))
        lasted = self._held.seconds("dead " + name, gone, at)
        if gone:
            # A head that loads ends itself at its next word to the worker; it is given the time.
            limit = limits.dead if loaded else limits.cut
            return Verdict("dead", "its connection to the head has ended", name, lasted >= limit, lasted)
        connecting = self._held.seconds("connect " + name, not established and worker.any("connecting"), at)
        if connecting >= 0:
            answers = self._held.seconds("answers " + name, report.link in ("ok", "silent", "closed", "refused"), at)
            again = min(connecting, answers) >= limits.connect
            what = "the head tries to connect to it" + (" with ever longer pauses and the machine answers" if again else "")
            return Verdict("waiting", what, name, again, connecting)
        self._held.seconds("answers " + name, False, at)
        moved = tuple(number for one in worker.connections for number in (one.acked, one.received))
        still = self._unchanged("still " + name, moved, at)
        lost = any(one.retransmits >= RETRANSMITS and one.unacked for one in worker.connections)
        unacked = self._held.seconds("unacked " + name, lost, at)
        away = self._held.seconds("away " + name, established and report.link == "unreachable", at)
        if lost and min(still, unacked) >= 2:
            # From when the first of the unacknowledged bytes was sent.
            return Verdict("cut", "it acknowledges nothing that the head sends", name, still >= limits.cut and unacked >= limits.cut / 2, still)
        if away >= 2:
            owed = seen.busy and min(still, away) >= limits.cut
            return Verdict("cut", "its machine does not answer", name, owed, away)
        if report.link == "ok" and report.state in ("hung", "stalled"):
            return Verdict("hung", "its own watchdog says: %s" % report.reason, name, False, self._held.seconds("hung " + name, True, at))
        self._held.seconds("hung " + name, False, at)
        return None


@dataclass(frozen=True)
class ProxySeen:
    """The proxy at one moment. ``link``: ok, or why it did not answer, itself, what it needs no llama-server for (see observe.NoAnswer)."""

    at: float
    process: Optional[Process]
    link: str = "unknown"


class ProxyJudge:
    """What stands before llama-server, judged once a second or so. What is seen through it says nothing of llama-server, nor the reverse."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._identity: Optional[Tuple[int, int]] = None
        self._looks = Looks(limits.gap)
        self._held, self._stopped = Held(), Stopped()

    def judge(self, seen: ProxySeen) -> Verdict:
        at, limits, process = seen.at, self.limits, seen.process
        torn = self._looks.torn(at)
        if torn or process is None or process.identity != self._identity:
            self._identity = process.identity if process else None
            self._held, self._stopped = Held(), Stopped()
        if process is None:
            return Verdict("down", "it does not run")
        stopped = self._stopped.seconds(process, at)
        if stopped >= 0:
            return Verdict("hung", "the process is stopped (state T)", "", stopped >= limits.stopped, stopped)
        # Where it takes no connection any more, those that wait for it are as many as may.
        silent = self._held.seconds("silent", seen.link in ("silent", "unreachable"), at)
        if silent >= limits.silent:
            return Verdict("hung", "it takes connections and says nothing", "", silent >= limits.proxy, silent)
        if seen.link == "refused":
            return Verdict("down", "nobody listens on its port")
        if seen.link in ("ok", "unknown", "silent", "unreachable", "closed"):
            # Closed: this machine's own address has as many connections as it may have. Others are let in.
            return Verdict("idle")
        return Verdict("untrusted", seen.link)


@dataclass(frozen=True)
class Client:
    """A connection that an rpc-server has accepted. ``state``: established or closing (the client left)."""

    peer: str
    state: str = "established"
    unread: int = 0
    unacked: int = 0
    retransmits: int = 0
    # What the peer's machine says of it: True, False, or None where it cannot be asked.
    exists: Optional[bool] = None


@dataclass(frozen=True)
class ServerSeen:
    """One rpc-server at one moment, as its own machine sees it. ``waiting``: connections that it has not accepted."""

    at: float
    process: Optional[Process]
    clients: Tuple[Client, ...] = ()
    waiting: int = 0
    # The same clients as the network sees them, where a tunnel on this machine is what the rpc-server sees.
    outside: Tuple[Client, ...] = ()
    # Whether nothing more can be written to the disk of its tensor cache, and whether something was since the cache was checked.
    disk_full: bool = False
    cached: bool = False


class WorkerJudge:
    """One rpc-server, judged once a second or so."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._identity: Optional[Tuple[int, int]] = None
        self._held, self._computing, self._stopped = Held(), Computing(), Stopped()
        self._cpu: Tuple[int, float] = (-1, 0.0)
        self._looks = Looks(limits.gap)
        self._full = False
        # Who was there when a full disk was first written to.
        self._writers: Optional[FrozenSet[str]] = None

    def judge(self, seen: ServerSeen) -> Verdict:
        at, limits, process = seen.at, self.limits, seen.process
        if process is None or process.identity != self._identity:
            self._identity = process.identity if process else None
            self._held, self._computing, self._stopped, self._cpu = Held(), Computing(), Stopped(), (-1, at)
            self._full, self._writers = False, None
        if self._looks.torn(at):
            self._held, self._computing, self._stopped, self._cpu = Held(), Computing(), Stopped(), (-1, at)
        if process is None:
            return Verdict("down", "it does not run")
        peers = frozenset(client.peer for client in seen.clients)
        self._full |= seen.disk_full
        if not (self._full and seen.cached):
            self._writers = None
        elif self._writers is None:
            self._writers = peers
        if self._writers is not None and not self._writers & peers:
            # What they left in its tensor cache may be cut short, and the next client, which may be there in a second, would be given it.
            return Verdict("suspect", "its disk was full when it cached tensors, so its cache has to be checked", "", True)
        if process.cpu_ns != self._cpu[0]:
            self._cpu = (process.cpu_ns, at)
        untouched = at - self._cpu[1]
        quiet = self._computing.quiet("self", process.cpu_ns, at, WORKER_COMPUTING)
        stopped = self._stopped.seconds(process, at)
        if stopped >= 0:
            return Verdict("hung", "the process is stopped (state T)", "", stopped >= limits.stopped, stopped)
        # A process in the kernel may wait for a slow disk.
        patience = 4 if process.state == "D" else 1
        unread = sum(client.unread for client in seen.clients)
        left = self._held.seconds("left", any(client.state == "closing" for client in seen.clients), at)
        if left >= 0 and min(left, quiet) >= limits.left * patience:
            return Verdict("hung", "its client has left and it does not notice", "", True, min(left, quiet))
        full = self._held.seconds("unread", unread > 0, at)
        if full >= 0 and min(full, quiet) >= limits.worker_stall / 2:
            still = min(full, quiet)
            what = "%d bytes are unread and it uses no processor" % unread
            return Verdict("stalled", what, "", still >= limits.worker_stall * patience, still)
        lost = bool(seen.clients) and any(one.unacked and one.retransmits >= RETRANSMITS for one in (*seen.clients, *seen.outside))
        cut = self._held.seconds("cut", lost and quiet > 0, at)
        if cut >= 2:
            return Verdict("cut", "its client acknowledges nothing", "", cut >= limits.cut, cut)
        # Nobody but a head that has lost its old connection, or a second head, waits for a worker in use.
        waits = self._held.seconds("waits", seen.waiting > 0, at)
        # Of a tunnel's connections it is not known which is the client's: as many as wait may be those that exist.
        left_behind = any(one.exists is False for one in seen.outside) and sum(one.exists is True for one in seen.outside) <= seen.waiting
        gone = all(client.exists is False for client in seen.clients) or left_behind
        denied = self._held.seconds("denied", bool(seen.clients) and gone, at)
        if min(waits, denied) >= limits.stale:
            return Verdict("dead", "its client no longer exists and another waits", "", True, waits)
        unknown = self._held.seconds("unknown", bool(seen.clients) and all(client.exists is None for client in seen.clients), at)
        if min(waits, unknown, untouched) >= limits.stale_unasked:
            return Verdict("dead", "its client has said nothing for %d s and another waits" % untouched, "", True, untouched)
        if waits >= limits.worker_stall and not seen.clients and quiet >= limits.worker_stall:
            return Verdict("hung", "it does not accept the connection that waits", "", True, waits)
        return Verdict("busy" if seen.clients and quiet < 2 else "idle")


class Backoff:
    """When a unit may be restarted again: at once, then after ever longer pauses until it has proved itself."""

    def __init__(self, first: float = 10, longest: float = 600) -> None:
        self.first, self.longest = first, longest
        self.count = 0
        self._next = float("-inf")

    def allows(self, at: float) -> bool:
        return at >= self._next

    def acted(self, at: float) -> float:
        """Note an action; the seconds until the next may come."""
        pause = min(self.first * 2**self.count, self.longest)
        self._next, self.count = at + pause, self.count + 1
        return pause

    def proved(self) -> None:
        self.count, self._next = 0, float("-inf")
