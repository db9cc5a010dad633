# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that carry out a plan: those that the units of the roles have."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import API_KEY_FILE, arguments, started
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import LINE_BUFFERED, WorkerSettings, worker_arguments, worker_instances


class CommandsError(ValueError):
    """The plan and the machines do not belong together."""


def device_names(machine: t.Mapping[str, t.Any]) -> t.List[str]:
    """A machine's devices by the names the planner gives them."""
    return [str(entry.get("name") or "%s%d" % (str(entry.get("kind", "cuda")).upper(), number))
            for number, entry in enumerate(machine.get("devices") or [])]


def plan_endpoints(plan: t.Mapping[str, t.Any], instances: t.Iterable[t.Mapping[str, t.Any]]) -> t.List[t.Dict[str, t.Any]]:
    """The worker services that a plan uses, in the order of ``--rpc``; ``instances`` are those of all machines."""
    known = {(str(instance["machine"]), str(instance["device"])): dict(instance) for instance in instances}
    try:
        return [known[str(entry["machine"]), str(entry["device"])] for entry in plan["rpc"]]
    except KeyError as error:
        key = error.args[0]
        if isinstance(key, tuple):
            raise CommandsError("no worker service of %s has the device %s" % key) from error
        raise CommandsError("the plan lacks %s" % error) from error


def wrapped(argv: t.Sequence[str], width: int = 100) -> str:
    """A command for a shell, broken where it is long, and never between an option and its value.

    The API key's file stays as the unit names it: with CREDENTIALS_DIRECTORY set to where the key is kept, a shell runs the same.
    """
    quoted = [word if word == API_KEY_FILE else shlex.quote(word) for word in argv]
    groups = [quoted[0]]
    for word, shown in zip(argv[1:], quoted[1:]):
        if word.startswith("-"):
            groups.append(shown)
        else:
            groups[-1] += " " + shown
    lines = [groups[0]]
    for group in groups[1:]:
        if len(lines[-1]) + 1 + len(group) > width:
            lines.append("  " + group)
        else:
            lines[-1] += " " + group
    return " \\\n".join(lines)


def planned_devices(plan: t.Mapping[str, t.Any]) -> t.Dict[str, t.List[str]]:
    """For each worker machine of a plan the devices it lends, in the plan's order: one rpc-server each, on consecutive ports."""
    devices: t.Dict[str, t.List[str]] = {}
    try:
        for entry in plan["rpc"]:
            devices.setdefault(str(entry["machine"]), []).append(str(entry["device"]))
    except (KeyError, TypeError) as error:
        raise CommandsError("the plan lacks %s" % error) from error
    return devices


def plan_commands(
    plan: t.Mapping[str, t.Any], server: t.Mapping[str, t.Any], machines: t.Iterable[t.Mapping[str, t.Any]]
) -> t.List[t.Dict[str, t.Any]]:
    """llama-server first, then the workers in the order of ``--rpc``; nothing for a plan that does not fit.

    ``server`` are the settings of the role llama_server (Start), of which the plan decides a part. Each of the ``machines`` has its ``address``,
    and its settings as a ``worker`` (WorkerSettings).
    """
    if not plan.get("fits"):
        return []
    known = {str(machine["name"]): machine for machine in machines}
    instances: t.List[t.Dict[str, t.Any]] = []
    workers: t.Dict[str, WorkerSettings] = {}
    for name, devices in planned_devices(plan).items():
        machine = known.get(name, {})
        if not machine.get("address"):
            raise CommandsError("the address of %s is not given" % name)
        own = workers[name] = WorkerSettings.of(machine.get("worker") or {})
        instances += worker_instances(devices, name, str(machine["address"]), own.port, own.tls)
    in_order = plan_endpoints(plan, instances)
    try:
        given = started({**server, "plan": plan, "rpc_endpoints": [instance["endpoint"] for instance in in_order]})
        head = str(plan["host"]["machine"])
    except KeyError as error:
        raise CommandsError("the plan lacks %s" % error) from error
    line = [[given.bin_dir + "/llama-server"], *arguments(given), ["--api-key-file", API_KEY_FILE]]
    commands = [{"machine": head, "unit": "llama-server.service", "device": "", "endpoint": "", "argv": [word for words in line for word in words]}]
    for instance in in_order:
        own = workers[instance["machine"]]
        commands.append({
            "machine": instance["machine"], "unit": instance["unit"], "device": instance["device"], "endpoint": instance["endpoint"],
            "argv": [*LINE_BUFFERED, own.bin_dir + "/ggml-rpc-server", *worker_arguments(instance, own.threads, own.cache, own.extra_args)],
        })
    for command in commands:
        command["text"] = wrapped(command["argv"])
    return commands
