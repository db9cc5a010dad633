# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted, by the kernel's own table, and how it and all below it goes away."""
from __future__ import annotations

import os
import re
import shutil
from typing import List, Tuple

from virtual_lab.system import LabError, read, run


def mounts_under(path: str) -> List[Tuple[str, str]]:
    """(mount point, options) of everything mounted at or below path, in the order of mounting."""
    found = []
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])
        if point == path or point.startswith(path.rstrip("/") + "/"):
            found.append((point, fields[-1]))
    return found


def unmount_under(path: str) -> bool:
    """Unmount everything at or below path, the last mounted first; a busy one is detached."""
    points = [point for point, _options in mounts_under(path)]
    for point in reversed(points):
        if run("umount", point, check=False).returncode != 0:
            run("umount", "--lazy", point, check=False)
    return bool(points)


def delete_tree(path: str) -> None:
    """Remove a tree after unmounting what is in it; never crosses into another file system."""
    if not os.path.lexists(path):
        return
    unmount_under(path)
    left = mounts_under(path)
    if left:
        raise LabError("%s is still mounted and cannot be unmounted; unmount it by hand and run this again" % left[0][0])
    run("rm", "-rf", "--one-file-system", "--", path, timeout=300)


def overlay_known() -> bool:
    """Whether the kernel has overlayfs, loaded or as a module that mount would load."""
    if re.search(r"\boverlay$", read("/proc/filesystems"), re.MULTILINE):
        return True
    return bool(shutil.which("modprobe")) and run("modprobe", "--dry-run", "overlay", check=False).returncode == 0


def file_system_of(path: str) -> str:
    """The type of the file system that holds path, or would hold it once made."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    path = os.path.realpath(path)
    best, kind = "", ""
    for line in read("/proc/self/mountinfo").splitlines():
        left, _dash, right = line.partition(" - ")
        point = left.split(" ")[4]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind
