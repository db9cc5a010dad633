# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a service come up on this machine, and saying in one sentence why it did not.

The commands run through a callable with the signature of AnsibleModule.run_command, so that tests can put recorded output in
their place.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SS_ARGUMENTS, TcpSocket, held_by, parse_ss
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import (
    JOURNALCTL,
    SHOW_PROPERTIES,
    JournalRun,
    UnitState,
    parse_journal,
    parse_show,
    read_unit_of_process,
)

RunCommand = t.Callable[[t.List[str]], t.Tuple[int, str, str]]

# A start that fails writes far less; a long-lived head that dies has its telling line near the end.
_JOURNAL_LINES = 2000


class ServiceError(RuntimeError):
    """The machine's own tools did not answer."""


class StartFailed(Exception):
    """A service did not come up. ``str()`` is the sentence for the user."""

    def __init__(self, message: str, failure: t.Optional[t.Dict[str, t.Any]] = None) -> None:
        super().__init__(message)
        self.failure = failure


class Machine:
    """This machine's units, sockets and journal."""

    def __init__(self, run: RunCommand) -> None:
        self._run = run

    def _output(self, command: t.List[str]) -> str:
        try:
            rc, out, err = self._run(command)
        except OSError as error:
            raise ServiceError("%s cannot be run: %s" % (command[0], error)) from error
        if rc != 0:
            raise ServiceError("%s failed: %s" % (command[0], err.strip() or "exit code %d" % rc))
        return out

    def units(self, names: t.Sequence[str]) -> t.Dict[str, UnitState]:
        out = self._output(
            ["systemctl", "--no-pager", "show", "--property=" + ",".join(SHOW_PROPERTIES), "--", *names]
        )
        return {state.unit: state for state in parse_show(out)}

    def unit(self, name: str) -> UnitState:
        return self.units([name]).get(name, UnitState(unit=name))

    def sockets(self) -> t.List[TcpSocket]:
        return parse_ss(self._output(["ss", *SS_ARGUMENTS]))

    def sockets_around(self, pid: int) -> t.List[TcpSocket]:
        """The sockets that a process sees, which may have a network of its own; none when it is gone."""
        try:
            return parse_ss(self._output(["nsenter", "--target=%d" % pid, "--net", "ss", *SS_ARGUMENTS]))
        except ServiceError:
            return []

    def runs(self, unit: str) -> t.List[JournalRun]:
        """What the unit's last starts wrote, the newest last; nothing where the journal cannot be read."""
        try:
            out = self._output([*JOURNALCTL, "--lines=%d" % _JOURNAL_LINES, "--unit=" + unit])
        except ServiceError:
            return []
        return parse_journal(out)


def holder(sockets: t.Iterable[TcpSocket], address: str, port: int, unit: str) -> str:
    """Who else listens where this unit wants to, as ``python3 (pid 7, squatter.service)``; empty when nobody does."""
    for socket in sockets:
        if not socket.stands_in_the_way_of(address, port):
            continue
        for process in socket.processes:
            other = read_unit_of_process(process.pid)
            if other != unit:
                return held_by(process, other, os.geteuid() == 0)
        if not socket.processes:
            return held_by(None, "", os.geteuid() == 0)
    return ""


def listens(sockets: t.Iterable[TcpSocket], address: str, port: int, pid: int) -> bool:
    """Whether this very process takes connections to the address and port."""
    return any(
        socket.takes_connections_to(address, port) and any(process.pid == pid for process in socket.processes)
        for socket in sockets
    )


def network_of(pid: int, proc: str = "/proc") -> int:
    """Which network namespace a process is in; 0 when it is gone."""
    try:
        return os.stat(os.path.join(proc, str(pid), "ns", "net")).st_ino
    except OSError:
        return 0


def telling_failure(
    runs: t.Sequence[JournalRun], parse: t.Callable[[str], t.Any]
) -> t.Optional[t.Dict[str, t.Any]]:
    """The failure that a log parser finds in the newest start that has one.

    The newest start of all may be one that has only just begun again.
    """
    for run in reversed(runs[-5:]):
        failure = parse(run.text).failure
        if failure is not None:
            return {key: getattr(failure, key) for key in ("kind", "line", "problem", "remedy")}
    return None


def last_words(runs: t.Sequence[JournalRun]) -> str:
    """The last line the service itself wrote, else the last that systemd wrote about it, for a failure that no parser knows."""
    for texts in ([run.text for run in runs], [run.about for run in runs]):
        for text in reversed(texts):
            for line in reversed(text.splitlines()):
                if line.strip():
                    return line.strip()
    return ""


def sentence(text: str) -> str:
    """The text ending in one full stop."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def explain(
    unit: str, what: str, failure: t.Optional[t.Dict[str, t.Any]], runs: t.Sequence[JournalRun]
) -> StartFailed:
    """The exception for a unit that did not come up: what was seen, why, what to do, and the line it rests on."""
    if failure is not None:
        parts = [sentence("%s %s: %s" % (unit, what, failure["problem"]))]
        if failure["remedy"]:
            parts.append(sentence(failure["remedy"]))
        if failure["line"]:
            parts.append("Its log says: %s" % failure["line"].strip())
    else:
        words = last_words(runs)
        parts = [
            sentence("%s %s" % (unit, what)),
            "See journalctl -u %s%s" % (unit, ", which ends with: " + words if words else ""),
        ]
    return StartFailed(" ".join(parts), failure)
