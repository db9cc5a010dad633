# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What deploy.yml takes from machines that are the head no more and are in neither group. They are this one, and nothing is changed."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from playbook_run import ROOT, PlaybookRun, run_playbook

CHANGES = {"remove": {"former": ["head"], "builder": ["head"]}, "renew": False}


def unlocked(run: PlaybookRun) -> list[str]:
    said = run.output.partition(": Unlock the cluster]")[2].partition("TASK [")[0].partition("PLAY ")[0]
    return sorted(name for name in ("head", "w1", "former", "builder", "web") if f"[{name}]" in said)


def test_a_former_head_loses_what_it_built_and_fetched_with_unless_it_builds(tmp_path: Path) -> None:
    for directory in ("work/src", "models/.incoming"):
        (tmp_path / directory).mkdir(parents=True)
    known = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "llama_cpp_builder": "builder",
             "llama_cpp_work_dir": str(tmp_path / "work"), "gguf_model_dir": str(tmp_path / "models"), "cuda_toolkit_dir": str(tmp_path / "toolchain"),
             "cluster_record_seen": {"parts": []}, "cluster_record_changes": CHANGES}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {
        "hosts": {"former": None, "builder": None, "web": None},
        "children": {"llama_host": {"hosts": {"head": None}}, "llama_rpc": {"hosts": {"w1": None}}}, "vars": known}}), encoding="utf-8")
    run = run_playbook("parts/leaving.yml", inventory, "--check")
    assert run.rc == 0, run.output[-4000:]
    assert [name for name in CHANGES["remove"] if f"changed: [{name}] => (item={tmp_path}/work/src)" in run.output] == ["former"], run.output[-4000:]
    for task in ("Find the toolkits in the toolchain directory", "Remove incomplete downloads"):
        said = run.output.partition(f": {task}]")[2].partition("TASK [")[0]
        assert "[former" in said and "[builder" not in said, run.output[-4000:]
    assert (tmp_path / "work/src").exists()
    # In no group, so that they are unlocked here; the others when all is done.
    assert unlocked(run) == ["builder", "former"], run.output[-4000:]
    # An upgrade takes nothing from them.
    for leaving, locked in ((True, {"head", "w1", "former", "builder"}), (False, {"head", "w1"})):
        (tmp_path / "play.yml").write_text(yaml.safe_dump([
            {"ansible.builtin.import_playbook": str(ROOT / "playbooks/parts/lock.yml"), "vars": {"lock_leaving": leaving}}]), encoding="utf-8")
        run = run_playbook(str(tmp_path / "play.yml"), inventory, "--check")
        assert run.rc == 0 and {name for name, counts in run.recap.items() if counts["ok"]} == locked, run.output[-4000:]
