# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch calls the state that it goes to and the one that it goes back to, by the real variables of the playbook."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from playbook_run import ROOT, run_playbook

NEW = {"id": "new", "version": "b11434", "replaces": "", "replaces_version": ""}
SAME = {"id": "old", "version": "b11000", "replaces": "old", "replaces_version": "b11000"}
OTHER = {**NEW, "replaces": "old", "replaces_version": "b11000"}


@pytest.mark.parametrize(("served", "added", "says"), [
    (SAME, {**NEW, "version": "b11000"},
     ["the changed configuration", "the configuration before", "playbooks/deploy.yml with the configuration from before"]),
    (OTHER, NEW, ["b11434", "b11000", "playbooks/rollback.yml -e llama_cpp_build=old"]),
    (OTHER, None, ["b11434", "b11000", "playbooks/rollback.yml -e llama_cpp_build=old"]),
], ids=["a worker is added", "in an upgrade", "an upgrade"])
def test_a_machine_that_is_new_is_no_version_to_go_back_to(served: dict, added: dict | None, says: list[str], tmp_path: Path) -> None:
    workers = {"w1": {"llama_cpp_target": served}} | ({"w2": {"llama_cpp_target": added}} if added else {})
    groups = {"llama_host": {"hosts": {"head": {"llama_cpp_target": served}}}, "llama_rpc": {"hosts": workers}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups, "vars": {"ansible_connection": "local"}}}), encoding="utf-8")
    words = {"ansible.builtin.copy": {
        "content": "{{ [__switch_new, __switch_old, __switch_remedy] | map('trim') | to_json }}", "dest": str(tmp_path / "words"), "mode": "0600"}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([
        {"hosts": "head", "gather_facts": False, "vars_files": [str(ROOT / "playbooks/parts/vars/switch.yml")], "tasks": [words]},
    ]), encoding="utf-8")
    run = run_playbook(str(tmp_path / "play.yml"), tmp_path / "hosts.yml", "-e", f"ansible_python_interpreter={sys.executable}")
    assert run.rc == 0, run.output[-2000:]
    assert json.loads((tmp_path / "words").read_text(encoding="utf-8")) == says
