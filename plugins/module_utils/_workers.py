# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker services of one machine, and which services do not run what they should."""

from __future__ import annotations

import typing as t


class WorkersError(ValueError):
    """The input cannot be read."""


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


def outdated_units(
    units: t.Iterable[t.Mapping[str, t.Any]], wanted: t.Mapping[str, str], executable: str
) -> t.List[str]:
    """The wanted units whose running process was not started with the wanted id from the wanted file.

    ``units`` is what the module unit_process_info returned, ``wanted`` maps a unit to its HERD_CONFIG_ID. A unit that does not
    run is outdated too.
    """
    processes = {unit["unit"]: unit for unit in units}

    def current(name: str) -> bool:
        process = processes.get(name)
        return (
            process is not None
            and bool(process["running"])
            and process["environment"].get("HERD_CONFIG_ID") == wanted[name]
            and process["executable"] == executable
            and not process["executable_deleted"]
        )

    return [name for name in wanted if not current(name)]
