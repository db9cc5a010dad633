# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: its bridge, what else uses its addresses, how wide the way out is, and who resolves names."""
from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
from typing import Any, Dict, List, Tuple

from virtual_lab.spec import Lab, gateway, network
from virtual_lab.system import read, run


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


def resolv_conf(lab: Lab) -> str:
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


def bridge_state(lab: Lab) -> Dict[str, Any]:
    """Whether the bridge is there with its address, its MTU and up."""
    links: List[Dict[str, Any]] = []
    if shutil.which("ip"):
        shown = run("ip", "-json", "-4", "address", "show", "dev", lab["bridge"], check=False)
        links = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []
    link = links[0] if links else {}
    addresses = ["%s/%s" % (one.get("local"), one.get("prefixlen")) for one in link.get("addr_info", [])]
    wanted = "%s/%d" % (gateway(lab), network(lab).prefixlen)
    return {
        "present": os.path.exists("/sys/class/net/%s/bridge" % lab["bridge"]),
        "ready": wanted in addresses and "UP" in link.get("flags", []) and link.get("mtu") == uplink()[1],
        "address": wanted,
    }


def range_users(lab: Lab) -> List[str]:
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
