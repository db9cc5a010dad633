# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab should be, as the role says it (__virtual_lab_spec in vars/main.yml), and what follows from that alone."""
from __future__ import annotations

import ipaddress
from typing import Dict, List, TypedDict


class Machine(TypedDict):
    """A machine of the inventory."""

    name: str
    address: str
    # who logs in there, with the lab's key alone
    user: str
    # whether sudo asks that user for a password: "password" or "nopasswd"
    sudo: str
    ssh_port: int
    # the release of Debian
    suite: str


class SharedDir(TypedDict, total=False):
    """A directory of this computer that machines see; all of them where none are named."""

    source: str
    target: str
    machines: List[str]


class Lab(TypedDict):
    """All that the role says of a lab."""

    name: str
    # in the notation 198.18.0.0/24
    network: str
    # names on this computer: of the bridge, and of the firewall's table
    bridge: str
    table: str
    state_dir: str
    cache_dir: str
    # a mirror of Debian, empty for those that this computer uses
    mirror: str
    # of Debian, in the image of every machine
    packages: List[str]
    # resolvers of the machines; none for this computer's own
    nameservers: List[str]
    machines: List[Machine]
    shared_dirs: List[SharedDir]
    # package and the command that it is needed for, on this computer
    tools: Dict[str, str]
    # what nftables reads: the whole of the table
    rules: str


def network(lab: Lab) -> ipaddress.IPv4Network:
    """The lab's network. Raises ValueError where that is none."""
    return ipaddress.IPv4Network(lab["network"])


def gateway(lab: Lab) -> str:
    """This computer's address in the lab's network: the first one."""
    return str(network(lab).network_address + 1)


def shared_dirs_of(lab: Lab, name: str) -> List[List[str]]:
    """[source, target] of the directories of this computer that the machine sees."""
    wanted = []
    for one in lab["shared_dirs"]:
        if not one.get("machines") or name in one["machines"]:
            wanted.append([one["source"], one["target"]])
    return wanted
