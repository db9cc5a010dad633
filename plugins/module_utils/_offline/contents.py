# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle is made of: the model and what stands beside it, files of the control node's cache, packages of each release."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found

# What gguf_model has collected: source and files, and the same again for each file beside the model. Empty where there was nothing to bring.
Collected = t.Mapping[str, t.Any]

_CACHED = {"sources": "source of llama.cpp", "builds": "finished build", "wheels": "Python packages"}
# apt_closure's list of what it has fetched.
_INDEX = "Packages"


def _all_of(model: Collected) -> t.List[Collected]:
    return [model, *model.get("beside", [])]


def _together(found: t.Sequence[t.Dict[str, t.Any]]) -> t.Dict[str, t.Any]:
    """The first with the others beside it."""
    return {**found[0], "beside": list(found[1:])} if found[1:] else found[0]


def carried_model(collected: Collected) -> t.Dict[str, t.Any]:
    """A collected model as the manifest names it: its files by where they lie in the bundle."""
    return _together([
        {**one, "files": [{"file": "models/" + os.path.basename(file["path"]), "size_bytes": file["size_bytes"], "sha256": file["sha256"]}
                          for file in one["files"]]} if one.get("files") else {}
        for one in _all_of(collected)
    ])


def fetched_model(model: Collected, directory: str) -> t.Dict[str, t.Any]:
    """The same as the role gguf_model takes it (gguf_model_fetched): its files by their paths on the control node."""
    return _together([
        {"source": one["source"], "files": [{**file, "path": os.path.join(directory, file["file"])} for file in one["files"]]} if one.get("files") else {}
        for one in _all_of(model)
    ])


def bundle_files(cached: t.Iterable[str], model: Collected, closures: t.Iterable[t.Mapping[str, t.Any]]) -> t.List[t.Dict[str, str]]:
    """Every file of the bundle and what it is: of the cache by its path there, the model's, and of each result of apt_closure the packages."""
    files = [{"what": _CACHED[path.split("/", 1)[0]], "file": "cache/" + path} for path in cached]
    names = dict.fromkeys(str(file["file"]) for one in _all_of(model) for file in one.get("files", []))
    files += [{"what": "model", "file": name} for name in names]
    for closure in closures:
        for name in [*closure["files"], _INDEX]:
            files.append({"what": "list of packages" if name == _INDEX else "package", "file": "packages/%s/%s" % (closure["item"]["key"], name)})
    return files


def release_problems(release: str, packages: t.Collection[str]) -> Found:
    """Where a machine runs what the bundle has no packages for; ``packages`` are the releases that it has."""
    if release not in packages:
        yield ("the bundle has no packages for %s, which it runs" % release,
               "Make the bundle again with this machine in the inventory, or with its release in bundle_releases")
