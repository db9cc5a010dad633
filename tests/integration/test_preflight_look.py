# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first look at a machine: one that is there, one that is away, one where nobody becomes root, and one without Python. Nothing of it fails."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from playbook_run import run_playbook

HOSTS: dict[str, dict[str, Any]] = {
    "here": {"ansible_python_interpreter": sys.executable},
    "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9},
    # Stands for sudo that refuses.
    "rootless": {"ansible_python_interpreter": sys.executable, "ansible_become_exe": "echo refused >&2; false", "ansible_become_user": "daemon"},
    "pythonless": {"ansible_python_interpreter": "/nowhere/python3"},
    "client": {"ansible_python_interpreter": sys.executable, "ansible_become": False},
}
LOOK = {"herd.llama_cpp.preflight_machine_info": {"script": 'echo "epoch=$(date +%s)"; echo "kernel=$(uname -s)"; echo aside >&2'}, "register": "seen"}
SAID = {"ansible.builtin.copy": {"content": "{{ seen | combine({'known': ansible_facts.all_ipv4_addresses is defined}) | to_json }}", "dest": "RESULT"},
        "delegate_to": "localhost", "vars": {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    place = tmp_path_factory.mktemp("look")
    (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": HOSTS, "vars": {"ansible_connection": "local"}}}))
    play = {"hosts": "all", "gather_facts": False, "become": True, "tasks": [LOOK, SAID]}
    (place / "play.yml").write_text(json.dumps([play]).replace("RESULT", str(place / "{{ inventory_hostname }}.json")))
    run = run_playbook(str(place / "play.yml"), place / "hosts.yml", timeout_s=300)
    assert run.rc == 0 and {counts["unreachable"] for counts in run.recap.values()} == {0}, run.output
    return {name: json.loads((place / f"{name}.json").read_text()) for name in HOSTS}


def test_a_machine_that_is_there(seen: dict[str, dict[str, Any]]) -> None:
    here = seen["here"]
    assert here["reached"] and here["is_root"] and here["known"] and here["ansible_facts"]["ansible_python_version"]
    assert here["shell_stdout"].startswith("epoch=") and "aside" in here["shell_stderr"] and abs(here["now"] - int(here["shell_stdout"].split()[0][6:])) <= 60
    assert not here["facts_message"] and not here["become_message"]


def test_one_that_is_away_says_why(seen: dict[str, dict[str, Any]]) -> None:
    away = seen["away"]
    assert not away["reached"] and "Connection refused" in away["reach_message"] and not away["is_root"] and not away["known"]


def test_where_nobody_becomes_root_facts_are_gathered_all_the_same(seen: dict[str, dict[str, Any]]) -> None:
    rootless = seen["rootless"]
    assert rootless["reached"] and not rootless["is_root"] and rootless["known"]
    assert "refused" in rootless["become_message"] + rootless["become_stderr"]


def test_where_there_is_no_python_its_shell_answers(seen: dict[str, dict[str, Any]]) -> None:
    pythonless = seen["pythonless"]
    assert pythonless["reached"] and pythonless["is_root"] and not pythonless["known"] and "epoch=" in pythonless["shell_stdout"]
    assert "/nowhere/python3" in pythonless["facts_message"] + pythonless["facts_stderr"]


def test_root_is_not_tried_where_it_is_not_asked_for(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["client"]["known"] and not seen["client"]["is_root"] and not seen["client"]["become_stdout"]
