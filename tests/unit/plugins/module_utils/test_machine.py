# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read from a machine, on trees made for the purpose and on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._common import machine as common_machine

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


def install(prefix: Path, name: str, when: int = 1000, **stamp: object) -> None:
    path = prefix / "builds" / name
    path.mkdir(parents=True)
    content = {"id": name, "components": ["worker"], **stamp}
    (path / "stamp.json").write_text(json.dumps(content), encoding="utf-8")
    os.utime(path / "stamp.json", (when, when))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEBIAN, ("debian", "12")),
        ("ID=ubuntu\nVERSION_ID='24.04'\n", ("ubuntu", "24")),
        ("# ID=no\nID=arch\n", ("arch", "")),
        ("", ("linux", "")),
    ],
)
def test_os_release(text: str, expected: tuple[str, str]) -> None:
    assert common_machine.parse_os_release(text) == expected


def test_memory() -> None:
    assert common_machine.memory_mib("MemTotal:       24684032 kB\nMemFree: 1 kB\n") == 24105
    assert common_machine.memory_mib("MemTotal: 2048 kB\nMemAvailable: 1024 kB\n", "MemAvailable") == 1
    assert common_machine.memory_mib("") == 0


def test_free_space_of_what_does_not_exist_yet(tmp_path: Path) -> None:
    assert common_machine.free_mib(str(tmp_path / "a" / "b")) == pytest.approx(common_machine.free_mib(str(tmp_path)), abs=64)


def test_builds_newest_first(tmp_path: Path) -> None:
    install(tmp_path, "0000000000000001", when=1000)
    install(tmp_path, "0000000000000002", when=3000)
    install(tmp_path, "0000000000000003", when=2000)
    assert [build["id"][-1] for build in common_machine.installed_builds(str(tmp_path))] == ["2", "3", "1"]


def test_what_an_interrupted_run_left_is_no_build(tmp_path: Path) -> None:
    install(tmp_path, "0000000000000001")
    install(tmp_path, ".0000000000000002.new", id="0000000000000002")
    install(tmp_path, "0000000000000003", id="other")
    install(tmp_path, "0000000000000004", components=None)
    (tmp_path / "builds" / "0000000000000005" / "bin").mkdir(parents=True)
    half = tmp_path / "builds" / "0000000000000006"
    half.mkdir()
    (half / "stamp.json").write_text('{"id": "00000', encoding="utf-8")
    assert [build["id"] for build in common_machine.installed_builds(str(tmp_path))] == ["0000000000000001"]


def test_no_prefix(tmp_path: Path) -> None:
    assert common_machine.installed_builds(str(tmp_path / "none")) == []
    assert common_machine.linked_build(str(tmp_path / "none"), "current") == ""


def test_current(tmp_path: Path) -> None:
    install(tmp_path, "0000000000000001")
    (tmp_path / "current").symlink_to("builds/0000000000000001")
    assert common_machine.linked_build(str(tmp_path), "current") == "0000000000000001"


def test_current_that_points_nowhere(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("builds/0000000000000001")
    assert common_machine.linked_build(str(tmp_path), "current") == ""


def test_commands() -> None:
    found = common_machine.find_commands(["sh", "no-such-command"])
    assert found["sh"].endswith("/sh")
    assert found["no-such-command"] == ""


def test_this_machine(tmp_path: Path) -> None:
    facts = common_machine.describe_machine(str(tmp_path), [str(tmp_path)], ["sh"])
    assert facts["cpu_flags"]
    assert facts["cpu_count"] >= 1
    assert facts["memory_mib"] > 0
    assert facts["free_mib"][str(tmp_path)] > 0
    assert facts["user_id"] == os.geteuid()
    assert facts["builds"] == []
