# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that only the second plan of deploy.yml needs: which builds its machines then get, by the play's own condition and the role itself.

The machines are this one; what tells them apart is the GPU that each one's nvidia-smi reports.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from playbook_run import ROOT, run_playbook

FIXTURES = ROOT / "tests" / "fixtures" / "nvidia_smi"
NAMES = {"head": "8.6", "worker1": "8.6", "worker2": "8.9"}
LOOK: list[dict[str, Any]] = [
    {"ansible.builtin.include_role": {"name": "herd.llama_cpp.llama_cpp", "tasks_from": "identity"}},
    {"ansible.builtin.set_fact": {"llama_cpp_target": {"id": "{{ __llama_cpp_id }}"}}},
]


def condition() -> Any:
    """When deploy.yml installs llama.cpp after llama-server was asked."""
    plays = yaml.safe_load((ROOT / "playbooks" / "deploy.yml").read_text(encoding="utf-8"))
    tasks = next(play["tasks"] for play in plays if play["name"] == "Hand that plan to the machines")
    return next(task["when"] for task in tasks if task.get("ansible.builtin.include_role", {}).get("name") == "herd.llama_cpp.llama_cpp")


def nvidia_smi(place: Path, name: str, capability: str) -> str:
    """A directory with a program that says a real report, with one GPU's capability for all."""
    place = place / name
    place.mkdir()
    capabilities = "".join("GPU-22222222-aaaa-bbbb-cccc-00000000000%d, %s\\n" % (number, capability) for number in (1, 2))
    (place / "nvidia-smi").write_text(
        "#!/bin/sh\ncase $1 in --query*) printf '%s';; *) cat '%s/documented_535_rtx3090_rtx4090.xml';; esac\n" % (capabilities, FIXTURES))
    (place / "nvidia-smi").chmod(0o755)
    return str(place)


def play(hosts: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"hosts": hosts, "gather_facts": False, "environment": {"PATH": "{{ nvidia }}:{{ lookup('ansible.builtin.env', 'PATH') }}"}, "tasks": tasks}


def test_all_machines_have_the_builds_that_the_next_deployment_looks_for(tmp_path: Path) -> None:
    hosts = {name: {"nvidia": nvidia_smi(tmp_path, name, capability)} for name, capability in NAMES.items()}
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "llama_cpp_backend": "cuda",
              "llama_cpp_toolchain": {"name": "any"}, "llama_cpp_components": ["worker"], "llama_cpp_prefix": str(tmp_path / "prefix"),
              "llama_cpp_cache_dir": str(tmp_path / "cache")}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
    serves = {"ansible.builtin.set_fact": {"cluster_plan_serves": True}}
    said = {"ansible.builtin.copy": {"dest": str(tmp_path / "RUN-{{ inventory_hostname }}"), "content": "{{ llama_cpp_target.id }}"}}
    again = {"block": LOOK, "when": condition()}
    first = [play("head:worker1", LOOK), play("all", [serves, again, dict(said)])]
    later = [play("all", [*LOOK, said])]
    found = []
    for name, plays in (("first", first), ("later", later)):
        (tmp_path / (name + ".yml")).write_text(json.dumps(plays).replace("RUN-", name + "-"))
        run = run_playbook(str(tmp_path / (name + ".yml")), tmp_path / "hosts.yml", timeout_s=300)
        assert run.rc == 0, run.output
        found.append({host: (tmp_path / (name + "-" + host)).read_text() for host in NAMES})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 1, "one build serves GPUs of both kinds"
