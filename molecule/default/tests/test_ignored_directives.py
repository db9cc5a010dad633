# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox directive that a machine's systemd does not know is warned of: systemd itself starts the unit without it."""

from __future__ import annotations

import json

from playbook_run import run_playbook

testinfra_hosts = ["local://"]


def test_each_role_warns_of_what_systemd_ignores(cluster):
    wanted = {f"{role}_sandbox": {"ProtectMoon": "yes"} for role in ("rpc_server", "rpc_server_tls", "llama_server", "llama_server_tunnel", "watchdog")}
    with_it = run_playbook("deploy.yml", cluster.inventory, "-e", json.dumps(wanted))
    assert with_it.rc == 0, with_it.output[-3000:]
    for unit in ("llama-rpc-server@", "llama-rpc-tls@", "llama-server", "llama-server-tunnel", "llama-watchdog"):
        assert with_it.says(f"{unit}.service line", "Unknown key", "ProtectMoon"), unit
    without = run_playbook("deploy.yml", cluster.inventory)
    assert without.rc == 0, without.output[-3000:]
    assert "ProtectMoon" not in without.output
