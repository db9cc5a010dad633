# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role service_unit does beside what it is handed, in runs that change nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml
from playbook_run import PlaybookRun, run_playbook


def run(tmp_path: Path, tasks_from: str, *options: str, **variables: object) -> PlaybookRun:
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.include_role": {"name": "herd.llama_cpp.service_unit", "tasks_from": tasks_from}, "vars": variables}]}]), encoding="utf-8")
    done = run_playbook(
        str(tmp_path / "play.yml"), "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "--check", *options)
    assert done.rc == 0, done.output[-3000:]
    return done


def test_a_drop_in_that_an_interrupted_run_has_written_is_read(tmp_path: Path) -> None:
    """By the unit that it belongs to: systemd says of that one alone that its files are others than those it has read."""
    done = run(tmp_path, "write", "-vvv", service_unit_units=["a.service"])
    assert re.search(r" units:\s+- a[.]service\s+- nftables[.]service\s+removed_files", done.output), done.output[-3000:]
