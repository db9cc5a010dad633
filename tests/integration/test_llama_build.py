# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama_build from a playbook on this machine: what it prints while a command that behaves like Ninja runs, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from playbook_run import PlaybookRun, run_playbook

STEPS = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo \"[$i/14] Building CXX object src/CMakeFiles/x.dir/f$i.cpp.o\"; sleep 0.5; done"


def build(tmp_path: Path, script: str, **options: object) -> PlaybookRun:
    arguments = {"command": ["/bin/sh", "-c", script], "chdir": str(tmp_path), "label": "x", "report_every_s": 1, "poll_s": 0.2, **options}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {"herd.llama_cpp.llama_build": arguments, "register": "built"},
            {"ansible.builtin.debug": {"msg": "rc={{ built.rc }} reports={{ built.reports | length }} changed={{ built.changed }}"}},
        ],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    return run_playbook(str(playbook), "localhost,", timeout_s=120)


def test_it_says_how_far_it_is_and_keeps_the_log(tmp_path: Path) -> None:
    run = build(tmp_path, STEPS)
    assert run.rc == 0, run.output
    lines = [line for line in run.output.splitlines() if line.startswith("localhost: building x: step ")]
    assert 2 <= len(lines) <= 8, run.output
    assert " of 14 (" in lines[0] and "src/f" in lines[0] and "so far" in lines[0]
    # The last look may fall upon the last step, which leaves nothing.
    unfinished = [line for line in lines[1:] if "step 14 of" not in line]
    assert not unfinished or "left" in unfinished[-1]
    assert run.says("rc=0", f"reports={len(lines)}", "changed=True")
    assert "ASYNC POLL" not in run.output
    assert (tmp_path / "build.log").read_text(encoding="utf-8").count("Building") == 14


@pytest.mark.parametrize("code", [1, 3])
def test_a_build_that_fails_is_for_others_to_judge(tmp_path: Path, code: int) -> None:
    run = build(tmp_path, f"echo 'FAILED: x'; exit {code}")
    assert run.rc == 0 and run.says(f"rc={code}"), run.output
    assert (tmp_path / "build.log").read_text(encoding="utf-8") == "FAILED: x\n"


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    run = build(tmp_path, "sleep 60", timeout_s=3)
    assert run.rc != 0 and run.says("could not be run on localhost"), run.output


def test_check_mode_builds_nothing(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "connection": "local",
                    "gather_facts": False,
                    "tasks": [{"herd.llama_cpp.llama_build": {"command": ["false"], "chdir": str(tmp_path)}}],
                }
            ]
        ),
        encoding="utf-8",
    )
    run = run_playbook(str(tmp_path / "play.yml"), "localhost,", "--check", timeout_s=60)
    assert run.rc == 0 and run.changed == 0, run.output
    assert not (tmp_path / "build.log").exists()
