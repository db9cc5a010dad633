# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps packages from starting their services while the role installs, and what an interrupted run leaves of it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from playbook_run import PlaybookRun, run_playbook


def role(place: Path, tasks: list[dict[str, object]]) -> PlaybookRun:
    here = {"__system_packages_dir": str(place / "packages"), "__system_packages_policy": str(place / "policy-rc.d")}
    here["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (place / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    return run_playbook(str(place / "play.yml"), "localhost,", "-e", json.dumps(here), timeout_s=300)


REMOVE: dict[str, object] = {"ansible.builtin.include_role": {"name": "herd.llama_cpp.system_packages", "tasks_from": "remove"}}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The file as an interrupted run leaves it."""
    run = role(tmp_path, [{"ansible.builtin.include_role": {"name": "herd.llama_cpp.system_packages", "tasks_from": "forbid"}}])
    assert run.rc == 0, run.output
    (tmp_path / "packages").mkdir()
    return tmp_path / "policy-rc.d"


def asked(policy: Path) -> int:
    return subprocess.run([str(policy), "nginx", "start"], check=False).returncode


def test_it_forbids_while_somebody_installs_and_not_after_that(policy: Path) -> None:
    lock = policy.parent / "packages" / "lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "60"], start_new_session=True) as installing:
        deadline = time.monotonic() + 10
        while not lock.exists() or asked_without_trace(lock):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert asked(policy) == asked(policy) == 101
        assert policy.exists()
        # The control node is gone, or the power of it: nothing was cleaned up.
        subprocess.run(["kill", "-KILL", "--", f"-{installing.pid}"], check=True)
        assert installing.wait(10) == -signal.SIGKILL
        # What it started holds the lock until it has ended, too.
        deadline = time.monotonic() + 10
        while not asked_without_trace(lock):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert asked(policy) == 0
    assert not policy.exists()


def asked_without_trace(lock: Path) -> bool:
    """Whether nobody holds the lock."""
    return subprocess.run(["flock", "--nonblock", str(lock), "true"], check=False).returncode == 0


def test_it_forbids_nothing_where_nobody_ever_began(policy: Path) -> None:
    assert asked(policy) == 0
    assert not policy.exists()


def test_removal_takes_it_along(policy: Path) -> None:
    run = role(policy.parent, [REMOVE])
    assert run.rc == 0 and run.changed == 2, run.output
    assert not policy.exists() and not (policy.parent / "packages").exists()


def test_removal_leaves_somebody_elses(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 101\n")
    assert role(policy.parent, [REMOVE]).rc == 0
    assert policy.read_text() == "#!/bin/sh\nexit 101\n"
