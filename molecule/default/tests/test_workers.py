# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each worker: one rpc-server, its own user, its own address, and nobody but the head gets in."""

from __future__ import annotations

import re
import socket

import clusters
import pytest
from clusters import RPC_PORT, WATCHDOG_PORT

testinfra_hosts = ["ansible://llama_rpc"]
UNIT = "llama-rpc-server@0.service"


def test_unit_runs_and_starts_at_boot(host):
    service = host.service(UNIT)
    assert service.is_running
    assert service.is_enabled


def test_process_runs_as_its_own_user_on_the_planned_device(host):
    process = host.process.get(comm="ggml-rpc-server")
    assert process.user == "llama-rpc"
    assert "-d CPU" in process.args


@pytest.mark.parametrize("unit", [UNIT, "llama-rpc-tls@0.service", "llama-watchdog.service"])
def test_units_are_shut_in(host, unit):
    assert clusters.exposure(host, unit) <= 1.5


def test_listens_on_its_own_address_only(host, cluster):
    own = set(re.findall(r"inet (\S+)/", host.check_output("ip -o -4 addr show"))) & set(cluster.addresses.values())
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    wanted = {f"{address}:{port}" for address in own for port in (RPC_PORT, WATCHDOG_PORT)}
    assert wanted == {endpoint for endpoint in listening if not endpoint.endswith(f":{host.backend.get_variables().get('ansible_port', 22)}")}


def test_the_head_is_connected(host, cluster):
    established = host.check_output("ss -Htn state established").splitlines()
    peers = {line.split()[3].rsplit(":", 1)[0] for line in established if line.split()[2].endswith(f":{RPC_PORT}")}
    assert peers == {cluster.addresses["head"]}


def test_has_only_what_a_worker_needs(host):
    assert host.file("/opt/llama.cpp/current/bin/ggml-rpc-server").exists
    assert not host.file("/opt/llama.cpp/current/bin/llama-server").exists
    assert host.run("find / -xdev -name '*.gguf' | grep .").rc == 1


def test_no_library_is_missing(host):
    assert "not found" not in host.check_output("ldd /opt/llama.cpp/current/bin/ggml-rpc-server")


@pytest.mark.parametrize("worker", ["worker1", "worker-2.lab"])
def test_control_node_cannot_reach_the_rpc_port(cluster, worker):
    with pytest.raises(OSError), socket.create_connection((cluster.addresses[worker], RPC_PORT), timeout=3):
        pass


@pytest.mark.parametrize(("here", "there"), [("worker1", "worker-2.lab"), ("worker-2.lab", "worker1"), ("worker1", "worker1")])
def test_another_worker_cannot_reach_the_rpc_port(cluster, here, there):
    stranger = cluster.machine(here)
    probe = f"timeout 3 bash -c '</dev/tcp/{cluster.addresses[there]}/{RPC_PORT}'"
    assert stranger.run(probe).rc != 0


def test_the_firewall_is_what_keeps_strangers_out(cluster):
    """The two tests above must be able to fail: without the table the same probe gets through."""
    worker = cluster.machine("worker-2.lab")
    worker.check_output("systemctl cat llama-rpc-firewall.service")
    saved = worker.check_output("nft list table inet llama_rpc_server")
    try:
        worker.check_output("nft delete table inet llama_rpc_server")
        with socket.create_connection((cluster.addresses["worker-2.lab"], RPC_PORT), timeout=30):
            pass  # connects and says nothing: a worker in use must not be spoken to
    finally:
        worker.check_output("echo %s | nft -f -", saved)
    with pytest.raises(OSError), socket.create_connection((cluster.addresses["worker-2.lab"], RPC_PORT), timeout=3):
        pass
