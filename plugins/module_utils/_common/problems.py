# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong on which machine and what to do about it, as lines a person can read.

A problem is a mapping with the keys ``machine``, ``problem`` and (optionally) ``remedy``; other keys are
for programs and do not show.
"""

from __future__ import annotations

import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

# A list of devices or files may be long; what a machine or a server says without end is not.
_LONGEST = 4000
_KEYS = ("machine", "problem", "remedy")
# Programs with a name like a word that sentences begin with.
_PROGRAMS = ("ccache", "nvcc")

Problem = t.Dict[str, str]
# What is wrong and what to do about it, where all of it is one machine's.
Found = t.Iterator[t.Tuple[str, str]]
# Says what is in the way by settings and by what was seen, which are as their writer in YAML has put them together.
Judge = t.Callable[[t.Mapping[str, t.Any], t.Mapping[str, t.Any]], t.List[Problem]]


class ProblemError(ValueError):
    """The list of problems itself is malformed, or what it is to be made of. One sentence."""


def problems_of(machine: str, found: t.Iterable[t.Tuple[str, str]]) -> t.List[Problem]:
    """What was found wrong with one machine, as problems."""
    return [{"machine": machine, "problem": problem, "remedy": remedy} for problem, remedy in found]


def judged(judges: t.Mapping[str, Judge], called: str, of: str, given: t.Any, look: t.Any) -> t.List[Problem]:
    """What one of ``judges`` says of the settings ``given`` and of what was seen (``look``); ``called`` is who asks. Raises ProblemError."""
    if of not in judges:
        raise ProblemError("%s knows %s, not %s." % (called, ", ".join(judges), of))
    if not isinstance(given, t.Mapping) or not isinstance(look, t.Mapping):
        raise ProblemError("%s takes two mappings, the settings and what was seen." % called)
    try:
        return judges[of](given, look)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProblemError("%s cannot read what it was given of %s: %s." % (called, of, error)) from error


def _sentence(text: str) -> str:
    """One line that ends like a sentence, whatever white space the text came with."""
    line = " ".join(text.split())
    if line and line[-1] not in ".!?":
        line += "."
    return line


def capitalised(text: str) -> str:
    """With a capital first letter, unless it begins with something that is spelled as it is.

    A variable, a command line, a path or a program's name must not change: only a plain word does.
    """
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first.isalpha() and first.islower() and first not in _PROGRAMS else text


def _checked(position: int, entry: t.Any) -> t.Tuple[str, str, str]:
    if not isinstance(entry, t.Mapping):
        raise ProblemError(
            "problem %d is a %s, not a mapping with machine, problem and remedy" % (position, type(entry).__name__)
        )
    values = []
    for key in _KEYS:
        value = entry.get(key)
        text = "" if value is None else printable(str(value).strip(), _LONGEST).strip()
        if not text and key != "remedy":
            raise ProblemError("problem %d has no %s" % (position, key))
        values.append(text)
    return values[0], values[1], values[2]


def problem_lines(problems: t.Any) -> t.List[str]:
    """One line for each distinct problem, the machines in the order they first appear.

    The same problem is often seen from two sides (a role and the preflight, or two roles on one
    machine); it is said once.
    """
    if isinstance(problems, (str, bytes)) or not isinstance(problems, t.Iterable):
        raise ProblemError("expected a list of problems, got a %s" % type(problems).__name__)
    by_machine: t.Dict[str, t.List[str]] = {}
    for position, entry in enumerate(problems, start=1):
        machine, problem, remedy = _checked(position, entry)
        line = "%s: %s" % (machine, _sentence(problem))
        if remedy:
            line += " " + _sentence(capitalised(remedy))
        lines = by_machine.setdefault(machine, [])
        if line not in lines:
            lines.append(line)
    return [line for lines in by_machine.values() for line in lines]


def problem_text(problems: t.Any) -> str:
    """The lines of :func:`problem_lines` as one text, empty when there is no problem."""
    return "\n".join(problem_lines(problems))
