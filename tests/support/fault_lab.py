# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do things to a running cluster on virtual machines, and measure how long it takes until it answers right again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from answers import MESSAGES
from clusters import WATCHDOG_PORT, Cluster, root_ssh
from playbook_run import ROOT

# The role's own code knows the machines' processes and cables.
sys.path.insert(0, str(ROOT / "roles" / "virtual_lab" / "files"))

from virtual_lab.nspawn import device_of, end, processes  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.state import machine_dir  # noqa: E402  pylint: disable=wrong-import-position

OWN_CLOCK = ROOT / "tests" / "support" / "own_clock.c"
WORKER_UNIT, HEAD_UNIT, PROXY_UNIT = "llama-rpc-server@0.service", "llama-server.service", "llama-server-proxy.service"


@dataclass
class Request(threading.Thread):
    """A generation under way, read token by token."""

    url: str
    key: str
    max_tokens: int
    prompt: str = "Count from one to a thousand in words: one, two, three,"
    tokens: int = 0
    error: str = ""
    last: float = 0.0
    longest_gap: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        body = {"prompt": self.prompt, "n_predict": self.max_tokens, "temperature": 0, "stream": True, "ignore_eos": True}
        try:
            with requests.post(f"{self.url}/completion", json=body, headers={"Authorization": f"Bearer {self.key}"}, stream=True, timeout=400) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if line.startswith(b"data:"):
                        now = time.monotonic()
                        self.longest_gap = max(self.longest_gap, now - (self.last or now))
                        self.tokens, self.last = self.tokens + 1, now
                    elif line.startswith(b"error:"):
                        self.error = line.decode()
        except requests.RequestException as error:
            self.error = str(error)


@dataclass
class FaultLab:
    """A scenario's cluster."""

    cluster: Cluster
    state_dir: Path
    results: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lab = json.loads((self.state_dir / "lab.json").read_text()) | {"state_dir": str(self.state_dir)}
        self.key = self.run("head", "cat /etc/llama-server/api-key").strip()
        self.url = self.cluster.url

    # --- the machines ---

    def run(self, machine: str, command: str, check: bool = True, timeout: float = 60, given: str = "") -> str:
        """The output of a shell command on a machine. Secrets are ``given``: the journal keeps command lines."""
        argv = root_ssh(self.state_dir, machine, command)
        done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{machine}: {command}: rc {done.returncode} {done.stderr.strip()}")
        return done.stdout

    def boot(self, machine: str) -> str:
        """When the machine's systemd began; empty while the machine is not to be reached. (All machines share one kernel's boot_id.)"""
        try:
            return self.run(machine, "systemctl show -P UserspaceTimestampMonotonic", check=False, timeout=10).strip()
        except subprocess.TimeoutExpired:
            return ""

    def pid(self, machine: str, unit: str) -> int:
        return int(self.run(machine, f"systemctl show -P MainPID {unit}"))

    def signal_unit(self, machine: str, unit: str, name: str) -> None:
        self.run(machine, f"systemctl kill --signal={name} {unit}")

    def journal(self, machine: str, since: float, unit: str = "llama-watchdog.service") -> str:
        """What the machine's watchdog, or another unit, said since a time of this computer's clock, which the machines share."""
        return self.run(machine, f"journalctl --sync; journalctl -q --no-pager -o cat -u {unit} --since=@{int(since)}", check=False)

    def says(self, machine: str, since: float, *words: str, unit: str = "llama-watchdog.service", seconds: float = 15) -> None:
        """Wait until all the words are in it."""
        self.wait(lambda: all(word in self.journal(machine, since, unit) for word in words), seconds, f"{unit} of {machine} did not say {words}")

    @contextlib.contextmanager
    def stopped_until_said(self, machine: str, unit: str, words: str) -> Iterator[None]:
        """A unit's processes stopped until the machine's watchdog says so: the machine itself waits for that, as who logs in from here takes seconds."""
        said = f"journalctl -q --no-pager -o cat -u llama-watchdog.service --since=@{int(time.time())} | grep -qF '{words}'"
        go_on = f"systemctl kill --signal=CONT {unit}"
        self.run(machine, f"systemd-run --quiet --collect --unit=go-on /bin/sh -c \"until {said}; do sleep 0.2; done; {go_on}\"")
        try:
            self.signal_unit(machine, unit, "STOP")
            yield
        finally:
            self.run(machine, f"systemctl stop go-on; {go_on}", check=False)

    @contextlib.contextmanager
    def cut(self, machine: str) -> Iterator[None]:
        """The machine's cable pulled out."""
        device = device_of(self.lab, machine)
        subprocess.run(["ip", "link", "set", "dev", device, "down"], check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "link", "set", "dev", device, "up"], check=True)

    @contextlib.contextmanager
    def ssh_cut(self, machine: str) -> Iterator[None]:
        """The machine's way for operators gone, with all that is under way on it, and nothing else: the cluster's own connections stay."""
        table = f"virtual-lab-{self.lab['name']}-cut"
        known = subprocess.run(["ssh", "-F", f"{self.state_dir}/ssh/config", "-G", machine], capture_output=True, text=True, check=True).stdout
        way = dict(line.partition(" ")[::2] for line in known.splitlines())
        rule = f"ip daddr {way['hostname']} tcp dport {way['port']} drop"
        chain = f"add chain inet {table} out {{ type filter hook output priority 0; }}"
        subprocess.run(["nft", f"add table inet {table}; {chain}; add rule inet {table} out {rule}"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nft", f"delete table inet {table}"], check=True)

    @contextlib.contextmanager
    def frozen(self, machine: str) -> Iterator[None]:
        """The whole machine stands still, as one that is paused does, and goes on where it was."""
        root = os.path.join(machine_dir(self.lab, machine), "root")
        own = Path(f"/proc/{processes(root)[1][0]}/cgroup").read_text().partition("0::")[2].splitlines()[0]
        # The lab's own group of the machine, above those that its systemd makes.
        group = own[:own.index("/", own.index("/virtual-lab-") + 1)]
        mounts = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        switch = [path for path in (Path(f"{mount}{group}/cgroup.freeze") for mount in mounts) if path.exists()][0]
        switch.write_text("1")
        try:
            self.wait(lambda: "frozen 1" in switch.with_name("cgroup.events").read_text(), 20, f"{machine} was not frozen")
            yield
        finally:
            switch.write_text("0")

    @contextlib.contextmanager
    def slowed(self, machine: str, percent: int) -> Iterator[None]:
        """The machine's rpc-server held to a part of one core, by this computer's control group where machines have no such control."""
        group = Path("/sys/fs/cgroup/cpu")
        if not (group / "cpu.cfs_quota_us").exists() and not (group / "cgroup.procs").exists():
            self.run(machine, f"systemctl set-property --runtime {WORKER_UNIT} CPUQuota={percent}%")
            try:
                yield
            finally:
                self.run(machine, f"systemctl set-property --runtime {WORKER_UNIT} CPUQuota=")
            return
        root = os.path.join(machine_dir(self.lab, machine), "root")
        space = os.readlink(f"/proc/{processes(root)[1][0]}/ns/pid")
        pids = []
        for comm in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if comm.read_text().strip() == "ggml-rpc-server" and os.readlink(comm.parent / "ns" / "pid") == space:
                    pids.append(comm.parent.name)
        assert len(pids) == 1, pids
        slow = group / f"virtual-lab-{self.lab['name']}-slow"
        slow.mkdir(exist_ok=True)
        (slow / "cpu.cfs_period_us").write_text("100000")
        (slow / "cpu.cfs_quota_us").write_text(str(percent * 1000))
        (slow / "cgroup.procs").write_text(pids[0])
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (group / "cgroup.procs").write_text(pids[0])
            slow.rmdir()

    def kill_machine(self, machine: str) -> None:
        """Power gone: the cable first, so that no farewell gets out, then everything at once."""
        root = os.path.join(machine_dir(self.lab, machine), "root")
        supervisors, inits = processes(root)
        assert inits, f"{machine} does not run"
        subprocess.run(["ip", "link", "set", "dev", device_of(self.lab, machine), "down"], check=True)
        assert end(root, [(pid, signal.SIGKILL) for pid in inits + supervisors], 15)

    @contextlib.contextmanager
    def small_disk(self, machine: str, directory: str, mib: int) -> Iterator[None]:
        """A disk of a few MiB under a directory, seen by the services that run."""
        self.run(machine, f"mount -t tmpfs -o size={mib}m,mode=0755 small {directory}")
        try:
            yield
        finally:
            self.run(machine, f"umount --lazy {directory}")

    @contextlib.contextmanager
    def own_clock(self, machine: str, units: list[str]) -> Iterator[Callable[[int], None]]:
        """Services of a machine with a date of their own: calls put it so many seconds on.

        The machines share one kernel and its clock, so a library stands between the services and it.
        """
        library = "/usr/local/lib/own_clock.so"
        # A lab that has taken its llama.cpp from the cache has no compiler.
        self.run(machine, "which gcc || (apt-get -q update && apt-get -qy install --no-install-recommends gcc libc6-dev)", timeout=300)
        self.run(machine, f"gcc -shared -fPIC -O2 -o {library} -x c - <<'END'\n{OWN_CLOCK.read_text()}\nEND")

        def set_clock(seconds: int) -> None:
            self.run(machine, f"echo {seconds} > /run/own-clock.new && chmod 644 /run/own-clock.new && mv /run/own-clock.new /run/own-clock")

        def restart(command: str) -> None:
            self.run(machine, command + "systemctl daemon-reload; systemctl restart " + " ".join(units))

        drop_in = f"[Service]\\nEnvironment=LD_PRELOAD={library}\\n"
        set_clock(0)
        restart("".join(f"mkdir -p /run/systemd/system/{unit}.d; printf '{drop_in}' > /run/systemd/system/{unit}.d/own-clock.conf; " for unit in units))
        try:
            for unit in units:
                self.wait(
                    lambda unit=unit: library in self.run(machine, f"cat /proc/{self.pid(machine, unit)}/maps", check=False),
                    30, f"{unit} has no own clock")
            yield set_clock
        finally:
            restart("".join(f"rm -r /run/systemd/system/{unit}.d; " for unit in units) + f"rm -f /run/own-clock {library}; ")

    def clock_of(self, machine: str) -> float:
        """The date that the machine's watchdog believes in, in seconds from this computer's."""
        return float(requests.get(f"http://{self.cluster.addresses[machine]}:{WATCHDOG_PORT}/status", timeout=5).json()["time"]) - time.time()

    def another_version(self, name: str) -> str:
        """The build in use, on every machine a second time as a version of its own; its id."""
        other = hashlib.sha256(name.encode()).hexdigest()[:16]
        for machine in self.cluster.addresses:
            copy = f"{{ cp -a $(basename $(readlink ../current)) {other} && python3 - {other}; }}"
            self.run(machine, f"cd /opt/llama.cpp/builds && test -d {other} || {copy}", given=(
                "import json, sys\n"
                "path = sys.argv[1] + '/stamp.json'\n"
                "stamp = json.load(open(path))\n"
                f"stamp.update(id=sys.argv[1], version={name!r}, source={{'type': 'copy', 'of': stamp['id']}})\n"
                "json.dump(stamp, open(path, 'w'))\n"))
        return other

    def start_machines(self) -> None:
        """Power back: the lab's own playbook starts what does not run."""
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.cluster.inventory), str(ROOT / "playbooks" / "parts" / "lab.yml")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout[-2000:]

    # --- the API ---

    def ask(self, timeout: float = 6) -> bool:
        """Whether the right answer comes now."""
        try:
            answer = requests.post(
                f"{self.url}/v1/chat/completions",
                json={"messages": MESSAGES, "temperature": 0, "max_tokens": 16},
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=(2, timeout),
            )
        except requests.RequestException:
            return False
        if answer.status_code != 200:
            return False
        text = answer.json()["choices"][0]["message"]["content"]
        assert "Paris" in text, f"a wrong answer: {text!r}"
        return True

    def excuse(self) -> str:
        """What the API answers while it cannot: the status and the sentence; empty where it says nothing or does answer."""
        try:
            answer = requests.get(f"{self.url}/v1/models", headers={"Authorization": f"Bearer {self.key}"}, timeout=2)
            return "" if answer.ok else f"{answer.status_code} {answer.json()['error']['message']}"
        except (requests.RequestException, ValueError, KeyError):
            return ""

    def generate(self, max_tokens: int = 1500, **settings: Any) -> Request:
        """A generation that has begun."""
        request = Request(self.url, self.key, max_tokens, **settings)
        request.start()
        return request

    def generating(self) -> Request:
        """A generation of which some tokens have come."""
        request = self.generate()
        self.wait(lambda: request.tokens >= 5, 30, "no token came")
        return request

    def health(self, machine: str = "head") -> tuple[int, dict[str, Any]]:
        """The watchdog's word; 0 where none comes."""
        try:
            answer = requests.get(f"http://{self.cluster.addresses[machine]}:{WATCHDOG_PORT}/health", timeout=(2, 5))
            return answer.status_code, answer.json()
        except (requests.RequestException, ValueError):
            return 0, {}

    def blames(self, worker: str) -> bool:
        """Whether the head's watchdog says that the cluster does not answer because of this worker."""
        code, said = self.health()
        return code == 503 and str(said.get("worker")).startswith(worker + " ")

    # --- time ---

    def wait(self, condition: Any, seconds: float, what: str) -> float:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if condition():
                return time.monotonic() - began
            time.sleep(0.25)
        raise AssertionError(f"{what} within {seconds:.0f} s; the watchdog says {self.health()}")

    def settle(self) -> None:
        """All is well and has been said to be so."""
        self.wait(lambda: self.health()[0] == 200 and self.ask(), 180, "the cluster did not settle")

    def recovers(self, fault: str, began: float, limit: float, healed: float = 0.0) -> float:
        """Wait for the next right answer; note the seconds since the fault (and since ``healed``, where that is what is limited)."""
        self.wait(self.ask, limit + 60, f"{fault}: no right answer")
        now = time.monotonic()
        seconds = now - (healed or began)
        self.results.append({"fault": fault, "seconds": round(now - began, 1), "since_healed": round(seconds, 1) if healed else None, "limit_s": limit})
        print(f"\n  {fault}: right answer after {now - began:.1f} s" + (f", {seconds:.1f} s after its end" if healed else ""), flush=True)
        assert seconds <= limit, f"{fault}: {seconds:.1f} s, limit {limit} s"
        return seconds

    def heals_unasked(self, seconds: float = 60) -> None:
        """Nobody asks anything: the watchdog alone notices, says so, and mends."""
        self.wait(lambda: self.health()[0] != 200, 20, "the watchdog noticed nothing")
        self.wait(lambda: self.health()[0] == 200, seconds, "the watchdog did not mend it")


def table(results: list[dict[str, Any]]) -> str:
    """One line a fault, in Markdown: the seconds of all rounds, from the least to the most, and the limit that the tests set."""
    lines = ["| fault | seconds until the next right answer | limit |", "|---|---:|---:|"]
    for fault in dict.fromkeys(one["fault"] for one in results):
        mine = [one for one in results if one["fault"] == fault]
        key = "since_healed" if mine[0]["since_healed"] is not None else "seconds"
        values = sorted(one[key] for one in mine)
        text = f"{values[0]:.1f}" + (f" to {values[-1]:.1f}" if values[-1] > values[0] else "") + (" after its end" if key != "seconds" else "")
        lines.append(f"| {fault} | {text} | {mine[0]['limit_s']:.0f} |")
    return "\n".join(lines)
