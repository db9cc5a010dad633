# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a virtual lab: what is there, the image they start from, bringing them up and taking them down.

Reads one JSON object (what the lab should be) from standard input and prints one JSON object. The role's tasks call
it; it lives here and not in a loop of tasks because machines start side by side, and because what is really running
is read from /proc and the kernel's mount table instead of being remembered, which is what makes a half-made lab mendable.

    lab.py look             changes nothing; says what is there and what stands in the way
    lab.py image            the root file systems the machines share, one a suite, built once under another name and then renamed
    lab.py up               every machine of the lab running and reachable over SSH
    lab.py down             every machine found in the state directory stopped, unmounted and deleted
    lab.py forward-on|off   packets of the lab forwarded or not; the kernel's setting put back after the last lab
    lab.py forget           the state directory deleted
    lab.py purge            the cached images deleted, but for those a lab still stands on

With --check each only says whether it would change something.
"""
from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import glob
import hashlib
import ipaddress
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Tuple

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20
# Root's PATH lacks these where root came from a plain "su".
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
# A machine that runs but no longer answers is given this long before it is started afresh.
ANSWER_TIMEOUT_S = 15
# In /run, because the kernel's setting too is gone after a reboot; shared by all labs, because the setting is.
FORWARD_DIR = "/run/herd.llama_cpp/ip_forward"
FORWARD_SWITCH = "/proc/sys/net/ipv4/ip_forward"
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
LAB_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")
MACHINE_NAME = re.compile(r"^(?=.{1,42}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
USER_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,30}$")
SUITE = re.compile(r"^[a-z][a-z0-9.-]*$")
SUDO_POLICIES = ("password", "nopasswd")
# What the image is made of besides suite, mirror and packages; changes when this file puts something else into it.
IMAGE_EDITION = "1"


class LabError(Exception):
    """One sentence for the user."""


def run(*argv: str, check: bool = True, timeout: float = 60, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command without a terminal or a locale; its error text becomes the LabError."""
    env = dict(os.environ, LC_ALL="C", **kwargs.pop("env", {}))
    try:
        done = subprocess.run(
            argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, timeout=timeout, env=env, check=False, **kwargs
        )
    except FileNotFoundError as err:
        raise LabError("the command %s is not installed" % argv[0]) from err
    except subprocess.TimeoutExpired as err:
        raise LabError("%s did not finish within %d s" % (" ".join(argv), timeout)) from err
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError("%s failed: %s" % (" ".join(argv), said[-1] if said else "exit code %d" % done.returncode))
    return done


def read(path: str) -> str:
    """The text of a file, or nothing when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def write(path: str, text: str, mode: int = 0o644) -> bool:
    """Make the file have this text. The file is rewritten in place only when it differs; says whether it did."""
    if os.path.isfile(path) and not os.path.islink(path) and read(path) == text:
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = "%s.%d.tmp" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    return True


@contextlib.contextmanager
def locked(path: str, timeout: float) -> Iterator[int]:
    """Hold a lock file. The descriptor is handed to children that may outlive an interrupted run."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as err:
                if time.monotonic() > deadline:
                    raise LabError("another run holds %s; wait until it has ended" % path) from err
                time.sleep(0.5)
        yield fd
    finally:
        os.close(fd)


def in_parallel(calls: Dict[str, Callable[[], Any]]) -> Dict[str, Any]:
    """What each call returns, side by side; all that went wrong in one sentence, once all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        tasks = {name: pool.submit(call) for name, call in calls.items()}
    wrong = [str(task.exception()) for task in tasks.values() if task.exception()]
    if wrong:
        raise LabError("; ".join(wrong))
    return {name: task.result() for name, task in tasks.items()}


# --- mounts ---------------------------------------------------------------------------------------------------------


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


# --- what the control machine has that its machines need --------------------------------------------------------------


def apt_sources(suite: str, mirror: str) -> Dict[str, str]:
    """release -> URI for the suite, its updates and its security fixes, as this machine's own apt finds them.

    Another suite of Debian is looked for where this machine finds its own. Empty where it finds none, as on another
    distribution: then debootstrap's own default holds.
    """
    if mirror:
        return {suite: mirror.rstrip("/")}
    found: Dict[str, str] = {}
    debian: Dict[str, str] = {}
    if shutil.which("apt-get"):
        listed = run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI) $(ORIGIN)", "Created-By: Packages", check=False)
        for line in listed.stdout.splitlines():
            release, component, uri, origin = (line.split(" ") + ["", "", ""])[:4]
            if component != "main" or not uri.startswith(("http://", "https://")):
                continue
            own, _dash, part = release.partition("-")
            if part not in ("", "updates", "security"):
                continue
            if own == suite:
                found.setdefault(release, uri.rstrip("/"))
            if origin == "Debian":
                debian.setdefault(suite + release[len(own):], uri.rstrip("/"))
    if suite in found:
        return found
    return debian if suite in debian else {}


def apt_settings() -> str:
    """This machine's settings for reaching mirrors (proxy, time-outs, validity), as an apt configuration file."""
    kept = []
    for line in run("apt-config", "dump", check=False).stdout.splitlines():
        if re.match(r"^Acquire::(https?|ftp|Check-|Retries|ForceIPv|Languages)\S*\s", line, re.IGNORECASE) and "Auto-Detect" not in line:
            kept.append(line)
    text = "\n".join(kept)
    for scheme in ("http", "https"):
        proxy = os.environ.get(scheme + "_proxy") or os.environ.get(scheme.upper() + "_PROXY")
        if proxy and not re.search(r'^Acquire::%s::Proxy "[^"]' % scheme, text, re.IGNORECASE | re.MULTILINE):
            kept.append('Acquire::%s::Proxy "%s";' % (scheme, proxy))
    return "".join(line + "\n" for line in kept)


def apt_proxy_environment(settings: str) -> Dict[str, str]:
    """The same proxy for debootstrap, which downloads with wget."""
    found = {}
    for scheme in ("http", "https"):
        match = re.search(r'^Acquire::%s::Proxy "([^"]+)"' % scheme, settings, re.IGNORECASE | re.MULTILINE)
        if match and match.group(1) != "DIRECT":
            found[scheme + "_proxy"] = match.group(1)
    return found


def nameservers(given: List[str]) -> List[str]:
    """Resolvers a machine of the lab can reach: a resolver on loopback answers this machine alone."""
    if given:
        return given

    def of(path: str) -> List[str]:
        return re.findall(r"^\s*nameserver\s+(\S+)", read(path), re.MULTILINE)

    def reachable(found: List[str]) -> List[str]:
        return [one for one in found if not one.startswith("127.") and one != "::1" and "." in one]

    # The second file is where systemd-resolved keeps the servers behind its own 127.0.0.53.
    return reachable(of("/etc/resolv.conf")) or reachable(of("/run/systemd/resolve/resolv.conf"))


def resolv_conf(lab: Dict[str, Any]) -> str:
    """What the machines get as /etc/resolv.conf: this machine's own, with resolvers they can reach."""
    kept = re.findall(r"^\s*(?:search|domain|options)\s.*$", read("/etc/resolv.conf"), re.MULTILINE)
    servers = ["nameserver %s" % one for one in nameservers(lab["nameservers"])]
    return "".join(line.strip() + "\n" for line in kept + servers)


def uplink() -> Tuple[str, int]:
    """The device of the default route and its MTU: a larger one in the lab would stall every download."""
    routes = []
    for line in read("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if fields[1] == fields[7] == "00000000":
            routes.append((int(fields[6]), fields[0]))
    device = min(routes)[1] if routes else ""
    mtu = read("/sys/class/net/%s/mtu" % device).strip() if device else ""
    return device, int(mtu) if mtu.isdigit() else 1500


# --- the lab as it is -------------------------------------------------------------------------------------------------


def network(lab: Dict[str, Any]) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(lab["network"])


def gateway(lab: Dict[str, Any]) -> str:
    return str(network(lab).network_address + 1)


def machine_dir(lab: Dict[str, Any], name: str) -> str:
    return os.path.join(lab["state_dir"], "machines", name)


def machines_made(lab: Dict[str, Any]) -> List[str]:
    """Every machine the state directory knows, in the inventory or not."""
    return sorted(os.path.basename(path) for path in glob.glob(machine_dir(lab, "*")) if os.path.isdir(path))


def owner(lab: Dict[str, Any]) -> str:
    """The name of the lab whose state directory this is."""
    return str(json.loads(read(os.path.join(lab["state_dir"], "lab.json")) or "{}").get("name", lab["name"]))


def nspawn_name(lab: Dict[str, Any], name: str) -> str:
    """The machine's name on this computer, where labs are side by side and a device's name ends after 15 characters."""
    whole = "%s-%s" % (lab["name"], name)
    return whole if len(whole) <= 12 else "%s-%s" % (name[:6].rstrip("-."), hashlib.sha256(whole.encode()).hexdigest()[:5])


def device_of(lab: Dict[str, Any], name: str) -> str:
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
    return bool(processes(root)[0])


def bridge_state(lab: Dict[str, Any]) -> Dict[str, Any]:
    """Whether the bridge is there with its address, its MTU and up."""
    links = []
    if shutil.which("ip"):
        shown = run("ip", "-json", "-4", "address", "show", "dev", lab["bridge"], check=False)
        links = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []
    link: Dict[str, Any] = links[0] if links else {}
    addresses = ["%s/%s" % (one.get("local"), one.get("prefixlen")) for one in link.get("addr_info", [])]
    wanted = "%s/%d" % (gateway(lab), network(lab).prefixlen)
    return {
        "present": os.path.exists("/sys/class/net/%s/bridge" % lab["bridge"]),
        "ready": wanted in addresses and "UP" in link.get("flags", []) and link.get("mtu") == uplink()[1],
        "address": wanted,
    }


def range_users(lab: Dict[str, Any]) -> List[str]:
    """Devices of this machine, other than our bridge, that have an address or a route in the lab's network."""
    users = []
    wanted = network(lab)
    for link in json.loads(run("ip", "-json", "-4", "address", check=False).stdout or "[]"):
        for one in link.get("addr_info", []):
            if link.get("ifname") != lab["bridge"] and ipaddress.ip_address(one["local"]) in wanted:
                users.append(link["ifname"])
    for route in json.loads(run("ip", "-json", "-4", "route", check=False).stdout or "[]"):
        if route.get("dst") in (None, "default") or route.get("dev") == lab["bridge"]:
            continue
        other = ipaddress.ip_network(route["dst"], strict=False)
        # The halves of the whole Internet that a VPN routes are no use of this network.
        if other.prefixlen >= 8 and other.overlaps(wanted):
            users.append(route.get("dev", route["dst"]))
    return sorted(set(users))


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


def problems(lab: Dict[str, Any]) -> List[Tuple[str, str]]:
    """(problem, remedy) for each reason why this machine cannot hold the lab."""
    own = "write an inventory of your own machines instead (see inventories/gpu_lab/README.md)"
    if platform.system() != "Linux":
        return [("virtual machines for the lab need Linux and this is %s" % platform.system(), own)]
    found = []
    if os.geteuid() != 0:
        found.append(("the virtual lab needs root on this machine", "run the same command as root, or " + own))
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        found.append(("the virtual lab installs its tools with apt and this machine has none", own))
        return found
    if not overlay_known():
        found.append(("the kernel has no overlayfs, on which the lab's machines share their image", own))
    elif file_system_of(lab["state_dir"]) == "overlay":
        found.append((
            "%s is itself on an overlayfs, which cannot carry another" % lab["state_dir"],
            "set virtual_lab_state_dir to a directory on a real file system, or " + own,
        ))
    for path in (lab["state_dir"], lab["cache_dir"]):
        if re.search(r"[:,\\\s]", path) or not path.startswith("/"):
            found.append((
                "the path %s cannot be given to mount" % path,
                "set virtual_lab_state_dir and virtual_lab_cache_dir to absolute paths without spaces, commas and colons",
            ))
    found.extend(inventory_problems(lab))
    if owner(lab) != lab["name"]:
        found.append((
            "%s belongs to another virtual lab, %s" % (lab["state_dir"], owner(lab)),
            "give each lab its own virtual_lab_state_dir",
        ))
    if shutil.which("ip"):
        used = range_users(lab)
        if used:
            found.append((
                "the network %s is already in use on this machine by %s" % (lab["network"], ", ".join(used)),
                "set virtual_lab_network (and the machines' virtual_lab_address) to a free range, or " + own,
            ))
    if not nameservers(lab["nameservers"]):
        found.append((
            "this machine resolves names only through a resolver on loopback, which the lab's machines cannot reach",
            "set virtual_lab_nameservers to resolvers they can reach",
        ))
    return found


def inventory_problems(lab: Dict[str, Any]) -> List[Tuple[str, str]]:
    """What is wrong with the machines asked for."""
    found = []
    if not LAB_NAME.match(lab["name"]):
        found.append(("%s is no name for a virtual lab" % lab["name"], "set virtual_lab_name to lower-case letters, digits and hyphens"))
    addresses: Dict[str, str] = {}
    for machine in lab["machines"]:
        name, address = machine["name"], str(machine.get("address") or "")
        if not MACHINE_NAME.match(name):
            found.append((
                "%s is no name for a machine of the lab" % name, "use lower-case letters, digits, hyphens and dots, at most 42",
            ))
        found.extend(login_problems(machine))
        try:
            inside = ipaddress.IPv4Address(address) in network(lab)
        except ValueError:
            inside = False
        reserved = (gateway(lab), str(network(lab).network_address), str(network(lab).broadcast_address))
        if not inside or address in reserved:
            found.append((
                "the machine %s has the address '%s', which is no free one of %s" % (name, address, lab["network"]),
                "set its virtual_lab_address to an address of that network other than %s" % gateway(lab),
            ))
        if address in addresses:
            found.append((
                "the machines %s and %s have the same address %s" % (addresses[address], name, address),
                "give each its own virtual_lab_address",
            ))
        addresses[address] = name
    return found


def login_problems(machine: Dict[str, Any]) -> List[Tuple[str, str]]:
    """What is wrong with the way into a machine, and with its release."""
    found = []
    name = machine["name"]
    if not USER_NAME.match(machine["user"]):
        found.append(("%s: %s is no name for a user" % (name, machine["user"]), "set its ansible_user to lower-case letters and digits, such as debian"))
    if machine["sudo"] not in SUDO_POLICIES:
        found.append(("%s: virtual_lab_sudo is %s" % (name, machine["sudo"]), "set it to %s" % " or ".join(SUDO_POLICIES)))
    if not 1 <= int(machine["ssh_port"]) <= 65535:
        found.append(("%s: %s is no port for SSH" % (name, machine["ssh_port"]), "set its ansible_port to a number from 1 to 65535"))
    if not SUITE.match(machine["suite"]):
        found.append(("%s: %s is no release of Debian" % (name, machine["suite"]), "set its virtual_lab_suite to a name such as bookworm"))
    return found


def look(lab: Dict[str, Any]) -> Dict[str, Any]:
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
    return answer


# --- the image --------------------------------------------------------------------------------------------------------


def image_of(lab: Dict[str, Any], suite: str) -> str:
    """Where the image of a suite is. What it is made of is in the name, so that another one is built beside it."""
    made_of = " ".join([IMAGE_EDITION, suite, lab["mirror"]] + sorted(lab["packages"]))
    return os.path.join(lab["cache_dir"], "lab", "%s-%s" % (suite, hashlib.sha256(made_of.encode()).hexdigest()[:12]))


def images(lab: Dict[str, Any], check: bool) -> Dict[str, Any]:
    """Have an image of each suite that a machine is yet to be made from."""
    suites = sorted({one["suite"] for one in lab["machines"] if not read(os.path.join(machine_dir(lab, one["name"]), "machine.json"))})
    missing = [suite for suite in suites if not os.path.isdir(image_of(lab, suite))]
    if not check:
        in_parallel({suite: lambda suite=suite: image(lab, suite) for suite in missing})
    return {"changed": bool(missing), "done": {suite: ["made"] for suite in missing}}


def image(lab: Dict[str, Any], suite: str) -> None:
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


# --- up ---------------------------------------------------------------------------------------------------------------


def make_keys(lab: Dict[str, Any]) -> bool:
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


def files_of(lab: Dict[str, Any], machine: Dict[str, Any]) -> Dict[str, str]:
    """The files that follow the inventory, kept right in a running machine too."""
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    hosts += "".join("%s %s\n" % (one["address"], one["name"]) for one in lab["machines"])
    return {"etc/hosts": hosts, "etc/resolv.conf": resolv_conf(lab)}


def fill(lab: Dict[str, Any], machine: Dict[str, Any], root: str) -> None:
    """Make a fresh copy of the image this machine: name, address, keys, and the ways out that this computer has."""
    name, suite = machine["name"], machine["suite"]
    for path, text in files_of(lab, machine).items():
        write(os.path.join(root, path), text)
    seed = "%s/%s/%s" % (lab["name"], name, read(os.path.join(machine_dir(lab, name), "ssh_host_ed25519_key.pub")))
    write(os.path.join(root, "etc/machine-id"), hashlib.sha256(seed.encode()).hexdigest()[:32] + "\n", 0o444)
    write(os.path.join(root, "etc/hostname"), name + "\n")
    write(os.path.join(root, "etc/default/locale"), "LANG=C.UTF-8\n")
    write_network(lab, machine, root)
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        write(os.path.join(root, "etc/ssh/ssh_host_ed25519_key" + suffix), read(os.path.join(machine_dir(lab, name), "ssh_host_ed25519_key" + suffix)), mode)
    signed = "/usr/share/keyrings/debian-archive-keyring.gpg"
    option = "[signed-by=%s] " % signed if os.path.exists(root + signed) else ""
    sources = apt_sources(suite, lab["mirror"])
    if sources:
        lines = ["deb %s%s %s main\n" % (option, uri, release) for release, uri in sorted(sources.items())]
        write(os.path.join(root, "etc/apt/sources.list"), "".join(lines))
    write(os.path.join(root, "etc/apt/apt.conf.d/10virtual-lab"), apt_settings())
    # A site's own certificate authority is trusted by the machines as this computer trusts it.
    for folder in ("/usr/local/share/ca-certificates", "/etc/ssl/certs"):
        if os.path.isdir(folder):
            os.makedirs(root + folder, exist_ok=True)
            run("cp", "--archive", "--remove-destination", folder + "/.", root + folder)


def write_login(lab: Dict[str, Any], machine: Dict[str, Any], root: str) -> None:
    """Let the machine's user in at its port, with the lab's key alone, and let it become root as the inventory says. Root does not get in."""
    user, folder = machine["user"], os.path.join(lab["state_dir"], "ssh")
    if user != "root" and not re.search("^%s:" % re.escape(user), read(os.path.join(root, "etc/passwd")), re.MULTILINE):
        run("chroot", root, "/usr/sbin/useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", user)
        password = os.path.join(root, "run/virtual-lab-password")
        write(password, "%s:%s\n" % (user, read(os.path.join(folder, "sudo_password")).strip()), 0o600)
        run("chroot", root, "/bin/sh", "-c", "/usr/sbin/chpasswd </run/virtual-lab-password; rc=$?; rm /run/virtual-lab-password; exit $rc")
    # sshd takes the first answer, and reads files in the order of their names.
    write(
        os.path.join(root, "etc/ssh/sshd_config.d/00-login.conf"),
        "Port %d\nPermitRootLogin %s\n" % (int(machine["ssh_port"]), "prohibit-password" if user == "root" else "no"),
    )
    rule = os.path.join(root, "etc/sudoers.d/virtual-lab")
    if machine["sudo"] == "nopasswd":
        write(rule, "%s ALL=(ALL:ALL) NOPASSWD: ALL\n" % user, 0o440)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(rule)
    # As the user itself would: its home, and what is in it, are its own.
    keys = read(os.path.join(folder, "id_ed25519.pub"))
    run("chroot", root, "/bin/su", user, "-s", "/bin/sh", "-c", "umask 077; mkdir -p ~/.ssh; printf %s " + shlex.quote(keys) + " >~/.ssh/authorized_keys")


def write_network(lab: Dict[str, Any], machine: Dict[str, Any], root: str) -> None:
    write(
        os.path.join(root, "etc/systemd/network/10-virtual-lab.network"),
        "[Match]\nName=host0\n\n[Link]\nMTUBytes=%d\n\n[Network]\nAddress=%s/%d\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        % (uplink()[1], machine["address"], network(lab).prefixlen, gateway(lab)),
    )


def shared_dirs_of(lab: Dict[str, Any], name: str) -> List[List[str]]:
    """[source, target] of the directories of this computer that the machine sees."""
    wanted = []
    for one in lab["shared_dirs"]:
        if not one.get("machines") or name in one["machines"]:
            wanted.append([one["source"], one["target"]])
    return wanted


def cgroup_dirs(lab: Dict[str, Any], name: str) -> List[str]:
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


def unit_of(lab: Dict[str, Any], name: str) -> str:
    return "virtual-lab-%s-%s.service" % (lab["name"], name)


def host_has_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def start(lab: Dict[str, Any], machine: Dict[str, Any], root: str) -> None:
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


def ssh(lab: Dict[str, Any], machine: Dict[str, Any], *command: str, timeout: float = 10) -> "subprocess.CompletedProcess[str]":
    config = os.path.join(lab["state_dir"], "ssh", "config")
    return run("ssh", "-F", config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", machine["name"], *command, check=False, timeout=timeout)


def answers(lab: Dict[str, Any], machine: Dict[str, Any], root: str, seconds: float) -> str:
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


def attach(lab: Dict[str, Any], name: str) -> bool:
    """Put the machine's end of its cable back on the bridge, where a new bridge lost it."""
    device = device_of(lab, name)
    if os.path.basename(os.path.realpath("/sys/class/net/%s/master" % device)) == lab["bridge"]:
        return False
    run("ip", "link", "set", device, "master", lab["bridge"], "up", check=False)
    return True


def sweep(lab: Dict[str, Any], name: str) -> None:
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


def stop(lab: Dict[str, Any], name: str) -> bool:
    """Power the machine off cleanly, within bounds; then end its systemd-nspawn and its process 1, and so all that is in it."""
    root = os.path.join(machine_dir(lab, name), "root")
    supervisors, inits = processes(root)
    if not supervisors and not inits:
        return False
    # systemd-nspawn hands SIGTERM on as a power-off; a machine without it is asked itself, in systemd's own way.
    gentle = [(pid, signal.SIGTERM) for pid in supervisors] or [(pid, signal.SIGRTMIN + 3) for pid in inits]
    if end(root, gentle, STOP_TIMEOUT_S) or end(root, [(pid, signal.SIGKILL) for pid in inits + supervisors], 10):
        return True
    raise LabError("the machine %s (processes %s) does not stop" % (name, ", ".join(str(pid) for pid in inits + supervisors)))


def end(root: str, signals: List[Tuple[int, int]], seconds: float) -> bool:
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


def wanted_of(lab: Dict[str, Any], machine: Dict[str, Any], made: Dict[str, Any]) -> Dict[str, Any]:
    """What the machine must be started with. It keeps the image it was made from: its disk is a difference to that one."""
    return {
        "image": made.get("image") or image_of(lab, machine["suite"]), "address": machine["address"], "network": lab["network"],
        "mtu": uplink()[1], "shared_dirs": shared_dirs_of(lab, machine["name"]),
        "user": machine["user"], "sudo": machine["sudo"], "ssh_port": int(machine["ssh_port"]),
    }


def up_one(lab: Dict[str, Any], machine: Dict[str, Any]) -> List[str]:
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


def up(lab: Dict[str, Any], check: bool) -> Dict[str, Any]:
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
        done = in_parallel({one["name"]: lambda one=one: up_one(lab, one) for one in lab["machines"]})
    return {"changed": changed or any(done.values()), "done": done}


def down(lab: Dict[str, Any], check: bool) -> Dict[str, Any]:
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

            in_parallel({name: lambda name=name: one(name) for name in names})
    return {"changed": bool(names), "done": {name: ["removed"] for name in names}}


def forward(lab: Dict[str, Any], wanted: str, check: bool) -> Dict[str, Any]:
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
    with open(FORWARD_SWITCH, "w", encoding="ascii") as handle:
        handle.write(value + "\n")


def forget(lab: Dict[str, Any], check: bool) -> Dict[str, Any]:
    """Delete the state directory, and the one it is in when that is ours and nothing else is in it."""
    changed = os.path.lexists(lab["state_dir"])
    if changed and not check:
        delete_tree(lab["state_dir"])
        parent = os.path.dirname(lab["state_dir"].rstrip("/"))
        if os.path.basename(parent) == "herd.llama_cpp":
            with contextlib.suppress(OSError):
                os.rmdir(parent)
    return {"changed": changed}


def purge(lab: Dict[str, Any], check: bool) -> Dict[str, Any]:
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


def main() -> int:
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + SBIN
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["look", "image", "up", "down", "forward-on", "forward-off", "forget", "purge"])
    parser.add_argument("--check", action="store_true", help="only say what would be done")
    args = parser.parse_args()
    lab = json.load(sys.stdin)
    # The order of an inventory's groups is no difference between labs.
    lab["machines"] = sorted(lab.get("machines", []), key=lambda machine: str(machine.get("name")))
    actions = {
        "image": images, "up": up, "down": down, "forget": forget, "purge": purge,
        "forward-on": lambda lab, check: forward(lab, "on", check),
        "forward-off": lambda lab, check: forward(lab, "off", check),
    }
    try:
        answer = look(lab) if args.action == "look" else actions[args.action](lab, args.check)
    except LabError as err:
        print(err, file=sys.stderr)
        return 1
    except OSError as err:
        print("%s: %s" % (err.filename or "the virtual lab", os.strerror(err.errno or errno.EIO)), file=sys.stderr)
        return 1
    print(json.dumps(answer, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
