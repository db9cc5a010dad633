# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch llama-server and the rpc-servers of this machine, restart those that hang, and say over HTTP how they are.

    GET /health   200 while all is well, 503 with the reason when not; on the head, 200 only after an answer not long ago
    GET /status   what is seen, as JSON

It runs without any privilege. To restart a unit it makes a file, which a path unit of systemd answers (see the role's README).
"""
from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import api_keys
import observe
import serve
import verdict

ASK_TIMEOUT_S = 2.0


def say(text: str) -> None:
    """One line in the journal."""
    print(text, flush=True)


def notify(text: str) -> None:
    """Tell systemd, which restarts a watchdog that has itself stopped."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
            except OSError as error:
                say("systemd cannot be told: %s" % error)


class Repeat(threading.Thread):
    """Call something for ever, with a pause. An error of it is said and does not end it."""

    def __init__(self, call: Callable[[], Any], pause_s: float) -> None:
        super().__init__(daemon=True)
        self._call, self._pause = call, pause_s

    def run(self) -> None:
        while True:
            try:
                self._call()
            except Exception as error:  # pylint: disable=broad-except
                say("unexpected: %s: %s" % (type(error).__name__, error))
            time.sleep(self._pause)


class Unit:
    """A unit of this machine: its restarts, and a line in the journal whenever its state changes."""

    def __init__(self, unit: str, config: Dict[str, Any]) -> None:
        self.unit = unit
        self.backoff = verdict.Backoff(config["backoff_s"], config["backoff_longest_s"])
        self.verdict = verdict.Verdict("down", "not looked at yet")
        self.actions: List[Dict[str, Any]] = []
        self._request = os.path.join(config["runtime_dir"], "restart", unit)
        self._held_back = False

    def take(self, found: verdict.Verdict, at: float, process: Optional[verdict.Process]) -> None:
        """Note the verdict, say it where it is news, and act on it where it asks for that."""
        if (found.state, found.worker) != (self.verdict.state, self.verdict.worker) and not (found.good and self.verdict.good):
            say("%s: %s%s" % (self.unit, describe(found), " (was %s)" % self.verdict.state if not found.good else ""))
        self.verdict = found
        if not found.restart or process is None:
            self._held_back = False
            return
        if not self.backoff.allows(at) and not found.urgent:
            if not self._held_back:
                say("%s: %s; not restarted again yet, after %d restarts without an answer" % (self.unit, describe(found), self.backoff.count))
            self._held_back = True
            return
        pause = self.backoff.acted(at)
        say("%s: restarting it (pid %d): %s, seen for %.0f s; the next restart not before %.0f s" % (
            self.unit, process.pid, describe(found), found.for_s, pause))
        self.actions = self.actions[-19:] + [{"time": int(time.time()), "unit": self.unit, "why": describe(found)}]
        with open(self._request, "w", encoding="utf-8"):
            pass

    def cannot_look(self, error: Exception, at: float) -> None:
        """Where looking itself fails nothing is known, which is no reason to restart anything, nor to say that all is well."""
        self.take(verdict.Verdict("unknown", "the watchdog cannot look at it: %s: %s" % (type(error).__name__, error)), at, None)


def limits(config: Dict[str, Any]) -> verdict.Limits:
    return verdict.Limits(gap=max(verdict.Limits.gap, 5 * config["interval_s"]))


def replace_file(path: str, content: Dict[str, Any]) -> None:
    with open(path + ".new", "w", encoding="utf-8") as handle:
        json.dump(content, handle)
    os.replace(path + ".new", path)


def leave_reason(path: str, found: verdict.Verdict) -> None:
    """Why the API cannot answer, as it would say it itself; the proxy before llama-server hands this out while llama-server is away."""
    if not found.good:
        message = "llama-server does not serve (%s): %s" % (found.state, found.words)
        replace_file(path, {"error": {"code": 503, "message": message, "type": "unavailable_error"}})
    elif os.path.exists(path):
        os.unlink(path)


def describe(found: verdict.Verdict) -> str:
    return found.state + (", " + found.words if found.words else "")


class Proxy:
    """What stands before llama-server, and is all that its clients see. It is asked what it answers by itself, so that its silence is its own."""

    def __init__(self, config: Dict[str, Any], ca: str = "") -> None:
        head = config["head"]
        self._address, self._port = head["address"], head["port"]
        self._as_clients = observe.Way(tls=head.get("tls", False), name=head.get("name", ""), ca=ca)
        self.unit = Unit(head["proxy_unit"], config)
        self.judge = verdict.ProxyJudge(limits(config))
        self.link = "unknown"
        Repeat(self.ask, 1.0).start()

    def ask(self) -> None:
        """Whoever has no key is refused by the proxy, whatever llama-server does."""
        try:
            observe.ask(self._address, self._port, "/v1/models", ASK_TIMEOUT_S, way=self._as_clients)
            self.link = "ok"
        except observe.NoAnswer as error:
            self.link = error.link

    def refuses(self, key: str) -> str:
        """Why a client with the key does not get through; nothing where it does, or where that is what ``ask`` sees.

        Without TLS the port may be anybody's who was quicker than the proxy, and the key is not for them: nothing is asked there.
        """
        if not self._as_clients.tls:
            return ""
        try:
            status, _answer = observe.ask(self._address, self._port, "/v1/models", ASK_TIMEOUT_S, key, way=self._as_clients)
        except observe.NoAnswer:
            return ""
        return "%s refuses the API key that the watchdog was started with" % self.unit.unit if status == 401 else ""

    def tick(self) -> None:
        process = observe.process_of(self.unit.unit)
        at = observe.monotonic()
        self.unit.take(self.judge.judge(verdict.ProxySeen(at, process, self.link)), at, process)
        if self.unit.verdict.good and self.link == "ok":
            self.unit.backoff.proved()

    def status(self) -> Dict[str, Any]:
        return {"unit": self.unit.unit, "state": self.unit.verdict.state, "reason": self.unit.verdict.reason}


class Head:
    """llama-server of this machine."""

    def __init__(self, config: Dict[str, Any], key: str, proxy: Optional[Proxy] = None) -> None:
        self.config, self.key, self.proxy = config, key, proxy
        # All that is asked of it is asked of itself, by its socket where it has one.
        self._itself = observe.Way(socket=config["head"].get("socket", ""))
        self.unit = Unit(config["head"]["unit"], config)
        self.judge = verdict.HeadJudge(limits(config))
        self.endpoints: Dict[str, Tuple[str, int]] = {}
        self.tunnels: Dict[str, Tuple[str, int]] = {}
        for worker in config["head"]["workers"]:
            address, _colon, port = worker["endpoint"].rpartition(":")
            self.endpoints[worker["endpoint"]] = (_resolved(address), int(port))
            # Where the endpoint is a tunnel's end on this machine, its connection to the worker's machine is what the worker sees.
            outer = _resolved((worker.get("watchdog") or worker["endpoint"]).rpartition(":")[0])
            if outer != _resolved(address):
                self.tunnels[worker["endpoint"]] = (outer, int(port))
        self.reports: Dict[str, verdict.Report] = {}
        self.connections: List[str] = []
        self.seen: Optional[verdict.HeadSeen] = None
        self.answered: Optional[float] = None
        self.answered_wall = 0
        self.probing = False
        self.probe_error = ""
        self._tokens: Optional[int] = None
        self._identity: Optional[Tuple[int, int]] = None
        self._met: Dict[str, bool] = {}
        self._probe_wanted = threading.Event()
        for worker in config["head"]["workers"]:
            if worker.get("watchdog"):
                Repeat(lambda one=worker: self.ask_worker(one), 1.0).start()
        Repeat(self.probe, 0.0).start()

    def ask_worker(self, worker: Dict[str, Any]) -> None:
        address, _colon, port = worker["watchdog"].rpartition(":")
        report = observe.report_of(address, int(port), worker["unit"], ASK_TIMEOUT_S)
        endpoint = worker["endpoint"]
        # A machine whose watchdog never answered may refuse the port to us: then its silence proves nothing.
        self._met[endpoint] = self._met.get(endpoint, False) or report.link == "ok"
        if report.link == "unreachable" and not self._met[endpoint]:
            report = verdict.Report()
        self.reports[endpoint] = report

    def probe(self) -> None:
        """One token, when asked for. It waits as long as the server works on it: who ends it is the judge."""
        self._probe_wanted.wait()
        self._probe_wanted.clear()
        head = self.config["head"]
        try:
            status, answer = observe.ask(head["address"], head["port"], "/completion", self.config["probe_timeout_s"], self.key, {
                "prompt": "1, 2, 3,", "n_predict": 1, "temperature": 0, "cache_prompt": True}, self._itself)
            if status == 200 and isinstance(answer, dict) and int(answer.get("tokens_predicted") or 0) >= 1:
                self.probe_error = self.proxy.refuses(self.key) if self.proxy else ""
                if not self.probe_error:
                    self.proved(observe.monotonic())
            elif status == 401:
                self.probe_error = "llama-server refuses the API key that the watchdog was started with"
            elif status != 503:
                self.probe_error = "a completion of one token gave HTTP %d" % status
        except observe.NoAnswer as error:
            self.probe_error = "a completion of one token came to nothing (%s)" % error.link
        finally:
            self.probing = False

    def proved(self, at: float) -> None:
        first = self.answered is None or self._identity != (self.seen.process.identity if self.seen and self.seen.process else None)
        self.answered, self.answered_wall, self.probe_error = at, int(time.time()), ""
        self.unit.backoff.proved()
        if first and self.seen and self.seen.process:
            self._identity = self.seen.process.identity
            say("%s: has answered (pid %d, %d workers)" % (self.unit.unit, self.seen.process.pid, len(self.endpoints)))

    def look(self) -> verdict.HeadSeen:
        process = observe.process_of(self.unit.unit)
        found, connections = observe.connections_to(self.endpoints)
        self.connections = connections + observe.connections_to(self.tunnels)[1]
        api, busy, tokens = "down", False, None
        if process is not None:
            api, busy, tokens = self.look_at_api()
        workers = {}
        for worker in self.config["head"]["workers"]:
            endpoint = worker["endpoint"]
            name = "%s (%s, %s)" % (worker["machine"], endpoint, worker["unit"])
            workers[endpoint] = verdict.WorkerSeen(name, tuple(found[endpoint]), self.reports.get(endpoint, verdict.Report()))
        model = observe.model_of(self.config["head"]["model_state"])
        return verdict.HeadSeen(
            observe.monotonic(), process, api, busy or self.probing, tokens, workers, observe.build_of(self.config["bin_dir"]), model)

    def look_at_api(self) -> Tuple[str, bool, Optional[int]]:
        head = self.config["head"]
        try:
            status, answer = observe.ask(head["address"], head["port"], "/slots", ASK_TIMEOUT_S, self.key, way=self._itself)
        except observe.NoAnswer as error:
            return ("silent" if error.link == "silent" else "down"), False, None
        if status == 503:
            return "loading", False, None
        busy, tokens = observe.work_of(answer)
        return "ready", busy, tokens if status == 200 else None

    def tick(self) -> None:
        self.seen = seen = self.look()
        found = self.judge.judge(seen)
        self.unit.take(found, seen.at, seen.process)
        if seen.api != "ready" or seen.process is None:
            return
        known = seen.process.identity == self._identity
        if known and seen.tokens is not None and self._tokens is not None and seen.tokens != self._tokens and seen.busy:
            # Real traffic: tokens were read or written through all the workers.
            self.proved(seen.at)
        self._tokens = seen.tokens
        due = not known or self.answered is None or seen.at - self.answered >= self.config["probe_interval_s"]
        if due and not seen.busy and not self.probing and found.good:
            self.probing = True
            self._probe_wanted.set()

    def health(self) -> Tuple[bool, Dict[str, Any]]:
        found, now = self.unit.verdict, observe.monotonic()
        age = None if self.answered is None else round(now - self.answered, 1)
        answer: Dict[str, Any] = {"state": found.state, "last_answer_s_ago": age}
        current = bool(self.seen and self.seen.process and self.seen.process.identity == self._identity)
        if not found.good:
            answer.update(reason=found.reason, worker=found.worker)
        elif self.proxy and not self.proxy.unit.verdict.good:
            answer.update(state=self.proxy.unit.verdict.state, reason="%s: %s" % (self.proxy.unit.unit, self.proxy.unit.verdict.reason), worker="")
        elif age is None or not current:
            answer.update(reason=self.probe_error or "no answer yet since llama-server was started", worker="")
        elif age > self.config["answer_max_age_s"]:
            answer.update(reason=self.probe_error or "no answer for %d s" % age, worker="")
        else:
            return True, answer
        return False, answer

    def status(self) -> Dict[str, Any]:
        seen = self.seen
        workers = {}
        for worker in self.config["head"]["workers"]:
            endpoint = worker["endpoint"]
            report = self.reports.get(endpoint, verdict.Report())
            connections = seen.workers[endpoint].connections if seen else ()
            blamed = self.unit.verdict.worker.startswith(worker["machine"] + " (" + endpoint)
            workers[endpoint] = {
                "machine": worker["machine"], "unit": worker["unit"], "watchdog": report.link,
                "connection": connections[0].state if connections else "none",
                "state": self.unit.verdict.state if blamed else (report.state or "unknown"),
                "reason": self.unit.verdict.reason if blamed else report.reason,
            }
        proxy = {"proxy": self.proxy.status()} if self.proxy else {}
        return {**proxy, "last_answer": self.answered_wall or None, "health": self.health()[1], "connected": workers, "connections": self.connections}


class Worker:
    """One rpc-server of this machine."""

    def __init__(self, settings: Dict[str, Any], config: Dict[str, Any]) -> None:
        self.settings, self.config = settings, config
        self.unit = Unit(settings["unit"], config)
        self.judge = verdict.WorkerJudge(limits(config))
        self._unheard: Set[str] = set()
        self.process: Optional[verdict.Process] = None
        self.clients: Tuple[verdict.Client, ...] = ()
        self._healthy_since: Optional[float] = None

    def tick(self) -> None:
        process = observe.process_of(self.unit.unit)
        at = observe.monotonic()
        self._unheard.clear()
        port = observe.clients_of(process.pid, self.settings["port"]) if process else observe.Port((), 0)
        clients = port.clients
        if port.waiting and clients:
            clients = self.asked_about(clients)
        self.process, self.clients = process, clients
        # A tunnel takes what the rpc-server says at once, also for a head that is cut off. Its own connections tell, in this namespace.
        outside = observe.clients_of(os.getpid(), self.settings["port"]).clients if any(one.peer.startswith("127.") for one in clients) else ()
        if port.waiting:
            outside = self.asked_about(outside)
        full = cached = False
        if self.config["cache_dir"]:
            instance = self.settings["unit"].partition("@")[2].rpartition(".")[0]
            full = observe.disk_full(self.config["cache_dir"])
            cached = observe.cached_since_check(os.path.join(self.config["cache_dir"], instance))
        found = self.judge.judge(verdict.ServerSeen(at, process, clients, port.waiting, outside, full, cached))
        self.unit.take(found, at, process)
        # A worker cannot prove itself by an answer; a time without trouble is what it has.
        self._healthy_since = (self._healthy_since or at) if found.good else None
        if self._healthy_since is not None and at - self._healthy_since >= self.config["backoff_s"] * 3:
            self.unit.backoff.proved()

    def asked_about(self, clients: Tuple[verdict.Client, ...]) -> Tuple[verdict.Client, ...]:
        return tuple(replace(one, exists=self.exists(one.peer)) for one in clients)

    def exists(self, peer: str) -> Optional[bool]:
        address = peer.rpartition(":")[0]
        # The other end of a tunnel is on this machine, and its watchdog is not the head's. A machine that is away is waited for once.
        if address.startswith("127.") or address in self._unheard:
            return None
        found = observe.peer_exists(peer, "", self.config["port"], ASK_TIMEOUT_S)
        if found is None:
            self._unheard.add(address)
        return found

    def status(self) -> Dict[str, Any]:
        found, process = self.unit.verdict, self.process
        return {
            "state": found.state, "reason": found.reason, "pid": process.pid if process else None,
            "process_state": process.state if process else "", "cpu_ns": process.cpu_ns if process else None, "clients": len(self.clients),
        }


@dataclass
class Watchdog:
    """All that is watched on this machine."""

    config: Dict[str, Any]
    head: Optional[Head] = None
    workers: List[Worker] = field(default_factory=list)
    looks: Optional[verdict.Looks] = None

    @property
    def watched(self) -> List[Any]:
        """Workers before the head, the proxy before what is behind it."""
        return [*self.workers, *([self.head.proxy] if self.head and self.head.proxy else []), *([self.head] if self.head else [])]

    def health(self) -> Tuple[int, Dict[str, Any]]:
        if self.head is not None:
            good, answer = self.head.health()
            return (200 if good else 503), dict(status="ok" if good else "error", **answer)
        bad = [one for one in self.workers if not one.unit.verdict.good]
        answer = {"status": "error" if bad else "ok", "state": bad[0].unit.verdict.state if bad else "ok"}
        if bad:
            answer.update(reason="%s: %s" % (bad[0].unit.unit, bad[0].unit.verdict.reason))
        return (503 if bad else 200), answer

    def status(self) -> Dict[str, Any]:
        build = observe.build_of(self.config["bin_dir"])
        found: Dict[str, Any] = {
            "workers": {one.unit.unit: one.status() for one in self.workers},
            "build": {"version": build.version, "protocol": build.protocol},
        }
        if self.head is not None:
            found.update(self.head.status())
        found["actions"] = sorted((action for one in self.watched for action in one.unit.actions), key=lambda action: action["time"])[-20:]
        found["time"] = int(time.time())
        return found

    def tick(self) -> None:
        """Look at everything. Nothing that goes wrong with one of them keeps the others from being looked at, or ends the watchdog."""
        now = observe.monotonic()
        if self.looks is None:
            self.looks = verdict.Looks(limits(self.config).gap)
        if self.looks.torn(now):
            say("this machine, or the watchdog, stood still for a while: what was suspected before is to be seen anew")
        for one in self.watched:
            try:
                one.tick()
            except Exception as error:  # pylint: disable=broad-except
                one.unit.cannot_look(error, now)
        try:
            replace_file(os.path.join(self.config["runtime_dir"], "status.json"), self.status())
            if self.head is not None:
                leave_reason(os.path.join(self.config["runtime_dir"], "unready.json"), self.head.unit.verdict)
        except Exception as error:  # pylint: disable=broad-except
            say("what is seen cannot be written down: %s: %s" % (type(error).__name__, error))
        notify("WATCHDOG=1")


def _resolved(address: str) -> str:
    try:
        return socket.gethostbyname(address)
    except OSError:
        return address


def first_key(path: str) -> str:
    """The key that llama-server is asked with; none where the file has none or cannot be read, which llama-server's answer then shows."""
    try:
        return next(iter(api_keys.read_api_keys(path)), "")
    except OSError as error:
        say("the API key cannot be read: %s" % error)
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a JSON file, which the role writes")
    config = json.loads(observe.read(parser.parse_args().config))
    watchdog = Watchdog(config)
    if config["head"]:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        proxy = Proxy(config, observe.read(os.path.join(credentials, "ca"))) if config["head"].get("proxy_unit") else None
        watchdog.head = Head(config, first_key(os.path.join(credentials, "api-key")), proxy)
    watchdog.workers = [Worker(one, config) for one in config["workers"]]
    watched = [one.unit.unit for one in watchdog.watched]
    server = serve.Server((config["address"], config["port"]), watchdog, config.get("peers", ()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say("watching %s; health on http://%s:%d/health" % (", ".join(watched), config["address"], config["port"]))
    watchdog.tick()
    notify("READY=1")
    while True:
        time.sleep(config["interval_s"])
        watchdog.tick()


if __name__ == "__main__":
    sys.exit(main())
