# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that carry out a plan."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import unplanned_arguments
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import LINE_BUFFERED, worker_arguments, worker_instances

BIN_DIR = "/opt/llama.cpp/current/bin"


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
    plan: t.Mapping[str, t.Any],
    addresses: t.Mapping[str, str],
    model_path: str,
    server_port: int = 8080,
    workers: t.Optional[t.Mapping[str, t.Mapping[str, t.Any]]] = None,
    bin_dir: str = BIN_DIR,
    extra_arguments: t.Sequence[str] = (),
    server_arguments: t.Sequence[str] = (),
) -> t.List[t.Dict[str, t.Any]]:
    """llama-server first, then the workers in the order of ``--rpc``; nothing for a plan that does not fit.

    ``server_arguments`` are all that the service is started with, of which the plan decides a part. ``workers`` has the settings of each
    worker machine by the names of the role rpc_server without its prefix (port, tls, threads, cache, extra_args, bin_dir). With tls they listen on
    their own loopback address, and llama-server connects to its own end of the tunnel.
    """
    if not plan.get("fits"):
        return []
    try:
        head = str(plan["host"]["machine"])
    except (KeyError, TypeError) as error:
        raise CommandsError("the plan lacks %s" % error) from error
    instances: t.List[t.Dict[str, t.Any]] = []
    for machine, devices in planned_devices(plan).items():
        if not addresses.get(machine):
            raise CommandsError("the address of %s is not given" % machine)
        own = (workers or {}).get(machine, {})
        instances += worker_instances(devices, machine, addresses[machine], int(own.get("port") or 50052), bool(own.get("tls")))
    in_order = plan_endpoints(plan, instances)
    server = [bin_dir + "/llama-server", "--model", model_path]
    server += unplanned_arguments(server_arguments) or ["--host", addresses.get(head) or "127.0.0.1", "--port", str(int(server_port))]
    # --device is looked up as it is read, so the workers must be known by then (common/arg.cpp)
    if in_order:
        server += ["--rpc", ",".join(instance["endpoint"] for instance in in_order)]
    server += [str(word) for word in plan["arguments"]] + [str(word) for word in extra_arguments]
    commands = [{"machine": head, "unit": "llama-server.service", "device": "", "argv": server,
                 "endpoint": "%s:%d" % (addresses.get(head) or "127.0.0.1", int(server_port))}]
    for instance in in_order:
        own = (workers or {}).get(instance["machine"], {})
        arguments = worker_arguments(instance, int(own.get("threads") or 0), bool(own.get("cache")), own.get("extra_args") or ())
        commands.append({
            "machine": instance["machine"], "unit": instance["unit"], "device": instance["device"], "endpoint": instance["endpoint"],
            "argv": [*LINE_BUFFERED, (own.get("bin_dir") or bin_dir) + "/ggml-rpc-server", *arguments],
        })
    for command in commands:
        command["text"] = wrapped(command["argv"])
    return commands
