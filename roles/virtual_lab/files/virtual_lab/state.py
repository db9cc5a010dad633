# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory of a lab: its machines, whose it is, and its end."""
from __future__ import annotations

import contextlib
import glob
import json
import os
from typing import Any, Dict, List

from virtual_lab.mounts import delete_tree
from virtual_lab.spec import Lab
from virtual_lab.system import read


def machine_dir(lab: Lab, name: str) -> str:
    """Where a machine's disk, host key and console are."""
    return os.path.join(lab["state_dir"], "machines", name)


def machines_made(lab: Lab) -> List[str]:
    """Every machine the state directory knows, in the inventory or not."""
    return sorted(os.path.basename(path) for path in glob.glob(machine_dir(lab, "*")) if os.path.isdir(path))


def owner(lab: Lab) -> str:
    """The name of the lab whose state directory this is."""
    return str(json.loads(read(os.path.join(lab["state_dir"], "lab.json")) or "{}").get("name", lab["name"]))


def forget(lab: Lab, check: bool) -> Dict[str, Any]:
    """Delete the state directory, and the one it is in when that is ours and nothing else is in it."""
    changed = os.path.lexists(lab["state_dir"])
    if changed and not check:
        delete_tree(lab["state_dir"])
        parent = os.path.dirname(lab["state_dir"].rstrip("/"))
        if os.path.basename(parent) == "herd.llama_cpp":
            with contextlib.suppress(OSError):
                os.rmdir(parent)
    return {"changed": changed}
