# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""show_text from a playbook: what reaches the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from playbook_run import run_playbook


def test_columns_stay_and_escape_sequences_do_not(tmp_path: Path) -> None:
    text = "machine   model\nworker1   \x1b[31mred\x1b[0m\u202e\x07 x\n   done"
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"herd.llama_cpp.show_text": {"text": text}}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    run = run_playbook(str(tmp_path / "play.yml"), "localhost,", timeout_s=120)
    assert run.rc == 0, run.output
    assert "machine   model\nworker1   red?? x\n   done\n" in run.output
