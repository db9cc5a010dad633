# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep an rpc-server's tensor cache fit to be used: whole files, not too old, not too many.

rpc-server names a file by the FNV-1a-64 of the tensor in it, writes it in place, and never looks whether the name is still true
(ggml/src/ggml-rpc/ggml-rpc.cpp of llama.cpp 0.5.0): one that was cut short is used, and the answers are garbage. So this runs before
rpc-server starts. It needs nothing but Python's standard library, and says what it removes on standard output. A file that was found
whole is not read again until its size or one of its times changes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import json
import os
import re
import sys
import time
import typing as t
from pathlib import Path

OFFSET = 0xCBF29CE484222325
PRIME = 0x100000001B3
NAME = re.compile(r"[0-9a-f]{16}\Z")
CHUNK = 1 << 22

Step = t.Callable[[bytes, int], int]


def step_in_python(data: bytes, value: int) -> int:
    """FNV-1a-64 of data, going on from value. About 10 MB/s."""
    for byte in data:
        value = ((value ^ byte) * PRIME) & 0xFFFFFFFFFFFFFFFF
    return value


def fastest_step(libraries: t.Sequence[str] = ("libstdc++.so.6",)) -> Step:
    """The same by std::_Fnv_hash_bytes of the C++ library, 30 times as fast, where it computes the same.

    It does where C's char is unsigned, as on ARM, and not on x86.
    """
    for library in libraries:
        try:
            function = ctypes.CDLL(library)["_ZSt15_Fnv_hash_bytesPKvmm"]
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_size_t
        function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]

        def step(data: bytes, value: int, function: t.Any = function) -> int:
            return int(function(data, len(data), value))

        if all(step(text, OFFSET) == step_in_python(text, OFFSET) for text in (b"foobar", bytes(range(256)))):
            return step
    return step_in_python


def digest(path: Path, step: Step) -> str:
    """The name that a file's content should have."""
    value = OFFSET
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            value = step(chunk, value)
    return "%016x" % value


def name_of(path: str) -> str:
    """What a file should be called, for a process of its own."""
    return digest(Path(path), fastest_step())


def names_of(paths: t.Sequence[str]) -> t.List[str]:
    """The same for many, on all processors: a cache has the size of a model."""
    workers = min(len(paths), len(os.sched_getaffinity(0)))
    if workers > 1:
        try:
            with concurrent.futures.ProcessPoolExecutor(workers) as pool:
                return list(pool.map(name_of, paths))
        except (OSError, PermissionError):
            pass  # a sandbox without semaphores
    return [name_of(path) for path in paths]


def mark(stat: os.stat_result) -> t.List[int]:
    """What changes with every write to a file."""
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def read_marks(path: Path) -> t.Dict[str, t.List[int]]:
    """The marks of the files that were found whole; none where they cannot be read."""
    try:
        marks = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return marks if isinstance(marks, dict) else {}


def tidy(directory: Path, max_bytes: int, max_age_s: float, marks: t.Dict[str, t.List[int]], now: float) -> t.Tuple[t.List[str], int, int]:
    """Remove what must not stay. Returns a sentence for each removed file, and how many files and bytes stay.

    The last use counts as a file's age, as far as the file system notes it; the longest unused go first.
    """
    said: t.List[str] = []
    kept: t.List[t.Tuple[float, int, Path]] = []
    files = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        stat = path.stat()
        used = max(stat.st_mtime, stat.st_atime)
        if not NAME.match(path.name):
            why = "its name is not one that rpc-server gives"
        elif max_age_s and now - used > max_age_s:
            why = "it was not used for %d days" % ((now - used) // 86400)
        else:
            files.append((used, path, stat))
            continue
        path.unlink()
        said.append("removed %s: %s" % (path, why))
    unknown = [str(path) for _used, path, stat in files if marks.get(path.name) != mark(stat)]
    names = dict(zip(unknown, names_of(unknown)))
    marks.clear()
    for used, path, stat in files:
        if names.get(str(path), path.name) != path.name:
            path.unlink()
            said.append("removed %s: it is damaged: its %d bytes are not those it was named by" % (path, stat.st_size))
        else:
            kept.append((used, stat.st_size, path))
            marks[path.name] = mark(stat)
    total = sum(size for _used, size, _path in kept)
    for used, size, path in sorted(kept):
        if not max_bytes or total <= max_bytes:
            break
        path.unlink()
        total -= size
        kept.remove((used, size, path))
        said.append("removed %s: the cache is larger than %d MiB, and it was not used for longest" % (path, max_bytes >> 20))
    return said, len(kept), total


def main(arguments: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--max-mib", type=int, default=0, help="0 is no limit")
    parser.add_argument("--max-age-days", type=float, default=0, help="0 is no limit")
    parser.add_argument("--all", action="store_true", help="read the files too that were found whole before")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    # Beside the directory: in it, rpc-server expects nothing but its own.
    marks_file = options.directory.parent / "checked.json"
    marks = {} if options.all else read_marks(marks_file)
    said, files, size = tidy(options.directory, options.max_mib << 20, options.max_age_days * 86400, marks, time.time())
    try:
        marks_file.write_text(json.dumps(marks), encoding="ascii")
    except OSError as error:
        print("tensor cache: what was checked cannot be noted: %s" % error)
    for sentence in said:
        print("tensor cache: " + sentence)
    print("tensor cache: %d files with %d MiB are whole (%.1f s)" % (files, size >> 20, time.monotonic() - begin), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
