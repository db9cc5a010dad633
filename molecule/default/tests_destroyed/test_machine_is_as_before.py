# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The computer that ran the lab: no machine, bridge, firewall table, mount or key of it is left."""

from __future__ import annotations

from pathlib import Path

testinfra_hosts = ["local://"]
LAB = "herdtest"
STATE = Path("/var/lib/herd.llama_cpp/lab-test")


def test_no_bridge(host):
    assert LAB not in host.check_output("ip -o link")


def test_no_machine_process():
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if (path.parent / "comm").read_text() == "systemd-nspawn\n"]
    assert not [command for command in commands if str(STATE).encode() in command]


def test_no_mount():
    assert str(STATE) not in Path("/proc/self/mounts").read_text(encoding="utf-8")


def test_no_firewall_table(host):
    assert LAB not in host.run("nft list tables").stdout


def test_no_state():
    assert not STATE.exists()
