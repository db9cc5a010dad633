# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that this collection made and may therefore change and remove, told apart from everybody else's.

Environments and toolkits are not relocatable, so they cannot be made beside their place and moved there in one step. Instead a note
beside the directory says that it is being made; the marker in it is written last. What has neither is somebody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import write_whole

MARKER = ".herd.llama_cpp.json"

ABSENT, OURS, UNFINISHED, FOREIGN = "absent", "ours", "unfinished", "foreign"


class OwnedError(Exception):
    """The directory cannot be had. One sentence without the final full stop."""


def note_of(prefix: str) -> str:
    """The file that says that the directory is being made, or changed."""
    parent, name = os.path.split(os.path.normpath(prefix))
    return os.path.join(parent, ".%s.herd-unfinished" % name)


def read_marker(prefix: str) -> t.Dict[str, t.Any]:
    """What we wrote when the directory was done, nothing where we did not."""
    try:
        with open(os.path.join(prefix, MARKER), encoding="utf-8") as stream:
            marker = json.load(stream)
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def state_of(prefix: str) -> str:
    """Whose the directory is. An empty one is as good as none."""
    if os.path.lexists(note_of(prefix)):
        return UNFINISHED
    if not os.path.lexists(prefix):
        return ABSENT
    if read_marker(prefix):
        return OURS
    if os.path.isdir(prefix) and not os.listdir(prefix):
        return ABSENT
    return FOREIGN


def refuse_foreign(prefix: str) -> None:
    """Stop before something is touched that we did not make."""
    if state_of(prefix) == FOREIGN:
        what = "a conda environment" if os.path.exists(os.path.join(prefix, "conda-meta", "history")) else "something"
        raise OwnedError(
            "%s is there already, %s that this collection did not make, and is left as it is; choose another path, or remove it yourself"
            % (prefix, what)
        )


class Making:
    """A directory while it is made or changed. Set ``intact`` where a failure has not touched what was there before."""

    def __init__(self) -> None:
        self.intact = False


@contextlib.contextmanager
def being_made(prefix: str) -> t.Iterator[Making]:
    """Until the end of the block the directory counts for nothing. What an interrupted run left is removed first."""
    refuse_foreign(prefix)
    note = note_of(prefix)
    os.makedirs(os.path.dirname(note), exist_ok=True)
    making = Making()
    with open(note, "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OwnedError("%s is being made by another run at this moment; wait for it to end" % prefix) from error
        if stream.tell() > 0 or not read_marker(prefix):
            _remove_tree(prefix)
        stream.write("Being made. What is in the directory of this name does not count.\n")
        stream.flush()
        os.fsync(stream.fileno())
        try:
            yield making
        except BaseException:
            if making.intact:
                if not read_marker(prefix):
                    _remove_tree(prefix)
                os.unlink(note)
            raise
        os.unlink(note)


def write_marker(prefix: str, content: t.Mapping[str, t.Any]) -> None:
    """The last thing that is written."""
    write_whole(os.path.join(prefix, MARKER), (json.dumps(content, indent=2, sort_keys=True) + "\n").encode(), mode=0o666)


def remove(prefix: str) -> bool:
    """Take away what we made, whole or not. Whether there was anything."""
    refuse_foreign(prefix)
    if state_of(prefix) == ABSENT:
        return False
    note = note_of(prefix)
    # A removal that is interrupted must not leave half of it that counts.
    with open(note, "a", encoding="utf-8") as stream:
        stream.write("Being removed.\n")
    _remove_tree(prefix)
    os.unlink(note)
    return True


def _remove_tree(prefix: str) -> None:
    if os.path.islink(prefix):
        raise OwnedError("%s is a link; give the path of the directory itself" % prefix)
    if os.path.lexists(prefix):
        shutil.rmtree(prefix)
