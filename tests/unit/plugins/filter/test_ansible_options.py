# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command needs to reach the same machines, from a real command line of Ansible's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.ansible_options import ansible_options

ROOT = Path(__file__).absolute().parents[4]
PLAY = """
- hosts: here
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "<{{ ansible_inventory_sources | herd.llama_cpp.ansible_options | join('|') }}>"
"""


@pytest.mark.parametrize(("arguments", "options"), [
    ((), ""),
    (("-u", "admin", "--become-password-file", "{tmp}/pass"), "|--user|admin|--become-password-file|{tmp}/pass"),
    (("-K",), "|--ask-become-pass"),
])
def test_what_the_run_was_told_is_said_again(tmp_path: Path, arguments: tuple[str, ...], options: str) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hosts").write_text("here ansible_connection=local\n")
    (tmp_path / "pass").write_text("s3cret\n")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{tmp_path}/hosts", f"{tmp_path}/play.yml"]
    done = subprocess.run(
        command + [word.format(tmp=tmp_path) for word in arguments], cwd=ROOT, input="s3cret\n", capture_output=True, text=True, timeout=60, check=False,
        start_new_session=True)
    assert f"<-i|{tmp_path}/hosts{options.format(tmp=tmp_path)}>" in done.stdout, done.stdout + done.stderr
    assert "s3cret" not in done.stdout


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="needs a list of inventories"):
        ansible_options("hosts")
