# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a lab, and what stands in its way: all that the role's tasks need to decide what to do."""
from __future__ import annotations

import glob
import os
import platform
import shutil
from typing import Any, Dict

from virtual_lab.forwarding import forward
from virtual_lab.images import images
from virtual_lab.network import bridge_state, uplink
from virtual_lab.nspawn import running
from virtual_lab.requirements import problems
from virtual_lab.spec import Lab, gateway, network
from virtual_lab.state import machine_dir, machines_made
from virtual_lab.system import read, run


def look(lab: Lab) -> Dict[str, Any]:
    """Everything the tasks need to decide what to do; changes nothing."""
    try:
        network(lab)
    except ValueError as err:
        return {"problems": [{"problem": "virtual_lab_network is not a network: %s" % err, "remedy": "set it to one such as 198.18.0.0/24"}]}
    answer: Dict[str, Any] = {"problems": [{"problem": one, "remedy": other} for one, other in problems(lab)]}
    if platform.system() != "Linux":
        return answer
    answer.update(
        gateway=gateway(lab), mtu=uplink()[1], bridge=bridge_state(lab),
        table=bool(shutil.which("nft")) and run("nft", "list", "table", "ip", lab["table"], check=False).returncode == 0,
        missing=sorted(package for package, command in lab["tools"].items() if not shutil.which(command)),
        apt_lists=bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
        machines={name: running(os.path.join(machine_dir(lab, name), "root")) for name in machines_made(lab)},
    )
    answer["made"] = made(lab, answer)
    return answer


def made(lab: Lab, seen: Dict[str, Any]) -> bool:
    """Whether there is all that the machines need, so that only they are left to look after."""
    lacking = seen["missing"] or images(lab, True)["changed"] or forward(lab, "on", True)["changed"]
    rules = read(os.path.join(lab["state_dir"], "nftables.conf"))
    return bool(not lacking and seen["bridge"]["ready"] and seen["table"] and rules == lab["rules"])
