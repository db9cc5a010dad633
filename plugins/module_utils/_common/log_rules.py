# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that say why a program failed, by what it printed.

What fails ends in a cascade of lines that only say that something before them failed. So rules come in groups: those that name a cause,
then those of last resort, which count where no line names one. Within a group the first text that a rule knows counts, and for it the
first rule: what is special stands before what is general.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import capitalised

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# A part of a sentence that falls away where the text has nothing for it.
_OPTIONAL = re.compile(r"\[([^][]+)\]")


def plain(line: str) -> str:
    """A line as it reads without colours, and without what is white at its end."""
    return _COLOUR.sub("", line).rstrip()


@dataclass(frozen=True)
class Failure:
    """Why something failed: the line that tells, what it means and what to do."""

    kind: str
    line: str
    problem: str
    remedy: str

    def message(self) -> str:
        """All of it on one line, for a module that fails."""
        sentences = [capitalised(self.problem).rstrip(".") + ".", self.remedy.rstrip(".") + "."]
        return " ".join(sentences + (["The log says: %s" % self.line] if self.line else []))


@dataclass(frozen=True)
class Story:
    """All that was said, for a rule that needs more than its own text."""

    texts: t.Sequence[str]
    # What sentences may name besides the groups of a pattern.
    words: t.Mapping[str, str] = field(default_factory=dict)
    # What a person calls a thing, by the name that the program has for it.
    label: t.Callable[[str], str] = str

    def anywhere(self, pattern: t.Union[str, "t.Pattern[str]"]) -> t.Optional["t.Match[str]"]:
        """The first match of all texts."""
        return next((match for match in (re.search(pattern, text) for text in self.texts) if match), None)


# Problem and remedy of a match.
Explain = t.Callable[["t.Match[str]", Story], t.Tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """What a text says that has the pattern, in which ``^`` and ``$`` are those of a line."""

    kind: str
    pattern: "t.Pattern[str]"
    explain: Explain
    # A program that runs has got over what it complained of before; these stay true all the same.
    outlives_start: bool = False
    # Also a failure when it happens to a program that runs already.
    when_running: bool = False
    # The text to quote where there is one; lines of one failure come in no sure order.
    telling: t.Optional["t.Pattern[str]"] = None
    # Where a text says this, another rule knows the cause.
    unless: t.Optional["t.Pattern[str]"] = None


def rule(
    kind: str,
    pattern: str,
    problem: t.Union[str, Explain],
    remedy: str = "",
    outlives_start: bool = False,
    when_running: bool = False,
    telling: str = "",
    unless: str = "",
) -> Rule:
    """A rule by its two sentences, or by a function that makes both.

    Sentences take the pattern's groups, as {0}, {1} ... or by name, and the words of the story; what stands in [brackets] falls away where
    none of the groups in it has matched anything.
    """

    def explain(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
        return _fill(str(problem), match, story.words), _fill(remedy, match, story.words)

    return Rule(
        kind,
        re.compile(pattern, re.MULTILINE),
        explain if isinstance(problem, str) else problem,
        outlives_start,
        when_running,
        re.compile(telling) if telling else None,
        re.compile(unless) if unless else None,
    )


def _fill(sentence: str, match: "t.Match[str]", words: t.Mapping[str, str]) -> str:
    groups = [group or "" for group in match.groups()]
    named = {name: group or "" for name, group in match.groupdict().items()}

    def part(optional: "t.Match[str]") -> str:
        without = optional[1].format(*[""] * len(groups), **{**words, **dict.fromkeys(named, "")})
        return optional[1] if optional[1].format(*groups, **words, **named) != without else ""

    return _OPTIONAL.sub(part, sentence).format(*groups, **words, **named).rstrip()


@dataclass(frozen=True)
class Finding:
    """What a rule found: its sentences, the match, and by their numbers the text that has it and the one to quote."""

    kind: str
    problem: str
    remedy: str
    match: "t.Match[str]"
    index: int
    telling: int


def find(story: Story, groups: t.Iterable[t.Sequence[Rule]], running_from: t.Optional[int] = None) -> t.Optional[Finding]:
    """The first cause by the first group that has one; ``running_from`` is the number of the text that says that the program runs."""
    for rules in groups:
        for begin, end, counting in _spans(rules, len(story.texts), running_from):
            for index in range(begin, end):
                for candidate in counting:
                    match = candidate.pattern.search(story.texts[index])
                    if match and not (candidate.unless and story.anywhere(candidate.unless)):
                        return _finding(candidate, match, story, index)
    return None


def _spans(rules: t.Sequence[Rule], length: int, running_from: t.Optional[int]) -> t.List[t.Tuple[int, int, t.Sequence[Rule]]]:
    """From where to where which rules count."""
    if running_from is None:
        return [(0, length, rules)]
    return [
        (0, running_from + 1, [item for item in rules if item.outlives_start]),
        (running_from + 1, length, [item for item in rules if item.when_running]),
    ]


def _finding(found: Rule, match: "t.Match[str]", story: Story, index: int) -> Finding:
    problem, remedy = found.explain(match, story)
    telling = index
    if found.telling is not None:
        telling = next((place for place, text in enumerate(story.texts) if found.telling.search(text)), index)
    return Finding(found.kind, problem, remedy, match, index, telling)
