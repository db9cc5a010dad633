# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time, and none that is dead."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.lock import Run, computer, has_ended, refusal, release, run_of, start_of, take

HERE = computer()
OWN = Run("anna@here", "deploy.yml", "2026-11-29 22:10:00 UTC", HERE, os.getpid(), start_of(os.getpid()))
OTHER = dataclasses.replace(OWN, who="ben@there", computer="another boot", process=7, started="1")


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "lock")


def test_the_second_is_told_of_the_first_until_that_is_done(path):
    assert take(path, OWN) is None
    assert take(path, OWN) is None, "its own"
    assert take(path, OTHER) == OWN
    assert not release(path, OTHER) and take(path, OTHER) == OWN, "nobody else's to release"
    assert release(path, OWN) and not os.path.exists(path)
    assert take(path, OTHER) is None


def test_one_that_ended_is_taken_over_and_no_other(path):
    take(path, OWN)
    assert take(path, OTHER, instead_of=dataclasses.replace(OWN, started="0")) == OWN
    assert take(path, OTHER, instead_of=OWN) is None
    assert take(path, OWN, force=True) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"who": 1}', "null"])
def test_half_a_note_is_none(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    assert take(path, OWN) is None and take(path, OTHER) == OWN


def test_a_run_has_ended_when_its_process_has():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = dataclasses.replace(OWN, process=process.pid, started=start_of(process.pid))
        assert run.started and not has_ended(run, HERE)
        assert has_ended(dataclasses.replace(run, started="1"), HERE), "the number is another process's by now"
        process.kill()
        process.wait()
    assert has_ended(run, HERE)


def test_of_another_computers_run_nobody_can_tell():
    assert not has_ended(OTHER, HERE)
    assert "cluster_record_break_lock=true" in refusal("head", OTHER, HERE)
    assert refusal("head", OTHER, HERE) == (
        "head: ben@there began to change this cluster with deploy.yml at 2026-11-29 22:10:00 UTC and has not said that it has ended, so nothing was changed. "
        "If that run is still going on, wait for it. If it failed or was broken off, which cannot be seen from here, run this again with "
        "-e cluster_record_break_lock=true.")
    here = refusal("head", OWN, HERE)
    assert here == (f"head: anna@here is changing this cluster with deploy.yml since 2026-11-29 22:10:00 UTC, so nothing was changed. "
                    f"Wait until that run has ended (process {os.getpid()} on this computer).")


def test_many_at_once_and_one_has_it(path):
    program = (
        "import dataclasses, sys; from ansible_collections.herd.llama_cpp.plugins.module_utils._service.lock import *\n"
        "own = Run('x', 'y', 'z', 'c', int(sys.argv[2]), '1')\nprint(take(sys.argv[1], own) is None)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen([sys.executable, "-c", program, path, str(n)], stdout=subprocess.PIPE, text=True, env=environment) for n in range(8)]
    assert sorted(process.communicate()[0].strip() for process in running) == ["False"] * 7 + ["True"]


def test_what_is_no_run_is_none():
    assert run_of(None) is run_of({}) is run_of({**dataclasses.asdict(OWN), "process": "7"}) is None
