# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of verified models.

Beside the models, in .stamps/, is one small file for each, saying where it came from and what its files looked like when they
were verified. As long as they look the same, nothing is read, hashed or fetched again. New files come to .incoming/, are
verified there, and are moved only when all is well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.checksum import file_sha256
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import write_whole
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model

STAMPS = ".stamps"
INCOMING = ".incoming"


class StoreError(Exception):
    """A model cannot be accepted. One sentence without the final full stop."""


def source_id(source: t.Mapping[str, t.Any]) -> str:
    """A short name for where a model comes from, the same for the same source."""
    text = json.dumps(source, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def free_bytes(directory: str) -> int:
    """What a user may still write there, or where it would be made."""
    while not os.path.isdir(directory):
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize


def tree_bytes(directory: str) -> int:
    """The sizes of all files below a directory that may not be there."""
    return sum(
        os.lstat(os.path.join(place, name)).st_size for place, folders, names in os.walk(directory) for name in names
    )


def verify(paths: t.Sequence[str], sha256: t.Mapping[str, str]) -> t.Dict[str, str]:
    """Looks at a model's files, the first part first; returns the checksums that were compared, by base name."""
    try:
        model = read_gguf_model(paths[0])
    except GgufError as exc:
        raise StoreError(str(exc)) from exc
    problem = model.incomplete_problem()
    if problem:
        raise StoreError(problem)
    found = [os.path.basename(item.label) for item in model.files]
    given = [os.path.basename(path) for path in paths]
    if found != given:
        raise StoreError("%s is a model in %d files (%s)" % (paths[0], len(found), ", ".join(found)))
    compared = {}
    for path in paths:
        name = os.path.basename(path)
        wanted = sha256.get(name, "").lower()
        if wanted:
            compared[name] = file_sha256(path)
            if compared[name] != wanted:
                raise StoreError("%s has the SHA-256 %s instead of %s" % (path, compared[name], wanted))
    return compared


def _looks(path: str) -> t.Dict[str, t.Any]:
    state = os.stat(path)
    # As text: a JSON reader may keep no more than 53 bits of a number.
    return {"path": path, "size_bytes": state.st_size, "mtime_ns": str(state.st_mtime_ns)}


class Store:
    """The models of one directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def stamp_path(self, source: t.Mapping[str, t.Any]) -> str:
        return os.path.join(self.directory, STAMPS, source_id(source) + ".json")

    def incoming(self, source: t.Mapping[str, t.Any]) -> str:
        """Where new files of that source are put together."""
        return os.path.join(self.directory, INCOMING, source_id(source))

    def _read_stamp(self, path: str) -> t.Dict[str, t.Any]:
        try:
            with open(path, encoding="utf-8") as file:
                stamp = json.load(file)
        except (OSError, ValueError):
            return {}
        if not isinstance(stamp, dict) or not isinstance(stamp.get("files"), list):
            return {}
        return stamp

    def find(self, source: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
        """The verified files of that source, none where there are none or where one has changed since."""
        stamp = self._read_stamp(self.stamp_path(source))
        for entry in stamp.get("files", []):
            try:
                seen = _looks(entry["path"])
            except (OSError, KeyError, TypeError):
                return []
            if any(entry.get(key) != value for key, value in seen.items()):
                return []
        return list(stamp.get("files", []))

    def recheck(self, source: t.Mapping[str, t.Any], everything: bool = False) -> t.Tuple[bool, t.List[str]]:
        """Reads the files again that look other than when they were verified, or all of them.

        One with the SHA-256 that is known of it counts as verified now. Otherwise the model is no longer known, and a sentence
        for each such file says why. Returns also whether what is remembered has changed.
        """
        path = self.stamp_path(source)
        files = self._read_stamp(path).get("files", [])
        problems, changed = [], False
        for entry in files:
            try:
                seen = _looks(entry["path"])
                same = all(entry.get(key) == value for key, value in seen.items())
                if same and not (everything and entry.get("sha256")):
                    continue
                changed = changed or not same
                if not entry.get("sha256"):
                    problems.append("%s was changed since it was verified, and its SHA-256 is not known" % entry["path"])
                    continue
                found = file_sha256(entry["path"])
            except (KeyError, TypeError):
                # A damaged stamp, which is none.
                return False, []
            except OSError as exc:
                problems.append("%s cannot be read: %s" % (entry["path"], exc.strerror))
                continue
            if found != entry["sha256"]:
                problems.append("%s has the SHA-256 %s instead of %s" % (entry["path"], found, entry["sha256"]))
        if problems:
            os.unlink(path)
        elif changed:
            self._write_stamp(source, [entry["path"] for entry in files], {os.path.basename(entry["path"]): entry["sha256"] for entry in files})
        return changed or bool(problems), problems

    def _write_stamp(self, source: t.Mapping[str, t.Any], paths: t.Sequence[str], sha256: t.Mapping[str, str]) -> t.List[t.Dict[str, t.Any]]:
        files = [dict(_looks(path), sha256=sha256.get(os.path.basename(path), "")) for path in paths]
        path = self.stamp_path(source)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_whole(path, (json.dumps({"source": source, "files": files}, indent=2, sort_keys=True) + "\n").encode(), mode=0o666)
        return files

    def adopt(self, source: t.Mapping[str, t.Any], paths: t.Sequence[str], sha256: t.Mapping[str, str]) -> t.List[t.Dict[str, t.Any]]:
        """Takes files that lie where they belong, if they are what is wanted."""
        return self._write_stamp(source, paths, verify(paths, sha256))

    def accept(self, source: t.Mapping[str, t.Any], paths: t.Sequence[str], sha256: t.Mapping[str, str],
               prepare: t.Callable[[str], None]) -> t.List[t.Dict[str, t.Any]]:
        """Moves new files to their place. Those that are not what is wanted are removed, and what was there before stays."""
        for path in paths:
            if not os.path.isfile(path):
                # What is there of the others may have taken hours to come.
                raise StoreError("%s was not brought there" % path)
        try:
            compared = verify(paths, sha256)
        except StoreError:
            shutil.rmtree(self.incoming(source), ignore_errors=True)
            raise
        for path in paths:
            prepare(path)
            # After a power cut a file must not have its name, size and stamp but not its content.
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        # Also where nobody asked for one: by it the file is known again when it was changed or copied.
        sums = {name: compared.get(name) or file_sha256(path) for path in paths for name in [os.path.basename(path)]}
        places = [os.path.join(self.directory, os.path.basename(path)) for path in paths]
        # The first part last: it is the one that is loaded, and it then finds the others.
        for path, place in reversed(list(zip(paths, places))):
            os.replace(path, place)
        files = self._write_stamp(source, places, sums)
        shutil.rmtree(self.incoming(source), ignore_errors=True)
        try:
            os.rmdir(os.path.join(self.directory, INCOMING))
        except OSError:
            # Another source's download is in there.
            pass
        return files

    def remove(self, keep_changed: bool = True, dry: bool = False) -> t.Tuple[t.List[str], t.List[str]]:
        """Removes all that the stamps name inside the directory; returns what went and what was kept because it changed."""
        removed, kept = [], []
        stamps = os.path.join(self.directory, STAMPS)
        for name in sorted(os.listdir(stamps)) if os.path.isdir(stamps) else []:
            for entry in self._read_stamp(os.path.join(stamps, name)).get("files", []):
                path = entry.get("path", "") if isinstance(entry, dict) else ""
                # One who only had a file verified where it was keeps it.
                if os.path.dirname(path) != self.directory or not re.fullmatch(r"[^/]+", os.path.basename(path)):
                    continue
                if not os.path.lexists(path) or path in removed or path in kept:
                    continue
                looks = _looks(path) if os.path.exists(path) else {}
                if keep_changed and any(entry.get(key) != value for key, value in looks.items()):
                    kept.append(path)
                    continue
                removed.append(path)
                if not dry:
                    os.unlink(path)
        for name in (STAMPS, INCOMING):
            path = os.path.join(self.directory, name)
            if os.path.isdir(path):
                removed.append(path)
                if not dry:
                    shutil.rmtree(path)
        return removed, kept
