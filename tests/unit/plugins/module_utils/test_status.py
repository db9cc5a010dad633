# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status.yml says, from what was seen on the machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.cluster_status import cluster_status

ADVISORIES = Path(__file__).parents[4] / "roles" / "llama_cpp" / "vars" / "advisories.yml"


def unit(name: str, active: str = "active", sub: str = "running", executable: str = "/opt/llama.cpp/builds/4f2a/bin/llama-server") -> dict:
    return {"unit": name, "load_state": "loaded", "active_state": active, "sub_state": sub, "executable": executable}


def socket(name: str, state: str, port: int = 8080) -> dict:
    return {"unit": name, "state": state, "local_address": "198.18.0.10", "local_port": port}


def head(**changed: object) -> dict:
    watchdog = {"time": 1000.0, "last_answer": 988.0, "health": {"state": "idle"}, "workers": {}}
    return {
        "status_units": {"units": [unit("llama-server.service")]},
        "status_sockets": {"sockets": [socket("llama-server.service", "listening"), socket("llama-server.service", "established"),
                                       socket("llama-server.service", "established", 41000), socket("sshd.service", "listening", 22)]},
        "status_build": {"builds": [{"id": "4f2a", "version": "b11321", "components": ["head"], "options": {"LLAMA_BUILD_NUMBER": "11321"}}]},
        "status_watchdog": {"stdout": json.dumps(watchdog)},
        "status_restarts": {"stdout_lines": ['{"UNIT": "llama-server.service"}', '{"UNIT": "other.service"}', "no json"]},
        **changed,
    }


def rows(machines: dict) -> list[dict]:
    return cluster_status(machines, [])["rows"]


def test_a_head_with_what_its_watchdog_sees():
    assert rows({"head": head()}) == [{
        "machine": "head", "unit": "llama-server.service", "state": "active (running)", "restarts": 1, "endpoint": "198.18.0.10:8080", "clients": 1,
        "watchdog": "idle", "answer": "12 s ago", "version": "b11321", "build": "4f2a"}]


@pytest.mark.parametrize(("word", "said"), [
    ({"last_answer": None, "time": 5.0, "health": {"state": "loading"}}, ("loading", "none")),
    ({"time": 5.0, "health": {"state": "dead", "worker": "worker1", "reason": "gone"}}, ("dead, worker1, gone", "none")),
    ({}, ("none", "none")),
])
def test_what_the_watchdog_says(word, said):
    row = rows({"head": head(status_watchdog={"stdout": json.dumps(word)})})[0]
    assert (row["watchdog"], row["answer"]) == said


@pytest.mark.parametrize("nothing", [{}, {"stdout": ""}, {"stdout": "[1]"}, {"stdout": "half {"}, {"rc": 1}])
def test_a_watchdog_that_has_written_nothing(nothing):
    assert rows({"head": head(status_watchdog=nothing)})[0]["watchdog"] == "none"


def test_a_tls_end_that_is_stopped_has_a_row_and_what_was_asked_for_twice_one():
    tls = unit("llama-rpc-tls@0.service", "inactive", "dead", "")
    worker = unit("llama-rpc-server@0.service", executable="/opt/llama.cpp/builds/77/bin/ggml-rpc-server")
    missing = dict(unit("llama-server.service"), load_state="not-found")
    word = {"workers": {"llama-rpc-server@0.service": {"state": "busy"}}}
    found = rows({"worker1": {"status_units": {"units": [worker, missing, worker, tls]}, "status_watchdog": {"stdout": json.dumps(word)}}})
    assert [(row["unit"], row["state"], row["watchdog"], row["answer"], row["version"]) for row in found] == [
        ("llama-rpc-server@0.service", "active (running)", "busy", "", ""), ("llama-rpc-tls@0.service", "inactive (dead)", "none", "", "")]


def test_machines_without_a_service():
    assert [row["state"] for row in rows({"away": {"status_units": {"unreachable": True}}, "gone": {}, "bare": {"status_units": {"units": []}}})] == [
        "unreachable", "unreachable", "nothing deployed"]


def test_what_runs_is_exposed_to_and_nothing_else():
    advisories = yaml.safe_load(ADVISORIES.read_text(encoding="utf-8"))["llama_cpp_advisories"]
    found = cluster_status({"head": head(), "worker1": head(), "worker2": head(status_units={"units": []})}, advisories)["exposures"]
    assert len(found) == 1 and found[0].startswith("head, worker1: b11321: build 11321 has known vulnerabilities: CVE-")


def test_what_is_no_machine_is_refused():
    with pytest.raises(AnsibleFilterError, match="variables of each machine"):
        cluster_status([], [])
