# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a switch of a cluster's version, configuration or keys stands, and what is said of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

FORWARD = "forward"
BACK = "back"


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster in a switch.

    ``target`` is the fact llama_cpp_target, empty where the machine serves nothing. ``failures`` has by phase why the machine failed in it, with an
    empty word where it ended the phase because another machine did. ``restarts`` says that its services had to be restarted or their files were
    written, ``kept`` that what it had before an interrupted switch is what was saved. ``differs`` says that its configuration is no longer the saved
    one, ``restored`` that this was put back.
    """

    name: str
    target: t.Mapping[str, t.Any] = field(default_factory=dict)
    failures: t.Mapping[str, str] = field(default_factory=dict)
    restarts: bool = False
    kept: bool = False
    differs: bool = False
    restored: bool = False


def _unique(words: t.Iterable[str]) -> t.List[str]:
    return list(dict.fromkeys(words))


def _without_dot(sentence: str) -> str:
    return sentence[:-1] if sentence.endswith(".") else sentence


@dataclass(frozen=True)
class Switch:
    """The machines, the head first. ``lost``: the names of those that could not be reached on the way forward. ``known``: what served before has
    been proved once, and all of its machines are there. ``rotates``: new keys are written. ``answers_again``: after going back a question was
    answered. ``check``: the run only says what it would do."""

    machines: t.Sequence[Machine]
    lost: t.Sequence[str] = ()
    known: bool = False
    rotates: bool = False
    answers_again: bool = False
    check: bool = False

    @property
    def _targets(self) -> t.List[t.Mapping[str, t.Any]]:
        return [machine.target for machine in self.machines if machine.target]

    @property
    def _from(self) -> t.List[t.Mapping[str, t.Any]]:
        """Of machines that ran a version before: one that is new to the cluster replaces nothing."""
        return [target for target in self._targets if target["replaces"]]

    @property
    def needed(self) -> bool:
        """Whether a machine is to run another build than it does."""
        return any(target["id"] != target["replaces"] for target in self._targets)

    @property
    def changes(self) -> bool:
        """Whether a build is replaced by another."""
        return any(target["id"] != target["replaces"] for target in self._from)

    @property
    def can_return(self) -> bool:
        """A machine that never ran anything has nothing to go back to, and the others cannot go without it."""
        return self.needed and len(self._from) == len(self._targets)

    @property
    def renews(self) -> bool:
        """Whether what serves may be another than what has served by the record, although that says the same: it names no keys, and few settings."""
        return any(machine.restarts or machine.kept for machine in self.machines)

    def _called(self, targets: t.Sequence[t.Mapping[str, t.Any]], build: str, version: str) -> str:
        """As people call them. The same version can be built in two ways, and only the builds' ids tell those apart."""
        new, old = _unique(target["version"] for target in self._targets), _unique(target["replaces_version"] for target in self._from)
        builds = " (build %s)" % ", ".join(_unique(target[build] for target in targets)) if new == old else ""
        return " and ".join(_unique(target[version] for target in targets)) + builds

    @property
    def new(self) -> str:
        """What is switched to."""
        if self.changes:
            return self._called(self._targets, "id", "version")
        return "the cluster with new keys" if self.rotates else "the changed configuration"

    @property
    def old(self) -> str:
        """What it goes back to."""
        if self.changes:
            return self._called(self._from, "replaces", "replaces_version")
        return "the old keys" if self.rotates else "the configuration before"

    @property
    def remedy(self) -> str:
        """The command that ends what going back has left undone."""
        if self.changes:
            return "playbooks/rollback.yml -e llama_cpp_build=%s" % self._from[0]["replaces"]
        return "playbooks/deploy.yml" + ("" if self.rotates else " with the configuration from before")

    def _failures(self, phase: str) -> t.List[str]:
        return [machine.failures[phase] for machine in self.machines if machine.failures.get(phase)]

    @property
    def failed(self) -> bool:
        return any(FORWARD in machine.failures for machine in self.machines)

    @property
    def reason(self) -> str:
        """Why it failed: the first machine's word, because the others' troubles mostly follow from it. Empty where it did not."""
        if not self.failed:
            return ""
        lost = "%s could not be reached, also when tried again." % " and ".join(self.lost) if self.lost else "no reason was given"
        return next(iter(self._failures(FORWARD)), lost)

    @property
    def returns(self) -> bool:
        """Whether it failed and something was changed that can be put back."""
        return self.failed and self.known and not self.check and (self.needed or any(machine.differs for machine in self.machines))

    @property
    def back_failed(self) -> bool:
        return bool(self._failures(BACK))

    @property
    def is_back(self) -> bool:
        return self.answers_again and not self.back_failed

    @property
    def rejected(self) -> str:
        """What a switch that failed and has gone back ends with."""
        left = [machine.name for machine in self.machines if machine.target and not machine.restored and BACK not in machine.failures]
        one = len(left) == 1
        said = [("The" + self.new[3:] if self.new.startswith("the ") else self.new) + " was rejected: %s." % _without_dot(self.reason)]
        if self.is_back:
            said.append("The cluster is back on %s, which answers again." % self.old)
        elif self.back_failed:
            said.append("Going back to %s failed too: %s." % (self.old, _without_dot(self._failures(BACK)[0])))
        else:
            said.append("Whether the cluster is back on %s is not known." % self.old)
        if left:
            said.append("%s could not be reached and may be stopped or still have %s. Once %s there again, run %s." % (
                " and ".join(left), self.new, "it is" if one else "they are", self.remedy))
        elif not self.is_back:
            said.append("Put that right and run %s." % self.remedy)
        return " ".join(said)


def is_known(machines: t.Iterable[Machine], recorded: t.Collection[str], leaving: t.Collection[str]) -> bool:
    """Whether what served before can be put back. ``recorded``: the machines that the record names, none where there is no record. ``leaving``:
    those that have just been taken out of the cluster."""
    return bool(recorded) and not leaving and set(recorded) <= {machine.name for machine in machines}
