# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd lets the services do: the sandbox directives of each unit (systemd.exec(5), systemd.resource-control(5)).

They are written in the order in which they are here, and each unit is known by its text: another order restarts every service.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.checks import IPV4, split_endpoint
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import Start
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.rpc_server import Worker

# A list is printed as several lines; None leaves a directive out.
Directives = t.Dict[str, t.Any]

_COMMON: Directives = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectProc": "invisible",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "KeyringMode": "private",
    "RemoveIPC": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
}
# A GPU's driver needs its device files, reads /proc/driver, compiles kernels into memory for a GPU that llama.cpp was not built for, and sets
# the affinity of its threads; a GPU that shares the machine's memory is asked by way of /proc/meminfo. What it was seen to run with is in
# the README of the role rpc_server.
_GPU: Directives = {
    "DevicePolicy": "closed",
    "DeviceAllow": ["char-nvidiactl rw", "char-nvidia-caps rw", "char-nvidia-frontend rw", "char-nvidia-uvm rw", "char-nvidia rw", "char-drm rw",
                    "char-kfd rw"],
    "SystemCallFilter": ["@system-service", "~@privileged"],
}
_NO_DEVICE: Directives = {"PrivateDevices": "yes", "PrivateUsers": "yes", "PrivateIPC": "yes"}
_NO_NEW_CODE: Directives = {"MemoryDenyWriteExecute": "yes"}
_PIDS_ALONE: Directives = {"ProcSubset": "pid"}
_FEW_CALLS: Directives = {"SystemCallFilter": ["@system-service", "~@privileged @resources"]}
_WORKER_ON_CPU: Directives = {**_NO_DEVICE, **_PIDS_ALONE, **_NO_NEW_CODE, **_FEW_CALLS}
# Not without @resources: --numa, --cpu-mask and --prio are for speed.
_SERVER_ON_CPU: Directives = {**_NO_DEVICE, **_NO_NEW_CODE, "SystemCallFilter": ["@system-service", "~@privileged"]}
# stunnel and nginx need no device and write no file.
_BESIDE_SERVER: Directives = {**_SERVER_ON_CPU, **_PIDS_ALONE, **_FEW_CALLS}

_HOME = re.compile(r"/(?:home|root|run/user)/")
_CPU = re.compile("CPU")
_NOT_OF_THIS_MACHINE = re.compile(r"RPC[0-9]+|CPU|none")


def _merged(*parts: t.Mapping[str, t.Any]) -> Directives:
    """The later part decides; a directive stays where it was first said."""
    found: Directives = {}
    for part in parts:
        found.update(part)
    return {name: value for name, value in found.items() if value is not None}


def _home_of(*paths: str) -> Directives:
    """A build or a model in somebody's home directory must stay visible."""
    return {"ProtectHome": "read-only"} if any(_HOME.match(path) for path in paths) else {}


def _only_from(*addresses: str) -> Directives:
    """A second fence, for the case that somebody flushes nftables. systemd goes on without it where the kernel cannot."""
    return {"IPAddressDeny": "any", "IPAddressAllow": " ".join(addresses)}


def _once(words: t.Iterable[str]) -> t.List[str]:
    return list(dict.fromkeys(words))


def _profile(wanted: str, devices: t.Sequence[str], no_gpu: "t.Pattern[str]") -> str:
    """The profile that is wanted, or the one for devices that are none of this machine's GPUs."""
    if wanted != "auto":
        return wanted
    return "cpu" if devices and all(no_gpu.fullmatch(name) for name in devices) else "gpu"


def llama_server_sandbox(given: Start) -> t.Dict[str, t.Any]:
    """The ``profile`` of llama-server, cpu or gpu, and the directives of the ``server``, of its ``tunnel`` and of its ``proxy``."""
    profile = _profile(given.sandbox_profile, given.devices, _NOT_OF_THIS_MACHINE)
    common = {**_COMMON, "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6"}
    server = _merged(common, _home_of(given.bin_dir, *given.read_paths), _SERVER_ON_CPU if profile == "cpu" else _GPU)
    if given.proxy:
        # Its group opens its socket, and all it connects to are its workers.
        hosts = _once(host for host, _port in map(split_endpoint, given.rpc_endpoints) if not host.startswith("127."))
        server = _merged(server, {"UMask": "0007"}, _only_from("localhost", *hosts) if all(map(IPV4.fullmatch, hosts)) else {})
    tunnel = _merged(common, {"RestrictAddressFamilies": "AF_INET"}, _BESIDE_SERVER,
                     _only_from("localhost", *_once(str(end["address"]) for end in given.rpc_tunnels)))
    proxy = _merged(common, {"RestrictAddressFamilies": "AF_UNIX AF_INET"}, _BESIDE_SERVER)
    if given.port < 1024:
        # It takes a right that no namespace of users may be in the way of.
        proxy = _merged(proxy, {"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "AmbientCapabilities": "CAP_NET_BIND_SERVICE", "PrivateUsers": "no"})
    return {"profile": profile, "server": _merged(server, given.sandbox), "tunnel": _merged(tunnel, given.tunnel_sandbox),
            "proxy": _merged(proxy, given.proxy_sandbox)}


def rpc_server_sandbox(given: Worker) -> t.Dict[str, t.Any]:
    """The ``profile`` of a machine's workers, cpu or gpu, and the directives of the ``worker``, of its ``tls`` and of that one's ``tls_socket``."""
    profile = _profile(given.sandbox_profile, given.devices, _CPU)
    allowed = [str(address) for address in given.allow_from]
    worker = _merged(_COMMON, _home_of(given.bin_dir), _WORKER_ON_CPU if profile == "cpu" else _GPU)
    if given.tls:
        # Nobody else reaches the worker's port: its network is its own and its tunnel's.
        worker = _merged(worker, _only_from("localhost"), {"PrivateNetwork": "yes"})
    elif given.firewall:
        worker = _merged(worker, _only_from(*allowed))
    tls = _merged(_COMMON, {"RestrictAddressFamilies": "AF_INET"}, _WORKER_ON_CPU, _only_from("localhost", *allowed) if given.firewall else {})
    # systemd holds the port by the socket unit: what arrives there is judged by that unit's rules, and not by those of the service.
    fence = {name: value for name, value in given.tls_sandbox.items() if name.startswith("IPAddress")}
    return {"profile": profile, "worker": _merged(worker, given.sandbox), "tls": _merged(tls, given.tls_sandbox),
            "tls_socket": _merged(_only_from(*allowed) if given.firewall else {}, fence)}
