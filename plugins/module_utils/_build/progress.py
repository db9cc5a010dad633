# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a build is, from what Ninja or Make printed so far, and when to say so.

Ninja numbers its steps (``[27/230]``) and prints one when it is done. Make prints percents (``[  8%]``), and a step when it begins.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

_NINJA = re.compile(r"^\[(\d{1,6})/(\d{1,6})\] (.*)$")
_MAKE = re.compile(r"^\[\s*(\d{1,3})%\] (.*)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OBJECT = re.compile(r"^Building \w+ object (?P<directory>\S*?)/?CMakeFiles/[^/\s]+\.dir/(?P<file>\S+?)\.o$")
_LINKING = re.compile(r"^Linking \w+ (?:static|shared|executable)?\s*(?:library |module )?(?P<file>\S+)$")


@dataclass(frozen=True)
class Progress:
    """Where a build is: done of total, in steps or (Make) in percent."""

    done: int
    total: int
    counts_steps: bool
    what: str = ""

    @property
    def percent(self) -> int:
        return min(self.done * 100 // self.total, 100) if self.total else 0


@dataclass(frozen=True)
class Sample:
    """A look at a build, and how many seconds after its start it was taken."""

    elapsed_s: float
    progress: t.Optional[Progress]


def current_file(step: str) -> str:
    """The file that a step is about, as a person would call it; the step itself where there is none."""
    match = _OBJECT.match(step)
    if match:
        return "/".join(part for part in (match.group("directory"), match.group("file")) if part)
    match = _LINKING.match(step)
    return "linking %s" % match.group("file") if match else step


def read_progress(log: str) -> t.Optional[Progress]:
    """The last step in a log, or None where there is none yet.

    Some steps of Ninja run CMake again or print an ``[N/M]`` of their own; the last line that has the form of a step wins, as it does on
    a terminal.
    """
    for line in reversed(log.splitlines()):
        line = _COLOUR.sub("", line).rstrip()
        ninja = _NINJA.match(line)
        if ninja and int(ninja.group(2)):
            done, total = int(ninja.group(1)), int(ninja.group(2))
            return Progress(min(done, total), total, True, current_file(ninja.group(3)))
        make = _MAKE.match(line)
        if make:
            return Progress(min(int(make.group(1)), 100), 100, False, current_file(make.group(2)))
    return None


def remaining_s(samples: t.Sequence[Sample]) -> t.Optional[float]:
    """How many seconds the rest takes at the pace of the second half of the time so far; None while that cannot be told.

    Not the pace since the start: what a compiler's cache answers goes by in no time and says nothing about the rest.
    """
    known = [sample for sample in samples if sample.progress is not None]
    if not known or known[-1].progress is None:
        return None
    last, now = known[-1], known[-1].progress
    if now.done >= now.total:
        return 0.0
    alike = [
        sample
        for sample in known[:-1]
        if sample.progress is not None
        and sample.progress.total == now.total
        and sample.progress.done < now.done
        and sample.elapsed_s < last.elapsed_s
    ]
    if not alike:
        return None
    # The latest look that is old enough, else the oldest there is.
    begin = next((sample for sample in reversed(alike) if sample.elapsed_s <= last.elapsed_s / 2), alike[0])
    if begin.progress is None:
        return None
    pace = (now.done - begin.progress.done) / (last.elapsed_s - begin.elapsed_s)
    return (now.total - now.done) / pace


def pause_s(reports: int, first_s: float = 15.0, most_s: float = 60.0) -> float:
    """How long to be silent after this many reports: three pauses of ``first_s``, then twice as long, then ``most_s``."""
    if reports < 4:
        return min(first_s, most_s)
    return float(min(first_s * 2 ** ((reports - 2) // 2), most_s))


def duration(seconds: float) -> str:
    """A duration as it is said."""
    whole = max(int(round(seconds)), 0)
    if whole < 60:
        return "%d s" % whole
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return "%d min %d s" % (minutes, rest) if rest else "%d min" % minutes
    if minutes < 60:
        return "%d min" % minutes
    hours, minutes = divmod(minutes, 60)
    return "%d h %d min" % (hours, minutes)


def report(machine: str, what: str, samples: t.Sequence[Sample]) -> str:
    """One line for the terminal about the last look."""
    sample = samples[-1]
    so_far = "%s so far" % duration(sample.elapsed_s)
    progress = sample.progress
    if progress is None:
        return "%s: building %s: no step done yet, %s" % (machine, what, so_far)
    parts = ["step %d of %d (%d %%)" % (progress.done, progress.total, progress.percent) if progress.counts_steps else "%d %%" % progress.percent]
    if progress.what:
        parts.append(progress.what)
    parts.append(so_far)
    rest = remaining_s(samples)
    if rest:
        parts.append("about %s left" % duration(rest))
    return "%s: building %s: %s" % (machine, what, ", ".join(parts))
