# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rescue of a switch, with the real variables and tasks: whatever happens on one machine, all the others end the switch with it.

As in the real play what connects is in an included list, and more follows that connects: Ansible lets a machine that was lost there go on there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_run import ROOT, PlaybookRun, run_playbook

PARTS = ROOT / "playbooks" / "parts"
TARGET = {"id": "new", "version": "b2", "replaces": "old", "replaces_version": "b1", "previous": ""}
RECORD = {"machines": {"head": {"build": "old"}, "w1": {"build": "old"}, "w2": {"build": "old"}}}


def switched(tmp_path: Path, *options: str, fails: str = "", lost: str = "", known: bool = True, inner: Sequence[dict[str, Any]] = ()) -> PlaybookRun:
    """A switch that one machine fails in, or is lost in; then each machine writes down how it stands, as the plays that go back would see it."""
    facts = {"llama_cpp_target": TARGET, "ansible_connection": "local"}
    head = {**facts, "cluster_record_seen": {"record": RECORD if known else {}}}
    groups = {"llama_host": {"hosts": {"head": head}}, "llama_rpc": {"hosts": {"w1": facts, "w2": facts}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    (tmp_path / "inner.yml").write_text(yaml.safe_dump(list(inner) or [
        {"ansible.builtin.ping": {}},
        {"ansible.builtin.fail": {"msg": "no  port\nis free"}, "when": f"inventory_hostname == '{fails}'"},
    ]), encoding="utf-8")
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    back = {"ansible_connection": "local"}
    note = {"content": "{{ __switch | to_json }}", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}", "mode": "0600"}
    went_on = {"content": "", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.went-on", "mode": "0600"}
    common = {"hosts": "llama_host:llama_rpc", "gather_facts": False, "vars_files": [str(PARTS / "vars/switch.yml")]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([
        {**common, "any_errors_fatal": True, "vars": {"switch_phase": "forward"}, "tasks": [
            {"ansible.builtin.set_fact": {"switch_failures": {}, "ansible_failed_result": {}}},
            {"block": [
                {"ansible.builtin.set_fact": away, "when": f"inventory_hostname == '{lost}'"},
                {"ansible.builtin.include_tasks": str(tmp_path / "inner.yml")},
                {"ansible.builtin.copy": went_on},
            ], "rescue": [{"ansible.builtin.import_tasks": str(PARTS / "tasks/guard.yml")}]}]},
        {**common, "tasks": [
            {"ansible.builtin.meta": "clear_host_errors"}, {"ansible.builtin.set_fact": back}, {"ansible.builtin.copy": note, "check_mode": False}]},
    ]), encoding="utf-8")
    return run_playbook(str(tmp_path / "play.yml"), tmp_path / "hosts.yml",
                        "-e", json.dumps({"ansible_python_interpreter": sys.executable, "ansible_ssh_retries": 0}), *options)


@pytest.mark.parametrize(("fault", "reason"), [
    ({"fails": "w1"}, "w1: no port is free"), ({"fails": "head"}, "head: no port is free"),
    ({"lost": "w2"}, "w2 could not be reached, also when tried again."), ({"lost": "head"}, "head could not be reached, also when tried again."),
])
def test_all_machines_end_a_switch_together_and_go_back_together(fault: dict[str, str], reason: str, tmp_path: Path) -> None:
    run = switched(tmp_path, **fault)
    assert not list(tmp_path.glob("*.went-on")), run.output[-3000:]
    for machine in ("head", "w1", "w2"):
        said = json.loads((tmp_path / machine).read_text(encoding="utf-8"))
        assert (said["failed"], said["returns"], said["reason"]) == (True, True, reason), run.output[-3000:]


def reads_a_key() -> dict[str, Any]:
    """How the head reads the keys of its workers' machines."""
    lists = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "roles/llama_server/tasks").glob("*.yml"))]
    (task,) = [task for tasks in lists for task in tasks if "ansible.builtin.slurp" in task]
    return task


def test_a_worker_that_is_lost_while_the_head_reads_its_key_is_not_taken_for_the_head(tmp_path: Path) -> None:
    key = reads_a_key()
    (tmp_path / "key").write_text("llama-rpc:00", encoding="utf-8")
    given = {"llama_server_rpc_key_file": str(tmp_path / "key"), "llama_server_rpc_keys": {}, "__llama_server_tunnel_machines": ["w1", "w2"]}
    unread = f"{{{{ {key['register']}.results | rejectattr('content', 'defined') | map(attribute='item') | list | to_json }}}}"
    run = switched(tmp_path, "-e", json.dumps(given), lost="w2", inner=[
        {"block": [key, {"ansible.builtin.fail": {"msg": f"the keys of {unread}"}}], "when": "inventory_hostname == 'head'"}])
    said = json.loads((tmp_path / "head").read_text(encoding="utf-8"))
    assert (said["reason"], said["returns"]) == ('head: the keys of ["w2"]', True), run.output[-3000:]


@pytest.mark.parametrize(("fault", "reason"), [({"fails": "w1"}, "w1: no port is free"), ({"lost": "w2"}, "w2 could not be reached, also when tried again.")])
def test_where_nothing_can_be_put_back_the_run_ends_with_the_reason(fault: dict[str, str], reason: str, tmp_path: Path) -> None:
    run = switched(tmp_path, known=False, **fault)
    assert run.rc != 0 and run.says(reason), run.output[-3000:]
    assert not any((tmp_path / machine).exists() for machine in ("head", "w1", "w2")), run.output[-3000:]


def test_a_run_that_changes_nothing_ends_with_the_reason_and_goes_back_to_nothing(tmp_path: Path) -> None:
    run = switched(tmp_path, "--check", fails="w1")
    for machine in ("head", "w1", "w2"):
        said = json.loads((tmp_path / machine).read_text(encoding="utf-8"))
        assert (said["failed"], said["returns"], said["reason"]) == (True, False, "w1: no port is free"), run.output[-3000:]


def test_nothing_fails(tmp_path: Path) -> None:
    run = switched(tmp_path)
    assert run.rc == 0 and len(list(tmp_path.glob("*.went-on"))) == 3, run.output[-3000:]
    assert not json.loads((tmp_path / "head").read_text(encoding="utf-8"))["failed"]
