# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why this computer cannot hold the lab, or the inventory's machines cannot be made: a problem and its remedy for each reason."""
from __future__ import annotations

import ipaddress
import os
import platform
import re
import shutil
from typing import Dict, List, Tuple

from virtual_lab.mounts import file_system_of, overlay_known
from virtual_lab.network import nameservers, range_users
from virtual_lab.spec import Lab, Machine, gateway, network
from virtual_lab.state import owner

LAB_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")
MACHINE_NAME = re.compile(r"^(?=.{1,42}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
USER_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,30}$")
SUITE = re.compile(r"^[a-z][a-z0-9.-]*$")
SUDO_POLICIES = ("password", "nopasswd")


def problems(lab: Lab) -> List[Tuple[str, str]]:
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


def inventory_problems(lab: Lab) -> List[Tuple[str, str]]:
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


def login_problems(machine: Machine) -> List[Tuple[str, str]]:
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
