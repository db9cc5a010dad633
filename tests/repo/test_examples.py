# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The examples of the READMEs of rpc_server and llama_server are one playbook that works. The scenario reuse runs the same on machines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
INVENTORY = """
gpu_machines: {hosts: {gpu1: {llama_cluster_address: 198.18.5.1}, gpu2: {llama_cluster_address: 198.18.5.2}}}
head_machine: {hosts: {head: {llama_cluster_address: 198.18.5.100}}}
all: {vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}}
"""


def example(role: str) -> list[dict[str, Any]]:
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## Example\n.*?^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block.group(1))


@pytest.fixture(scope="module")
def plays() -> list[dict[str, Any]]:
    return example("rpc_server") + example("llama_server")


def test_the_playbook_as_it_stands(plays: list[dict[str, Any]], tool: Any, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    done = tool("ansible-playbook", "--syntax-check", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_head_goes_where_the_workers_listen(plays: list[dict[str, Any]], tool: Any, tmp_path: Path) -> None:
    """Each role's entry point that changes nothing is run with the example's variables, which checks them against the argument specs."""
    for play in plays:
        (role,) = play.pop("roles")
        play["vars"] = {**play.get("vars", {}), **role["vars"]}
        play["become"] = False
        play["tasks"] = [{"name": "Look", "ansible.builtin.include_role": {"name": role["role"], "tasks_from": "preflight"}}]
    told = ("{{ {'workers': workers, 'endpoints': llama_server_rpc_endpoints, 'tunnels': llama_server_rpc_tunnels,"
            " 'problems': llama_server_problems} | to_json }}")
    plays[-1]["tasks"].append({"name": "Tell", "ansible.builtin.copy": {"content": told, "dest": str(tmp_path / "told.json"), "mode": "0600"}})
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays, width=1000))
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    done = tool("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "told.json").read_text())
    assert [(worker["machine"], worker["device"], worker["endpoint"]) for worker in found["workers"]] == [
        (f"gpu{n}", f"CUDA{d}", f"127.18.5.{n}:{50052 + d}") for n in (1, 2) for d in (0, 1)]
    assert all(worker["tls_unit"] for worker in found["workers"]), "TLS is the default"
    assert found["endpoints"] == [worker["endpoint"] for worker in found["workers"]] and found["tunnels"] == found["workers"]
    assert not [problem for problem in found["problems"] if "rpc" in problem["problem"]]


def test_the_scenario_runs_the_same(plays: list[dict[str, Any]]) -> None:
    run = yaml.safe_load((ROOT / "molecule/reuse/converge.yml").read_text(encoding="utf-8"))[-1]
    printed = example("llama_server")[-1]
    assert run["vars"]["workers"] == printed["vars"]["workers"].replace("gpu_machines", "gpu_boxes")
    for name in ("llama_server_rpc_endpoints", "llama_server_rpc_tunnels"):
        assert run["roles"][0]["vars"][name] == printed["roles"][0]["vars"][name]
