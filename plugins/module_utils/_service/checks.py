# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be wrong with a machine that is to run a service, whichever service it is.

Each function yields what is wrong and what to do; the words of both end up in front of the operator.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import stands_in_the_way

Socket = t.Mapping[str, t.Any]

_IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
IPV4 = re.compile(_IPV4)
IPV4_OR_NETWORK = re.compile(_IPV4 + r"(?:/(?:3[0-2]|[12]?[0-9]))?")
ENDPOINT = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")
# What stunnel and the watchdog take for a key: 16 to 64 bytes.
HEXADECIMAL_KEY = re.compile(r"(?:[0-9A-Fa-f]{2}){16,64}")
ANY = "0.0.0.0"


@dataclass(frozen=True)
class Look:
    """What was seen on a machine: units and sockets as service_unit_info returns them, or what failed to, and the machine's IPv4 addresses."""

    units: t.Mapping[str, t.Any] = field(default_factory=dict)
    sockets: t.Mapping[str, t.Any] = field(default_factory=dict)
    addresses: t.Sequence[str] = ()


def not_like(pattern: t.Pattern[str], words: t.Iterable[t.Any]) -> t.List[str]:
    """Those of the words that are not as the pattern says, from their first letter to their last."""
    return [word for word in map(str, words) if not pattern.fullmatch(word)]


def split_endpoint(endpoint: str) -> t.Tuple[str, int]:
    """Address and port of ``ADDRESS:PORT``; the port is 0 where it is no number."""
    address, _colon, port = endpoint.rpartition(":")
    return address, int(port) if port.isdecimal() else 0


def systemd_problems(program: str, look: Look) -> Found:
    """Where systemd does not run the machine, or nobody can say what it runs."""
    if not look.units.get("systemd"):
        yield "%s needs systemd, which does not run this machine" % program, "Use a machine that systemd runs"
    elif look.units.get("units_problem"):
        yield "what systemd runs on this machine cannot be read: %s" % look.units["units_problem"], "See that systemctl answers there"


def unread_socket_problems(look: Look) -> Found:
    """Where nobody can say who has which port."""
    if "sockets" not in look.sockets:
        reason = look.sockets.get("msg", "no reason given")
        yield "the sockets of this machine cannot be read: %s" % reason, "See that iproute2 is installed"


def address_problems(variable: str, address: str, look: Look, user: str, called: str = "the address", any_address: bool = True) -> Found:
    """Where a service's address is none, or another machine's. ``user`` is who reaches the service there."""
    if not IPV4.fullmatch(address) or (address == ANY and not any_address):
        yield ("%s is '%s', which is not one IPv4 address" % (variable, address),
               "Set %s or llama_cluster_address to the address by which %s this machine" % (variable, user))
    elif address not in look.addresses and address != ANY and not address.startswith("127."):
        yield ("%s %s is not an address of this machine" % (called, address),
               "Set %s or llama_cluster_address to one of %s" % (variable, ", ".join(look.addresses)))


def port_problems(variable: str, port: int) -> Found:
    """Where a port is none."""
    if not 1 <= port <= 65535:
        yield "%s is %d, and a port is 1 to 65535" % (variable, port), "Set %s" % variable


def in_the_way(look: Look, endpoints: t.Collection[t.Tuple[str, int]], own: t.Callable[[Socket], bool]) -> t.List[Socket]:
    """The listeners that keep a service from one of its addresses and ports, without those that are its own."""
    return [
        socket for socket in look.sockets.get("sockets") or ()
        if any(socket["local_port"] == port and stands_in_the_way(socket["local_address"], address) for address, port in endpoints) and not own(socket)
    ]


def taken_port_problems(look: Look, address: str, ports: t.Iterable[int], own: t.Callable[[Socket], bool], variable: str) -> Found:
    """Where another program has one of a service's ports; the first is said."""
    for socket in in_the_way(look, [(address, port) for port in ports], own)[:1]:
        yield ("port %d on %s is taken by %s" % (socket["local_port"], address, socket["held_by"]), "Stop that program or set %s" % variable)


def of_unit(*units: str) -> t.Callable[[Socket], bool]:
    """Whether a listener is one of these units'."""
    return lambda socket: socket["unit"] in units
