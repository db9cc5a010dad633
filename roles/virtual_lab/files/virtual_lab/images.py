# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file systems that machines share, one a suite, in the cache."""
from __future__ import annotations

import glob
import hashlib
import os
import re
import subprocess
from functools import partial
from typing import Any, Dict

from virtual_lab.apt import apt_proxy_environment, apt_settings, apt_sources
from virtual_lab.mounts import delete_tree, unmount_under
from virtual_lab.spec import Lab
from virtual_lab.state import machine_dir
from virtual_lab.system import LabError, in_parallel, locked, read, run, write

# What the image is made of besides suite, mirror and packages; changes when this file puts something else into it.
IMAGE_EDITION = "1"


def image_of(lab: Lab, suite: str) -> str:
    """Where the image of a suite is. What it is made of is in the name, so that another one is built beside it."""
    made_of = " ".join([IMAGE_EDITION, suite, lab["mirror"]] + sorted(lab["packages"]))
    return os.path.join(lab["cache_dir"], "lab", "%s-%s" % (suite, hashlib.sha256(made_of.encode()).hexdigest()[:12]))


def images(lab: Lab, check: bool) -> Dict[str, Any]:
    """Have an image of each suite that a machine is yet to be made from."""
    suites = sorted({one["suite"] for one in lab["machines"] if not read(os.path.join(machine_dir(lab, one["name"]), "machine.json"))})
    missing = [suite for suite in suites if not os.path.isdir(image_of(lab, suite))]
    if not check:
        in_parallel({suite: partial(image, lab, suite) for suite in missing})
    return {"changed": bool(missing), "done": {suite: ["made"] for suite in missing}}


def image(lab: Lab, suite: str) -> None:
    """Build the root file system of a suite's machines unless a whole one is there."""
    target = image_of(lab, suite)
    folder = os.path.dirname(target)
    # What an interrupted run left running inside the unfinished image holds the lock until it ends.
    with locked(os.path.join(folder, ".lock-" + suite), timeout=900) as lock:
        if os.path.isdir(target):
            return
        for leftover in glob.glob(os.path.join(folder, ".building-%s-*" % suite)):
            delete_tree(leftover)
        building = os.path.join(folder, ".building-" + os.path.basename(target))
        sources, settings = apt_sources(suite, lab["mirror"]), apt_settings()
        log = os.path.join(folder, os.path.basename(target) + ".log")
        with open(log, "w", encoding="utf-8") as output:
            # debootstrap's own default keyring is right when the suite is of this distribution; Debian's is named for the rest.
            keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
            # Should this run be killed, debootstrap goes too; what it started ends by itself and gives the lock free.
            argv = ["setpriv", "--pdeathsig", "KILL", "debootstrap", "--variant=minbase", "--include=" + ",".join(lab["packages"])]
            argv += ["--keyring=" + keyring] if os.path.exists(keyring) else []
            done = subprocess.run(
                argv + [suite, building] + ([sources[suite]] if sources else []), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=dict(os.environ, LC_ALL="C", **apt_proxy_environment(settings)), pass_fds=(lock,), check=False,
            )
        if done.returncode != 0:
            said = [line for line in read(log).splitlines() if line.startswith(("E:", "W:"))] or read(log).splitlines()
            delete_tree(building)
            raise LabError(
                "building the machines' image with debootstrap failed: %s" % (said or ["no output"])[-1]
                + " (see %s); check virtual_lab_mirror, virtual_lab_suite and virtual_lab_packages" % log
            )
        unmount_under(building)
        finish_image(building)
        os.rename(building, target)
        os.unlink(log)


def finish_image(root: str) -> None:
    """What every machine of every lab has in common, and nothing that must differ between them."""
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "etc/ssh/ssh_host_*", "var/log/*.log", "var/lib/dbus/machine-id"):
        for path in glob.glob(os.path.join(root, pattern)):
            os.unlink(path)
    write(os.path.join(root, "etc/machine-id"), "")
    write(
        os.path.join(root, "etc/ssh/sshd_config.d/virtual_lab.conf"),
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
    )
    # A machine that was just made has no second use for apt's background jobs, which hold dpkg's lock while a playbook wants it.
    run("systemctl", "--root=" + root, "mask", "apt-daily.timer", "apt-daily-upgrade.timer")
    run("systemctl", "--root=" + root, "enable", "systemd-networkd.service", "ssh.service")


def purge(lab: Lab, check: bool) -> Dict[str, Any]:
    """Delete the cached images that no lab stands on."""
    folder = os.path.join(lab["cache_dir"], "lab")
    used = re.findall(r"\blowerdir=([^,\s]+)", read("/proc/self/mountinfo"))
    doomed = [path for path in glob.glob(os.path.join(folder, "*")) + glob.glob(os.path.join(folder, ".building-*")) if path not in used]
    if doomed and not check:
        for path in doomed:
            suite = os.path.basename(path).replace(".building-", "").rpartition("-")[0]
            with locked(os.path.join(folder, ".lock-" + suite), timeout=900):
                delete_tree(path)
        if not glob.glob(os.path.join(folder, "*")):
            delete_tree(folder)
    return {"changed": bool(doomed)}
