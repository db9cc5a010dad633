# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What preflight says when nothing is wrong, of machines that are described and not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[2]
SHELL = "asked=1000\nepoch=1001\nkernel=Linux\narchitecture=x86_64\nmachine_id=%s\nboot_id=%s\nsystemd=yes\npython=3.11.2\n"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {__preflight_observation: "{{ seen }}"}
    - ansible.builtin.include_role: {name: herd.llama_cpp.preflight, tasks_from: report}
      run_once: true
"""


def host(number: int, cluster: str) -> dict[str, object]:
    facts = {"ansible_python_version": "3.11.2", "ansible_distribution": "Debian", "ansible_distribution_version": "12", "ansible_memtotal_mb": 4096,
             "ansible_all_ipv4_addresses": [f"198.18.0.{number}"]}
    seen = {"machine": f"m{number}", "serves": True, "now": 1002, "reached": True, "shell_stdout": SHELL % (number, number), "is_root": True, "facts": facts,
            "cluster_address": cluster, "finished": True}
    return {"ansible_connection": "local", "seen": seen}


HIDDEN = {"machine": "m1", "problem": "/r cannot be read: Permission denied", "remedy": "let everyone read it"}
TAKEN = {"machine": "m2", "problem": "its rpc-server is of another one", "remedy": "take it over"}


@pytest.mark.parametrize(("second", "changes", "rc", "words"), [
    ("198.18.0.2", {}, 0, "Nothing stands in the way: 2 machines (m1, m2) looked at, and nothing was changed."),
    ("198.18.0.1", {}, 2, "found, and nothing was changed."),
    # A cluster would be set up anew beside the one that it tells of.
    ("198.18.0.2", {"problems": [HIDDEN]}, 2, "m1: /r cannot be read: Permission denied. Let everyone read it."),
    ("198.18.0.2", {"taken": [TAKEN]}, 2, "m2: its rpc-server is of another one. Take it over."),
])
def test_it_says_when_all_is_well(tmp_path: Path, second: str, changes: dict[str, list[dict[str, str]]], rc: int, words: str) -> None:
    head = {**host(1, "198.18.0.1"), "cluster_record_changes": {"former": [], "problems": [], **changes}}
    inventory = {"llama_host": {"hosts": {"m1": head}}, "llama_rpc": {"hosts": {"m2": host(2, second)}}}
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    (tmp_path / "play.yml").write_text(PLAY)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{tmp_path}/hosts.yml", f"{tmp_path}/play.yml"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == rc and words in done.stdout, done.stdout + done.stderr
    assert ("Nothing stands" in done.stdout) is (rc == 0)
