# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/status.yml says of the machines, from what was seen on each."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.advisories import Advisory, exposure_of, summary

HEAD_UNIT = "llama-server.service"
Row = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Seen:
    """What was seen on a machine.

    ``units`` as module unit_process_info returns them, None where the machine could not be asked; ``sockets`` of tcp_socket_info; ``builds`` of
    llama_machine_info; ``watchdog`` is the watchdog's status.json, ``restarts`` the units that systemd has started again in the last day.
    """

    units: t.Optional[t.Sequence[t.Mapping[str, t.Any]]] = None
    sockets: t.Sequence[t.Mapping[str, t.Any]] = ()
    builds: t.Sequence[t.Mapping[str, t.Any]] = ()
    watchdog: t.Mapping[str, t.Any] = field(default_factory=dict)
    restarts: t.Sequence[str] = ()

    def stamp(self, unit: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        """The stamp of the build that a unit runs, BUILDS/ID/bin/PROGRAM; empty where it runs none."""
        build = os.path.basename(os.path.dirname(os.path.dirname(unit.get("executable") or "")))
        return next((stamp for stamp in self.builds if build and stamp["id"] == build), {})


def _json(text: t.Any) -> t.Mapping[str, t.Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def seen_of(units: t.Any, sockets: t.Any, builds: t.Any, watchdog: t.Any, restarts: t.Any) -> Seen:
    """From the results of the modules and the output of the commands; what did not answer counts as nothing seen."""
    return Seen(
        (units or {}).get("units"),
        (sockets or {}).get("sockets") or (),
        (builds or {}).get("builds") or (),
        _json((watchdog or {}).get("stdout")),
        [str(_json(line).get("UNIT", "")) for line in (restarts or {}).get("stdout_lines") or ()],
    )


def _of_units(units: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[t.Mapping[str, t.Any]]:
    """Each once: one that was asked for by its name may have been found by a pattern too."""
    return list({unit["unit"]: unit for unit in units if unit["load_state"] != "not-found"}.values())


def _row(machine: str, unit: t.Mapping[str, t.Any], seen: Seen) -> Row:
    name, is_head = unit["unit"], unit["unit"] == HEAD_UNIT
    found = (seen.watchdog.get("health") if is_head else (seen.watchdog.get("workers") or {}).get(name)) or {}
    own = [socket for socket in seen.sockets if socket["unit"] == name]
    listening = [socket for socket in own if socket["state"] == "listening"]
    ports = [socket["local_port"] for socket in listening]
    answer = seen.watchdog.get("last_answer")
    stamp = seen.stamp(unit)
    return {
        "machine": machine,
        "unit": name,
        "state": "%s (%s)" % (unit["active_state"], unit["sub_state"]),
        "restarts": list(seen.restarts).count(name),
        "endpoint": " ".join("%s:%s" % (socket["local_address"], socket["local_port"]) for socket in listening),
        "clients": sum(socket["state"] == "established" and socket["local_port"] in ports for socket in own),
        "watchdog": ", ".join(str(word) for word in (found.get("state") or "none", found.get("worker"), found.get("reason")) if word),
        "answer": "" if not is_head else "%d s ago" % (seen.watchdog["time"] - answer) if answer else "none",
        "version": stamp.get("version", ""),
        "build": stamp.get("id", ""),
    }


def rows(machines: t.Mapping[str, Seen]) -> t.List[Row]:
    """A row for each service, and one for a machine without."""
    found: t.List[Row] = []
    for name, seen in machines.items():
        of_machine = [_row(name, unit, seen) for unit in _of_units(seen.units or ())]
        found += of_machine or [{"machine": name, "unit": "", "state": "unreachable" if seen.units is None else "nothing deployed"}]
    return found


def exposures(machines: t.Mapping[str, Seen], advisories: t.Sequence[Advisory]) -> t.List[str]:
    """To which known vulnerabilities the builds that run are exposed; machines of which the same is to be said stand together."""
    notes: t.Dict[str, t.List[str]] = {}
    for name, seen in machines.items():
        stamps = {stamp["id"]: stamp for stamp in map(seen.stamp, seen.units or ()) if stamp}
        for stamp in stamps.values():
            options = stamp.get("options") or {}
            said = summary(exposure_of(options.get("LLAMA_BUILD_NUMBER", "0"), advisories, options, stamp["components"]))
            if said:
                notes.setdefault("%s: %s." % (stamp.get("version", ""), said), []).append(name)
    return ["%s: %s" % (", ".join(names), note) for note, names in notes.items()]
