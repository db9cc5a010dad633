# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of machines, where this computer's systemd does not give them any."""
from __future__ import annotations

import contextlib
import os
import time
from typing import List

from virtual_lab.spec import Lab
from virtual_lab.system import read


def cgroup_dirs(lab: Lab, name: str) -> List[str]:
    """A control group of its own for each machine where this computer's systemd does not give one.

    Without it all machines would call the same group their root and see each other's services as their own.
    """
    found = []
    for line in read("/proc/self/mountinfo").splitlines():
        left, _dash, right = line.partition(" - ")
        kind, _source, options = (right.split(" ") + ["", ""])[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(os.path.join(left.split(" ")[4], "virtual-lab-%s-%s" % (lab["name"], name)))
    return found


def remove_cgroups(groups: List[str]) -> None:
    """Remove a stopped machine's control groups with whatever is left in them, frozen or not."""
    for group in groups:
        with contextlib.suppress(OSError):
            with open(os.path.join(group, "cgroup.kill"), "w", encoding="ascii") as handle:
                handle.write("1")
        # The kernel calls a group busy until it has buried the last process.
        deadline = time.monotonic() + 5
        while os.path.isdir(group) and time.monotonic() < deadline:
            for inner, _dirs, _files in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(inner)
            if os.path.isdir(group):
                time.sleep(0.2)
