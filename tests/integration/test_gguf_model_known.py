# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gguf_model where its preflight has found the model in its place in the same run, as in a second deployment."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make
from playbook_run import PlaybookRun, run_playbook

ROLE = "herd.llama_cpp.gguf_model"
FACTS = ("gguf_model_file", "gguf_model_files", "gguf_model_info", "gguf_model_header_in_place")


def deploy(place: Path, *, look_again: bool = False) -> tuple[PlaybookRun, dict[str, Any]]:
    """Preflight and main in one run, and the facts afterwards."""
    tasks = [
        {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": "preflight"}},
        {"ansible.builtin.debug": {"msg": "PREFLIGHT IS DONE"}},
        {"ansible.builtin.include_role": {"name": ROLE}},
        {"ansible.builtin.copy": {"content": "{{ %s | to_json }}" % "{%s}" % ", ".join(f"'{name}': {name}" for name in FACTS),
                                  "dest": str(place / "facts.json"), "mode": "0600"}},
    ]
    (place / "play.yml").write_text(json.dumps([{"hosts": "m1", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    given = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "gguf_model_dir": str(place / "models"),
        "gguf_model_source": "path", "gguf_model_path": str(place / "here.gguf"), "gguf_model_path_on": "control",
        "gguf_model_owner": pwd.getpwuid(os.getuid()).pw_name, "gguf_model_group": grp.getgrgid(os.getgid()).gr_name, "gguf_model_disk_reserve_mib": 1,
        "gguf_model_look_again": look_again,
    }
    run = run_playbook(str(place / "play.yml"), "m1,", "-e", json.dumps(given), timeout_s=300)
    assert run.rc == 0, run.output[-3000:]
    return run, json.loads((place / "facts.json").read_text(encoding="utf-8"))


def test_what_preflight_found_is_not_looked_at_again_but_put_right_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_DISPLAY_OK_HOSTS", "true")
    monkeypatch.setenv("ANSIBLE_DISPLAY_SKIPPED_HOSTS", "true")
    (tmp_path / "here.gguf").write_bytes(make.gguf_bytes(make.standard_pairs(), make.standard_tensors()))
    model = tmp_path / "models" / "here.gguf"
    first, there = deploy(tmp_path)
    assert first.recap["m1"]["changed"] and model.is_file() and there["gguf_model_file"] == str(model)
    assert [file["path"] for file in there["gguf_model_files"]] == [str(model)] and there["gguf_model_info"]["path"] == str(model)

    again, found = deploy(tmp_path)
    known = {**there, "gguf_model_header_in_place": True}
    assert found == known and again.recap["m1"]["changed"] == 1, "the facts alone are written"
    main = again.output.partition("PREFLIGHT IS DONE")[2]
    assert "Look for the model, and fetch what is missing" in main and "Check whether the model is present" not in main

    model.chmod(0o600)
    righted, found = deploy(tmp_path)
    assert found == known and model.stat().st_mode & 0o777 == 0o644
    model.chmod(0o600)
    assert deploy(tmp_path, look_again=True)[1] == known and model.stat().st_mode & 0o777 == 0o644
    assert righted.recap["m1"]["changed"] == 1, "its mode"
