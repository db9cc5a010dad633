# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there whole or not at all, and directories that everyone may look into."""

from __future__ import annotations

import os


def make_public(directory: str) -> None:
    """Make a directory, and those above it that are missing, with the mode 0755 whatever the umask is. One that is there stays as it is."""
    directory = directory.rstrip("/")
    if directory and not os.path.isdir(directory):
        make_public(os.path.dirname(directory))
        try:
            os.mkdir(directory)
        except FileExistsError:
            # somebody else's, made at this moment
            if not os.path.isdir(directory):
                raise
        else:
            os.chmod(directory, 0o755)


def write_whole(path: str, content: bytes, mode: int = 0o600) -> None:
    """Put a file in its place in one step, so that neither a reader nor a power cut meets half of one.

    It is made with ``mode``, less the umask, under a hidden name beside it that no other file has. What lies there already is replaced, and never
    followed.
    """
    new = os.path.join(os.path.dirname(path), ".%s.new" % os.path.basename(path))
    if os.path.lexists(new):
        os.unlink(new)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, path)
    except OSError:
        if os.path.lexists(new):
            os.unlink(new)
        raise
