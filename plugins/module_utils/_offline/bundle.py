# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that carries all that a deployment needs, and what tells whether it arrived whole.

``bundle.json`` says what each file is. ``SHA256SUMS`` has the checksum of every one of them and of ``bundle.json`` itself, in
sha256sum's own form, so that a site without this collection can look at it, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.checksum import file_sha256
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import write_whole

MANIFEST = "bundle.json"
SUMS = "SHA256SUMS"
FORMAT = 1
_SUM = re.compile(r"[0-9a-f]{64}")
_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class BundleProblem(Exception):
    """The bundle cannot be made or used. One sentence without the final full stop."""


def _inside(name: t.Any) -> bool:
    """Whether a name stays below the bundle's directory."""
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/") and "\n" not in name


def make_manifest(directory: str, files: t.Sequence[t.Mapping[str, str]], about: t.Mapping[str, t.Any], made: str) -> t.Dict[str, t.Any]:
    """The manifest of the files that lie in the directory by now."""
    entries = []
    for item in sorted(files, key=lambda entry: entry["file"]):
        name = item["file"]
        if not _inside(name):
            raise BundleProblem("%s is not below the bundle's directory" % name)
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            raise BundleProblem("%s is not there" % path)
        entries.append({"what": item["what"], "file": name, "size_bytes": os.path.getsize(path), "sha256": file_sha256(path)})
    return {"format": FORMAT, "made": made, "about": dict(about), "files": entries}


def read_manifest(directory: str) -> t.Dict[str, t.Any]:
    """What the bundle says of itself, or nothing where that cannot be read."""
    try:
        with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def write_manifest(directory: str, manifest: t.Mapping[str, t.Any]) -> None:
    """Write the manifest and the sums; the sums last, because a bundle without them does not count."""
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    sums = ["%s  %s" % (item["sha256"], item["file"]) for item in manifest["files"]]
    sums.append("%s  %s" % (hashlib.sha256(text.encode()).hexdigest(), MANIFEST))
    for name, content in ((MANIFEST, text), (SUMS, "\n".join(sums) + "\n")):
        write_whole(os.path.join(directory, name), content.encode(), mode=0o666)


def _malformed(manifest: t.Any) -> str:
    """What is not as a manifest has it, or nothing. Whoever uses a bundle relies on it."""
    if not isinstance(manifest, dict):
        return "it is no object"
    if manifest.get("format") != FORMAT:
        # Another version's may be different.
        return ""
    files = manifest.get("files")
    if not isinstance(files, list):
        return "files is no list"
    for item in files:
        if not isinstance(item, dict) or not _inside(item.get("file")):
            return "an entry of files has no name below the bundle's directory"
        size = item.get("size_bytes")
        if not isinstance(item.get("what"), str) or not isinstance(size, int) or not _SUM.fullmatch(str(item.get("sha256"))):
            return "the entry of %s has no kind, size or SHA-256" % printable(item["file"], 200)
    about = manifest.get("about")
    if not isinstance(about, dict) or not isinstance(about.get("packages", {}), dict):
        return "about says no packages by their release"
    names = {item["file"] for item in files}
    model = about.get("model", {})
    beside = model.get("beside", []) if isinstance(model, dict) else None
    for one in [model] + (beside if isinstance(beside, list) else [None]):
        if not isinstance(one, dict):
            return "the model is no object"
        if not one:
            continue
        listed = one.get("files")
        if not isinstance(listed, list) or not isinstance(one.get("source"), dict):
            return "a model has no source and files"
        for item in listed:
            if not isinstance(item, dict) or item.get("file") not in names:
                return "a file of the model is not in files"
    return ""


def _read_sums(directory: str) -> t.Dict[str, str]:
    try:
        with open(os.path.join(directory, SUMS), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise BundleProblem("%s is no bundle, for it has no %s" % (directory, SUMS)) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BundleProblem("%s in %s cannot be read (%s)" % (SUMS, directory, exc)) from exc
    sums = {}
    for line in lines:
        match = _SUM_LINE.fullmatch(line)
        if not match:
            raise BundleProblem("%s in %s is damaged" % (SUMS, directory))
        sums[match.group(2)] = match.group(1)
    return sums


def _wrong_with(path: str, size_bytes: t.Optional[int], sha256: str) -> str:
    """What is wrong with one file, or nothing."""
    try:
        found = os.path.getsize(path)
        if size_bytes is not None and found != size_bytes:
            return "has %d bytes instead of %d" % (found, size_bytes)
        return "" if file_sha256(path) == sha256 else "is damaged (its SHA-256 is another)"
    except FileNotFoundError:
        return "is missing"
    except OSError as exc:
        return "cannot be read (%s)" % exc.strerror


def verify(directory: str) -> t.Dict[str, t.Any]:
    """The manifest of a bundle that is whole; raises with the names of all files that are not as they should be."""
    sums = _read_sums(directory)
    wrong = _wrong_with(os.path.join(directory, MANIFEST), None, sums.get(MANIFEST, ""))
    if wrong:
        raise BundleProblem("%s in %s %s" % (MANIFEST, directory, wrong))
    try:
        with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
            manifest: t.Dict[str, t.Any] = json.load(file)
        malformed = _malformed(manifest)
    except (OSError, ValueError, RecursionError) as exc:
        malformed = "it cannot be read as JSON (%s)" % printable(str(exc), 200)
    if malformed:
        raise BundleProblem("%s in %s is malformed: %s" % (MANIFEST, directory, malformed))
    if manifest.get("format") != FORMAT:
        raise BundleProblem("%s has the format %s, and this version reads format %d" % (directory, manifest.get("format"), FORMAT))
    problems = []
    for item in manifest["files"]:
        if not _inside(item["file"]) or sums.get(item["file"]) != item["sha256"]:
            raise BundleProblem("%s in %s does not have the SHA-256 that %s gives for %s" % (SUMS, directory, MANIFEST, item["file"]))
        wrong = _wrong_with(os.path.join(directory, item["file"]), item["size_bytes"], item["sha256"])
        if wrong:
            problems.append("%s %s" % (item["file"], wrong))
    if problems:
        raise BundleProblem("in %s, %s" % (directory, ", ".join(problems)))
    return manifest
