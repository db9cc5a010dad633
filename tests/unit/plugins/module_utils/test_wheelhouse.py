# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python packages for another machine, as far as no index is needed."""

from __future__ import annotations

import sys
import tarfile
import zipfile

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._common import wheelhouse

TARGET = {
    "implementation": "cpython",
    "version": "3.9",
    "machine": "x86_64",
    "libc": "glibc",
    "platform_tags": ["manylinux_2_31_x86_64", "linux_x86_64"],
    "markers": {**wheelhouse.marker_environment(), "python_version": "3.9", "python_full_version": "3.9.2"},
}


def wheel(place, name, requires=(), content="value = 1\n"):
    """A package of one module, as pip accepts it."""
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0"] + [f"Requires-Dist: {item}" for item in requires]
    files = {
        f"{name}.py": content,
        f"{name}-1.0.dist-info/METADATA": "\n".join(lines) + "\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/RECORD": f"{name}.py,,\n",
        f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {name}:value\n",
    }
    with zipfile.ZipFile(place / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


def make(place, requirements, environment=None):
    options = ["--no-index", "--find-links", str(place)]
    return wheelhouse.make_wheelhouse(sys.executable, requirements, environment or TARGET, str(place / "cache"), options)


def test_a_package_without_end_does_not_fill_the_disk(tmp_path, monkeypatch):
    wheel(tmp_path, "large", content="value = '%s'\n" % ("x" * 100_000))
    monkeypatch.setattr(wheelhouse, "room", lambda _directory: 50_000)
    with pytest.raises(wheelhouse.WheelhouseError, match="cannot get large for Python 3.9.*File too large: what it fetches is larger than it may be"):
        make(tmp_path, ["large"])
    assert list((tmp_path / "cache").iterdir()) == []


def test_markers_are_the_targets(tmp_path):
    """A dependency that only the other Python needs comes along, one that only this one needs does not."""
    wheel(tmp_path, "main_one", ["older ; python_version < '3.10'", "newer ; python_version >= '3.10'"])
    wheel(tmp_path, "older")
    wheel(tmp_path, "newer")
    path = make(tmp_path, ["main_one"])
    with tarfile.open(path) as archive:
        names = archive.getnames()
        assert {member.mode for member in archive.getmembers()} <= {0o644, 0o755}
        assert {member.uid for member in archive.getmembers()} == {0}
    assert "main_one.py" in names and "older.py" in names and "newer.py" not in names
    assert names[-1] == ".complete"
    assert not [name for name in names if name.startswith("bin")]
    assert [item.name for item in (tmp_path / "cache").iterdir()] == [path.rpartition("/")[2]]


def test_what_cannot_be_had_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(wheelhouse.WheelhouseError, match="pip on the control node cannot get absent for Python 3.9 on x86_64 glibc: Could not find"):
        make(tmp_path, ["absent"])
    assert list((tmp_path / "cache").iterdir()) == []


def test_python_without_pip(tmp_path):
    with pytest.raises(wheelhouse.WheelhouseError, match="/nowhere/python cannot be run"):
        wheelhouse.run_pip("/nowhere/python", ["--version"])


def test_name_stands_for_packages_and_machine():
    name = wheelhouse.wheelhouse_name(["openai>=1.60"], TARGET)
    assert name.startswith("openai-py3.9-")
    assert wheelhouse.wheelhouse_name(["b", "a  >=1"], TARGET) == wheelhouse.wheelhouse_name(["a >=1", "b"], TARGET)
    others = [
        wheelhouse.wheelhouse_name(["openai>=1.61"], TARGET),
        wheelhouse.wheelhouse_name(["openai>=1.60"], {**TARGET, "version": "3.10"}),
        wheelhouse.wheelhouse_name(["openai>=1.60"], {**TARGET, "platform_tags": ["linux_aarch64"]}),
    ]
    assert len({name, *others}) == 4


@pytest.mark.parametrize(
    ("libc", "version", "has", "lacks"),
    [
        ("glibc", "2.36", ["manylinux_2_36_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"], "manylinux_2_37_x86_64"),
        ("glibc", "2.12", ["manylinux2010_x86_64", "manylinux_2_12_x86_64"], "manylinux2014_x86_64"),
        ("musl", "1.2.5", ["musllinux_1_2_x86_64", "musllinux_1_0_x86_64"], "manylinux2014_x86_64"),
        ("", "", ["linux_x86_64"], "manylinux2014_x86_64"),
    ],
)
def test_platform_tags(libc, version, has, lacks):
    tags = wheelhouse.platform_tags("x86_64", libc, version)
    assert set(has) <= set(tags) and lacks not in tags
    assert len(tags) == len(set(tags))


def test_this_python_is_described():
    found = wheelhouse.describe_environment()
    assert found["executable"] == sys.executable
    assert found["version"] == "%d.%d" % sys.version_info[:2]
    assert found["platform_tags"][-1].startswith("linux_")


def test_last_words():
    assert wheelhouse.last_words("x\nERROR: first cause.\nERROR: No matching distribution\n") == "first cause"
    assert wheelhouse.last_words("WARNING: a\nkilled\n") == "killed"
    assert wheelhouse.last_words("") == "no message"
