# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine as systemd-nspawn runs it: its names and processes on this computer, its start and its end.

What is really running is read from /proc, not remembered.
"""
from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import signal
import subprocess
import time
from typing import List, Sequence, Tuple

from virtual_lab.cgroups import cgroup_dirs, remove_cgroups
from virtual_lab.mounts import unmount_under
from virtual_lab.spec import Lab, Machine, shared_dirs_of
from virtual_lab.state import machine_dir
from virtual_lab.system import LabError, read, run

STOP_TIMEOUT_S = 20
# With this code systemd-nspawn says that the machine wants to boot again, and leaves that to whoever started it.
REBOOT = 133
# Enter the control groups and become the command: systemd-nspawn must be alone in them.
ENTER = 'while [ "$1" != -- ]; do mkdir -p "$1" && echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'
# $0 is the line above, $1 the machine's cable. Between two boots the kernel must have taken the cable away, and the groups must be empty.
BOOT_AGAIN = (
    'cable=$1; shift; until sh -c "$0" sh "$@"; [ $? != %d ]; do n=0;' % REBOOT
    + ' while [ -e "/sys/class/net/$cable" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done;'
    + ' for group in "$@"; do [ "$group" = -- ] && break; find "$group" -depth -type d -exec rmdir {} \\; 2>/dev/null; done; done'
)


def nspawn_name(lab: Lab, name: str) -> str:
    """The machine's name on this computer, where labs are side by side and a device's name ends after 15 characters."""
    whole = "%s-%s" % (lab["name"], name)
    return whole if len(whole) <= 12 else "%s-%s" % (name[:6].rstrip("-."), hashlib.sha256(whole.encode()).hexdigest()[:5])


def device_of(lab: Lab, name: str) -> str:
    """This computer's end of the machine's cable, as systemd-nspawn names it."""
    return "vb-" + nspawn_name(lab, name)


def processes(root: str) -> Tuple[List[int], List[int]]:
    """The systemd-nspawn that runs the machine with this root directory, and the machine's own process 1.

    Both, because a machine outlives its systemd-nspawn when that is killed, and would go on holding the disk.
    """
    directory, mark = ("--directory=" + root).encode(), ("VIRTUAL_LAB_ROOT=" + root).encode()
    supervisors, inits = [], []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/cmdline" % entry, "rb") as handle:
                argv = handle.read().split(b"\0")
            if os.path.basename(argv[0]) == b"systemd-nspawn":
                if directory in argv:
                    supervisors.append(int(entry))
                continue
            # The last number is the process id in the innermost name space.
            inside = re.search(r"^NSpid:\s+\d+\s.*?(\d+)$", read("/proc/%s/status" % entry), re.MULTILINE)
            if not inside or inside.group(1) != "1":
                continue
            with open("/proc/%s/environ" % entry, "rb") as handle:
                if mark in handle.read().split(b"\0"):
                    inits.append(int(entry))
        except OSError:
            continue
    return supervisors, inits


def running(root: str) -> bool:
    """Whether the machine with this root directory runs and is looked after."""
    return bool(processes(root)[0])


def unit_of(lab: Lab, name: str) -> str:
    """The machine's unit on this computer, where that runs systemd."""
    return "virtual-lab-%s-%s.service" % (lab["name"], name)


def host_has_systemd() -> bool:
    """Whether systemd is process 1 of this computer (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def start(lab: Lab, machine: Machine, root: str) -> None:
    """Boot the machine so that it outlives this run."""
    name = machine["name"]
    argv = [
        "systemd-nspawn", "--quiet", "--settings=no", "--boot", "--directory=" + root, "--machine=" + nspawn_name(lab, name),
        "--hostname=" + name, "--register=no", "--keep-unit", "--network-bridge=" + lab["bridge"], "--resolv-conf=off",
        "--timezone=off", "--link-journal=no", "--setenv=VIRTUAL_LAB_ROOT=" + root, "--private-users=no", "--console=pipe",
    ]
    for source, target in shared_dirs_of(lab, name):
        os.makedirs(source, exist_ok=True)
        argv.append("--bind=%s:%s" % (source.replace(":", "\\:"), target.replace(":", "\\:")))
    console = os.path.join(machine_dir(lab, name), "console.log")
    environment = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_LOG_COLOR": "0"}
    if host_has_systemd():
        # A unit of its own outlives the login session; what is left of an earlier one would refuse the name.
        run("systemctl", "reset-failed", unit_of(lab, name), check=False)
        run(
            "systemd-run", "--quiet", "--collect", "--unit=" + unit_of(lab, name), "--slice=machine.slice", "--service-type=exec",
            "--description=%s of the virtual lab %s" % (name, lab["name"]),
            "--property=Delegate=yes", "--property=KillMode=mixed", "--property=TimeoutStopSec=%d" % STOP_TIMEOUT_S,
            "--property=RestartForceExitStatus=%d" % REBOOT, "--property=SuccessExitStatus=%d" % REBOOT, "--property=RestartSec=1",
            "--property=StandardOutput=truncate:" + console, "--property=StandardError=inherit",
            *["--setenv=%s=%s" % pair for pair in environment.items()], *argv
        )
        return
    groups = cgroup_dirs(lab, name)
    with open(console, "w", encoding="utf-8") as output:
        subprocess.Popen(  # pylint: disable=consider-using-with
            ["sh", "-c", BOOT_AGAIN, ENTER, device_of(lab, name)] + groups + ["--"] + argv,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd="/",
            env=dict(environment, PATH=os.environ["PATH"]),
        )


def sweep(lab: Lab, name: str) -> None:
    """Clear away what a machine that is not running may have left: a killed systemd-nspawn tidies nothing up."""
    folder = machine_dir(lab, name)
    root = os.path.join(folder, "root")
    with contextlib.suppress(OSError):
        found = os.stat(root)
        os.unlink("/run/systemd/nspawn/locks/inode-%d:%d" % (found.st_dev, found.st_ino))
    # The kernel takes a dead machine's cable away only some time after; a new one of that name is refused until then.
    if os.path.exists("/sys/class/net/" + device_of(lab, name)):
        run("ip", "link", "delete", "dev", device_of(lab, name), check=False)
    unmount_under(folder)
    for path in glob.glob("/run/systemd/nspawn/*/" + nspawn_name(lab, name)):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    remove_cgroups(cgroup_dirs(lab, name))


def stop(lab: Lab, name: str) -> bool:
    """Power the machine off cleanly, within bounds; then end its systemd-nspawn and its process 1, and so all that is in it."""
    root = os.path.join(machine_dir(lab, name), "root")
    supervisors, inits = processes(root)
    if not supervisors and not inits:
        return False
    # systemd-nspawn hands SIGTERM on as a power-off; a machine without it is asked itself, in systemd's own way.
    gentle: List[Tuple[int, int]] = [(pid, signal.SIGTERM) for pid in supervisors] or [(pid, signal.SIGRTMIN + 3) for pid in inits]
    if end(root, gentle, STOP_TIMEOUT_S) or end(root, [(pid, signal.SIGKILL) for pid in inits + supervisors], 10):
        return True
    raise LabError("the machine %s (processes %s) does not stop" % (name, ", ".join(str(pid) for pid in inits + supervisors)))


def end(root: str, signals: Sequence[Tuple[int, int]], seconds: float) -> bool:
    """Send the signals and wait until nothing of the machine runs."""
    for pid, number in signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if processes(root) == ([], []):
            return True
        time.sleep(0.2)
    return False
