# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this computer forwards packets: switched on for the first lab, put back as it was after the last one."""
from __future__ import annotations

import contextlib
import glob
import os
import shutil
from typing import Any, Dict

from virtual_lab.spec import Lab
from virtual_lab.system import read, write

# In /run, because the kernel's setting too is gone after a reboot; shared by all labs, because the setting is.
FORWARD_DIR = "/run/herd.llama_cpp/ip_forward"
FORWARD_SWITCH = "/proc/sys/net/ipv4/ip_forward"


def forward(lab: Lab, wanted: str, check: bool) -> Dict[str, Any]:
    """Let packets of the lab out. What the kernel had before is remembered once for all labs and put back by the last one."""
    before, mine = os.path.join(FORWARD_DIR, "before"), os.path.join(FORWARD_DIR, "lab-" + lab["name"])
    now = read(FORWARD_SWITCH).strip()
    if wanted == "on":
        changed = now != "1" or not os.path.exists(mine)
        if changed and not check:
            if not os.path.exists(before):
                write(before, now + "\n")
            write(mine, "")
            if now != "1":
                switch_forwarding("1")
        return {"changed": changed}
    changed = os.path.exists(mine)
    if changed and not check:
        os.unlink(mine)
        if not glob.glob(os.path.join(FORWARD_DIR, "lab-*")):
            if read(before).strip() == "0" and now == "1":
                switch_forwarding("0")
            shutil.rmtree(FORWARD_DIR)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(FORWARD_DIR))
    return {"changed": changed}


def switch_forwarding(value: str) -> None:
    """Set the kernel's own switch, 0 or 1."""
    with open(FORWARD_SWITCH, "w", encoding="ascii") as handle:
        handle.write(value + "\n")
