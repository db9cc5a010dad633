# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a machine, and with machines beside each other, from what was seen on them.

Nothing here looks at a machine: the role does, and hands over what it saw. So every way a machine
can be unfit is tested without having such a machine.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Problem
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

Seen = t.Mapping[str, t.Any]

HEAD_GROUP = "llama_host"
WORKER_GROUP = "llama_rpc"
INVENTORY = "inventory"

_VALUE_LINE = re.compile(r"^(?P<name>[a-z_]+(?: /\S*)?)=(?P<value>.*)$")


def parse_shell(stdout: str) -> t.Dict[str, str]:
    """Read the role's ``name=value`` lines; a login banner or anything else between them is skipped."""
    values = {}
    for line in (stdout or "").splitlines():
        match = _VALUE_LINE.match(line.strip())
        if match:
            values[match.group("name")] = match.group("value").strip()
    return values


def version_tuple(text: str) -> t.Tuple[int, ...]:
    """The numbers a version begins with, so that 9 is older than 11."""
    match = re.match(r"\d+(?:\.\d+)*", str(text).strip())
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def older(version: str, oldest: str) -> bool:
    """Whether a version is older than the oldest that will do; an unknown one is not."""
    have, need = version_tuple(version), version_tuple(oldest)
    return bool(have) and have + (0,) * (len(need) - len(have)) < need


def clock_offset_s(asked: int, machine: int, now: int) -> int:
    """Seconds a machine's clock is off for certain: 0 while it lies between sending the question and having the answer."""
    if machine > now:
        return machine - now
    return min(machine - asked, 0)


def said(*texts: t.Any) -> str:
    """The first of the texts with words in it, on one line and without Ansible's own preamble."""
    for text in texts:
        words = " ".join(printable(str(text or ""), 2000).split())
        if words:
            # "Failed to connect to the host via ssh: ssh: connect to host ..." says the same thing three times.
            words = re.sub(r"^.*?Failed to connect to the host via ssh: *(?:ssh: *)?", "", words)
            words = re.sub(r"^(?:Task failed: *|Module failed: *|Action failed: *)+", "", words)
            return words if len(words) <= 300 else words[:296].rstrip() + " ..."
    return "no reason was given"


def _duration(seconds: int) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return "%d %s" % (round(seconds / length), unit)
    return "%d s" % seconds


def machine_problems(seen: Seen, limits: Seen) -> t.List[Problem]:
    """Every reason why this one machine cannot have a part in the cluster.

    ``seen`` is what the role preflight saw (its tasks/machine.yml builds it), ``limits`` what it was told to ask for.
    """
    problems: t.List[Problem] = []

    def add(problem: str, remedy: str) -> None:
        problems.append({"machine": str(seen["machine"]), "problem": problem, "remedy": remedy})

    if not seen["reached"]:
        add(
            "it is out of reach: %s" % said(seen.get("reach_message")),
            "switch it on, or correct its address, user or SSH key in the inventory",
        )
        return problems
    shell = parse_shell(seen.get("shell_stdout", ""))
    if "epoch" not in shell:
        add(
            "it cannot run a shell command: %s" % said(seen.get("shell_stderr"), seen.get("shell_stdout")),
            "log in as the inventory's user and see why",
        )
        return problems

    serves = bool(seen["serves"])
    if shell.get("kernel") != "Linux":
        add("it runs %s, not Linux" % (shell.get("kernel") or "an unknown system"), "use a Linux machine")
        return problems
    if serves and shell.get("systemd") != "yes":
        add(
            "systemd does not run it (there is no /run/systemd/system)",
            "use a machine that systemd manages, because the servers become systemd services",
        )
    architectures = [str(name) for name in limits["architectures"]]
    if serves and shell.get("architecture") not in architectures:
        add(
            "its architecture is %s, and only %s is known to work" % (shell.get("architecture"), " or ".join(architectures)),
            "use another machine, or add the architecture to preflight_architectures to try",
        )
    offset = clock_offset_s(int(shell["asked"]), int(shell["epoch"]), int(seen["now"]))
    if abs(offset) > int(limits["clock_tolerance_s"]):
        add(
            "its clock is %s %s this machine's" % (_duration(abs(offset)), "ahead of" if offset > 0 else "behind"),
            "set it right, for example with 'timedatectl set-ntp true'",
        )
    if serves and not seen.get("is_root"):
        add(
            "the inventory's user cannot become root there: %s"
            % said(seen.get("become_message"), seen.get("become_stderr"), seen.get("become_stdout")),
            "let that user use sudo without a password, or run Ansible with --ask-become-pass",
        )
    if serves:
        for directory, needed in limits["disk_free_mib_min"].items():
            free = shell.get("disk %s" % directory, "")
            if free.isdigit() and int(free) < int(needed):
                add(
                    "it has %s MiB of disk free for %s, and %s MiB is the least" % (free, directory, needed),
                    "make room there, or lower preflight_disk_free_mib_min",
                )

    facts = seen.get("facts") or {}
    python = str(facts.get("ansible_python_version") or shell.get("python") or "")
    if not python:
        add("it has no Python 3", "install it, on Debian and Ubuntu with 'apt-get install python3'")
        return problems
    if older(python, str(limits["python_min"])):
        add(
            "its Python is %s, and %s is the oldest that will do" % (python, limits["python_min"]),
            "install a newer one and name it in ansible_python_interpreter",
        )
    elif not facts.get("ansible_python_version"):
        add(
            "Ansible's modules do not run there: %s" % said(seen.get("facts_stderr"), seen.get("facts_message")),
            "correct ansible_python_interpreter, or what the message names",
        )
    if not serves or not facts.get("ansible_distribution"):
        return problems
    return problems + _server_problems(seen, facts, limits)


def _server_problems(seen: Seen, facts: Seen, limits: Seen) -> t.List[Problem]:
    """What only a machine that serves, and whose facts are known, can have wrong with it."""
    problems: t.List[Problem] = []

    def add(problem: str, remedy: str) -> None:
        problems.append({"machine": str(seen["machine"]), "problem": problem, "remedy": remedy})

    name = str(facts["ansible_distribution"])
    version = str(facts.get("ansible_distribution_version") or "")
    distributions = {str(key): str(value) for key, value in limits["distributions"].items()}
    if name in distributions:
        if older(version, distributions[name]):
            add(
                "it runs %s %s, and %s is the oldest that is known to work" % (name, version, distributions[name]),
                "upgrade it, or lower the version in preflight_distributions to try",
            )
    elif not limits["allow_other_distributions"]:
        add(
            "it runs %s %s, and only %s are known to work" % (name, version, " and ".join(distributions)),
            "use another machine, or set preflight_allow_other_distributions to try",
        )
    memory = int(facts.get("ansible_memtotal_mb") or 0)
    if memory < int(limits["memory_mib_min"]):
        add(
            "it has %d MiB of memory, and %s MiB is the least" % (memory, limits["memory_mib_min"]),
            "use a bigger machine, or lower preflight_memory_mib_min",
        )
    return problems


def _shared(
    machines: t.Sequence[Seen], values: t.Callable[[Seen], t.Iterable[str]]
) -> t.Iterator[t.Tuple[str, t.List[str]]]:
    """Each value that occurs more than once, with the machines that have it."""
    owners: t.Dict[str, t.List[str]] = {}
    for machine in machines:
        for value in values(machine):
            if value:
                owners.setdefault(value, []).append(str(machine["machine"]))
    for value, names in owners.items():
        if len(names) > 1:
            yield value, names


def _identity(machine: Seen) -> t.List[str]:
    # Clones share the machine-id, and the nodes of one computer may share the boot-id; only a machine that is in the
    # inventory twice shares both.
    shell = parse_shell(machine.get("shell_stdout", ""))
    parts = (shell.get("machine_id", ""), shell.get("boot_id", ""))
    return [" ".join(parts)] if all(parts) else []


# Files, units and rules are named after a machine, and an address of IPv6 may be its name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
# What the role calls the control node, whose probes are among the machines'.
CONTROL_NODE = "this machine"


def cluster_problems(heads: t.Sequence[str], machines: t.Sequence[Seen], former: t.Collection[str] = ()) -> t.List[Problem]:
    """What is wrong with the inventory's shape and with machines beside each other.

    ``heads`` are the names in the head's group; ``machines`` are the cluster's machines as far as they were looked at, each
    with ``machine``, ``finished`` and, where known, ``shell_stdout``, ``cluster_address``, ``own_addresses``, ``endpoints``
    (what it will serve at), ``peers`` (who is connected to its RPC ports) and ``probes`` (results of tcp_probe_info). ``former`` are names and
    addresses of machines whose llama-server a deployment takes away, so that it is in nobody's way.
    """
    problems: t.List[Problem] = []

    def add(machine: str, problem: str, remedy: str) -> None:
        problems.append({"machine": machine, "problem": problem, "remedy": remedy})

    if not heads:
        add(
            INVENTORY,
            "no machine is in the group %s" % HEAD_GROUP,
            "put exactly one there, the machine that loads the model and serves the API",
        )
    elif len(heads) > 1:
        add(
            INVENTORY,
            "the group %s has %d machines (%s)" % (HEAD_GROUP, len(heads), ", ".join(heads)),
            "leave exactly one there and move the others to %s" % WORKER_GROUP,
        )
    for machine in machines:
        if machine["machine"] != CONTROL_NODE and not _NAME.fullmatch(str(machine["machine"])):
            add(
                printable(str(machine["machine"])),
                "its name has other letters than a to z, digits, ., _, - and :, or more than 200, or does not begin with one of the first three",
                "give it another name in the inventory, and its address in ansible_host",
            )
        if not machine["finished"]:
            add(str(machine["machine"]), "it could not be looked at to the end", "see its own message further up")
    twins = list(_shared(machines, _identity))
    for _value, names in twins:
        add(
            names[0],
            "it is the same machine as %s" % ", ".join(names[1:]),
            "leave it in the inventory under one name; that name may be in both %s and %s" % (HEAD_GROUP, WORKER_GROUP),
        )
    twin_names = [set(names) for _value, names in twins]
    for address, names in _shared(machines, lambda machine: [str(machine.get("cluster_address") or "")]):
        if set(names) not in twin_names:
            add(
                names[0],
                "it has the address %s, and so has %s" % (address, ", ".join(names[1:])),
                "correct llama_cluster_address, or give one of them another address",
            )
    for endpoint, names in _shared(machines, lambda machine: [str(name) for name in machine.get("endpoints") or []]):
        others = [name for name in names[1:] if name != names[0]]
        if set(names) in twin_names:
            continue
        add(
            names[0],
            "the endpoint %s is there twice, here and on %s" % (endpoint, ", ".join(others))
            if others
            else "the endpoint %s is there twice" % endpoint,
            "give each service its own address and port",
        )
    return problems + _network_problems(heads, machines, former)


_PROBE_WORDS = {
    "timeout": "got no answer within the time it had",
    "no_route": "found no way",
    "error": "failed",
}


def _network_problems(heads: t.Sequence[str], machines: t.Sequence[Seen], former: t.Collection[str]) -> t.List[Problem]:
    """Who cannot reach whom, and whose worker somebody else is using."""
    problems: t.List[Problem] = []
    owner = {
        str(endpoint): str(machine["machine"]) for machine in machines for endpoint in machine.get("endpoints") or []
    }
    for machine in machines:
        for probe in machine.get("probes") or []:
            if probe["reachable"]:
                continue
            target = owner.get(probe["endpoint"], "")
            problems.append(
                {
                    "machine": str(machine["machine"]),
                    "problem": "it cannot reach %s at %s: the connection %s%s"
                    % (
                        target or "the other machine",
                        probe["endpoint"],
                        _PROBE_WORDS.get(probe["state"], "failed"),
                        " (%s)" % probe["detail"] if probe.get("detail") and probe["state"] != "timeout" else "",
                    ),
                    "remedy": "let TCP port %d through any firewall between the two, and see that both are in networks that "
                    "reach each other" % probe["port"],
                }
            )
    head_addresses = {
        str(address)
        for machine in machines
        if machine["machine"] in heads or machine["machine"] in former
        for address in list(machine.get("own_addresses") or []) + [machine.get("cluster_address")]
        if address
    }
    if head_addresses:
        for machine in machines:
            strangers = sorted(
                {
                    str(peer)
                    for peer in machine.get("peers") or []
                    if str(peer) not in head_addresses
                    and str(peer) not in former
                    and str(peer) not in (machine.get("own_addresses") or [])
                    and not str(peer).startswith("127.")
                }
            )
            if strangers:
                problems.append(
                    {
                        "machine": str(machine["machine"]),
                        "problem": "its rpc-server is in use by %s, which is not this cluster's head" % ", ".join(strangers),
                        "remedy": "stop the llama-server there, because a worker serves one head at a time",
                    }
                )
    return problems


def idle_endpoints(workers: t.Iterable[Seen]) -> t.List[str]:
    """Where the head may connect to try the way: the endpoints of workers that serve nobody, each once.

    ``workers`` are the variables of the workers' machines. One that serves somebody takes no other connection (ggml/src/ggml-rpc/ggml-rpc.cpp,
    ggml_backend_rpc_start_server: one client after the other), and would let a second one wait for as long as the first stays.
    """
    endpoints: t.List[str] = []
    for worker in workers:
        busy = {socket["local_port"] for socket in worker.get("rpc_server_connected") or []}
        endpoints += [str(one["listens_on"]) for one in worker.get("rpc_server_instances") or [] if one["port"] not in busy]
    return list(dict.fromkeys(endpoints))
