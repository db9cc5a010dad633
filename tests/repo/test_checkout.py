# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The checkout holds together: licence lines, links in documents, playbooks, inventories."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES

ROOT = Path(__file__).absolute().parents[2]
SOURCE = {".py", ".yml", ".yaml", ".j2", ".sh", ".cfg", ".toml", ".svg"}
SKIPPED = {".git", ".venv", ".ansible", ".cache", ".pytest_cache", "collections", "fixtures", "LICENSES", "__pycache__", ".hypothesis"}
PLAYBOOKS = sorted([*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks" / "parts").glob("*.yml")])
INVENTORIES = sorted(path for path in (ROOT / "inventories").iterdir() if path.is_dir())


def files(*suffixes: str) -> list[Path]:
    """All files of the checkout with one of the suffixes, without what is generated and without following the link."""
    found, folders = [], [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name in SKIPPED or path.is_symlink():
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix in suffixes:
                found.append(path)
    return found


def test_every_source_file_names_its_licence() -> None:
    line = "SPDX-License-Identifier: " + "GPL-3.0-or-later"
    generated = {"changelog.yaml", ".plugin-cache.yaml"}
    missing = [
        path.relative_to(ROOT)
        for path in files(*SOURCE)
        if line not in "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:12]) and path.name not in generated
    ]
    assert not missing, f"no licence line: {', '.join(map(str, missing))}"


def test_links_in_documents_lead_somewhere() -> None:
    broken = []
    for document in files(".md"):
        text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
            link = (target[0] or target[1]).partition("#")[0]
            if link and not re.match(r"[a-z]+:", link) and not (document.parent / link).exists():
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert not broken, "\n".join(broken)


def test_programs_of_ours_in_documents_can_be_run_as_they_are_written() -> None:
    """By Python, or by themselves. A name in quotes with nothing behind it is no command."""
    commands = [(document.relative_to(ROOT), *found) for document in files(".md") for found in re.findall(
        r"(?m)(?:^|`)((?:python3? )?)(tools/[\w-]+(?:\.py)?)(?= |$)", document.read_text(encoding="utf-8"))]
    assert len(commands) > 5, "no document names one in the way that is looked for"
    wrong = [f"{document}: {interpreter}{name}" for document, interpreter, name in commands if not (
        (ROOT / name).suffix == ".py" and (ROOT / name).is_file() if interpreter
        else os.access(ROOT / name, os.X_OK) and (ROOT / name).read_text(encoding="utf-8").startswith("#!"))]
    assert not wrong, "\n".join(wrong)


def test_where_machines_are_counted_the_limit_of_devices_stands() -> None:
    documents = ("README.md", "docs/variables.md", "inventories/gpu_lab/README.md", "roles/cluster_plan/README.md")
    missing = [document for document in documents if f"at most {MAX_DEVICES} devices" not in (ROOT / document).read_text(encoding="utf-8")]
    assert not missing


def test_readme_lists_every_role() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in sorted((ROOT / "roles").iterdir()) if f"](roles/{path.name}/README.md)" not in text]
    assert not missing, f"not in README.md: {missing}"


def test_readme_lists_every_plugin(tool: Any) -> None:
    result = tool("python", "tools/plugin_tables.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_changelog_knows_every_plugin() -> None:
    text = (ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8")
    plugins = [path.stem for folder in ("modules", "filter") for path in sorted((ROOT / "plugins" / folder).glob("*.py"))]
    missing = [name for name in plugins if not re.search(rf"name: {name}$", text, flags=re.MULTILINE)]
    assert not missing, f"run `make docs`: it lacks {missing}"


def test_playbook_syntax(tool: Any) -> None:
    """By one call, which names the first that is wrong."""
    result = tool("ansible-playbook", "--syntax-check", "-i", "inventories/lab", *(playbook.relative_to(ROOT) for playbook in PLAYBOOKS))
    assert result.returncode == 0, result.stderr
    assert [Path(line.partition(": ")[2]).name for line in result.stdout.splitlines() if line.startswith("playbook: ")] == [path.name for path in PLAYBOOKS]


@pytest.mark.parametrize("inventory", INVENTORIES, ids=[path.name for path in INVENTORIES])
def test_inventory_has_one_head(inventory: Path, tool: Any) -> None:
    result = tool("ansible-inventory", "-i", inventory, "--list")
    assert result.returncode == 0, result.stderr
    groups = json.loads(result.stdout)
    assert len(groups["llama_host"]["hosts"]) == 1
    assert groups["llama_rpc"]["hosts"]


def test_collection_link_leads_to_the_checkout() -> None:
    link = ROOT / "playbooks" / "collections" / "ansible_collections" / "herd" / "llama_cpp"
    assert link.is_symlink()
    assert link.readlink() == Path("../../../..")
    assert link.samefile(ROOT)


def test_every_scenario_is_run_by_make_test_or_by_its_name() -> None:
    named = {"offline"}
    script = (ROOT / "tools" / "test-molecule").read_text(encoding="utf-8")
    listed = {kind: set(re.search(rf"^{re.escape(kind)}\) scenarios=\((.*)\) ;;$", script, re.MULTILINE)[1].split()) for kind in ("--timed*", '""')}
    assert listed['""'] == {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")} - named
    called = set(re.findall(r"molecule SCENARIO=([\w-]+)", (ROOT / "tools" / "run_tests.py").read_text(encoding="utf-8")))
    halves = {"--timed-begin", "--timed-end"}
    assert halves <= called
    assert called - halves | listed["--timed*"] == listed['""']
