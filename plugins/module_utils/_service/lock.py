# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who changes a cluster at the moment: a file on every machine that names one run of a playbook.

Whether that run still lives is known on the computer and in the space of process numbers where it was started: its process is looked for there.
One of another computer or container counts until it says that it has ended, somebody breaks the lock, or the machine is rebooted, because nothing
on the machine could tell a run that is dead from one that is compiling elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import typing as t
from dataclasses import dataclass

#: Gone with a reboot of the machine.
PATH = "/run/herd.llama_cpp.lock"


@dataclass(frozen=True)
class Run:
    """One run of a playbook: who started what, when (UTC), and the process, on the computer with this boot and this space of process numbers."""

    who: str
    what: str
    since: str
    computer: str
    process: int
    started: str

    def same_as(self, other: "Run") -> bool:
        return (self.computer, self.process, self.started) == (other.computer, other.process, other.started)


def run_of(value: t.Any) -> t.Optional[Run]:
    """A run from plain data, None where that is something else."""
    try:
        run = Run(**{one.name: value[one.name] for one in dataclasses.fields(Run)})
    except (KeyError, TypeError):
        return None
    return run if isinstance(run.process, int) and all(isinstance(getattr(run, name), str) for name in ("who", "what", "since", "computer")) else None


def start_of(process: int, proc: str = "/proc") -> str:
    """When a process was started, in ticks since boot (field 22 of proc_pid_stat(5)), empty where there is none: numbers are used again."""
    try:
        with open("%s/%d/stat" % (proc, process), encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def computer() -> str:
    """This boot of this computer, and the space of process numbers that is seen here."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as stream:
        return "%s %s" % (stream.read().strip(), os.readlink("/proc/self/ns/pid"))


def has_ended(run: Run, here: str) -> bool:
    """Whether it is certain that a run is over."""
    return run.computer == here and start_of(run.process) != run.started


@contextlib.contextmanager
def _opened(path: str) -> t.Iterator[t.TextIO]:
    """The file, for this process alone. One that was removed while it was waited for is made again."""
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(stream.fileno()).st_nlink:
                yield stream
                return


def _holder(stream: t.TextIO) -> t.Optional[Run]:
    try:
        return run_of(json.loads(stream.read() or "null"))
    except ValueError:
        return None


def take(path: str, own: Run, instead_of: t.Optional[Run] = None, force: bool = False) -> t.Optional[Run]:
    """Note that ``own`` changes the cluster, and return None; or the run that does already, unless that is ``instead_of``, which has ended."""
    with _opened(path) as stream:
        held = _holder(stream)
        if held is not None and not force and not held.same_as(own) and not (instead_of and held.same_as(instead_of)):
            return held
        stream.seek(0)
        stream.truncate()
        json.dump(dataclasses.asdict(own), stream)
        return None


def release(path: str, own: Run) -> bool:
    """Note that ``own`` is done; whether it had been noted. What another run has noted stays."""
    if not os.path.lexists(path):
        return False
    with _opened(path) as stream:
        held = _holder(stream)
        mine = held is not None and held.same_as(own)
        if mine or held is None:
            os.unlink(path)
        return mine


def refusal(machine: str, held: Run, here: str) -> str:
    """Why a second run stops, as one sentence or two."""
    if held.computer == here:
        return "%s: %s is changing this cluster with %s since %s, so nothing was changed. Wait until that run has ended (process %d on this computer)." % (
            machine, held.who, held.what, held.since, held.process)
    return (
        "%s: %s began to change this cluster with %s at %s and has not said that it has ended, so nothing was changed. If that run is still going on, "
        "wait for it. If it failed or was broken off, which cannot be seen from here, run this again with -e cluster_record_break_lock=true."
        % (machine, held.who, held.what, held.since)
    )
