# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`deploy.yml --check --diff` on machines that have nothing yet: says what it would do, does none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playbook_run import run_playbook

INVENTORY = Path(__file__).resolve().parents[1] / "inventory"
OURS = (
    "/opt/llama.cpp",
    "/var/lib/llama.cpp",
    "/etc/llama-server",
    "/etc/llama-rpc-server",
    "/etc/systemd/system/llama-server.service",
    "/etc/systemd/system/llama-rpc-server@.service",
    "/etc/systemd/system/llama-rpc-tls@.service",
    "/etc/systemd/system/llama-server-tunnel.service",
    "/etc/systemd/system/llama-server-proxy.service",
    "/usr/sbin/nginx",
)

testinfra_hosts = ["ansible://all"]


@pytest.fixture(scope="session")
def check_run():
    return run_playbook("deploy.yml", INVENTORY, "--check", "--diff")


def test_check_mode_passes(check_run):
    assert check_run.rc == 0, check_run.output[-3000:]


@pytest.mark.parametrize("path", OURS)
def test_check_mode_put_nothing_on_the_machine(check_run, host, path):
    assert not host.file(path).exists


def test_check_mode_made_no_user(check_run, host):
    assert not host.user("llama-rpc").exists
    assert not host.user("llama-server").exists
