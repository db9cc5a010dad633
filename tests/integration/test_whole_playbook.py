# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No playbook leaves out what belongs together and then looks as if it had succeeded. No machine is reached."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from playbook_run import ROOT, run_playbook

STARTED = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
BY_PIECES = ["plan.yml", "preflight.yml", "status.yml", "teardown.yml"]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A head and two workers that nobody can reach: nothing listens there."""
    away = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_connection": "ssh"}
    groups = {"llama_host": {"hosts": {"head": away}}, "llama_rpc": {"hosts": {"w1": away, "w2": away}}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    return path


@pytest.mark.parametrize("playbook", ["deploy.yml", "plan.yml"])
def test_a_misspelt_group_is_refused(playbook, inventory):
    inventory.write_text(inventory.read_text(encoding="utf-8").replace("llama_rpc", "llama_rcp"), encoding="utf-8")
    run = run_playbook(playbook, inventory)
    assert run.rc != 0 and run.says("Nothing was done: the inventory has the group llama_rcp with w1, w2, and none in llama_rpc."), run.output[-2000:]


@pytest.mark.parametrize("playbook", STARTED)
def test_tags_that_would_leave_everything_out_are_refused(playbook, inventory):
    run = run_playbook(playbook, inventory, "--tags", "rpc_server")
    assert run.rc != 0 and run.says("Nothing was done", "no tags, and --tags rpc_server would leave out all of it"), run.output[-2000:]
    assert run.changed == 0


def test_tags_that_would_leave_out_a_step_are_refused(inventory):
    run = run_playbook("deploy.yml", inventory, "--skip-tags", "molecule-notest,llama_server_preflight")
    assert run.rc != 0 and run.says("Nothing was done", "no tags, and --skip-tags llama_server_preflight would leave out a part of it"), run.output[-2000:]
    assert run.changed == 0


@pytest.mark.parametrize("playbook", [name for name in STARTED if name not in BY_PIECES])
def test_a_part_of_the_machines_is_refused(playbook, inventory):
    run = run_playbook(playbook, inventory, "--limit", "w1")
    assert run.rc != 0 and run.says("Nothing was done: --limit leaves out the head head and w2"), run.output[-2000:]
    assert "firewall" not in run.output.lower() and run.changed == 0


def test_a_teardown_of_one_machine_asks(inventory):
    run = run_playbook("teardown.yml", inventory, "--limit", "w1")
    assert run.rc != 0 and run.says("Nothing was removed (w1: rpc-server). Answer yes, or run it with"), run.output[-2000:]


def test_a_teardown_passes_machines_by_that_are_away_and_names_them(inventory, tmp_path):
    """The head is one of them, on which the others were built. One worker is there, which is cleaned wholly, with the record of when it was the head."""
    record = tmp_path / "cluster.json"
    machines = {"w1": {"roles": ["head"]}, "former": {"roles": ["worker"], "connection": {"host": "127.0.0.1", "port": "9"}}}
    record.write_text(json.dumps({"schema": 1, "head": "w1", "machines": machines, "model": {"path": "/m"}}), encoding="utf-8")
    hosts = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    hosts["all"]["hosts"] = {"former": hosts["all"]["children"]["llama_rpc"]["hosts"]["w2"]}
    hosts["all"]["children"]["llama_rpc"]["hosts"]["w1"] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    run = run_playbook("teardown.yml", inventory, "--check", "-e", "teardown_confirm=true", "-e", f"cluster_record_file={record}")
    assert run.rc != 0 and "Error while" not in run.output, run.output[-4000:]
    failed = {name: counts["failed"] for name, counts in run.recap.items()}
    assert failed == {"head": 1, "w1": 0, "w2": 1, "former": 1, "localhost": 0}, run.output[-4000:]
    for name in ("head", "w2"):
        assert run.says(f"{name}: it could not be reached, so that what it has stays there. Run this again when it is back"), run.output[-2000:]
    command = "ansible-playbook playbooks/teardown.yml -i 127.0.0.1, -e ansible_port=9"
    assert run.says(f"former: it could not be reached, so that what it has stays there. Run {command} when it is back"), run.output[-2000:]
