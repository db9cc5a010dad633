# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster without TLS: what was there for it is gone, and the firewall alone keeps others from the workers."""

from __future__ import annotations

import socket

import pytest
from answers import capital_of_france
from playbook_run import ROOT, run_playbook

testinfra_hosts = ["ansible://chat_frontend"]


def test_answers_through_the_worker(host):
    assert "Paris" in capital_of_france(host, "198.18.2.10", 6080)
    established = host.check_output("ss -Htnp state established dst 198.18.2.11:6000").splitlines()
    assert established and all("llama-server" in line for line in established)
    assert host.run("systemctl is-active llama-server-tunnel").stdout.strip() != "active"


def test_nobody_else_reaches_the_worker():
    with pytest.raises(OSError):
        socket.create_connection(("198.18.2.11", 6000), timeout=3).close()


def test_a_second_run_changes_nothing():
    run = run_playbook(str(ROOT / "molecule/reuse/plain.yml"), ROOT / "molecule/reuse/inventory")
    assert run.rc == 0 and run.changed == 0, run.output[-3000:]
