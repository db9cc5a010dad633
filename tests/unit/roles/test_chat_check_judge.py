# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By whose log the role chat_check judges an answer."""

from __future__ import annotations

import json
from pathlib import Path

from playbook_run import run_playbook

CHAT = {"answer": "Paris", "model": "m", "tokens_per_second": 9.5, "completion_tokens": 8, "seconds": 1.0, "n_embd": 576}
CPU = {"name": "CPU", "kind": "cpu", "host": True, "endpoint": None, "layers": 30, "weights_mib": 92.1, "kv_mib": 45.0, "compute_mib": 16.64}
READS = "Read the model's placement from llama-server's log"


def test_a_log_that_was_read_already_is_not_read_again(tmp_path: Path) -> None:
    """There is no such unit whose log could be read: without a log that was given, the bytes alone decide."""
    given = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "ansible_become": False, "chat_check_head": "localhost",
             "chat_check_unit": "nobody.service", "chat_check_url": "http://192.0.2.1:8080", "__chat_check_before": {}, "__chat_check_after": {},
             "__chat_check_chat": CHAT}
    judge = {"ansible.builtin.include_role": {"name": "herd.llama_cpp.chat_check", "tasks_from": "judge"}}
    show = {"ansible.builtin.debug": {"msg": "devices: {{ chat_check_result.devices | map(attribute='layers') | list | to_json }}"}}
    tasks = [dict(judge, vars={"chat_check_log": {"devices": [CPU]}}), show, judge, show]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    run = run_playbook(str(tmp_path / "play.yml"), "localhost,", "-e", f"@{tmp_path / 'given.json'}", timeout_s=300)
    assert run.rc == 0, run.output[-3000:]
    first, second = run.output.split("devices: [30]")
    assert READS not in first
    assert READS in second and "devices: []" in second
