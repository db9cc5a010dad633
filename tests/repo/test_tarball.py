# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The collection works installed from its own tarball, far from the checkout."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
# What is the user's own: an inventory with addresses and perhaps a token, a plan, logs.
OWN = ("inventories/mine/hosts.yml", "plan.html", "deploy.log", "changelogs/.plugin-cache.yaml")
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory, tool: Any) -> Path:
    """The collection built in a checkout in which somebody has done what README.md says."""
    folder = tmp_path_factory.mktemp("tarball")
    checkout = shutil.copytree(ROOT, folder / "checkout", symlinks=True, ignore=shutil.ignore_patterns(".*", "molecule"))
    for name in OWN:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("mine", encoding="utf-8")
    result = tool("ansible-galaxy", "collection", "build", "--output-path", folder, checkout)
    assert result.returncode == 0, result.stderr
    return folder / f"herd-llama_cpp-{GALAXY['version']}.tar.gz"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, tarball: Path, tool: Any) -> Path:
    """A directory with the collection and nothing else in it."""
    folder = tmp_path_factory.mktemp("collections")
    result = tool("ansible-galaxy", "collection", "install", "--offline", tarball, "-p", folder, cwd=folder, ANSIBLE_COLLECTIONS_PATH=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_needs_nothing_from_galaxy() -> None:
    assert GALAXY["dependencies"] == {}


def test_tarball_holds_the_collection_only(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    hidden = [name for name in names if any(part.startswith(".") for part in Path(name).parts) and Path(name).parts[0] in (".git", ".venv", ".cache")]
    assert not hidden
    assert not set(OWN) & set(names)
    assert not [name for name in names if name.startswith("playbooks/collections") or name.endswith(".tar.gz") or "__pycache__" in name]
    assert sum(member.size for member in members) < 8 * 2**20, "larger than a collection of text should be"
    assert {"README.md", "LICENSE", "meta/runtime.yml", "playbooks/deploy.yml"} <= set(names)


@pytest.mark.parametrize(("kind", "folder"), [("module", "modules"), ("filter", "filter")])
def test_installed_plugins_are_listed(kind: str, folder: str, installed: Path, tool: Any) -> None:
    result = tool("ansible-doc", "-t", kind, "-l", "herd.llama_cpp", cwd=installed, ANSIBLE_COLLECTIONS_PATH=installed)
    assert result.returncode == 0, result.stderr
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    assert listed == {f"herd.llama_cpp.{path.stem}" for path in (ROOT / "plugins" / folder).glob("*.py")}


def test_installed_roles_are_listed(installed: Path, tool: Any) -> None:
    result = tool("ansible-doc", "-t", "role", "-l", "herd.llama_cpp", cwd=installed, ANSIBLE_COLLECTIONS_PATH=installed)
    assert result.returncode == 0, result.stderr
    for role in sorted((ROOT / "roles").iterdir()):
        assert f"herd.llama_cpp.{role.name}" in result.stdout


def test_installed_playbook_is_found_by_its_full_name(installed: Path, tool: Any) -> None:
    result = tool(
        "ansible-playbook", "--syntax-check", "-i", ROOT / "inventories" / "lab", "herd.llama_cpp.deploy", cwd=installed, ANSIBLE_COLLECTIONS_PATH=installed
    )
    assert result.returncode == 0, result.stderr
    assert str(ROOT) not in result.stdout


def test_checkout_playbook_is_found_by_its_full_name(tool: Any) -> None:
    result = tool("ansible-playbook", "--syntax-check", "-i", "inventories/lab", "herd.llama_cpp.deploy")
    assert result.returncode == 0, result.stderr
