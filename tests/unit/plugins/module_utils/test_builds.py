# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build each machine of a cluster goes back to."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_build_choice import llama_build_choice
from ansible_collections.herd.llama_cpp.plugins.filter.switch_targets import switch_targets


def stamp(build_id: str, version: str, *components: str) -> dict:
    return {"id": build_id, "version": version, "components": list(components), "source": {"type": "git", "version": version}}


def machine(current: str, previous: str, *builds: dict) -> dict:
    return {"current": current, "previous": previous, "builds": list(builds)}


def chosen(machines: dict, wanted: str = "") -> dict:
    choice = llama_build_choice(machines, wanted)
    assert choice["problems"] == []
    return {name: build["id"] for name, build in choice["builds"].items()}


def sentences(machines: dict, wanted: str = "") -> str:
    return " / ".join("%(machine)s: %(problem)s. %(remedy)s." % problem for problem in llama_build_choice(machines, wanted)["problems"])


# The head's processor differs from the workers', so that the same version has other ids there.
HEAD = machine("h3", "h2", stamp("h3", "b3", "head"), stamp("h2", "b2", "head"), stamp("h1", "b1", "head"))
WORKER = machine("w3", "w2", stamp("w3", "b3", "worker"), stamp("w2", "b2", "worker"), stamp("w1", "b1", "worker"))


def test_the_one_before():
    assert chosen({"head": HEAD, "worker": WORKER}) == {"head": "h2", "worker": "w2"}


@pytest.mark.parametrize("wanted", ["h1", "w1", "b1"])
def test_the_one_that_is_wanted_by_any_machines_id_or_by_version(wanted):
    assert chosen({"head": HEAD, "worker": WORKER}, wanted) == {"head": "h1", "worker": "w1"}


def test_a_machine_added_since_takes_the_same_version():
    added = machine("w3", "", stamp("w3", "b3", "worker"), stamp("w2", "b2", "worker"))
    assert chosen({"head": HEAD, "added": added}) == {"head": "h2", "added": "w2"}


def test_what_all_run_already_can_be_asked_for_by_its_name():
    """Whatever of it was stopped is started, and it is proved anew."""
    assert chosen({"head": HEAD, "worker": WORKER}, "b3") == {"head": "h3", "worker": "w3"}


def test_what_runs_is_chosen_by_that_word():
    assert chosen({"head": HEAD, "worker": WORKER}, "current") == {"head": "h3", "worker": "w3"}


def test_one_machine_that_is_there_already_does_not_matter():
    half = machine("h2", "h3", stamp("h3", "b3", "head"), stamp("h2", "b2", "head"))
    assert chosen({"head": half, "worker": WORKER}, "b2") == {"head": "h2", "worker": "w2"}


@pytest.mark.parametrize(
    ("machines", "wanted", "said"),
    [
        ({"head": machine("h1", "", stamp("h1", "b1", "head"))}, "", "head: it has no build from before the current one to go back to"),
        ({"head": machine("h1", "h0", stamp("h1", "b1", "head"))}, "", "installed there: b1 (h1)"),
        ({"head": HEAD, "worker": WORKER}, "b9", "worker: it has no build b9. Name one of those that are installed there: b3 (w3), b2 (w2)"),
        ({"head": HEAD, "worker": machine("w3", "", stamp("w3", "b3", "worker"))}, "", "worker: it has no build from before"),
        ({"head": HEAD, "worker": machine("w3", "w1", stamp("w3", "b3", "worker"), stamp("w1", "b1", "worker"))}, "", "to another llama.cpp"),
        ({"both": machine("x2", "x1", stamp("x2", "b2", "head", "worker"), stamp("x1", "b1", "worker"))}, "", "its build b1 (x1) lacks head"),
        ({"head": machine("", "", stamp("h1", "b1", "head"))}, "b2", "no build b2"),
    ],
)
def test_what_is_in_the_way_is_a_sentence(machines, wanted, said):
    assert said in sentences(machines, wanted)


@pytest.mark.parametrize("machines", [None, [], {"head": {}}, {"head": {"builds": [{"id": "x"}]}}])
def test_what_is_no_description(machines):
    with pytest.raises(AnsibleFilterError, match="cannot answer"):
        llama_build_choice(machines)


def target(name: str, build_id: str, replaces: str, previous: str, *installed: str) -> dict:
    return {"inventory_hostname": name, "llama_cpp_target": {
        "id": build_id, "version": build_id, "replaces": replaces, "replaces_version": replaces, "previous": previous, "installed": list(installed)}}


RECORDED = {"machines": {"head": {"build": "A", "version": "b1"}, "worker": {"build": "A", "version": "b1"}}}


def back(targets: dict) -> dict:
    return {name: (one["replaces"], one["replaces_version"], one["previous"]) for name, one in targets.items()}


def test_a_switch_goes_back_to_what_runs():
    targets = [target("head", "B", "A", "O", "A", "O"), target("worker", "B", "A", "O", "A", "O")]
    assert back(switch_targets(targets, RECORDED)) == {"head": ("A", "A", "O"), "worker": ("A", "A", "O")}


def test_after_an_interrupted_switch_all_go_back_to_what_served_last():
    """The head was pointed at X, the worker not yet; now C shall come."""
    targets = [target("head", "C", "X", "A", "A", "X"), target("worker", "C", "A", "O", "A", "X", "O")]
    assert back(switch_targets(targets, RECORDED)) == {"head": ("A", "b1", ""), "worker": ("A", "A", "O")}


def test_a_machine_that_is_new_has_what_it_has():
    targets = [target("head", "B", "A", "", "A"), target("worker", "B", "A", "", "A"), target("new", "B", "", "")]
    assert back(switch_targets(targets, RECORDED))["new"] == ("", "", "")


def test_without_a_record_or_its_build_nothing_is_made_up():
    targets = [target("head", "C", "X", "A", "A", "X"), target("worker", "C", "Y", "O", "Y", "X", "O")]
    assert back(switch_targets(targets, {})) == back(switch_targets(targets, RECORDED)) == {"head": ("X", "X", "A"), "worker": ("Y", "Y", "O")}


def test_machines_without_a_target_are_left_out():
    assert switch_targets([{"inventory_hostname": "web"}], RECORDED) == {}
