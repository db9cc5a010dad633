# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be started, restarted, reloaded and stopped of llama-server, the tunnels to its workers and its proxy, so that what is configured runs."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server_files import Parts, Places, kept_directories
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.steps import Step, service_steps
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import outdated_units


@dataclass(frozen=True)
class Look:
    """What was seen before anything was written.

    ``executable`` is the file that llama-server's path leads to, ``tunnel_executable`` that of its tunnels. ``found`` are the files and directories
    that one configuration has and another has not, ``abandoned`` the connections whose other end is gone, ``rules`` is what nft says of the tunnels' table.
    """

    executable: str
    tunnel_executable: str
    found: t.Sequence[str]
    abandoned: t.Sequence[t.Mapping[str, t.Any]]
    rules: str


@dataclass(frozen=True)
class Written:
    """What the module service_files returned of the files and the units."""

    files: t.Sequence[str]
    changed_files: t.Sequence[str]
    units: t.Sequence[t.Mapping[str, t.Any]]
    in_service: t.Sequence[str]
    config_ids: t.Mapping[str, str]


@dataclass(frozen=True)
class Due:
    """``restart`` says whether llama-server does not run what it should. The steps of ``tunnels`` are done when their files are there; then those of
    ``discard``, with the files and the table of nftables that are wanted no more; then those of ``services``."""

    restart: bool
    tunnels: t.List[Step]
    discard: t.List[Step]
    surplus_files: t.List[str]
    surplus_table: str
    services: t.List[Step]


def due(given: Parts, at: Places, look: t.Optional[Look] = None, written: t.Optional[Written] = None, check: bool = False) -> Due:
    """What is to be done where that was seen and written. Without it, all that is wanted is started. ``check`` says whether this is check mode.

    Raises KeyError where what was written lacks a unit.
    """
    ends = [at.firewall["unit"], at.tunnel_unit] if given.rpc_tunnels else []
    services = [at.unit, at.proxy_unit] if given.proxy else [at.unit]
    if look is None or written is None:
        return Due(False, service_steps(ends), [], [], "" if ends else at.firewall["table"], service_steps(services))

    def outdated(unit: str, config_id: str, executable: str = "", changed_files: t.Sequence[str] = ()) -> t.List[str]:
        return outdated_units(written.units, {unit: config_id}, executable, changed_files)

    tunnels = outdated(at.tunnel_unit, written.config_ids[at.tunnel_unit], look.tunnel_executable) if ends else []
    proxy = outdated(at.proxy_unit, "") if given.proxy else []
    # A worker that was restarted took its part of the model with it: llama-server aborts at the next question.
    left = any(connection["unit"] == at.unit for connection in look.abandoned)
    server = outdated(at.unit, written.config_ids[at.unit], look.executable, written.changed_files)
    restart = bool(tunnels or left or server)
    # In the order in which they are stopped.
    unwanted = ([] if given.proxy else [at.proxy_unit]) + ([] if ends else [at.tunnel_unit, at.firewall["unit"]])
    loaded = {unit["unit"] for unit in written.units if unit["load_state"] == "loaded"}
    gone = [unit for unit in unwanted if unit in loaded]
    kept = [*written.files, *kept_directories(given, at)]
    return Due(
        restart=restart,
        # First llama-server stops, which would abort when its workers go away, and then the tunnels: the new rules do not guard the ends that only
        # those have which run. Reloading the firewall replaces its table in one step; others may have flushed it, so its unit's state proves nothing.
        tunnels=service_steps(
            ends, in_service=written.in_service, restart=tunnels, check=check, stop=[at.unit, at.tunnel_unit] if tunnels and not check else [],
            reload=[] if written.config_ids.get(at.firewall["unit"], "none") in look.rules else [at.firewall["unit"]]),
        # One that was started without its tunnels already goes on.
        discard=service_steps([], stop=[at.unit] if restart and at.tunnel_unit in gone else []) + service_steps([], disable=gone),
        surplus_files=[path for path in look.found if path not in kept] + ([at.runtime_dir] if at.proxy_unit in gone else []),
        surplus_table="" if ends else at.firewall["table"],
        services=service_steps(services, in_service=written.in_service, restart=([at.unit] if restart else []) + proxy, check=check),
    )
