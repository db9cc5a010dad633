# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that stand beside a model: which they are, where their headers can be read, and whose a problem is."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found, Problem
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import url_shards
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.wanted import hub_url

# An entry of gguf_model_beside, and what was noted of it.
Entry = t.Mapping[str, t.Any]

_WORDS = {"draft": "the draft model", "mmproj": "the projector", "lora": "the adapter"}
# Where the file is named by a pattern, only the hub knows it.
_PATTERN = re.compile(r"[*?[]")
# The variables that would name the model's own file instead of an entry's.
_NAMING = {"source": "path", "path": "", "url": "", "huggingface_file": ""}


def twice_problems(entries: t.Iterable[Entry]) -> Found:
    """Where there is more than one of what there can only be one of."""
    singles = [entry["for"] for entry in entries if entry["for"] in ("draft", "mmproj")]
    if len(singles) > len(set(singles)):
        yield "gguf_model_beside has two entries for draft or for mmproj", "leave one"


def entry_problems(machine: str, entry: Entry, given: t.Mapping[str, str], problems: t.Iterable[Problem]) -> t.List[Problem]:
    """The problems of one entry's file, said as its own.

    ``given`` are the role's variables that name a file, as the role saw them for this entry: on the command line the model's own hide them.
    """
    found = list(problems)
    if any(given[name] != entry.get(name, otherwise) for name, otherwise in _NAMING.items()):
        found.insert(0, {"machine": machine, "problem": "the model's own variables hide those of gguf_model_beside",
                         "remedy": "Set the variables that name the model in the inventory instead of on the command line"})
    return [{**problem, "problem": "%s: %s" % (_WORDS[entry["for"]], problem["problem"])} for problem in found]


def files_by_use(noted: t.Iterable[Entry]) -> t.Dict[str, t.Any]:
    """The paths by what they are for (the fact gguf_model_beside_files): any number of adapters, with their scales, and one of each other."""
    found: t.Dict[str, t.Any] = {"lora": []}
    for one in noted:
        if one["file"] and one["for"] == "lora":
            found["lora"].append({"path": one["file"], "scale": one["scale"]})
        elif one["file"]:
            found[one["for"]] = one["file"]
    return found


def header_place(entry: Entry, endpoint: str) -> t.Dict[str, str]:
    """Where an entry's header can be read without the machine: a ``path`` on the control node or a ``url``, or neither."""
    source = entry.get("source", "path")
    if source == "path":
        return {"path": str(entry["path"]) if entry.get("path_on", "machine") == "control" else "", "url": ""}
    url = ""
    if source == "url":
        url = url_shards(str(entry["url"]))[0]
    elif source == "huggingface" and not _PATTERN.search(str(entry["huggingface_file"])):
        url = hub_url(endpoint, str(entry["huggingface_repo"]), str(entry.get("huggingface_revision", "main")), str(entry["huggingface_file"]))
    return {"path": "", "url": url}


def headers_from_here(entries: t.Sequence[Entry], results: t.Iterable[t.Mapping[str, t.Any]], directory: str) -> t.Dict[str, t.Any]:
    """What gguf_info read of each entry: the facts ``headers`` and ``files``, and in words what is ``unread``. ``item`` of a result is its number."""
    headers, unread = [], []
    for result in results:
        entry = entries[result["item"]]
        if "gguf" in result:
            file = os.path.join(directory, str(entry.get("name") or os.path.basename(result["gguf"]["path"])))
            headers.append({"for": entry["for"], "file": file, "header": result["gguf"], "scale": entry.get("scale", 1.0)})
        else:
            unread.append(_WORDS[entry["for"]])
    return {"headers": headers, "files": files_by_use(headers), "unread": unread}
