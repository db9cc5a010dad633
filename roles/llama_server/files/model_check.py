# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let llama-server start only with the model that was deployed.

llama.cpp reads a GGUF file's header with care and never looks whether the weights are what they were: from a file that was
overwritten in part it answers garbage with HTTP 200. So this runs before it starts. A file with the size and the time of last
change that it had when it was verified is believed, which takes no time whatever its size; any other is read in full, once, and
counts when it has the SHA-256 that is known of it. What was refused is said on standard output, and in a file for the watchdog.
It needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import typing as t
from pathlib import Path

CHUNK = 1 << 22


def look(path: str) -> t.List[t.Any]:
    """What changes when a file is written to. Nanoseconds as text: a JSON reader may keep no more than 53 bits of a number."""
    stat = os.stat(path)
    return [stat.st_size, str(stat.st_mtime_ns)]


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path, otherwise: t.Any) -> t.Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise


def problem_of(file: t.Mapping[str, t.Any], read: t.Dict[str, t.Any]) -> str:
    """Why this file is not the one that was deployed; empty when it is. Notes in ``read`` what was found by reading it."""
    path = file["path"]
    try:
        seen = look(path)
        if seen == [file["size_bytes"], file["mtime_ns"]]:
            return ""
        if seen[0] != file["size_bytes"]:
            return "it has %d bytes instead of %d" % (seen[0], file["size_bytes"])
        if not file["sha256"]:
            return "it was changed since it was deployed, and its SHA-256 is not known"
        # One that was refused is not read again at every attempt to start.
        known = read.get(path)
        if not isinstance(known, dict) or known.get("look") != seen:
            print("model: %s was changed since it was verified; reading it" % path, flush=True)
            known = read[path] = {"look": seen, "sha256": sha256(path)}
    except OSError as error:
        return "it cannot be read: %s" % error.strerror
    return "" if known["sha256"] == file["sha256"] else "it has the SHA-256 %s instead of %s" % (known["sha256"], file["sha256"])


def looks(files: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[t.Dict[str, t.Any]]:
    """How the files are as llama-server is about to map them."""
    found = []
    for file in files:
        stat = os.stat(file["path"])
        found.append({"path": file["path"], "inode": stat.st_ino, "look": look(file["path"])})
    return found


def write(path: Path, content: t.Any, mode: int) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.chmod(mode)
    new.replace(path)


def main(arguments: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, help="JSON, the model's files: path, size_bytes, mtime_ns, sha256")
    parser.add_argument("read", type=Path, help="where to note what was found by reading a file")
    parser.add_argument("said", type=Path, help="where to say what came of it, for everybody to read")
    options = parser.parse_args(arguments)
    files = json.loads(options.files.read_text(encoding="utf-8"))
    before = read_json(options.read, {})
    read = dict(before)
    problems = [(file["path"], problem) for file in files for problem in [problem_of(file, read)] if problem]
    if read != before:
        write(options.read, read, 0o600)
    refused = "; ".join("%s is not the model that was deployed: %s" % one for one in problems)
    if refused:
        refused += ". Put the file back, or let deploy.yml do it"
    write(options.said, {"refused": refused, "files": [] if refused else looks(files)}, 0o644)
    if refused:
        print("model: refused: %s." % refused, flush=True)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
