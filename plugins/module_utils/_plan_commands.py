# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that carry out a plan."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._workers import worker_instances

BIN_DIR = "/opt/llama.cpp/current/bin"


class CommandsError(ValueError):
    """The plan and the machines do not belong together."""


def device_names(machine: t.Mapping[str, t.Any]) -> t.List[str]:
    """A machine's devices by the names the planner gives them."""
    return [str(entry.get("name") or "%s%d" % (str(entry.get("kind", "cuda")).upper(), number))
            for number, entry in enumerate(machine.get("devices") or [])]


def wrapped(argv: t.Sequence[str], width: int = 100) -> str:
    """A command for a shell, broken where it is long, and never between an option and its value."""
    groups = [shlex.quote(argv[0])]
    for word in argv[1:]:
        if word.startswith("-"):
            groups.append(shlex.quote(word))
        else:
            groups[-1] += " " + shlex.quote(word)
    lines = [groups[0]]
    for group in groups[1:]:
        if len(lines[-1]) + 1 + len(group) > width:
            lines.append("  " + group)
        else:
            lines[-1] += " " + group
    return " \\\n".join(lines)


def plan_commands(
    plan: t.Mapping[str, t.Any],
    machines: t.Sequence[t.Mapping[str, t.Any]],
    addresses: t.Mapping[str, str],
    model_path: str,
    server_port: int = 8080,
    rpc_ports: t.Optional[t.Mapping[str, int]] = None,
    bin_dir: str = BIN_DIR,
    extra_arguments: t.Sequence[str] = (),
) -> t.List[t.Dict[str, t.Any]]:
    """llama-server first, then the workers in the order of ``--rpc``; nothing for a plan that does not fit.

    A worker machine runs one rpc-server for each planned device, on consecutive ports in the order of the machine's list.
    """
    if not plan.get("fits"):
        return []
    try:
        planned = [(str(entry["machine"]), str(entry["device"])) for entry in plan["rpc"]]
        head = str(plan["host"]["machine"])
        own = {str(machine["name"]): machine for machine in machines}
    except (KeyError, TypeError) as error:
        raise CommandsError("the plan or the machines lack %s" % error) from error
    instances: t.Dict[t.Tuple[str, str], t.Dict[str, t.Any]] = {}
    for machine in dict(planned):
        if machine not in own:
            raise CommandsError("the machine %s of the plan is not among the machines" % machine)
        if not addresses.get(machine):
            raise CommandsError("the address of %s is not given" % machine)
        devices = [name for name in device_names(own[machine]) if (machine, name) in planned]
        port = int((rpc_ports or {}).get(machine) or 50052)
        for instance in worker_instances(devices, machine, addresses[machine], port):
            instances[(machine, instance["device"])] = instance
    try:
        in_order = [instances[key] for key in planned]
    except KeyError as error:
        raise CommandsError("the device %s of %s is not among the machine's devices" % (error.args[0][1], error.args[0][0])) from error
    server = [bin_dir + "/llama-server", "--model", model_path, "--host", addresses.get(head) or "127.0.0.1", "--port", str(int(server_port))]
    # --device is looked up as it is read, so the workers must be known by then (common/arg.cpp)
    if in_order:
        server += ["--rpc", ",".join(instance["endpoint"] for instance in in_order)]
    server += [str(word) for word in plan["arguments"]] + [str(word) for word in extra_arguments]
    commands = [{"machine": head, "unit": "llama-server.service", "device": "", "argv": server,
                 "endpoint": "%s:%d" % (addresses.get(head) or "127.0.0.1", int(server_port))}]
    for instance in in_order:
        commands.append({
            "machine": instance["machine"], "unit": instance["unit"], "device": instance["device"], "endpoint": instance["endpoint"],
            "argv": [bin_dir + "/ggml-rpc-server", "-H", instance["address"], "-p", str(instance["port"]), "-d", instance["device"]],
        })
    for command in commands:
        command["text"] = wrapped(command["argv"])
    return commands
