# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines from what the inventory says to what answers over SSH, and back to nothing; all of a lab side by side."""
from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Any, Dict, List

from virtual_lab.contents import files_of, fill, write_login, write_network
from virtual_lab.images import image_of
from virtual_lab.mounts import delete_tree
from virtual_lab.network import uplink
from virtual_lab.nspawn import device_of, running, start, stop, sweep
from virtual_lab.spec import Lab, Machine, shared_dirs_of
from virtual_lab.ssh import make_keys, ssh
from virtual_lab.state import machine_dir, machines_made, owner
from virtual_lab.system import LabError, in_parallel, locked, read, run, write

START_TIMEOUT_S = 120
# A machine that runs but no longer answers is given this long before it is started afresh.
ANSWER_TIMEOUT_S = 15


def answers(lab: Lab, machine: Machine, root: str, seconds: float) -> str:
    """Wait until the machine lets us in with our key and its own; what is wrong otherwise."""
    deadline = time.monotonic() + seconds
    grace = time.monotonic() + 3
    said = "it did not answer"
    while time.monotonic() < deadline:
        if time.monotonic() > grace and not running(root):
            lines = read(os.path.join(machine_dir(lab, machine["name"]), "console.log")).strip().splitlines()
            return "it stopped while starting: %s" % (lines[-1] if lines else "without a word")
        try:
            done = ssh(lab, machine, "true")
            if done.returncode == 0:
                return ""
            said = (done.stderr.strip().splitlines() or ["ssh exit code %d" % done.returncode])[-1]
        except LabError as err:
            said = str(err)
        time.sleep(0.3)
    return said


def attach(lab: Lab, name: str) -> bool:
    """Put the machine's end of its cable back on the bridge, where a new bridge lost it."""
    device = device_of(lab, name)
    if os.path.basename(os.path.realpath("/sys/class/net/%s/master" % device)) == lab["bridge"]:
        return False
    run("ip", "link", "set", device, "master", lab["bridge"], "up", check=False)
    return True


def wanted_of(lab: Lab, machine: Machine, made: Dict[str, Any]) -> Dict[str, Any]:
    """What the machine must be started with. It keeps the image it was made from: its disk is a difference to that one."""
    return {
        "image": made.get("image") or image_of(lab, machine["suite"]), "address": machine["address"], "network": lab["network"],
        "mtu": uplink()[1], "shared_dirs": shared_dirs_of(lab, machine["name"]),
        "user": machine["user"], "sudo": machine["sudo"], "ssh_port": int(machine["ssh_port"]),
    }


def up_one(lab: Lab, machine: Machine) -> List[str]:
    """Bring one machine to what the inventory says; the list of what was done, empty when it was so already."""
    name = machine["name"]
    folder = machine_dir(lab, name)
    root, upper, work, marker = (os.path.join(folder, part) for part in ("root", "upper", "work", "machine.json"))
    made: Dict[str, Any] = json.loads(read(marker) or "{}")
    done: List[str] = []
    if made and not os.path.isdir(made["image"]):
        # Nothing of a disk can be kept when the image it is a difference to is gone.
        stop(lab, name)
        made = {}
    wanted = wanted_of(lab, machine, made)
    alive = running(root)
    if alive and made != wanted:
        stop(lab, name)
        alive = False
    if alive:
        if attach(lab, name):
            done.append("put back on the bridge")
        if answers(lab, machine, root, ANSWER_TIMEOUT_S):
            alive = False
            done.append("did not answer")
    if not alive:
        stop(lab, name)
        sweep(lab, name)
        if not made:
            for path in (marker, upper, work, root):
                delete_tree(path)
        for path in (upper, work, root):
            os.makedirs(path, exist_ok=True)
        run("mount", "-t", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" % (wanted["image"], upper, work), "virtual-lab-" + lab["name"], root)
        if not made:
            fill(lab, machine, root)
            done.append("made")
        if made != wanted:
            write_network(lab, machine, root)
            write_login(lab, machine, root)
            write(marker, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
    for path, text in files_of(lab, machine).items():
        if write(os.path.join(root, path), text):
            done.append(path + " brought up to date")
    if not alive:
        start(lab, machine, root)
        wrong = answers(lab, machine, root, START_TIMEOUT_S)
        if wrong:
            raise LabError("the machine %s did not come up: %s (its console is in %s/console.log)" % (name, wrong, folder))
        if "made" in done:
            # Not "--wait" for ever: the state is only looked at, a unit that failed is the business of whoever put it there.
            ssh(lab, machine, "timeout", "20", "systemctl", "is-system-running", "--wait", timeout=30)
        done.append("started")
    return done


def up(lab: Lab, check: bool) -> Dict[str, Any]:
    """All machines of the lab, side by side."""
    if check:
        waiting = {}
        for machine in lab["machines"]:
            folder = machine_dir(lab, machine["name"])
            made = json.loads(read(os.path.join(folder, "machine.json")) or "{}")
            if not running(os.path.join(folder, "root")) or made != wanted_of(lab, machine, made):
                waiting[machine["name"]] = ["would be started"]
        return {"changed": bool(waiting), "done": waiting}
    os.makedirs(lab["state_dir"], mode=0o755, exist_ok=True)
    with locked(os.path.join(lab["state_dir"], "lock"), timeout=300):
        kept = {key: lab[key] for key in ("name", "bridge", "table", "network")}
        changed = write(os.path.join(lab["state_dir"], "lab.json"), json.dumps(kept, indent=2) + "\n")
        changed |= make_keys(lab)
        done = in_parallel({one["name"]: partial(up_one, lab, one) for one in lab["machines"]})
    return {"changed": changed or any(done.values()), "done": done}


def down(lab: Lab, check: bool) -> Dict[str, Any]:
    """Stop and forget every machine the state directory knows, whatever the inventory says now."""
    if owner(lab) != lab["name"]:
        raise LabError("%s belongs to another virtual lab, %s; nothing was removed" % (lab["state_dir"], owner(lab)))
    names = machines_made(lab)
    if names and not check:
        with locked(os.path.join(lab["state_dir"], "lock"), timeout=300):

            def one(name: str) -> None:
                stop(lab, name)
                sweep(lab, name)
                delete_tree(machine_dir(lab, name))

            in_parallel({name: partial(one, name) for name in names})
    return {"changed": bool(names), "done": {name: ["removed"] for name in names}}
