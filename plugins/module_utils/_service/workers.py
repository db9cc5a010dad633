# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker services of one machine, and which services do not run what they should."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass


# stdout into a pipe is not flushed before the first client comes; with it the banner is in the journal at once.
LINE_BUFFERED = ("/usr/bin/stdbuf", "-oL")


class WorkersError(ValueError):
    """The input cannot be read."""


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a machine's workers, by the names of the role rpc_server without its prefix.

    The first worker's ``port`` is llama.cpp's own default (tools/rpc/rpc-server.cpp of b11434) where none is set, ``threads`` are as many as it
    chooses where they are 0.
    """

    port: int = 50052
    tls: bool = False
    threads: int = 0
    cache: bool = False
    extra_args: t.Sequence[str] = ()
    bin_dir: str = "/opt/llama.cpp/current/bin"

    @classmethod
    def of(cls, given: t.Mapping[str, t.Any]) -> "WorkerSettings":
        """From the role's variables, each of whatever type an inventory has it. Raises WorkersError."""
        extra = given.get("extra_args") or []
        try:
            return cls(int(given.get("port") or cls.port), truth(given.get("tls")), int(given.get("threads") or 0), truth(given.get("cache")),
                       [str(word) for word in (extra if isinstance(extra, (list, tuple)) else [extra])], str(given.get("bin_dir") or cls.bin_dir))
        except (TypeError, ValueError) as error:
            raise WorkersError("the settings of a worker cannot be read (%s)" % error) from error


def truth(value: t.Any) -> bool:
    """Whether a variable means yes, as Ansible's filter ``bool`` has it."""
    return str(value).lower() in ("yes", "on", "1", "true", "1.0")


def tunnel_address(address: str) -> str:
    """The loopback address at which the head reaches a worker through its tunnel: 192.168.1.101 becomes 127.168.1.101.

    Each worker has its own, and who reads a log sees which worker is meant.
    """
    first, dot, rest = address.partition(".")
    return "127." + rest if dot else first


def worker_instances(
    devices: t.Sequence[str], machine: str, address: str, port: int, tls: bool = False
) -> t.List[t.Dict[str, t.Any]]:
    """One instance for each device, on consecutive ports; without devices one that serves whatever there is.

    The network sees ``address`` and ``port``; ``endpoint`` is what llama-server connects to, with TLS its own end of the tunnel.
    """
    return [
        {
            "machine": machine,
            "unit": "llama-rpc-server@%d.service" % index,
            "tls_unit": "llama-rpc-tls@%d.service" % index if tls else "",
            "address": address,
            "port": port + index,
            "listens_on": "%s:%d" % (address, port + index),
            "endpoint": "%s:%d" % (tunnel_address(address) if tls else address, port + index),
            "device": device,
        }
        for index, device in enumerate(devices or [""])
    ]


def worker_arguments(instance: t.Mapping[str, t.Any], threads: int = 0, cache: bool = False, extra_arguments: t.Sequence[str] = ()) -> t.List[str]:
    """What ggml-rpc-server of that instance is started with (llama.cpp's tools/rpc/rpc-server.cpp).

    Behind its TLS a worker has a network of its own, and listens on the loopback address there. 0 threads are as many as llama.cpp chooses.
    """
    arguments = ["-H", "127.0.0.1" if instance["tls_unit"] else str(instance["address"]), "-p", str(instance["port"])]
    if instance["device"]:
        arguments += ["-d", str(instance["device"])]
    if threads > 0:
        arguments += ["-t", str(threads)]
    return arguments + (["-c"] if cache else []) + [str(word) for word in extra_arguments]


def _files_of(unit: str) -> t.Set[str]:
    """The names of a unit's own files: itself, its template, and the settings of an instance, INSTANCE.env."""
    prefix, at, rest = unit.partition("@")
    if not at:
        return {unit}
    instance, _dot, kind = rest.rpartition(".")
    return {unit, "%s@.%s" % (prefix, kind), "%s.env" % instance}


def outdated_units(
    units: t.Iterable[t.Mapping[str, t.Any]], wanted: t.Mapping[str, str], executable: str = "", changed_files: t.Iterable[str] = ()
) -> t.List[str]:
    """The wanted units whose running process was not started with the wanted id from the wanted file and with the credentials that are kept.

    ``units`` is what the module unit_process_info returned, ``wanted`` maps a unit to its HERD_CONFIG_ID, which is empty for one without. Which
    file it was started from is no matter where ``executable`` is empty. A unit that does not run is outdated too, and one with a file among
    ``changed_files``: somebody may have changed that by hand, and started it.
    """
    processes = {unit["unit"]: unit for unit in units}
    changed = {os.path.basename(path) for path in changed_files}

    def current(name: str) -> bool:
        process = processes.get(name)
        return (
            process is not None
            and bool(process["running"])
            and process["environment"].get("HERD_CONFIG_ID", "") == wanted[name]
            and (not executable or (process["executable"] == executable and not process["executable_deleted"]))
            and not process.get("stale_credentials")
            and not changed & _files_of(name)
        )

    return [name for name in wanted if not current(name)]


@dataclass(frozen=True)
class Runs:
    """Services that should run: each unit's HERD_CONFIG_ID, and the file that they are started from."""

    wanted: t.Mapping[str, str]
    executable: str


def due_units(
    units: t.Sequence[t.Mapping[str, t.Any]], workers: Runs, tls: Runs, changed_files: t.Collection[str], files: t.Iterable[str]
) -> t.Dict[str, t.List[str]]:
    """What has to be done on a worker's machine so that what is configured runs there.

    ``units`` is what the module unit_process_info returned. ``files`` are settings (``N.env``) and TLS sockets that are there, also those left over
    from more devices or from TLS. ``start`` and ``tls_restart`` do not run what they should; of ``start``, those of ``stop`` run; ``remove`` and
    ``tls_remove`` are no longer wanted; ``in_service`` needs nothing.
    """
    start = outdated_units(units, workers.wanted, workers.executable, changed_files)
    tls_restart = outdated_units(units, tls.wanted, tls.executable)
    running = [unit["unit"] for unit in units if unit["unit"].startswith("llama-rpc-server@") and unit["active_state"] != "inactive"]
    names = [os.path.basename(path) for path in files]
    settled = ["llama-rpc-server@%s.service" % name[: -len(".env")] for name in names if name.endswith(".env")]
    tls_settled = [name[: -len(".socket")] + ".service" for name in names if name.endswith(".socket")]
    return {
        "start": start,
        "stop": [name for name in running if name in start],
        "remove": [name for name in dict.fromkeys(settled + running) if name not in workers.wanted],
        "tls_restart": tls_restart,
        "tls_remove": [name for name in tls_settled if name not in tls.wanted],
        "in_service": [unit["unit"] for unit in units if unit["in_service"] and unit["unit"] not in start + tls_restart],
    }
