# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a deployment, with the real tasks: the head's log beside the plan, and the question."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playbook_run import ROOT, PlaybookRun, run_playbook
from played_cluster import KEY, Cluster

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import parse_head

pytest.importorskip("openai")

PARTS = ROOT / "playbooks" / "parts"
LOG = (ROOT / "tests/fixtures/logs/head/1worker.txt").read_text(encoding="utf-8")
# The task that includes the proof is counted as well; each costs a fifth of a second of every deployment.
MOST_TASKS = 13


def planned(log: dict[str, Any], layers: int) -> dict[str, Any]:
    """The plan that the log's own figures would be the result of, but for the layers."""
    worker, own = log["devices"]
    device = {"machine": "worker1", "device": "CPU", "llama_device": "RPC0", "n_layers": layers, "first_layer": 0, "last_layer": layers - 1, "output": True,
              "weights_mib": 93, "kv_mib": 45, "compute_mib": 16, "free_mib": 9000, "reserve_mib": 512, "headroom_mib": 0}
    assert (int(worker["weights_mib"]), worker["kv_mib"], int(worker["compute_mib"])) == (92, 45, 15)
    return {"devices": [device], "host": {"machine": "head", "weights_mib": 29, "kv_mib": 0, "compute_mib": int(own["compute_mib"]) + 1, "output_mib": 1},
            "n_layers": layers, "context_size": log["n_ctx"], "rpc": [{"machine": "worker1", "device": "CPU"}], "machines": ["head", "worker1"],
            "requests": "2 requests", "confidence": {"tolerance_mib": 1, "compute_tolerance_factor": 1.25}}


def prove(place: Path, monkeypatch: pytest.MonkeyPatch, layers: int = 30, **variables: object) -> PlaybookRun:
    """In a play as the switch is one; the journal that it reads is that of a real head, with the address of the worker that is played."""
    with Cluster() as cluster:
        endpoint = f"127.0.0.1:{cluster.worker_port}"
        text = LOG.replace("127.0.0.2:50110", endpoint)
        lines = ({"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": "a" * 32, "_PID": "7"} for line in text.splitlines())
        (place / "journal").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
        for name, does in (("journalctl", f"cat {place}/journal"), ("systemctl", f"printf '%s\\n' {'a' * 32} loaded")):
            (place / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
            (place / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(place), prepend=":")
        (place / "key").write_text(KEY + "\n", encoding="utf-8")
        usual = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                 "cluster_plan_serves": True}
        worker = {"machine": "worker1", "address": "127.0.0.1", "port": cluster.worker_port, "endpoint": endpoint, "device": "CPU"}
        head = {**usual, "llama_server_url": f"http://127.0.0.1:{cluster.server_port}", "llama_server_ca_file": "",
                "llama_server_api_key_file": f"{place}/key", "cluster_plan_result": planned(parse_head(text).to_dict(), layers)}
        groups = {"llama_host": {"hosts": {"head": head}}, "llama_rpc": {"hosts": {"worker1": {**usual, "rpc_server_instances": [worker]}}}}
        (place / "hosts.json").write_text(json.dumps(groups), encoding="utf-8")
        task = {"ansible.builtin.include_tasks": {"file": str(PARTS / "tasks/prove.yml"), "apply": {"become": False}}, "when": "__switch_is_head"}
        play = {"hosts": "llama_host:llama_rpc", "gather_facts": False, "become": True, "any_errors_fatal": True, "tasks": [{"block": [task]}],
                "vars": {"switch_phase": "forward"}, "vars_files": [str(PARTS / "vars/switch.yml")]}
        (place / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
        return run_playbook(str(place / "play.yml"), place / "hosts.json", "-v", "-e", json.dumps({"chat_check_question": "right", **variables}))


def test_a_cluster_that_is_as_planned_is_proved_in_few_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prove(tmp_path, monkeypatch)
    assert run.rc == 0, run.output[-3000:]
    assert re.search(r"verify_answered: forward", run.output) and run.says("Layers and MiB, as planned, and as it is") and not run.says("but not as planned")
    ok, skipped = re.search(r"(?m)^head .* ok=(\d+) .* skipped=(\d+)", run.output).groups()
    assert int(ok) + int(skipped) <= MOST_TASKS, run.output[-3000:]


def test_a_cluster_that_is_not_as_planned_is_asked_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prove(tmp_path, monkeypatch, layers=28)
    assert run.rc != 0 and run.says("The cluster runs, but not as planned.", "30 layers (28 planned)"), run.output[-3000:]
    assert not run.says("It is Paris.") and "verify_answered" not in run.output


def test_unless_it_is_only_to_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prove(tmp_path, monkeypatch, layers=28, cluster_plan_strict=False)
    assert run.rc == 0, run.output[-3000:]
    assert run.says("Note: the cluster runs, but not as planned.") and run.says("It is Paris.") and "verify_answered: forward" in run.output
