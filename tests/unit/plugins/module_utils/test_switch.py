# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch calls the state that it goes to and the one that it goes back to, and what it says when it has failed."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.filter.switch_state import switch_state
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.switch import Machine, Switch, is_known

NEW = {"id": "new", "version": "b11434", "replaces": "", "replaces_version": ""}
SAME = {"id": "old", "version": "b11000", "replaces": "old", "replaces_version": "b11000"}
OTHER = {**NEW, "replaces": "old", "replaces_version": "b11000"}
REBUILT = {**SAME, "id": "new"}


@pytest.mark.parametrize(("served", "added", "says"), [
    (SAME, {**NEW, "version": "b11000"},
     ["the changed configuration", "the configuration before", "playbooks/deploy.yml with the configuration from before"]),
    (OTHER, NEW, ["b11434", "b11000", "playbooks/rollback.yml -e llama_cpp_build=old"]),
    (OTHER, None, ["b11434", "b11000", "playbooks/rollback.yml -e llama_cpp_build=old"]),
    (REBUILT, None, ["b11000 (build new)", "b11000 (build old)", "playbooks/rollback.yml -e llama_cpp_build=old"]),
], ids=["a worker is added", "in an upgrade", "an upgrade", "built anew"])
def test_a_machine_that_is_new_is_no_version_to_go_back_to(served: dict, added: dict | None, says: list[str]) -> None:
    machines = [Machine("head", served), Machine("w1", served)] + ([Machine("w2", added)] if added else [])
    switch = Switch(machines)
    assert [switch.new, switch.old, switch.remedy] == says
    assert switch.can_return == (added is None)


def test_new_keys_are_called_so_unless_the_version_changes_too() -> None:
    keys = Switch([Machine("head", SAME)], rotates=True)
    assert (keys.new, keys.old, keys.remedy, keys.needed) == ("the cluster with new keys", "the old keys", "playbooks/deploy.yml", False)
    assert Switch([Machine("head", OTHER)], rotates=True).new == "b11434"


def test_nothing_has_failed_before_anybody_says_so() -> None:
    switch = Switch([Machine("head", OTHER), Machine("idle")], known=True)
    assert not switch.failed and not switch.returns and switch.reason == "" and switch.needed and switch.can_return


def test_the_first_word_counts_before_who_was_lost() -> None:
    machines = [Machine("head", OTHER, {"forward": ""}), Machine("w1", OTHER, {"forward": "w1: no port."}), Machine("w2", OTHER)]
    assert Switch(machines, lost=["w2"]).reason == "w1: no port."
    lost = Switch([Machine("head", OTHER, {"forward": ""}), Machine("w1", OTHER), Machine("idle")], lost=["w1", "idle"])
    assert Switch([Machine("head", OTHER, {"forward": ""})]).reason == "no reason was given"
    assert lost.reason == "w1 and idle could not be reached, also when tried again."


@pytest.mark.parametrize(("target", "differs", "known", "returns"), [
    (OTHER, False, True, True), (SAME, True, True, True), (SAME, False, True, False), (OTHER, True, False, False)],
    ids=["a version", "a configuration", "nothing was changed", "nothing is known"])
def test_it_goes_back_where_something_was_changed_that_is_known(target: dict, differs: bool, known: bool, returns: bool) -> None:
    assert Switch([Machine("head", target, {"forward": "head: no."}, differs=differs)], known=known).returns == returns


def test_a_run_that_changes_nothing_goes_back_to_nothing() -> None:
    """It would put nothing back, and then say that this answers again."""
    head = {"inventory_hostname": "head", "llama_cpp_target": OTHER, "switch_failures": {"forward": "head: no."}}
    said = [switch_state([head], {"machines": {"head": {}}}, check=check) for check in (False, True)]
    assert [(one["failed"], one["reason"], one["returns"]) for one in said] == [(True, "head: no.", True), (True, "head: no.", False)]


@pytest.mark.parametrize(("facts", "renews"), [
    ({}, False), ({"rpc_server_restart_needed": True}, True), ({"llama_server_restart_needed": True}, True), ({"switch_saved": {"kept": True}}, True),
    # Its firewall, the head's proxy or tunnels, the watchdog: nothing of llama.cpp is restarted for those, and what is saved of them must not go on.
    ({"rpc_server_files_changed": True}, True), ({"llama_server_files_changed": True}, True), ({"service_unit_written": {"changed": True}}, True),
    ({"service_unit_written": {"changed": False}}, False)])
def test_what_is_proved_is_proved_anew_where_it_was_changed(facts: dict, renews: bool) -> None:
    """By this run, or by one that was interrupted. The record names neither keys nor most settings."""
    still = {"rpc_server_restart_needed": False, "llama_server_restart_needed": False, "rpc_server_files_changed": False, "switch_saved": {"kept": False}}
    machines = [{"inventory_hostname": "head", **still}, {"inventory_hostname": "w1", **still, **facts}, {"inventory_hostname": "idle"}]
    assert switch_state(machines, {})["renews"] is renews


@pytest.mark.parametrize(("recorded", "leaving", "known"), [
    ({"head": {}, "w1": {}}, {}, True), ({}, {}, False), ({"head": {}, "gone": {}}, {}, False), ({"head": {}}, {"w1": ["worker"]}, False)],
    ids=["recorded", "no record", "a machine is not in the inventory", "a machine was just taken out"])
def test_what_is_known(recorded: dict, leaving: dict, known: bool) -> None:
    assert is_known([Machine("head"), Machine("w1")], recorded, leaving) == known


FAILED = {"forward": "head: llama-server ended."}


@pytest.mark.parametrize(("machines", "lost", "answers", "says"), [
    ([Machine("head", OTHER, FAILED, restored=True)], [], True,
     "b11434 was rejected: head: llama-server ended. The cluster is back on b11000, which answers again."),
    ([Machine("head", SAME, FAILED, restored=True)], [], False,
     "The changed configuration was rejected: head: llama-server ended. Whether the cluster is back on the configuration before is not known. "
     "Put that right and run playbooks/deploy.yml with the configuration from before."),
    ([Machine("head", OTHER, {**FAILED, "back": "head: no answer."}, restored=True)], [], True,
     "b11434 was rejected: head: llama-server ended. Going back to b11000 failed too: head: no answer. "
     "Put that right and run playbooks/rollback.yml -e llama_cpp_build=old."),
    ([Machine("head", OTHER, {"forward": ""}, restored=True), Machine("w1", OTHER)], ["w1"], True,
     "b11434 was rejected: w1 could not be reached, also when tried again. The cluster is back on b11000, which answers again. "
     "w1 could not be reached and may be stopped or still have b11434. Once it is there again, run playbooks/rollback.yml -e llama_cpp_build=old."),
    ([Machine("head", OTHER, {"forward": "", "back": "head: no worker."}), Machine("w1", OTHER), Machine("w2", OTHER), Machine("idle")], ["w1", "w2"], False,
     "b11434 was rejected: w1 and w2 could not be reached, also when tried again. Going back to b11000 failed too: head: no worker. "
     "w1 and w2 could not be reached and may be stopped or still have b11434. Once they are there again, run "
     "playbooks/rollback.yml -e llama_cpp_build=old."),
], ids=["back", "not known", "back failed", "without a worker", "without two"])
def test_what_is_said_in_the_end(machines: list[Machine], lost: list[str], answers: bool, says: str) -> None:
    assert Switch(machines, lost=lost, known=True, answers_again=answers).rejected == says


def test_the_filter_reads_the_facts_of_the_plays() -> None:
    head = {"inventory_hostname": "head", "llama_cpp_target": OTHER, "switch_failures": {"forward": "head: no."}, "switch_compared": {"differs": True},
            "switch_restored": True, "verify_answered": "back"}
    said = switch_state([head, {"inventory_hostname": "idle", "switch_failures": {"forward": ""}}], {"machines": {"head": {}}})
    assert said["returns"] and said["is_back"] and said["needed"] and said["known"] and not said["back_failed"]
    assert said["rejected"] == "b11434 was rejected: head: no. The cluster is back on b11000, which answers again."
