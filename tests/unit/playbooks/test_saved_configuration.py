# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch saves, and when that goes: the first and the last play of switch.yml, in check mode, with machines that are this one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_run import ROOT, PlaybookRun, run_playbook

PARTS = ROOT / "playbooks" / "parts"
RECORD = {"head": "head", "machines": {"head": {"roles": ["head"]}, "w1": {"roles": ["worker"]}}, "model": {"path": "/m.gguf"},
          "written": "2026-11-29T22:10:00Z"}
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}


def run(tmp_path: Path, number: int, head: dict[str, Any] | None = None, **facts: object) -> PlaybookRun:
    """One play of the switch. ``head``: what the head has besides ``facts``, which all machines have."""
    for name in ("vars", "tasks"):
        (tmp_path / name).symlink_to(PARTS / name)
    play = yaml.safe_load((PARTS / "switch.yml").read_text(encoding="utf-8"))[number]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "become": False}]), encoding="utf-8")
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "cluster_plan_serves": True, "gguf_model_file": "/m.gguf",
              "gguf_model_files": [], "llama_server_url": "http://192.0.2.10:8080", "cluster_record_file": str(tmp_path / "cluster.json"), **facts}
    groups = {"llama_host": {"hosts": {"head": {"cluster_record_seen": {"record": RECORD}, **(head or {})}}}, "llama_rpc": {"hosts": {"w1": {}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups, "vars": common}}), encoding="utf-8")
    # Above the variables of the play, with which the test would take a minute.
    return run_playbook(str(tmp_path / "play.yml"), tmp_path / "hosts.yml", "--check", "-vvv", "-e", json.dumps({"ansible_ssh_retries": 0}))


def ran(done: PlaybookRun, task: str) -> list[str]:
    """The machines that had part in a task."""
    return sorted(set(re.findall(r"^(?:ok|changed|fatal|failed): \[(\w+)", done.output.partition(f"TASK [{task}]")[2].partition("\nTASK [")[0], re.MULTILINE)))


DELETE = "Delete the saved configuration unless it is needed"


def test_what_is_saved_says_what_has_served_then(tmp_path: Path) -> None:
    done = run(tmp_path, 0)
    assert done.output.count(f"recorded: '{RECORD['written']}'") == 2, done.output[-3000:]


@pytest.mark.parametrize("head", [{"cluster_record_file": "/dev/null/cluster.json"}, AWAY], ids=["the disk is full", "the head is away"])
def test_where_no_record_can_be_written_all_keep_what_belongs_to_the_old_one(tmp_path: Path, head: dict[str, Any]) -> None:
    done = run(tmp_path, -1, head, switch_failures={})
    assert done.rc != 0 and not ran(done, DELETE), done.output[-3000:]


@pytest.mark.parametrize("changed", [False, True])
def test_when_the_record_is_written_all_delete_what_they_have_saved(tmp_path: Path, changed: bool) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"schema": 1, **RECORD}), encoding="utf-8")
    done = run(tmp_path, -1, switch_failures={}, rpc_server_restart_needed=changed)
    assert done.rc == 0 and ran(done, DELETE) == ["head", "w1"], done.output[-3000:]
    assert f"renew: {str(changed).lower()}" in done.output
