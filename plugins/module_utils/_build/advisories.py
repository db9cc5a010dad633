# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which published vulnerabilities a build of llama.cpp has.

llama.cpp numbers its builds by the commits of its main branch, so that "fixed in build N" is a comparison. The table itself is data
(``roles/llama_cpp/vars/advisories.yml``).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

_BUILD_NUMBER = re.compile(r"^b?([0-9]{1,7})$")
_ON = ("on", "1", "true", "yes", "y")


class AdvisoryError(ValueError):
    """The table, or what it is asked about, is malformed. The text is a part of a sentence."""


@dataclass(frozen=True)
class Advisory:
    """One vulnerability and the builds that have it."""

    id: str
    what: str
    components: t.FrozenSet[str]
    introduced_in: int
    fixed_in: int
    refuse: bool
    confirmed: bool
    build_option: str = ""
    sources: t.Tuple[str, ...] = ()
    also: t.Tuple[str, ...] = ()
    remark: str = ""

    def is_in(self, build_number: int) -> bool:
        """Whether the build with this number has it."""
        return self.introduced_in <= build_number < self.fixed_in

    def is_compiled_in(self, options: t.Mapping[str, t.Any]) -> bool:
        """Whether a build with these CMake options has the code at all."""
        return not self.build_option or str(options.get(self.build_option, "")).strip().lower() in _ON


@dataclass(frozen=True)
class Exposure:
    """What a build is exposed to. ``build_number`` is None where it is not known, and then nothing can be told."""

    build_number: t.Optional[int]
    advisories: t.Tuple[Advisory, ...] = field(default_factory=tuple)
    fixed_in: int = 0

    @property
    def refused(self) -> t.Tuple[Advisory, ...]:
        """Those for which a source is refused."""
        return tuple(advisory for advisory in self.advisories if advisory.refuse)


def parse_build_number(text: t.Any) -> t.Optional[int]:
    """The number in ``b11434``, ``11434`` or 11434; None where there is none. llama.cpp itself calls an unknown one 0."""
    match = _BUILD_NUMBER.match(str("" if text is None else text).strip())
    return int(match.group(1)) or None if match else None


def _text(entry: t.Mapping[str, t.Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise AdvisoryError("has no %s" % key)
    return value.strip()


def _number(entry: t.Mapping[str, t.Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AdvisoryError("has no build number in %s" % key)
    return value


def _flag(entry: t.Mapping[str, t.Any], key: str) -> bool:
    value = entry.get(key)
    if not isinstance(value, bool):
        raise AdvisoryError("does not say true or false in %s" % key)
    return value


def _strings(entry: t.Mapping[str, t.Any], key: str) -> t.Tuple[str, ...]:
    value = entry.get(key, [])
    if isinstance(value, (str, bytes)) or not isinstance(value, t.Sequence) or not all(isinstance(item, str) for item in value):
        raise AdvisoryError("has no list of words in %s" % key)
    return tuple(value)


def _advisory(entry: t.Mapping[str, t.Any]) -> Advisory:
    components = frozenset(_strings(entry, "components"))
    if not components or components - {"head", "worker"}:
        raise AdvisoryError("does not name head, worker or both in components")
    advisory = Advisory(
        id=_text(entry, "id"),
        what=_text(entry, "what"),
        components=components,
        introduced_in=_number(entry, "introduced_in"),
        fixed_in=_number(entry, "fixed_in"),
        refuse=_flag(entry, "refuse"),
        confirmed=_flag(entry, "confirmed"),
        build_option=str(entry.get("build_option") or ""),
        sources=_strings(entry, "sources"),
        also=_strings(entry, "also"),
        remark=str(entry.get("remark") or "").strip(),
    )
    if advisory.fixed_in <= advisory.introduced_in:
        raise AdvisoryError("is fixed before it is introduced")
    return advisory


def read_advisories(table: t.Any) -> t.List[Advisory]:
    """The table as objects; raises AdvisoryError with the entry that is wrong."""
    if isinstance(table, (str, bytes)) or not isinstance(table, t.Sequence):
        raise AdvisoryError("the table of advisories is a %s, not a list" % type(table).__name__)
    found = []
    for position, entry in enumerate(table, 1):
        if not isinstance(entry, t.Mapping):
            raise AdvisoryError("entry %d of the advisories is no mapping" % position)
        try:
            found.append(_advisory(entry))
        except AdvisoryError as error:
            raise AdvisoryError("entry %d of the advisories (%s) %s" % (position, entry.get("id", "without an id"), error)) from error
    return found


def exposure_of(
    build_number: t.Any,
    advisories: t.Iterable[Advisory],
    options: t.Optional[t.Mapping[str, t.Any]] = None,
    components: t.Collection[str] = ("head", "worker"),
) -> Exposure:
    """What a build with these CMake options is exposed to on a machine with these components, oldest fix first.

    ``fixed_in`` of the result is the next build without any that is refused, or without any at all where none of them is. A later
    build can have newer ones, so it is not simply where the last of these was fixed.
    """
    number = parse_build_number(build_number)
    if number is None:
        return Exposure(None)
    concerning = sorted(
        (advisory for advisory in advisories if advisory.is_compiled_in(options or {}) and advisory.components & set(components)),
        key=lambda advisory: (advisory.fixed_in, advisory.id),
    )
    found = [advisory for advisory in concerning if advisory.is_in(number)]
    only_refused = any(advisory.refuse for advisory in found)
    clean = number
    while True:
        fixes = [advisory.fixed_in for advisory in concerning if advisory.is_in(clean) and (advisory.refuse or not only_refused)]
        if not fixes:
            return Exposure(number, tuple(found), clean if found else 0)
        clean = max(fixes)


def summary(exposure: Exposure) -> str:
    """What is to be said of a build, as the end of a sentence, or nothing where there is nothing to say."""
    if exposure.build_number is None:
        return "its build number is not known, so nobody can tell which known vulnerabilities it has"
    if not exposure.advisories:
        return ""
    named = ("%s (fixed in build %d)" % (advisory.id, advisory.fixed_in) for advisory in exposure.advisories)
    return "build %d has known vulnerabilities: %s" % (exposure.build_number, ", ".join(named))
