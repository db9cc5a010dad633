# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch of versions in the middle of which a machine cannot be reached, or the run itself is killed.

Whatever happens, no run is green that left a machine behind, and the machines end with one common version that answers, by themselves or by the
command that the run has named. HERD_FAULTS=all runs these.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pinned
import pytest
from fault_lab import HEAD_UNIT, WORKER_UNIT, FaultLab
from playbook_run import ROOT, PlaybookRun, disturb_playbook, interrupt_playbook, run_playbook

pytestmark = pytest.mark.skipif(os.environ.get("HERD_FAULTS") != "all", reason="slow; make test-faults runs it.")
testinfra_hosts = ["local://"]

OURS, OTHER = pinned.source_name(pinned.LAB), "another version"
BROKEN = ("-e", f"@{ROOT / 'molecule' / 'upgrade' / 'vars' / 'broken.yml'}")
# What is cut for good is tried again once: over a minute it would be cut as well.
ONCE = ("-e", "ansible_ssh_retries=1")


@pytest.fixture(scope="module")
def our_build(the_lab: FaultLab) -> str:
    """What serves by the record. Another of its builds may be of the same version, and broken."""
    return str(json.loads(the_lab.run("head", "cat /etc/llama.cpp/cluster.json"))["machines"]["head"]["build"])


@pytest.fixture(autouse=True)
def our_version_again(lab: FaultLab, our_build: str) -> Iterator[None]:
    """The next test begins with the version that this one has begun with."""
    yield
    if {lab.cluster.link(machine, "current") for machine in lab.cluster.addresses} != {our_build}:
        back = run_playbook("rollback.yml", lab.cluster.inventory, "-e", f"llama_cpp_build={our_build}")
        assert back.rc == 0, back.output[-3000:]


@contextlib.contextmanager
def switched(lab: FaultLab, *arguments: str, at: str, fault: AbstractContextManager[None], seconds: float = 0) -> Iterator[PlaybookRun]:
    """A switch to another version in which there is a fault."""
    other = lab.another_version(OTHER)
    with disturbed(lab, "rollback.yml", "-e", f"llama_cpp_build={other}", *arguments, at=at, fault=fault, seconds=seconds) as run:
        yield run


@contextlib.contextmanager
def disturbed(lab: FaultLab, playbook: str, *arguments: str, at: str, fault: AbstractContextManager[None], seconds: float = 0) -> Iterator[PlaybookRun]:
    """From a line of a run's output on there is a fault, for so many seconds or until the end of the context."""
    with contextlib.ExitStack() as faults:
        timer = threading.Timer(seconds, faults.close)

        def act() -> None:
            faults.enter_context(fault)
            if seconds:
                timer.start()

        run = disturb_playbook(playbook, lab.cluster.inventory, *arguments, at=at, act=act)
        assert not timer.is_alive(), "the run ended before the fault did"
        yield run


def follow(run: PlaybookRun, lab: FaultLab) -> None:
    """Do what a run that failed says is to be done: all machines have what served before, and that answers."""
    found = re.search(r"run playbooks/(\S+) (-e llama_cpp_build=[0-9a-f]+)\.", re.sub(r"\s+", " ", run.output))
    assert found, run.output[-3000:]
    again = run_playbook(found[1], lab.cluster.inventory, *found[2].split())
    assert again.rc == 0, again.output[-3000:]
    lab.cluster.runs(OURS)
    assert lab.ask(30)


def test_worker_away_for_a_moment(lab: FaultLab) -> None:
    with switched(lab, "-vv", at="TASK [Put the new version into use]", fault=lab.ssh_cut("worker2"), seconds=20) as run:
        assert run.rc == 0, run.output[-4000:]
    assert run.says("ssh_retry: attempt: 1"), "nothing was tried again: nothing is proved"
    lab.cluster.runs(OTHER)
    assert lab.ask(30)


def test_worker_away_for_good_before_it_was_stopped(lab: FaultLab) -> None:
    """It goes on with what it has, and the others go back to that."""
    with switched(lab, *ONCE, at="TASK [Stop the old version's workers]", fault=lab.ssh_cut("worker2")) as run:
        assert run.rc != 0
        assert run.says("was rejected: worker2 could not be reached", f"The cluster is back on {OURS}, which answers again"), run.output[-4000:]
        assert run.says("worker2 could not be reached and may be stopped or still have"), run.output[-4000:]
        assert lab.ask(30)
    lab.cluster.runs(OURS)
    follow(run, lab)


def test_worker_away_for_good_when_it_was_switched(lab: FaultLab, our_build: str) -> None:
    """Without it nothing can serve. The run says which machine it is and what to do, and that does it."""
    with switched(lab, *ONCE, at="TASK [Run the workers]", fault=lab.cut("worker2")) as run:
        assert run.rc != 0
        assert run.says("was rejected: worker2 could not be reached", f"Going back to {OURS} failed too"), run.output[-4000:]
        assert run.says("worker2 could not be reached and may be stopped or still have", OTHER), run.output[-4000:]
    assert {lab.cluster.link(machine, "current") for machine in ("head", "worker1")} == {our_build}
    assert lab.cluster.link("worker2", "current") != our_build, "it was not switched: nothing is proved"
    follow(run, lab)


def test_head_away_for_good(lab: FaultLab) -> None:
    """The workers are not switched without their head, which goes on serving."""
    with switched(lab, *ONCE, at="TASK [Stop the old version's head]", fault=lab.ssh_cut("head")) as run:
        assert run.rc != 0
        assert run.says("was rejected: head could not be reached"), run.output[-4000:]
        assert run.says(f"Whether the cluster is back on {OURS} is not known", "head could not be reached and may be stopped"), run.output[-4000:]
        lab.wait(lab.ask, 60, "it did not go on serving")
    lab.cluster.runs(OURS)
    follow(run, lab)


@pytest.mark.parametrize("at", ["Run the head", "Ask the cluster"])
def test_head_away_for_good_when_it_was_switched(lab: FaultLab, our_build: str, at: str) -> None:
    """The workers go back without it, and the run says what is to be done when it is there again."""
    with switched(lab, *ONCE, at=f"TASK [{at}]", fault=lab.ssh_cut("head")) as run:
        assert run.rc != 0
        assert run.says("was rejected: head could not be reached"), run.output[-4000:]
        assert run.says(f"Whether the cluster is back on {OURS} is not known", "head could not be reached and may be stopped"), run.output[-4000:]
    assert {lab.cluster.link(machine, "current") for machine in ("worker1", "worker2")} == {our_build}
    assert lab.cluster.link("head", "current") != our_build, "it was not switched: nothing is proved"
    follow(run, lab)


def test_after_an_interrupted_switch_a_failing_version_goes_back_to_what_served_last(lab: FaultLab, our_build: str) -> None:
    """Half of the machines point at the version that was interrupted; the record says which one served."""
    assert interrupt_playbook("rollback.yml", lab.cluster.inventory, "-e", f"llama_cpp_build={lab.another_version(OTHER)}", at="Point current at the build")
    assert lab.run("head", f"systemctl is-active {HEAD_UNIT}", check=False).strip() != "active"
    run = run_playbook("upgrade.yml", lab.cluster.inventory, *BROKEN)
    assert run.rc != 0
    assert run.says("was rejected", f"The cluster is back on {OURS}", "which answers again"), run.output[-4000:]
    assert {lab.cluster.link(machine, "current") for machine in lab.cluster.addresses} == {our_build}
    lab.cluster.runs(OURS)
    assert lab.ask(30)


def keys_of(lab: FaultLab) -> list[str]:
    return [lab.run(machine, f"cat {path}") for machine, path in (("head", "/etc/llama-server/api-key"), ("worker2", "/etc/llama-rpc-server/tls-key"))]


def rotation(lab: FaultLab, *arguments: str, fault: AbstractContextManager[None], seconds: float = 0) -> contextlib.AbstractContextManager[PlaybookRun]:
    return disturbed(lab, "rotate_keys.yml", *arguments, at="TASK [Run the workers]", fault=fault, seconds=seconds)


def test_new_keys_while_a_worker_is_away_for_a_moment(lab: FaultLab) -> None:
    before = keys_of(lab)
    with rotation(lab, fault=lab.ssh_cut("worker2"), seconds=20) as run:
        assert run.rc == 0, run.output[-4000:]
    assert not set(before) & set(keys_of(lab))
    lab.key = keys_of(lab)[0].strip()
    assert lab.ask(30)


def test_new_keys_while_a_worker_is_away_for_good(lab: FaultLab) -> None:
    """The others go back to the old ones, and what was answered before is answered again as soon as it is there."""
    before = keys_of(lab)
    with rotation(lab, *ONCE, fault=lab.ssh_cut("worker2")) as run:
        assert run.rc != 0
        assert run.says("The cluster with new keys was rejected", "worker2 could not be reached"), run.output[-4000:]
        assert lab.run("head", "cat /etc/llama-server/api-key") == before[0]
        assert lab.ask(30)
    again = run_playbook("deploy.yml", lab.cluster.inventory)
    assert again.rc == 0, again.output[-3000:]
    assert lab.ask(30)


@pytest.mark.parametrize(("playbook", "variable"), [
    ("deploy.yml", "llama_server_extra_args"), ("deploy.yml", "rpc_server_extra_args"),
    ("rollback.yml", "llama_server_extra_args"), ("rollback.yml", "rpc_server_extra_args")])
def test_an_argument_that_is_not_taken_stops_nothing(lab: FaultLab, playbook: str, variable: str) -> None:
    units = {"head": HEAD_UNIT, "worker1": WORKER_UNIT}
    before = [lab.pid(machine, unit) for machine, unit in units.items()]
    to = {"llama_cpp_build": lab.another_version(OTHER)} if playbook == "rollback.yml" else {}
    run = run_playbook(playbook, lab.cluster.inventory, "-e", json.dumps({variable: ["--no-such-argument"], **to}))
    assert run.rc != 0
    assert run.says("--no-such-argument", f"Correct {variable}", "what runs was left as it is"), run.output[-4000:]
    assert before == [lab.pid(machine, unit) for machine, unit in units.items()]
    # A later switch that fails would go back to it.
    assert not any(lab.run(machine, "ls /etc/llama.cpp/before.tar", check=False) for machine in lab.cluster.addresses)
    assert lab.ask(30)
