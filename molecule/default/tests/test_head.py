# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head: llama-server as its own user, a key that nobody else can read, and a model that is the right one."""

from __future__ import annotations

import pytest
from clusters import API_PORT, WATCHDOG_PORT, tunnel_end

testinfra_hosts = ["ansible://llama_host"]
UNIT = "llama-server.service"
MODEL = "/var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_unit_runs_and_starts_at_boot(host):
    service = host.service(UNIT)
    assert service.is_running
    assert service.is_enabled


def test_process_runs_as_its_own_user(host):
    assert host.process.get(comm="llama-server").user == "llama-server"


def test_listens_on_its_own_address_only(host, cluster):
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    assert {f"{cluster.addresses['head']}:{port}" for port in (API_PORT, WATCHDOG_PORT)} <= listening
    tunnels = {tunnel_end(cluster.addresses[worker]) for worker in ("worker1", "worker-2.lab")}
    assert {endpoint for endpoint in listening if not endpoint.endswith((":22", f":{API_PORT}", f":{WATCHDOG_PORT}"))} == tunnels


def test_key_is_readable_by_root_alone(host):
    key = host.file("/etc/llama-server/api-key")
    assert (key.user, key.group, key.mode) == ("root", "root", 0o600)
    assert len(key.content_string.strip()) >= 32


@pytest.mark.parametrize(
    "where",
    ["ps -eo args", "journalctl --no-pager -o cat", "systemctl show llama-server", "cat /etc/systemd/system/llama-server.service"],
)
def test_key_is_nowhere_else(host, cluster, where):
    assert cluster.api_key not in host.check_output(where)


def test_model_is_whole_and_not_writable_by_the_service(host):
    model = host.file(MODEL)
    assert model.size == 98362432
    assert host.run(f"runuser -u llama-server -- test -r {MODEL}").rc == 0
    assert host.run(f"runuser -u llama-server -- test -w {MODEL}").rc != 0


def test_no_library_is_missing(host):
    assert "not found" not in host.check_output("ldd /opt/llama.cpp/current/bin/llama-server")


def test_runs_no_rpc_server(host):
    """It has the executable, as a stand-in for the workers while llama-server is asked before it serves; afterwards nothing of that is left."""
    assert host.file("/opt/llama.cpp/current/bin/ggml-rpc-server").exists
    assert host.run("pgrep -x ggml-rpc-server").rc == 1
    assert "llama-rpc-server" not in host.check_output("systemctl list-units --all --plain --no-legend")
    assert host.check_output("find /tmp /var/tmp -maxdepth 1 -name 'herd-ask-*'") == ""
