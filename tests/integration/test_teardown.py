# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""teardown.yml from the lock on, with machines in no group, as where they left their inventory. They are this one, and nothing is changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from playbook_run import ROOT, PlaybookRun, run_playbook

LOCK, UNLOCK = "Lock the cluster", "Unlock the cluster"
LAST = "Remove llama.cpp, and the model if asked for"


def torn_down(tmp_path: Path, lost_before: str) -> PlaybookRun:
    """A teardown of two machines beside one that is none of them; one of the two cannot be reached any more from a play on."""
    plays = yaml.safe_load((ROOT / "playbooks" / "teardown.yml").read_text(encoding="utf-8"))
    names = [play["name"] for play in plays]
    first = next(number for number, name in enumerate(names) if name.startswith("Lock "))
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_retries": 0}
    lose = {"hosts": "lost", "gather_facts": False, "tasks": [{"ansible.builtin.set_fact": away}]}
    number = names.index(lost_before) if lost_before else first
    playbook = tmp_path / "teardown.yml"
    playbook.write_text(yaml.safe_dump([*plays[first:number], lose, *plays[number:]]), encoding="utf-8")
    known = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "llama_cpp_work_dir": str(tmp_path / "work"),
             "llama_cpp_prefix": str(tmp_path / "prefix"), "cuda_toolkit_dir": str(tmp_path / "toolchain"), "gguf_model_dir": str(tmp_path / "models"),
             "cluster_record_file": str(tmp_path / "cluster.json"), "cluster_record_seen": {"parts": ["worker"], "record": {}, "problem": ""},
             "cluster_record_changes": {"teardown": {"here": ["worker"], "lost": ["worker"]}, "commands": {}}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"here": None, "lost": None, "web": None}, "vars": known}}), encoding="utf-8")
    return run_playbook(str(playbook), inventory, "--check")


@pytest.mark.parametrize("lost_before", ["", LAST], ids=["lost_before_the_lock", "lost_in_the_middle"])
def test_machines_are_locked_and_one_that_is_lost_on_the_way_is_named(tmp_path: Path, lost_before: str) -> None:
    run = torn_down(tmp_path, lost_before)
    for task in (LOCK, UNLOCK):
        said = run.output.partition(f": {task}")[2].partition("TASK [")[0]
        assert "[here" in said and "[web" not in said, run.output[-6000:]
    assert run.rc != 0 and "undefined" not in run.output, run.output[-4000:]
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {"here": 0, "lost": 1, "localhost": 0, "web": 0}, run.output[-4000:]
    assert run.says("lost: it could not be cleaned to the end, so that what it has stays there. Run this again when"), run.output[-4000:]
