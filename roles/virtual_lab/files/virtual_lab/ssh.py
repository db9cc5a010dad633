# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into the machines: the keys of both ends, who they are by name, and a command run there."""
from __future__ import annotations

import contextlib
import glob
import os
import secrets
import subprocess

from virtual_lab.spec import Lab, Machine
from virtual_lab.state import machine_dir
from virtual_lab.system import read, run, write


def make_keys(lab: Lab) -> bool:
    """What opens the machines: a key, each machine's host key, the known_hosts file that pins them, the ssh configuration that knows the machines
    by name, and the password of their sudo."""
    changed = False
    folder = os.path.join(lab["state_dir"], "ssh")
    os.makedirs(folder, mode=0o700, exist_ok=True)

    def key(path: str, comment: str) -> None:
        nonlocal changed
        if os.path.exists(path) and os.path.exists(path + ".pub"):
            return
        for old in (path, path + ".pub", path + ".tmp", path + ".tmp.pub"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path + ".tmp")
        os.rename(path + ".tmp.pub", path + ".pub")
        os.rename(path + ".tmp", path)
        changed = True

    key(os.path.join(folder, "id_ed25519"), "virtual-lab-" + lab["name"])
    known, ways = "", ""
    for machine in lab["machines"]:
        path = os.path.join(machine_dir(lab, machine["name"]), "ssh_host_ed25519_key")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        key(path, machine["name"])
        port = int(machine["ssh_port"])
        at = machine["address"] if port == 22 else "[%s]:%d" % (machine["address"], port)
        known += "%s %s\n" % (at, " ".join(read(path + ".pub").split()[:2]))
        ways += "Host {name} {address}\n  HostName {address}\n  Port {ssh_port}\n  User {user}\n\n".format(**machine)
    changed |= write(os.path.join(folder, "known_hosts"), known)
    changed |= write(os.path.join(folder, "config"), ways + (
        "Host *\n  IdentityFile %s/id_ed25519\n  IdentitiesOnly yes\n  UserKnownHostsFile %s/known_hosts\n  GlobalKnownHostsFile none\n"
        "  StrictHostKeyChecking yes\n  ServerAliveInterval 5\n  ServerAliveCountMax 3\n" % (folder, folder)
    ))
    # What sudo asks for on the machines.
    if not read(os.path.join(folder, "sudo_password")):
        changed |= write(os.path.join(folder, "sudo_password"), secrets.token_urlsafe(12) + "\n", 0o600)
    # Who became root through sudo opens the connections as themselves.
    owner, group = int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0"))
    for path in [folder] + glob.glob(os.path.join(folder, "*")):
        os.chown(path, owner, group)
    return changed


def ssh(lab: Lab, machine: Machine, *command: str, timeout: float = 10) -> "subprocess.CompletedProcess[str]":
    """Run a command on the machine, as its user. Raises LabError where it takes longer than ``timeout`` seconds."""
    config = os.path.join(lab["state_dir"], "ssh", "config")
    return run("ssh", "-F", config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", machine["name"], *command, check=False, timeout=timeout)
