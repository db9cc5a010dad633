# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd lets each unit do, by the settings of its role."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.service_sandbox import service_sandbox
from service_settings import SETTINGS, STARTED

ORDER = ["NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectProc", "ProtectClock", "ProtectHostname",
         "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictAddressFamilies", "RestrictNamespaces",
         "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "KeyringMode", "RemoveIPC", "SystemCallArchitectures", "SystemCallErrorNumber", "UMask"]
NO_DEVICE = ["PrivateDevices", "PrivateUsers", "PrivateIPC"]
FENCE = ["IPAddressDeny", "IPAddressAllow"]
FILTERED = ["MemoryDenyWriteExecute", "SystemCallFilter"]


def sandbox(service: str, **settings: Any) -> dict[str, Any]:
    return service_sandbox({**STARTED[service], **settings}, service)


def test_directives_stay_in_their_order_because_a_unit_is_known_by_its_text():
    worker = sandbox("rpc_server", devices=["CPU"])
    assert list(worker["worker"]) == ORDER + NO_DEVICE + ["ProcSubset"] + FILTERED + FENCE + ["PrivateNetwork"]
    assert list(worker["tls"]) == ORDER + NO_DEVICE + ["ProcSubset"] + FILTERED + FENCE
    assert list(worker["tls_socket"]) == FENCE
    server = sandbox("llama_server")
    assert list(server["server"]) == ORDER + ["DevicePolicy", "DeviceAllow", "SystemCallFilter"] + FENCE
    assert list(server["tunnel"]) == ORDER + NO_DEVICE + FILTERED + ["ProcSubset"] + FENCE
    assert list(server["proxy"]) == ORDER + NO_DEVICE + FILTERED + ["ProcSubset"]
    assert list(sandbox("llama_server", port=443)["proxy"]) == [*list(server["proxy"]), "AmbientCapabilities"]


@pytest.mark.parametrize(("service", "devices", "profile"), [
    ("rpc_server", [], "gpu"), ("rpc_server", ["CUDA0"], "gpu"), ("rpc_server", ["CPU"], "cpu"), ("rpc_server", ["CPU", "CUDA0"], "gpu"),
    ("llama_server", [], "gpu"), ("llama_server", ["RPC0", "RPC12"], "cpu"), ("llama_server", ["none"], "cpu"), ("llama_server", ["CUDA0", "RPC0"], "gpu"),
])
def test_only_who_computes_on_a_gpu_gets_its_device_files(service, devices, profile):
    found = sandbox(service, devices=devices)
    own = found["worker" if service == "rpc_server" else "server"]
    assert found["profile"] == profile and ("DeviceAllow" in own) == (profile == "gpu") and ("PrivateDevices" in own) == (profile == "cpu")
    assert sandbox(service, devices=devices, sandbox_profile="cpu")["profile"] == "cpu"


def test_what_lies_in_a_home_directory_stays_visible():
    assert sandbox("rpc_server", bin_dir="/home/u/bin")["worker"]["ProtectHome"] == "read-only"
    assert sandbox("rpc_server", bin_dir="/srv/home/bin")["worker"]["ProtectHome"] == "yes"
    found = sandbox("llama_server", read_paths=["/srv/m.gguf", "/root/p.gguf"])
    assert [found[unit]["ProtectHome"] for unit in ("server", "tunnel", "proxy")] == ["read-only", "yes", "yes"]


@pytest.mark.parametrize(("settings", "worker", "tls", "socket"), [
    ({}, "localhost", "localhost 192.168.1.100 10.2.0.0/16", "192.168.1.100 10.2.0.0/16"),
    ({"firewall": False}, "localhost", None, None),
    ({"tls": False}, "192.168.1.100 10.2.0.0/16", "localhost 192.168.1.100 10.2.0.0/16", "192.168.1.100 10.2.0.0/16"),
    ({"tls": False, "firewall": False}, None, None, None),
    ({"tls_sandbox": {"IPAddressAllow": "10.9.0.0/16", "UMask": "0022"}}, "localhost", "10.9.0.0/16", "10.9.0.0/16"),
    ({"tls_sandbox": {"IPAddressAllow": None, "IPAddressDeny": None}}, "localhost", None, None),
])
def test_a_worker_is_reached_by_its_head_alone(settings, worker, tls, socket):
    found = sandbox("rpc_server", **settings)
    assert [found[unit].get("IPAddressAllow") for unit in ("worker", "tls", "tls_socket")] == [worker, tls, socket]
    assert set(found["tls_socket"]) <= set(FENCE)
    assert found["worker"].get("PrivateNetwork") == ("yes" if settings.get("tls", True) else None)


@pytest.mark.parametrize(("settings", "allowed"), [
    ({"rpc_endpoints": ["127.1.1.1:50052", "10.0.0.5:1", "10.0.0.6:1", "10.0.0.5:2"]}, "localhost 10.0.0.5 10.0.0.6"),
    ({"rpc_endpoints": ["worker1.example:50052", "10.0.0.6:1"]}, None),
    ({"proxy": False}, None),
])
def test_llama_server_behind_its_proxy_reaches_its_workers_alone(settings, allowed):
    server = sandbox("llama_server", **settings)["server"]
    assert server.get("IPAddressAllow") == allowed and server["UMask"] == ("0007" if settings.get("proxy", True) else "0077")


def test_a_low_port_takes_one_right():
    proxy = sandbox("llama_server", port=443)["proxy"]
    assert (proxy["CapabilityBoundingSet"], proxy["AmbientCapabilities"], proxy["PrivateUsers"]) == ("CAP_NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE", "no")
    assert "AmbientCapabilities" not in sandbox("llama_server", port=1024)["proxy"]


def test_the_operator_has_the_last_word():
    found = sandbox("llama_server", sandbox={"ProtectHome": None, "New": ["a", "b"]}, tunnel_sandbox={"UMask": "0022"}, proxy_sandbox={"ProcSubset": None})
    assert "ProtectHome" not in found["server"] and found["server"]["New"] == ["a", "b"] and list(found["server"])[-1] == "New"
    assert found["tunnel"]["UMask"] == "0022" and "ProcSubset" not in found["proxy"]


def test_what_cannot_be_decided_is_refused():
    with pytest.raises(AnsibleFilterError, match="not watchdog"):
        service_sandbox({}, "watchdog")
    with pytest.raises(AnsibleFilterError, match="not a list"):
        service_sandbox([], "rpc_server")
    with pytest.raises(AnsibleFilterError, match="bin_dir"):
        service_sandbox(SETTINGS["rpc_server"], "rpc_server")
