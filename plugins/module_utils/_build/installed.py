# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of an installed build, and which of them each machine of a cluster has to go back to.

All machines must run the same llama.cpp, and yet each may have a build of its own, because their processors differ. What they have in
common is the source that a build's stamp names.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.wanted import archive_checksum
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Problem

# What only one component of a build says of itself.
_OF_A_COMPONENT = ("component", "binary", "executables")

Stamp = t.Mapping[str, t.Any]


class BuildsError(ValueError):
    """The description of the machines is malformed. The text is a part of a sentence."""


@dataclass(frozen=True)
class MachineBuilds:
    """What one machine has: the stamps of its builds, the one installed last first, and which of them is used."""

    name: str
    builds: t.Sequence[Stamp]
    current: str
    previous: str

    def build(self, build_id: str) -> t.Optional[Stamp]:
        return next((stamp for stamp in self.builds if stamp["id"] == build_id), None)

    def needed_components(self) -> t.Set[str]:
        """The components that the machine uses now, which another build must have too."""
        current = self.build(self.current)
        return set(current["components"]) if current else set()

    def of_source(self, source: t.Any) -> t.Optional[Stamp]:
        """The newest build of a source that has what the machine needs."""
        needed = self.needed_components()
        return next((s for s in self.builds if s.get("source") == source and needed <= set(s["components"])), None)


@dataclass
class Choice:
    """The build for each machine, and what is in the way."""

    builds: t.Dict[str, Stamp] = field(default_factory=dict)
    problems: t.List[Problem] = field(default_factory=list)


def describe(stamp: Stamp) -> str:
    """A build as a person would call it."""
    return "%s (%s)" % (stamp.get("version") or "llama.cpp of an unknown version", stamp["id"])


def new_stamp(records: t.Sequence[Stamp], archives: str, protocol: str, installed_at: str) -> t.Dict[str, t.Any]:
    """What is written into a build that is installed.

    ``records`` are the build.json of its components, ``archives`` the archives in the cache without ``-COMPONENT.tar.gz``, ``protocol`` the
    version of the RPC protocol that its worker speaks.
    """
    components = {str(record["component"]): record for record in records}
    return {
        **{key: value for key, value in records[0].items() if key not in _OF_A_COMPONENT},
        "components": list(components),
        "binaries": {name: record["binary"] for name, record in components.items()},
        "protocol": protocol,
        "sha256": {name: archive_checksum(archives, name) for name in components},
        "installed_at": installed_at,
    }


def target_of(stamp: Stamp, seen: t.Mapping[str, t.Any], keep: int) -> t.Dict[str, t.Any]:
    """What a machine is to run (the fact llama_cpp_target), by the build's stamp and by what llama_machine_info saw there."""
    ids = [build["id"] for build in seen["builds"]]
    replaced: Stamp = next((build for build in seen["builds"] if build["id"] == seen["current"]), {})
    return {
        "id": stamp["id"],
        "version": stamp.get("version", stamp["id"]),
        "binaries": stamp.get("binaries", {}),
        "protocol": stamp.get("protocol", ""),
        "current": seen["current"],
        "replaces": seen["current"],
        "replaces_version": replaced.get("version", ""),
        "previous": seen["previous"],
        "installed": ids,
        "surplus": len({*ids, stamp["id"]}) > keep,
    }


def surplus_builds(seen: t.Mapping[str, t.Any], keep: int) -> t.List[str]:
    """The builds that go when so many are kept, the oldest. The current one and the one to go back to stay, whatever that number is."""
    kept = {seen["current"], seen["previous"]} - {""}
    others = [build["id"] for build in seen["builds"] if build["id"] not in kept]
    return others[max(keep - len(kept), 0):]


def agreed_targets(targets: t.Mapping[str, Stamp], recorded: t.Mapping[str, t.Mapping[str, t.Any]]) -> t.Mapping[str, Stamp]:
    """What each machine is to run (the fact llama_cpp_target), going back to what the record says served last.

    After a switch that was interrupted, what each machine points at is no common version. The record, written when an answer proved it, has one.
    Where a machine of the record has lost its build there is nothing to go back to together, and what the machines point at stays.
    """
    known = {name: recorded[name] for name in targets if name in recorded}
    if any(one.get("build") not in targets[name].get("installed", ()) for name, one in known.items()):
        return dict(targets)
    found = {name: dict(target) for name, target in targets.items()}
    for name, one in known.items():
        target = found[name]
        if target["replaces"] != one["build"]:
            target.update(replaces=one["build"], replaces_version=one.get("version") or one["build"])
        if target["previous"] == target["replaces"]:
            target["previous"] = ""
    return found


def _listed(machine: MachineBuilds) -> str:
    return ", ".join(describe(stamp) for stamp in machine.builds) or "none"


def read_machines(machines: t.Any) -> t.List[MachineBuilds]:
    """The machines from what llama_machine_info returned for each."""
    if not isinstance(machines, t.Mapping):
        raise BuildsError("the machines are a %s, not a mapping" % type(machines).__name__)
    found = []
    for name, seen in machines.items():
        if not isinstance(seen, t.Mapping) or not isinstance(seen.get("builds"), t.Sequence):
            raise BuildsError("%s has no list of builds" % name)
        for stamp in seen["builds"]:
            if not isinstance(stamp, t.Mapping) or not stamp.get("id") or not isinstance(stamp.get("components"), t.Sequence):
                raise BuildsError("%s has a build without id or components" % name)
        found.append(MachineBuilds(str(name), seen["builds"], str(seen.get("current") or ""), str(seen.get("previous") or "")))
    return found


def _wanted_source(machines: t.Sequence[MachineBuilds], wanted: str) -> t.Tuple[t.Any, bool]:
    """The source of the build that is wanted by id or version, and whether any machine has it."""
    for machine in machines:
        for stamp in machine.builds:
            if wanted in (stamp["id"], stamp.get("version")):
                return stamp.get("source"), True
    return None, False


def choose_builds(machines: t.Sequence[MachineBuilds], wanted: str = "") -> Choice:
    """The build each machine is to go back to: the one before the current, or the one that is wanted by its id or its version, or ``current``."""
    choice = Choice()
    if wanted == "current":
        chosen = {machine.name: machine.build(machine.current) for machine in machines}
    elif wanted:
        source, known = _wanted_source(machines, wanted)
        if not known:
            for machine in machines:
                choice.problems.append(
                    {
                        "machine": machine.name,
                        "problem": "it has no build %s" % wanted,
                        "remedy": "Name one of those that are installed there: %s" % _listed(machine),
                    }
                )
            return choice
        chosen = {machine.name: machine.build(wanted) or machine.of_source(source) for machine in machines}
    else:
        chosen = {machine.name: machine.build(machine.previous) if machine.previous != machine.current else None for machine in machines}
        # A machine that was added since has the older version beside the current one, if at all, without ever having used it.
        sources = [stamp.get("source") for stamp in chosen.values() if stamp is not None]
        if sources:
            chosen = {m.name: chosen[m.name] or m.of_source(sources[0]) for m in machines}
    for machine in machines:
        stamp = chosen[machine.name]
        if stamp is None:
            choice.problems.append(
                {
                    "machine": machine.name,
                    "problem": "it has no build %s to go back to" % (wanted or "from before the current one"),
                    "remedy": "Deploy the version that is wanted; installed there: %s" % _listed(machine),
                }
            )
        elif not machine.needed_components() <= set(stamp["components"]):
            choice.problems.append(
                {
                    "machine": machine.name,
                    "problem": "its build %s lacks %s" % (describe(stamp), " and ".join(sorted(machine.needed_components() - set(stamp["components"])))),
                    "remedy": "Deploy that version",
                }
            )
        else:
            choice.builds[machine.name] = stamp
    different = {describe(stamp) for stamp in choice.builds.values()} if len({repr(s.get("source")) for s in choice.builds.values()}) > 1 else set()
    for name in sorted(choice.builds) if different else []:
        choice.problems.append(
            {
                "machine": name,
                "problem": "it would go back to %s, and other machines to another llama.cpp" % describe(choice.builds[name]),
                "remedy": "Name the version that all shall have with llama_cpp_build",
            }
        )
    return choice
