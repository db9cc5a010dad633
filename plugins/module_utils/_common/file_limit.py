# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bound on what is written, for this process and the programs it starts: who sends a file may send it without end."""

from __future__ import annotations

import contextlib
import os
import resource
import typing as t


def room(directory: str) -> int:
    """How many bytes may still be written there, with a gibibyte, or half of what there is, left over."""
    state = os.statvfs(directory)
    free = state.f_bavail * state.f_frsize
    return max(free - (1 << 30), free // 2)


@contextlib.contextmanager
def file_size_limit(max_bytes: int) -> t.Iterator[None]:
    """No file becomes larger than that (setrlimit(2), RLIMIT_FSIZE). Python says so as an OSError EFBIG; most programs are ended by SIGXFSZ."""
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wanted = max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def reached(directory: str, max_bytes: int, output: str) -> bool:
    """Whether a program that failed below the directory did so because of the limit."""
    if "File too large" in output:
        return True
    paths = (os.path.join(place, name) for place, _folders, names in os.walk(directory) for name in names)
    return any(os.lstat(path).st_size >= max_bytes for path in paths)
