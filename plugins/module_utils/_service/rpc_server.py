# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role rpc_server decides of a machine's workers."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import checks

# What a line of an EnvironmentFile passes on as it stands.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9._,:/=+-]+")
_OWN_UNIT = re.compile(r"llama-rpc-(?:server|tls)@")
_OWN_SOCKET = re.compile(r"llama-rpc-tls@.*[.]socket")


@dataclass(frozen=True)
class RpcServer:
    """Variables of the role rpc_server, without their prefix; ``ports`` are those of its workers."""

    address: str
    ports: t.Sequence[int]
    devices: t.Sequence[str]
    extra_args: t.Sequence[t.Any]
    tls: bool
    firewall: bool
    allow_from: t.Sequence[t.Any]
    tls_key: str = field(repr=False)


@dataclass(frozen=True)
class Worker(RpcServer):
    """What they are started with besides. A sandbox has directives that replace or join ours."""

    bin_dir: str
    sandbox_profile: str
    sandbox: t.Mapping[str, t.Any]
    tls_sandbox: t.Mapping[str, t.Any]


def problems(given: RpcServer, look: checks.Look) -> Found:
    """Every reason why the workers cannot be set up on the machine."""
    yield from checks.systemd_problems("rpc-server", look)
    yield from checks.unread_socket_problems(look)
    yield from checks.address_problems(
        "rpc_server_address", given.address, look, "the head reaches", called="the worker's address", any_address=False)
    if given.tls and checks.IPV4.fullmatch(given.address) and given.address.startswith("127."):
        yield ("rpc_server_address is %s, a loopback address, where the head's end of the TLS tunnel would be" % given.address,
               "Set rpc_server_address to the address by which the head reaches this machine, or rpc_server_tls to false")
    if given.tls_key and not checks.HEXADECIMAL_KEY.fullmatch(given.tls_key):
        yield "rpc_server_tls_key is not 32 to 128 hexadecimal digits, an even number of them", "Make one with `openssl rand -hex 32`, or leave it empty"
    if min(given.ports) < 1 or max(given.ports) > 65535:
        yield "the ports of the workers are %s, and a port is 1 to 65535" % ", ".join(map(str, given.ports)), "Set rpc_server_port"
    if len(set(given.devices)) < len(given.devices):
        yield "rpc_server_devices names a device twice: %s" % ", ".join(given.devices), "Name each device once"
    words = checks.not_like(_PLAIN_WORD, [*given.extra_args, *given.devices])
    if words:
        yield ("rpc_server_devices and rpc_server_extra_args must be plain words, and these are not: %s" % " ".join(words),
               "Use only letters, digits and ._,:/=+-")
    if given.firewall and not given.allow_from:
        yield ("nobody could connect to the RPC ports, because rpc_server_allow_from is empty",
               "Set rpc_server_allow_from to the address of the head, or rpc_server_firewall to false on a network nobody else is on")
    sources = checks.not_like(checks.IPV4_OR_NETWORK, given.allow_from)
    if sources:
        yield ("rpc_server_allow_from has what is neither an IPv4 address nor a network: %s" % ", ".join(sources),
               "Write them like 192.168.1.100 or 192.168.1.0/24")
    yield from checks.taken_port_problems(look, given.address, given.ports, _own_listener(look), "rpc_server_port")


def _own_listener(look: checks.Look) -> t.Callable[[checks.Socket], bool]:
    """A unit of ours that has another's port gives it up when it is restarted, and systemd holds the listening sockets of our TLS for us."""
    # Where the units cannot be read that is said, and nothing of what systemd holds.
    by_systemd = bool(look.units.get("units_problem")) or any(
        _OWN_SOCKET.match(unit["unit"]) and unit["active_state"] == "active" for unit in look.units.get("units") or ())
    return lambda socket: bool(_OWN_UNIT.match(socket["unit"])) or (by_systemd and socket["pid"] == 1)
