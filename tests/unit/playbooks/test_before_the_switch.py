# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is settled before a version is switched, with the real variables and tasks: whether all machines are there, and which have to be pointed at a build."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from playbook_run import ROOT, PlaybookRun, run_playbook

PARTS = ROOT / "playbooks" / "parts"
TARGET = {"id": "new", "version": "b2", "replaces": "old", "replaces_version": "b1", "previous": "", "current": "old"}
THERE = {**TARGET, "replaces": "new", "current": "new"}
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}


def run(place: Path, hosts: dict[str, dict[str, Any]], plays: list[dict[str, Any]]) -> PlaybookRun:
    groups = {"llama_host": {"hosts": {"head": hosts.pop("head", {})}}, "llama_rpc": {"hosts": hosts}}
    (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups, "vars": {"ansible_connection": "local"}}}), encoding="utf-8")
    (place / "play.yml").write_text(json.dumps(plays), encoding="utf-8")
    given = {"ansible_python_interpreter": sys.executable, "ansible_ssh_retries": 0}
    return run_playbook(str(place / "play.yml"), place / "hosts.yml", "-e", json.dumps(given))


def test_current_is_pointed_at_a_build_only_where_it_is_not(tmp_path: Path) -> None:
    """But where another run has moved it after it was seen, or still may, because its lock was broken."""
    hosts: dict[str, dict[str, Any]] = {
        "head": {}, "other": {"llama_cpp_target": TARGET}, "there": {"llama_cpp_target": THERE},
        "halfway": {"llama_cpp_target": {**TARGET, "current": "new"}},
        "moved": {"llama_cpp_target": THERE, "cluster_record_lock": {"current": "old"}},
        "unmoved": {"llama_cpp_target": THERE, "cluster_record_lock": {"current": "new", "taken_from": {"process": 1}}},
        "broken": {"llama_cpp_target": THERE, "cluster_record_break_lock": "true"},
    }
    said = {"ansible.builtin.copy": {"content": "{{ __switch_activates }}", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}", "mode": "0600"}}
    plays = [{"hosts": "all", "gather_facts": False, "vars_files": [str(PARTS / "vars/switch.yml")], "tasks": [said]}]
    names = list(hosts)
    done = run(tmp_path, hosts, plays)
    assert done.rc == 0, done.output[-3000:]
    assert [name for name in names if (tmp_path / name).read_text(encoding="utf-8") == "True"] == ["other", "halfway", "moved", "broken"]


def before_the_switch(place: Path, **machine: Any) -> PlaybookRun:
    """The first play of the switch, but for its last task, which saves the configuration; before it a play in which w2 is away."""
    play = yaml.safe_load((PARTS / "switch.yml").read_text(encoding="utf-8"))[0]
    (checks,) = [task for task in play["tasks"] if "ansible.builtin.include_tasks" in task]
    checks["ansible.builtin.include_tasks"] = str(PARTS / checks["ansible.builtin.include_tasks"])
    play.update(become=False, vars_files=[str(PARTS / "vars/switch.yml")], tasks=play["tasks"][:-1])
    facts = {"llama_cpp_target": THERE, "cluster_plan_serves": True}
    earlier = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}
    return run(place, {"head": facts, "w1": facts, "w2": {**facts, **AWAY, **machine}}, [earlier, play])


def test_nothing_is_switched_where_a_machine_was_lost_before(tmp_path: Path) -> None:
    done = before_the_switch(tmp_path)
    assert done.rc != 0 and done.says("w2 could not be reached, so what runs was left as it is. Run this again when it is there."), done.output[-3000:]


def test_a_lost_machine_that_serves_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    done = before_the_switch(tmp_path, cluster_plan_serves=False)
    assert not done.says("so what runs was left as it is") and {done.recap[name]["failed"] for name in ("head", "w1")} == {0}, done.output[-3000:]
