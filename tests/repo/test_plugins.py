# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Every plugin's documentation renders and is whole."""

from __future__ import annotations

import ast
import graphlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).absolute().parents[2]
FOLDERS = {"module": "modules", "filter": "filter", "lookup": "lookup", "test": "test"}
PLUGINS = [
    (kind, path.stem)
    for kind, folder in FOLDERS.items()
    for path in sorted((ROOT / "plugins" / folder).glob("*.py"))
    if not path.stem.startswith("_")
]
UTILS = sorted((ROOT / "plugins" / "module_utils").rglob("*.py"))
ROOMS = sorted(path.parent.name for path in UTILS if path.name == "__init__.py")

each_plugin = pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=[plugin[1] for plugin in PLUGINS])


@pytest.fixture(scope="session")
def documents(tool: Any) -> dict[str, Any]:
    """What ansible-doc makes of all plugins, asked once a kind."""
    found = {}
    for kind in FOLDERS:
        names = [f"herd.llama_cpp.{name}" for this, name in PLUGINS if this == kind]
        if names:
            result = tool("ansible-doc", "-t", kind, "-j", *names)
            assert result.returncode == 0, result.stderr
            found.update(json.loads(result.stdout))
    return found


@each_plugin
def test_documentation_renders(kind: str, name: str, documents: dict[str, Any]) -> None:
    document = documents[f"herd.llama_cpp.{name}"]
    assert document.get("doc", {}).get("short_description")
    assert document["doc"].get("version_added"), "no version_added"
    assert document.get("examples"), "no EXAMPLES"
    assert document.get("return"), "no RETURN"
    assert f"herd.llama_cpp.{name}" in document["examples"], "its examples do not use its full name"


def names_of(text: str) -> list[str]:
    """The names of the tasks in a text of YAML, those in blocks too; machines' names begin with no capital."""
    return re.findall(r"^ *- name: [\"']?([A-Z].*)$", text, flags=re.MULTILINE)


def verb(name: str) -> str:
    """What a task's name begins with; to look up is not to look."""
    return " ".join(name.split()[: 2 if " up " in name else 1])


@pytest.fixture(scope="session")
def verbs() -> set[str]:
    """What the names of the tasks of roles and playbooks begin with."""
    files = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks" / "parts").rglob("*.yml")]
    return {verb(name) for path in files for name in names_of(path.read_text(encoding="utf-8"))}


@each_plugin
def test_examples_are_named_as_tasks_are(kind: str, name: str, documents: dict[str, Any], verbs: set[str]) -> None:
    named = names_of(documents[f"herd.llama_cpp.{name}"]["examples"])
    assert named and {verb(one) for one in named} <= verbs


@pytest.mark.parametrize("name", [name for kind, name in PLUGINS if kind == "module"])
def test_modules_say_what_check_and_diff_mode_do(name: str, documents: dict[str, Any]) -> None:
    attributes = documents[f"herd.llama_cpp.{name}"]["doc"].get("attributes", {})
    assert {"check_mode", "diff_mode"} <= set(attributes)
    if name.endswith("_info"):
        assert attributes["check_mode"]["support"] == "full"


@pytest.mark.parametrize("util", UTILS, ids=[f"{path.parent.name}/{path.stem}" for path in UTILS])
def test_module_utils_are_private_and_free_of_ansible(util: Path) -> None:
    assert util.parent.name.startswith("_"), "not private"
    assert util.parent.name in ROOMS, "in no package"
    tree = ast.parse(util.read_text(encoding="utf-8"))
    imported = [
        module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    ]
    assert not [module for module in imported if module == "ansible" or module.startswith("ansible.")]


def test_the_packages_of_module_utils_stand_on_each_other_without_a_circle() -> None:
    inside = re.compile(r"^from ansible_collections\.herd\.llama_cpp\.plugins\.module_utils\.(\w+)", re.MULTILINE)
    uses: dict[str, set[str]] = {room: set() for room in ROOMS}
    for util in UTILS:
        uses[util.parent.name] |= set(inside.findall(util.read_text(encoding="utf-8"))) - {util.parent.name}
    assert list(graphlib.TopologicalSorter(uses).static_order())
    assert uses["_common"] == set()


def test_module_utils_import_each_other_without_a_circle() -> None:
    inside = "ansible_collections.herd.llama_cpp.plugins.module_utils."
    uses: dict[str, set[str]] = {}
    for util in UTILS:
        # a module is imported by its name or, as "from _package import module", with its package
        imported = [node for node in ast.walk(ast.parse(util.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
        uses[f"{util.parent.name}.{util.stem}"] = {
            module if "." in module else f"{module}.{alias.name}"
            for node in imported if (node.module or "").startswith(inside)
            for module in [(node.module or "").removeprefix(inside)]
            for alias in node.names
        }
    assert set().union(*uses.values()) <= set(uses)
    assert list(graphlib.TopologicalSorter(uses).static_order())
