# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clusters that the molecule scenarios make: where they are and how to get at their machines."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
import testinfra
from playbook_run import ROOT
from testinfra.backend.ansible import AnsibleBackend

API_PORT = 8080
RPC_PORT = 50052
WATCHDOG_PORT = 8079


def tunnel_end(address: str, port: int = RPC_PORT) -> str:
    """Where the head reaches the worker at this address: its own end of the TLS tunnel."""
    return f"127.{address.split('.', 1)[1]}:{port}"


def look_as_root() -> None:
    """Have testinfra's ``ansible://`` machines run each command by sudo, with its password where the inventory has one, which testinfra cannot."""

    def as_root(backend: AnsibleBackend, command: str, *args: str) -> str:
        variables = backend.get_variables()
        command = backend.quote(command, *args)
        if "ansible_become_password" not in variables:
            return command
        # By standard input, because sudo writes command lines into the journal, and tests look there for the secrets that they look for.
        run = """/bin/sh -c 'eval "$(cat)"'"""
        if not variables["ansible_become_password"]:
            return f"printf %s {shlex.quote(command)} | sudo -n {run}"
        password = Path(variables["virtual_lab_state_dir"], "ssh", "sudo_password").read_text(encoding="ascii").strip()
        return f"printf '%s\\n' {password} {shlex.quote(command)} | sudo -k -S -p '' {run}"

    AnsibleBackend.get_command = as_root


def root_ssh(state_dir: Path, machine: str, command: str) -> list[str]:
    """The command line that runs a shell command as root on a machine of a lab, by name or address, whose sudo asks for no password."""
    return ["ssh", "-F", f"{state_dir}/ssh/config", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", machine,
            f"sudo -n /bin/sh -c {shlex.quote(command)}"]


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Until the condition holds. A machine that is busy with other tests takes its time; how long something may take is for a test of that to say."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what} within {seconds:.0f} s"
        time.sleep(0.25)


def journal(host, *which: str) -> str:
    """What a machine's journal has of `which`, options of journalctl, after all that was said until now has got there."""
    return host.check_output("journalctl --sync; journalctl -q --no-pager -o cat " + " ".join(which))


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def exposure(host, unit: str) -> float:
    """From 0 to 10 how open systemd-analyze finds a unit of a machine."""
    said = host.check_output(f"systemd-analyze security --no-pager {unit} | tail -1")
    return float(said.rpartition(".service: ")[2].split()[0])


@dataclass(frozen=True)
class Cluster:
    """A scenario's machines, by name."""

    inventory: Path
    addresses: dict[str, str]

    def machine(self, name: str):
        """The testinfra host of a machine."""
        return testinfra.get_host(f"ansible://{name}", ansible_inventory=str(self.inventory))

    def listing(self) -> dict:
        """The inventory with all its variables, as ansible-inventory tells it."""
        return _listing(self.inventory)

    @property
    def api_key(self) -> str:
        return self.machine("head").file("/etc/llama-server/api-key").content_string.strip()

    def link(self, machine: str, name: str) -> str:
        """The build that a machine's link ``current`` or ``previous`` points at."""
        return self.machine(machine).run(f"readlink /opt/llama.cpp/{name}").stdout.strip().removeprefix("builds/")

    def stamps(self, machine: str) -> dict[str, dict]:
        """The builds that are installed on a machine, by id."""
        text = self.machine(machine).check_output("cat /opt/llama.cpp/builds/*/stamp.json | tr -d '\\n' | sed 's/}{/}\\n{/g'")
        return {stamp["id"]: stamp for stamp in map(json.loads, text.splitlines())}

    def runs(self, version: str) -> None:
        """Every machine's current build is of this version, and its services run from it."""
        for machine in self.addresses:
            current = self.link(machine, "current")
            assert self.stamps(machine)[current]["version"] == version, machine
            executables = self.machine(machine).check_output("readlink /proc/*/exe 2>/dev/null | grep ^/opt/llama.cpp/ || true").split()
            assert executables and all(path.startswith(f"/opt/llama.cpp/builds/{current}/") for path in executables), (machine, executables)

    @property
    def url(self) -> str:
        return f"http://{self.addresses['head']}:{API_PORT}"

    def settle(self) -> None:
        """Wait until llama-server has loaded its model and each machine's watchdog says that all is well."""
        urls = [f"{self.url}/health", *(f"http://{address}:{WATCHDOG_PORT}/health" for address in self.addresses.values())]
        wait(lambda: all(_status(url) == 200 for url in urls), 120, f"not all of {', '.join(urls)} gave 200")

    def clients(self, worker: str) -> int:
        """How many a worker's rpc-server talks to, as its watchdog has just seen it."""
        found = requests.get(f"http://{self.addresses[worker]}:{WATCHDOG_PORT}/status", timeout=10).json()["workers"]
        return sum(one["clients"] for one in found.values())


@functools.cache
def _listed(inventory: Path) -> str:
    """What a scenario's inventory holds stays the same while its tests run."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--list"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _listing(inventory: Path) -> dict:
    return json.loads(_listed(inventory))


def scenario(name: str) -> Cluster:
    """The cluster of molecule/NAME, as its inventory describes it."""
    inventory = ROOT / "molecule" / name / "inventory"
    hostvars = _listing(inventory)["_meta"]["hostvars"]
    return Cluster(inventory, {machine: facts["virtual_lab_address"] for machine, facts in hostvars.items()})
