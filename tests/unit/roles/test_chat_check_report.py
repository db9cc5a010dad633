# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report says of a comparison with the plan."""

from __future__ import annotations

import json
from pathlib import Path

from playbook_run import ROOT, run_playbook

ROW = {"machine": "worker1", "device": "CPU", "planned_layers": 16, "layers": 16, "planned_weights_mib": 34, "word_weights_mib": 33.0,
       "weights_mib": 33.82, "planned_kv_mib": 96, "word_kv_mib": 96.0, "kv_mib": 96.0, "planned_compute_mib": 60, "word_compute_mib": 59.32,
       "compute_mib": None, "planned_beside_mib": 0, "beside_mib": None}
UNSAID = "the head's log does not tell the compute buffer of RPC0 on worker1"


def report(place: Path, comparison: dict) -> list[str]:
    result = {"question": "q", "answer": "a", "tokens_per_second": 9.5, "devices": [], "unknown": ["what a worker holds is not told"],
              "url": "http://192.0.2.1:8080", "api_key_file": "", "head_ca_file": "", "messages": [], "asked_from": "localhost", "head": "head"}
    given = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "chat_check_result": result, "chat_check_comparison": comparison}
    template = {"src": str(ROOT / "roles/chat_check/templates/report.txt.j2"), "dest": str(place / "report.txt"), "mode": "0644"}
    files = [str(ROOT / "roles/chat_check" / part / "main.yml") for part in ("defaults", "vars")]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files, "tasks": [{"ansible.builtin.template": template}]}
    (place / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    (place / "given.json").write_text(json.dumps(given), encoding="utf-8")
    run = run_playbook(str(place / "play.yml"), "localhost,", "-e", f"@{place / 'given.json'}", timeout_s=300)
    assert run.rc == 0, run.output[-3000:]
    return (place / "report.txt").read_text(encoding="utf-8").splitlines()


def test_what_the_log_does_not_tell_of_the_plan_is_a_note(tmp_path: Path) -> None:
    lines = report(tmp_path, {"rows": [ROW], "problems": [], "warnings": [], "unknown": [UNSAID]})
    assert [line.split(None, 1)[1] for line in lines if line.startswith("Note ")] == ["what a worker holds is not told", UNSAID]
    assert "Layers and MiB, as planned, as llama.cpp itself said before the start, and as it is:" in lines
    cells = next(line for line in lines if line.startswith("worker1")).split()
    assert cells[:10] == ["worker1", "CPU", "16", "16", "34", "33.00", "33.82", "96", "96.00", "96.00"], cells


def test_without_a_plan_only_the_answer_s_own_notes_are_shown(tmp_path: Path) -> None:
    lines = report(tmp_path, {})
    assert [line.split(None, 1)[1] for line in lines if line.startswith("Note ")] == ["what a worker holds is not told"]
    assert not any(line.startswith("Layers and MiB") for line in lines)
