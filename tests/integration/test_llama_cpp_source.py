# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role llama_cpp fetches its source: what is shown of an address with a password, and a tag that was moved since a machine's build was made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from playbook_run import PlaybookRun, run_playbook

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
PASSWORD = "PasswordOfTheOperator"


def git(tree: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, *arguments], cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    (path / "CMakeLists.txt").write_text("project(x)\n", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "b123"]):
        git(path, *arguments)
    return path


def fetch(place: Path, builds: list[dict[str, object]], **variables: object) -> PlaybookRun:
    """The step of the role, after a machine was looked at that has these builds."""
    machine = {"builds": builds, "architecture": "x86_64", "current": "", "previous": "", "cpu_flags": []}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.set_fact": {"__llama_cpp_machine": machine, "__llama_cpp_gpus": {}}},
            {"ansible.builtin.include_role": {"name": "herd.llama_cpp.llama_cpp", "tasks_from": "source", "public": True}},
            {"ansible.builtin.debug": {"msg": "identity {{ __llama_cpp_source_identity | to_json }} commit {{ __llama_cpp_source.commit }}"}},
        ],
    }
    given = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "llama_cpp_cache_dir": str(place / "cache"), **variables}
    (place / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    (place / "given.json").write_text(json.dumps(given), encoding="utf-8")
    return run_playbook(str(place / "play.yml"), "localhost,", "-vvv", "-e", f"@{place / 'given.json'}", timeout_s=300)


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    run = fetch(tmp_path, [], llama_cpp_git_url=f"http://operator:{PASSWORD}@127.0.0.1:9/x.git", llama_cpp_git_version="b1")
    assert run.rc != 0 and run.says("git could not fetch b1 from http://127.0.0.1:9/x.git"), run.output[-3000:]
    archive = f"http://127.0.0.1:9/x.tar.gz?signature={PASSWORD}"
    again = fetch(tmp_path, [], llama_cpp_source="archive", llama_cpp_archive=archive, llama_cpp_archive_sha256="0" * 64)
    assert again.rc != 0 and again.says("http://127.0.0.1:9/x.tar.gz cannot be fetched"), again.output[-3000:]
    assert PASSWORD not in run.output + again.output


def test_a_tag_that_was_moved_since_the_builds_were_made_is_named(tmp_path: Path, tree: Path) -> None:
    variables = {"llama_cpp_git_url": f"file://{tree}", "llama_cpp_git_version": "b123"}
    run = fetch(tmp_path, [], **variables)
    commit = git(tree, "rev-parse", "b123")
    assert run.rc == 0 and run.says(f"commit {commit}"), run.output[-3000:]
    for archive in (tmp_path / "cache" / "sources").glob("*.tar.gz"):
        archive.unlink()
    (tree / "CMakeLists.txt").write_text("project(evil)\n", encoding="utf-8")
    git(tree, "commit", "-qam", "y")
    git(tree, "tag", "-f", "b123")
    moved = git(tree, "rev-parse", "b123")
    source = {"type": "git", "url": f"file://{tree}", "version": "b123"}
    build = {"id": "1", "components": ["head"], "source": source, "commit": commit}
    run = fetch(tmp_path, [build], **variables)
    assert run.rc != 0 and run.says(f"b123 of file://{tree} is the commit {moved} now, and not {commit}", "Somebody moved it"), run.output[-3000:]
    assert list((tmp_path / "cache" / "sources").iterdir()) == []
    run = fetch(tmp_path, [build], **variables, llama_cpp_git_commit=moved)
    assert run.rc == 0 and run.says("identity", f"commit {moved}"), run.output[-3000:]
