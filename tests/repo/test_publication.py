# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What others are told of the collection is so: the systems that tests run on, what an execution environment has to have."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
IDS = [role.name for role in ROLES]
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
SUITES = ("bullseye", "bookworm", "trixie")
# By the groups of the scenarios' inventories the roles that are run on their machines; on none of them what is for the control machine.
RUN_ON = {
    "": "bundle virtual_lab",
    "llama_host chat_frontend": "chat_check cluster_record gguf_model llama_server python_tools",
    "llama_host llama_rpc": "cluster_plan preflight watchdog",
    "llama_host llama_rpc chat_frontend gpu_boxes": "cuda_toolkit llama_cpp rpc_server service_unit system_packages",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def suites_of(*groups: str) -> set[str]:
    """The releases of Debian on the scenarios' machines of these groups, and on the control machine (README.md asks for the lab's usual one)."""
    usual = load(ROOT / "roles" / "virtual_lab" / "defaults" / "main.yml")["virtual_lab_suite"]
    trees = [load(scenario / "inventory" / "hosts.yml")["all"]["children"] for scenario in SCENARIOS]
    machines = [machine or {} for tree in trees for group in groups for machine in (tree.get(group, {}).get("hosts") or {}).values()]
    return {usual} | {machine.get("virtual_lab_suite", usual) for machine in machines}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[path.name for path in SCENARIOS])
def test_machines_that_are_not_there_can_be_destroyed(scenario: Path) -> None:
    """Where a scenario has a cleanup, molecule's own sequence begins with it, on machines that it does not reach."""
    settings = load(scenario / "molecule.yml")
    if "cleanup" in settings["ansible"]["playbooks"]:
        assert settings["scenario"]["destroy_sequence"] == ["destroy"]


@pytest.mark.parametrize("role", ROLES, ids=IDS)
def test_supported_platforms_are_those_that_the_scenarios_run_it_on(role: Path) -> None:
    (groups,) = (groups for groups, roles in RUN_ON.items() if role.name in roles.split())
    platforms = load(role / "meta" / "main.yml")["galaxy_info"]["platforms"]
    assert platforms == [{"name": "Debian", "versions": [suite for suite in SUITES if suite in suites_of(*groups.split())]}]


def test_every_release_of_a_scenario_is_one_of_those() -> None:
    groups = {group for scenario in SCENARIOS for group in load(scenario / "inventory" / "hosts.yml")["all"]["children"]}
    assert suites_of(*groups) == set(SUITES)


def imported(path: Path) -> set[str]:
    """The packages that the file imports, whatever is inside a function too, by the first part of their names."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "-r"))]


def test_execution_environment_has_what_plugins_import_and_nothing_else() -> None:
    files = load(ROOT / "meta" / "execution-environment.yml")["dependencies"]
    needed = set().union(*map(imported, (ROOT / "plugins").rglob("*.py"))) - set(sys.stdlib_module_names)
    # Where it runs there are ansible-core, the collection and pip.
    needed -= {"ansible", "ansible_collections", "pip"}
    named = lines(ROOT / files["python"])
    assert {re.split("[<>=!~ ;]", line)[0] for line in named} == needed
    assert set(named) <= set(lines(ROOT / "requirements.txt")), "not the same as in requirements.txt"
    assert (ROOT / files["system"]).is_file()
