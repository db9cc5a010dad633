# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog on every machine: without rights, and with a word for a load balancer that gives nothing away."""

from __future__ import annotations

import pytest
import requests
from clusters import WATCHDOG_PORT

testinfra_hosts = ["ansible://llama_host", "ansible://llama_rpc"]


def test_unit_runs_and_starts_at_boot(host):
    service = host.service("llama-watchdog.service")
    assert service.is_running
    assert service.is_enabled


def test_has_no_rights(host):
    pid = host.check_output("systemctl show -P MainPID llama-watchdog")
    status = host.file(f"/proc/{pid}/status").content_string
    assert host.check_output(f"stat -c %U /proc/{pid}") == "llama-watchdog"
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0000000000000000"}
    assert "NoNewPrivs:\t1" in status


def test_cannot_change_its_own_program(host):
    assert host.run("runuser -u llama-watchdog -- test -w /usr/local/lib/llama-watchdog/llama_watchdog.py").rc != 0


@pytest.mark.parametrize("machine", ["head", "worker1", "worker-2.lab"])
@pytest.mark.parametrize("page", ["health", "status"])
def test_says_that_all_is_well_and_no_secret(cluster, machine, page):
    cluster.settle()
    answer = requests.get(f"http://{cluster.addresses[machine]}:{WATCHDOG_PORT}/{page}", timeout=10)
    assert answer.status_code == 200
    assert cluster.api_key not in answer.text
    assert answer.json().get("status", "ok") == "ok"


def test_says_nothing_else(cluster):
    assert requests.get(f"http://{cluster.addresses['head']}:{WATCHDOG_PORT}/etc/passwd", timeout=10).status_code == 404
