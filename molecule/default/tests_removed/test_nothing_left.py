# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What teardown must have taken from the machines, which still run."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://all"]


@pytest.mark.parametrize("user", ["llama-rpc", "llama-server", "llama-watchdog"])
def test_no_user_or_group(host, user):
    assert not host.user(user).exists
    assert not host.group(user).exists


def test_no_unit(host):
    assert host.run("systemctl list-unit-files --no-legend 'llama*'").stdout.strip() == ""
    assert host.run("systemctl list-units --all --no-legend 'llama*'").stdout.strip() == ""


def test_no_process(host):
    assert host.run("ps -eo args | grep -E '[l]lama|[r]pc-server'").stdout == ""


def test_no_socket_but_ssh(host):
    listening = host.run("ss -Hltn").stdout.splitlines()
    ssh = f":{host.backend.get_variables().get('ansible_port', 22)}"
    assert listening and all(line.split()[3].endswith(ssh) for line in listening), listening


def test_no_firewall_table(host):
    assert "llama" not in host.run("nft list tables").stdout


def test_no_file(host):
    found = host.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run/log -o -path /var/log \\) -prune"
        " -o \\( -iname '*llama*' -o -iname '*.gguf' -o -iname '*herd*' \\) -print"
    ).stdout.split()
    assert found == []
