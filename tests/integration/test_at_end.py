# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The report is the last thing that a run prints, by the checkout's ansible.cfg."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[2]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - {name: First, herd.llama_cpp.show_text: {text: REPORT ONE, at_end: true}}
    - {name: Second, herd.llama_cpp.show_text: {text: REPORT TWO, at_end: true}}
    - {name: Left out, ansible.builtin.debug: {msg: x}, when: false}
    - {name: Already right, ansible.builtin.set_fact: {x: 1}}
    - {name: Afterwards, herd.llama_cpp.show_text: {text: AFTERWARDS}}
    - {name: Fail, ansible.builtin.fail: {msg: WRONG}, when: wrong | default(false)}
"""


@pytest.mark.parametrize(("config", "wrong", "order"), [
    ("ansible.cfg", False, ["AFTERWARDS", "PLAY RECAP", "REPORT TWO"]),
    ("ansible.cfg", True, ["AFTERWARDS", "WRONG", "PLAY RECAP"]),
    ("", False, ["REPORT ONE", "REPORT TWO", "AFTERWARDS", "PLAY RECAP"]),
])
def test_it_comes_below_the_recap(tmp_path: Path, config: str, wrong: bool, order: list[str]) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "own.cfg").write_text("[defaults]\nforks = 5\n")
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                   "ANSIBLE_CONFIG": str(ROOT / config) if config else str(tmp_path / "own.cfg"),
                   "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks/collections")}
    del environment["ANSIBLE_DISPLAY_OK_HOSTS"]
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml"), "-e", f"{{wrong: {str(wrong).lower()}}}"]
    output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout
    places = [output.rfind(words) for words in order]
    assert -1 not in places and places == sorted(places), output
    assert ("TASK [Left out]" in output) is (not config), output
    assert ("TASK [Already right]" in output) is (not config), output
    assert all(words in order or words not in output for words in ("REPORT ONE", "REPORT TWO")), output
