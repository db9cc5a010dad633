# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Picks the one model a name or pattern means out of a list of files, all parts of it where it is split."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import missing_shards_problem, shard_names


class SelectError(ValueError):
    """The pattern does not mean exactly one whole model. One sentence without the final full stop."""


def _listed(names: t.Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:5]))
    return shown if len(names) <= 5 else "%s and %d more" % (shown, len(names) - 5)


# A file cut for a hub's limit of size, m.gguf.part1of2 or m.gguf.part-aa: bytes, not the parts that llama.cpp knows.
_RAW_PART = re.compile(r"(\.gguf)[.-](?:part|split)[-_.]?\w+$", re.IGNORECASE)


def _matches(name: str, pattern: str) -> bool:
    """Whether a name, whole or without its folder or what it was cut into, is meant by the pattern."""
    plain = _RAW_PART.sub(r"\1", name)
    return any(fnmatch.fnmatchcase(form, pattern) for form in (name, plain, name.rpartition("/")[2], plain.rpartition("/")[2]))


def url_shards(url: str) -> t.List[str]:
    """The addresses of all parts of the model a URL (or path) is part of; a query stays as it is."""
    path, mark, query = url.partition("?")
    return [name + mark + query for name in shard_names(path)]


def select_model(names: t.Iterable[str], pattern: str, place: str) -> t.List[str]:
    """The files of the model that the pattern means, in the order of its parts.

    The pattern is a file's whole name or has the wildcards of a shell; it may also be the bare name of a file that lies in a
    folder. It must mean one model: guessing between two would deploy another one on another day.
    """
    names = list(names)
    present = {name for name in names if name.lower().endswith(".gguf")}
    raw = sorted(name for name in names if _RAW_PART.search(name) and _matches(name, pattern))
    if not present and not raw:
        raise SelectError("%s has no .gguf file" % place)
    if pattern in present:
        matching = [pattern]
    else:
        matching = sorted(name for name in present if fnmatch.fnmatchcase(name, pattern))
        if not matching:
            matching = sorted(name for name in present if fnmatch.fnmatchcase(name.rpartition("/")[2], pattern))
    if not matching:
        # A part of a set that lacks just this part is better told as such.
        wanted = shard_names(pattern)
        if len(wanted) > 1 and any(name in present for name in wanted):
            matching = [name for name in wanted if name in present]
    if not matching and raw:
        whole = _RAW_PART.sub(r"\1", raw[0])
        raise SelectError("%s has '%s' only as raw parts that are no GGUF files of their own (%s); join them in order, as with cat %s.part* > %s, and give"
                          " the path of that file" % (place, pattern, _listed(raw), whole, whole))
    if not matching:
        alike = sorted(name for name in present if _matches(name.lower(), pattern.lower()))
        hint = "; upper and lower case count: did you mean %s?" % _listed(alike) if alike else "; it has %s" % _listed(sorted(present))
        raise SelectError("%s has no file '%s'%s" % (place, pattern, hint))
    models = []
    for name in matching:
        parts = shard_names(name)
        if parts not in models:
            models.append(parts)
    if len(models) > 1:
        raise SelectError("'%s' means %d models of %s: %s" % (pattern, len(models), place, _listed([parts[0] for parts in models])))
    problem = missing_shards_problem(models[0], present)
    if problem:
        raise SelectError("in %s, %s" % (place, problem))
    return models[0]


def leads_out(name: str) -> bool:
    """Whether a relative name may lead out of the directory that it is meant to be in."""
    return any(part in ("", ".", "..") for part in name.split("/"))


def hub_files(description: t.Mapping[str, t.Any], pattern: str, place: str) -> t.List[t.Dict[str, t.Any]]:
    """Name, size and checksum of a model's files, from what the hub's API says of a repository (with blobs=true)."""
    listed = description.get("siblings")
    siblings: t.Dict[str, t.Mapping[str, t.Any]] = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, t.Mapping) and isinstance(entry.get("rfilename"), str):
            siblings[entry["rfilename"]] = entry
    files = []
    for name in select_model(siblings, pattern, place):
        if leads_out(name) or "\\" in name or name != printable(name, None):
            raise SelectError("%s has a file whose name is not safe (%s)" % (place, printable(name)))
        large = siblings[name].get("lfs")
        large = large if isinstance(large, t.Mapping) else {}
        size = siblings[name].get("size", large.get("size"))
        files.append(
            {
                "name": name,
                "size_bytes": size if isinstance(size, int) and size > 0 else 0,
                # Only large files have a SHA-256 there; a small one's blobId is git's own.
                "sha256": large["sha256"].lower() if re.fullmatch("[0-9A-Fa-f]{64}", str(large.get("sha256"))) else "",
            }
        )
    return files
