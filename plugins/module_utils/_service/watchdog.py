# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role watchdog decides of a machine's watchdog."""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import checks
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.preflight import version_tuple

UNIT = "llama-watchdog.service"
# Who ends a probe is the watchdog's own judgement; this bounds what it may cost when that fails.
_PROBE_TIMEOUT_S = 3600
_SERVICE = re.compile(r"[A-Za-z0-9:_.@-]+[.]service")


@dataclass(frozen=True)
class Watchdog:
    """Variables of the role watchdog, without their prefix; ``watched`` are the units that it watches."""

    address: str
    port: int
    watched: t.Sequence[str]
    worker_endpoints: t.Sequence[str]
    peers: t.Sequence[t.Any]
    interval_s: int
    probe_interval_s: int
    answer_max_age_s: int
    backoff_s: int
    backoff_longest_s: int


@dataclass(frozen=True)
class Start(Watchdog):
    """What it is told besides.

    ``server_workers`` are the head's, each with its endpoint, machine, unit and, where the endpoint is not the machine's own, address;
    ``rpc_servers`` this machine's, each with its unit and port. ``server_tls`` says whether the head is asked by https.
    """

    runtime_dir: str
    bin_dir: str
    cache_dir: str
    rpc_servers: t.Sequence[t.Mapping[str, t.Any]]
    server_unit: str
    server_proxy_unit: str
    server_address: str
    server_port: int
    server_socket: str
    server_tls: bool
    server_url: str
    server_workers: t.Sequence[t.Mapping[str, t.Any]]


@dataclass(frozen=True)
class Look(checks.Look):
    """``python`` is the program that would run it, ``python_version`` what that says of itself, empty where it says nothing."""

    python: str = ""
    python_version: str = ""


def config(given: Start) -> t.Dict[str, t.Any]:
    """What its program reads (roles/watchdog/files/llama_watchdog.py)."""
    workers = [
        {"endpoint": one["endpoint"], "machine": one["machine"], "unit": one["unit"],
         "watchdog": "%s:%d" % (one.get("address") or one["endpoint"].split(":")[0], given.port)}
        for one in given.server_workers
    ]
    peers = [str(peer) for peer in given.peers] + [worker["watchdog"].split(":")[0] for worker in workers]
    return {
        "address": given.address,
        "port": given.port,
        "runtime_dir": given.runtime_dir,
        "bin_dir": given.bin_dir,
        "cache_dir": given.cache_dir,
        "interval_s": given.interval_s,
        "probe_interval_s": given.probe_interval_s,
        "probe_timeout_s": _PROBE_TIMEOUT_S,
        "answer_max_age_s": given.answer_max_age_s,
        "backoff_s": given.backoff_s,
        "backoff_longest_s": given.backoff_longest_s,
        # In order, so that the same machines make the same settings.
        "peers": sorted({peer for peer in peers if checks.IPV4_OR_NETWORK.fullmatch(peer)}),
        "head": _head(given, workers) if given.server_unit else None,
        "workers": [{"unit": one["unit"], "port": int(one["port"])} for one in given.rpc_servers],
    }


def _head(given: Start, workers: t.List[t.Dict[str, t.Any]]) -> t.Dict[str, t.Any]:
    return {
        "unit": given.server_unit,
        "proxy_unit": given.server_proxy_unit,
        # A server on all addresses is asked on loopback.
        "address": "127.0.0.1" if given.server_address == checks.ANY else given.server_address,
        "port": given.server_port,
        "socket": given.server_socket,
        "tls": given.server_tls,
        "name": (urllib.parse.urlsplit(given.server_url).hostname or "") if given.server_tls else "",
        "workers": workers,
        # What the check before its start says of the model (role llama_server).
        "model_state": "/run/%s/model.json" % re.sub("[.]service$", "", given.server_unit),
    }


def problems(given: Watchdog, look: Look) -> Found:
    """Every reason why the watchdog cannot be set up on the machine."""
    yield from checks.systemd_problems("the watchdog", look)
    if version_tuple(look.python_version) < (3, 9):
        yield ("the watchdog needs %s of version 3.9 or newer, and there is %s" % (look.python, look.python_version or "none"),
               "Install python3 from the distribution")
    if not given.watched:
        yield ("there is nothing to watch, because watchdog_server_unit and watchdog_rpc_servers are empty",
               "Set one of them, or leave the role out on this machine")
    units = checks.not_like(_SERVICE, given.watched)
    if units:
        yield ("these are not names of systemd services: %s" % ", ".join(units),
               "Name units like llama-server.service in watchdog_server_unit and watchdog_rpc_servers")
    endpoints = checks.not_like(checks.ENDPOINT, given.worker_endpoints)
    if endpoints:
        yield "watchdog_server_workers has endpoints that are not ADDRESS:PORT: %s" % ", ".join(endpoints), "Write them like 192.168.1.101:50052"
    peers = checks.not_like(checks.IPV4_OR_NETWORK, given.peers)
    if peers:
        yield ("watchdog_peers has what is neither an IPv4 address nor a network: %s" % ", ".join(peers),
               "Write them like 192.168.1.100 or 192.168.1.0/24")
    yield from checks.address_problems("watchdog_address", given.address, look, "the cluster reaches")
    yield from checks.port_problems("watchdog_port", given.port)
    if min(given.interval_s, given.probe_interval_s, given.backoff_s, given.backoff_longest_s) < 1:
        yield ("an interval or pause of the watchdog is less than 1 s",
               "Set watchdog_interval_s, watchdog_probe_interval_s, watchdog_backoff_s and watchdog_backoff_longest_s to 1 or more")
    if given.answer_max_age_s < 2 * given.probe_interval_s:
        yield ("watchdog_answer_max_age_s is %d, and an idle head is asked only every %d s" % (given.answer_max_age_s, given.probe_interval_s),
               "Set it to at least twice watchdog_probe_interval_s")
    yield from checks.taken_port_problems(look, given.address, [given.port], checks.of_unit(UNIT), "watchdog_port")
