# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at once, as two runs of ansible-playbook on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import lock as service_lock
from playbook_run import ROOT, run_playbook

PLAYBOOK = """
- hosts: head
  gather_facts: false
  tasks:
    - herd.llama_cpp.cluster_lock:
        path: "{{ path }}"
      register: lock
    - ansible.builtin.debug:
        msg: "from {{ lock.taken_from.process | default('nobody') }}"
    - ansible.builtin.command:
        argv: [timeout, "100", sh, -c, 'while [ -e "$0" ]; do sleep 0.1; done', "{{ path }}.busy"]
    - herd.llama_cpp.cluster_lock:
        path: "{{ path }}"
        state: absent
      when: release
"""


class Operators:
    """Runs of one playbook against the same head."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lock"
        # While it is there, whoever has the lock is at work.
        self.busy = directory / "lock.busy"
        self.playbook = directory / "change.yml"
        self.playbook.write_text(PLAYBOOK, encoding="utf-8")

    def start(self, release: bool = True, *options: str) -> subprocess.Popen[str]:
        extra = json.dumps({"path": str(self.path), "release": release, "ansible_python_interpreter": sys.executable})
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "head,", "-c", "local", "-e", extra, *options, str(self.playbook)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, *options: str, release: bool = True) -> tuple[int, str]:
        process = self.start(release, *options)
        said = " ".join(process.communicate(timeout=120)[0].split())
        return process.returncode, said

    def wait(self) -> dict:
        """Until a run is noted, and which."""
        for _attempt in range(600):
            if self.path.exists() and self.path.read_text(encoding="utf-8"):
                return json.loads(self.path.read_text(encoding="utf-8"))
            time.sleep(0.1)
        raise AssertionError("no run was noted")


@pytest.fixture
def operators(tmp_path: Path) -> Operators:
    return Operators(tmp_path)


def test_the_second_is_refused_in_one_sentence_and_the_first_leaves_nothing(operators):
    operators.busy.touch()
    with operators.start() as first:
        noted = operators.wait()
        assert noted["process"] == first.pid and noted["what"] == "change.yml"
        returned, said = operators.run()
        assert returned == 2
        assert f"head: {noted['who']} is changing this cluster with change.yml since {noted['since']}, so nothing was changed" in said
        assert operators.run("--check")[0] == 0, "who only looks is not stopped"
        assert first.poll() is None and operators.path.exists()
        operators.busy.unlink()
        assert first.wait(60) == 0
    assert not operators.path.exists()
    returned, said = operators.run()
    assert returned == 0 and "from nobody" in said


def test_a_run_that_was_killed_or_failed_is_in_nobodys_way(operators):
    operators.busy.touch()
    with operators.start() as first:
        operators.wait()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(10)
    operators.busy.unlink()
    assert operators.path.exists()
    returned, said = operators.run(release=False)
    assert returned == 0 and f"from {first.pid}" in said, "who has it now may find what that one has left"
    assert operators.path.exists()
    assert operators.run()[0] == 0
    assert not operators.path.exists()


MEMBER = {"roles": ["head", "worker"], "build": "4f2a9c", "version": "b11433"}
RECORD = {"schema": 1, "head": "head", "machines": {"head": MEMBER}, "model": {"path": "/srv/model.gguf"}}
AGAIN = """
- hosts: head
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: herd.llama_cpp.cluster_record
        tasks_from: look
    - ansible.builtin.command:
        argv: [sh, -c, "{{ meanwhile }}"]
    - ansible.builtin.include_role:
        name: herd.llama_cpp.cluster_record
        tasks_from: lock
    - ansible.builtin.include_role:
        name: herd.llama_cpp.cluster_record
        tasks_from: unlock
"""


# The last: two first deployments at once.
@pytest.mark.parametrize(("meanwhile", "stopped"), [
    (":", False), ("sed -i s/b11433/b11434/ RECORD", True), ("rm -f RECORD", True), ("mv RECORD.new RECORD", True)])
def test_what_was_looked_at_before_must_still_be_so(tmp_path, meanwhile, stopped):
    """The other run had ended by the time this one had the lock to itself."""
    record = tmp_path / "cluster.json"
    (tmp_path / "cluster.json.new" if "new" in meanwhile else record).write_text(json.dumps(RECORD), encoding="utf-8")
    playbook = tmp_path / "again.yml"
    playbook.write_text(AGAIN, encoding="utf-8")
    run = run_playbook(str(playbook), "head,", "-c", "local", "-e", json.dumps({
        "cluster_record_file": str(record), "meanwhile": meanwhile.replace("RECORD", str(record)), "ansible_python_interpreter": sys.executable}))
    assert (run.rc != 0) == stopped, run.output[-2000:]
    assert run.says("head: another run has changed this cluster since this one looked at it, so nothing was changed") == stopped
    assert not Path(service_lock.PATH).exists()


def test_which_build_is_in_use_is_read_with_the_lock(tmp_path):
    """A run that looked before may have seen another one."""
    for build in ("old", "new"):
        (tmp_path / "builds" / build).mkdir(parents=True)
    (tmp_path / "current").symlink_to("builds/new")
    playbook = tmp_path / "lock.yml"
    playbook.write_text(AGAIN + """
    - ansible.builtin.debug:
        msg: "current is {{ cluster_record_lock.current }}"
""", encoding="utf-8")
    run = run_playbook(str(playbook), "head,", "-c", "local", "-e", json.dumps({
        "cluster_record_file": str(tmp_path / "cluster.json"), "meanwhile": f"ln -sfn builds/old {tmp_path}/current", "llama_cpp_prefix": str(tmp_path),
        "ansible_python_interpreter": sys.executable}))
    assert run.rc == 0 and run.says("current is old"), run.output[-2000:]
