# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record as the modules write and read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playbook_run import ROOT

RECORD = {
    "head": "head",
    "machines": {"head": {"roles": ["head"], "connection": {"host": "192.0.2.10"}, "build": "a", "version": "b1"}},
    "model": {"path": '/m/100%20 $x "q" \\ \u00a0.gguf'},
}


def module(name: str, path: Path, *options: str, umask: int = -1, **arguments: object) -> dict:
    """What a module returned, by its name without the collection's. -1 leaves the umask as it is."""
    command = [str(Path(sys.executable).parent / "ansible"), "-i", "head,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "head",
               "-m", f"herd.llama_cpp.{name}", "-a", json.dumps({"path": str(path), **arguments}), *options]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    said = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=umask, timeout=120,
                          check=False).stdout
    return json.loads(said.rpartition("=> ")[2])


def test_it_is_written_once_read_back_and_removed(tmp_path):
    path = tmp_path / "llama.cpp" / "cluster.json"
    assert module("cluster_record", path, "--check", record=RECORD)["changed"] and not path.exists()
    assert module("cluster_record", path, record=RECORD)["changed"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert not module("cluster_record", path, record=RECORD)["changed"], "only the time would differ"
    path.write_text(re.sub(r'("written": ")[^"]*', r"\g<1>2026-11-29T22:10:00Z", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert not module("cluster_record", path, record=RECORD)["changed"] and module("cluster_record", path, record=RECORD, renew=True)["changed"]
    found = module("cluster_record_info", path, machine="head")
    assert found["record"]["model"]["path"] == RECORD["model"]["path"] and found["record"]["written"] > "2026-11-30"
    assert (found["deduced"], found["problem"], found["parts"]) == (False, "", [])
    assert module("cluster_record", path, state="absent")["changed"] and not path.parent.exists()
    assert not module("cluster_record", path, state="absent")["changed"]


def test_everyone_may_read_it_whatever_the_umask_is(tmp_path):
    """Who looks at the next run is whoever logs in there, and would take a record that is hidden for none."""
    path = tmp_path / "llama.cpp" / "cluster.json"
    module("cluster_record", path, record=RECORD, umask=0o077)
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o755, 0o644)
    path.chmod(0o600)
    path.parent.chmod(0o700)
    assert module("cluster_record", path, record=RECORD)["changed"] and path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o700, "somebody else's directory"


@pytest.mark.parametrize(("text", "why"), [("{", "it is not whole"), ('{"schema": 9}', "a newer version of this collection")])
def test_one_that_cannot_be_used_is_said_and_written_anew(tmp_path, text, why):
    path = tmp_path / "cluster.json"
    path.write_text(text, encoding="utf-8")
    found = module("cluster_record_info", path, machine="head")
    assert found["record"] == {} and found["problem"].startswith(f"head: the record {path} cannot be used: ") and why in found["problem"]
    assert "playbooks/deploy.yml" in found["problem"]
    assert module("cluster_record", path, record=RECORD)["changed"]
    assert module("cluster_record_info", path, machine="head")["problem"] == ""


def test_where_it_cannot_be_looked_for_is_not_where_there_is_none(tmp_path):
    found = module("cluster_record_info", tmp_path, machine="head")
    assert found["record"] == {} and found["unread"] == f"{tmp_path} cannot be read: Is a directory"
    assert found["problem"] == f"head: {found['unread']}. Let everyone read it, or become root."


def test_what_is_no_record_is_not_written(tmp_path):
    said = module("cluster_record", tmp_path / "cluster.json", record={"head": "x"})
    assert said["msg"] == "The record cannot be written: record.machines is missing."
    assert not (tmp_path / "cluster.json").exists()
