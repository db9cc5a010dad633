# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conda modules with a real conda and a channel on this machine's disk.

    pytest tests/integration/test_conda_environment.py

conda is 24.7.1, out of the PyPI package conda-lock; the channel's packages have the real ones' names and versions and next to nothing
in them. Everything is under a temporary directory, but for the parts (tests/support/toolchain_parts.py). About a minute.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.llama_cpp.tests.support.toolchain_parts import Parts

ROOT = Path(__file__).absolute().parents[2]


class Failed(Exception):
    """The module's message."""


class Machine:
    """Runs modules as Ansible would on a machine whose user has the home directory given."""

    def __init__(self, home: Path, conda: Path, channel: str) -> None:
        self.home, self.conda, self.channel = home, conda, channel

    def command(self, module: str) -> list[str]:
        return [sys.executable, "-m", f"ansible_collections.herd.llama_cpp.plugins.modules.{module}"]

    def surroundings(self, path: str = "/usr/bin:/bin") -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": path,
            "PYTHONPATH": str(ROOT / "playbooks" / "collections"),
            "CONDA_PKGS_DIRS": str(self.home / "pkgs"),
        }

    def arguments(self, check: bool = False, **given: Any) -> str:
        return json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check, "_ansible_diff": True}})

    def run(self, module: str, path: str = "/usr/bin:/bin", check: bool = False, **given: Any) -> dict[str, Any]:
        done = subprocess.run(
            self.command(module),
            input=self.arguments(check, **given),
            env=self.surroundings(path),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        result = json.loads(done.stdout.splitlines()[-1])
        if result.get("failed"):
            raise Failed(result["msg"])
        return result

    def environment(self, prefix: Path, *packages: str, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"channels": [self.channel], "executable": str(self.conda), **more}
        return self.run("conda_environment", prefix=str(prefix), packages=list(packages), **given)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts()


@pytest.fixture(scope="module")
def machine(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    home = tmp_path_factory.mktemp("home")
    return Machine(home, parts.install_conda(home / "root"), parts.channel("standins"))


def digest(directory: Path) -> dict[str, str]:
    """Every file, link and directory below, its mode, and what is in it."""
    found = {}
    for path in sorted(directory.rglob("*")):
        about = f"{path.lstat().st_mode:o} {path.lstat().st_mtime_ns}"
        if path.is_symlink():
            about += f" -> {os.readlink(path)}"
        elif path.is_file():
            about += " " + hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(directory))] = about
    return found


def versions(result: dict[str, Any]) -> dict[str, str]:
    return {package["name"]: package["version"] for package in result["packages"]}


def nothing_beside(prefix: Path) -> bool:
    return [path.name for path in prefix.parent.iterdir()] == [prefix.name] if prefix.exists() else not list(prefix.parent.iterdir())


def test_life_of_an_environment(machine: Machine, tmp_path: Path) -> None:
    prefix = tmp_path / "env"

    would = machine.environment(prefix, "cuda-toolkit=12.0", check=True)
    assert would["changed"] and not prefix.exists() and nothing_beside(prefix)
    assert "cuda-toolkit 12.0.0 0\n" in would["diff"]["after"] and would["diff"]["before"] == ""

    made = machine.environment(prefix, "cuda-toolkit=12.0")
    assert made["changed"] and versions(made)["cuda-nvcc"] == "12.0.0"
    assert made["packages"] == would["packages"]
    assert nothing_beside(prefix)
    said = subprocess.run([prefix / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    assert "V12.0.0" in said and str(prefix) in (prefix / "bin" / "nvcc").read_text()

    before = digest(prefix)
    assert not machine.environment(prefix, "cuda-toolkit=12.0")["changed"]
    # Nobody has to be asked about what is as it should be.
    assert not machine.environment(prefix, "cuda-toolkit=12.0", executable="/nowhere/conda")["changed"]
    assert not machine.environment(prefix, "cuda-toolkit=12.0", check=True)["changed"]
    assert digest(prefix) == before

    would = machine.environment(prefix, "cuda-toolkit=12.0", "ninja=1.12", check=True)
    assert would["changed"] and digest(prefix) == before
    more = machine.environment(prefix, "cuda-toolkit=12.0", "ninja=1.12")
    assert more["changed"] and versions(more)["ninja"] == "1.12.1" and versions(more)["cuda-toolkit"] == "12.0.0"
    assert more["diff"]["after"] == more["diff"]["before"] + "ninja 1.12.1 0\n"
    # What is there and not asked for stays.
    assert not machine.environment(prefix, "ninja=1.12")["changed"]

    newer = machine.environment(prefix, "cuda-toolkit=12.4", "ninja=1.12")
    assert newer["changed"] and versions(newer)["cuda-nvcc"] == "12.4.1"
    assert "cuda-toolkit 12.0.0 0\n" in newer["diff"]["before"] and "cuda-toolkit 12.4.1 0\n" in newer["diff"]["after"]
    assert not machine.environment(prefix, "cuda-toolkit=12.4", "ninja=1.12")["changed"]

    before = digest(prefix)
    with pytest.raises(Failed, match="do not have nonesuch=1; correct its name or version, or add a channel"):
        machine.environment(prefix, "cuda-toolkit=12.4", "nonesuch=1")
    assert digest(prefix) == before and nothing_beside(prefix), "a failure that conda finds before it begins leaves all as it was"

    assert machine.environment(prefix, state="absent", check=True)["changed"] and prefix.exists()
    assert machine.environment(prefix, state="absent")["changed"]
    assert not prefix.exists() and nothing_beside(prefix)
    assert not machine.environment(prefix, state="absent")["changed"]


def test_what_somebody_took_out_is_put_back(machine: Machine, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    machine.environment(prefix, "ninja", "cmake")
    subprocess.run([machine.conda, "remove", "-p", prefix, "-y", "-q", "cmake"], check=True, env=machine.surroundings(), capture_output=True)
    assert not (prefix / "bin" / "cmake").exists()
    back = machine.environment(prefix, "ninja", "cmake")
    assert back["changed"] and (prefix / "bin" / "cmake").exists()


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_foreign_environment_stays_byte_for_byte(machine: Machine, tmp_path: Path, state: str) -> None:
    prefix = tmp_path / "theirs"
    subprocess.run(
        [machine.conda, "create", "-p", prefix, "-y", "-q", "--override-channels", "-c", machine.channel, "ninja=1.11"],
        check=True, env=machine.surroundings(), capture_output=True,
    )  # fmt: skip
    (prefix / "notes.txt").write_text("mine\n")
    before = digest(prefix)
    for check in (True, False):
        with pytest.raises(Failed, match="a conda environment that this collection did not make, and is left as it is"):
            machine.environment(prefix, "cuda-toolkit=12.4", state=state, check=check)
        assert digest(prefix) == before and nothing_beside(prefix)


def test_a_directory_with_something_else_stays(machine: Machine, tmp_path: Path) -> None:
    prefix = tmp_path / "data"
    prefix.mkdir()
    (prefix / "thesis.txt").write_text("text\n")
    with pytest.raises(Failed, match="something that this collection did not make"):
        machine.environment(prefix, "ninja")
    assert [path.name for path in prefix.iterdir()] == ["thesis.txt"] and nothing_beside(prefix)


def test_an_empty_directory_will_do(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    assert machine.environment(tmp_path / "env", "ninja")["changed"]


def test_a_missing_package_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    with pytest.raises(Failed) as failure:
        machine.environment(prefix, "cuda-toolkit=99")
    assert str(failure.value).count(".") < 6 and "\n" not in str(failure.value)
    assert f"The channels {machine.channel} do not have cuda-toolkit=99" in str(failure.value)
    assert not list(tmp_path.iterdir())


def test_a_channel_that_is_none(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"The channel file:///nowhere/channel cannot be had"):
        machine.environment(tmp_path / "env", "ninja", channels=["file:///nowhere/channel"])
    assert not list(tmp_path.iterdir())


def test_no_conda_at_all(machine: Machine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(Failed, match="There is no conda, mamba or micromamba at /nowhere/conda; install one, or say where it is"):
        machine.environment(tmp_path / "env", "ninja", executable="/nowhere/conda")
    bare = Machine(tmp_path_factory.mktemp("bare"), machine.conda, machine.channel)
    with pytest.raises(Failed, match="on the machine, neither on PATH nor where installers put it"):
        bare.environment(tmp_path / "env", "ninja", executable="")
    assert not list(tmp_path.iterdir())
    assert bare.run("conda_info")["executable"] == ""


@pytest.mark.parametrize("given, said", [({"packages": []}, "packages is empty"), ({"channels": []}, "channels is empty")])
def test_asking_for_nothing(machine: Machine, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(Failed, match=said):
        machine.run("conda_environment", prefix=str(tmp_path / "env"), **{"packages": ["ninja"], "executable": str(machine.conda), **given})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_creation_never_counts(machine: Machine, tmp_path: Path) -> None:
    """Killed at the worst moment: conda has written its history, and the packages are on their way."""
    prefix = tmp_path / "env"
    arguments = machine.arguments(
        prefix=str(prefix), packages=["cuda-toolkit=12.4", "cmake", "ninja"], channels=[machine.channel], executable=str(machine.conda)
    )
    with subprocess.Popen(
        machine.command("conda_environment"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=machine.surroundings(),
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin
        process.stdin.write(arguments)
        process.stdin.close()
        deadline = time.monotonic() + 60
        while not (prefix / "conda-meta").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert (prefix / "conda-meta").exists() and not (prefix / ".herd.llama_cpp.json").exists()

    # Also where conda itself would see an environment, with a package of somebody else's time in it.
    (prefix / "conda-meta" / "history").touch()
    (prefix / "left-over.txt").write_text("half\n")
    again = machine.environment(prefix, "cuda-toolkit=12.4", "cmake", "ninja")
    assert again["changed"] and versions(again)["cuda-toolkit"] == "12.4.1"
    assert not (prefix / "left-over.txt").exists() and nothing_beside(prefix)
    assert not machine.environment(prefix, "cuda-toolkit=12.4", "cmake", "ninja")["changed"]


def test_what_an_interrupted_creation_left_can_be_removed(machine: Machine, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "conda-meta" / "history").touch()
    (tmp_path / ".env.herd-unfinished").write_text("Being made.\n")
    assert machine.environment(prefix, state="absent")["changed"]
    assert not list(tmp_path.iterdir())


def test_conda_is_found_on_path_at_a_path_and_where_installers_put_it(
    machine: Machine, parts: Parts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    at_path = machine.run("conda_info", executable=str(machine.conda), search="cuda-toolkit", channels=[machine.channel])
    assert at_path["versions"] == ["11.8.0", "12.0.0", "12.4.1"] and at_path["kind"] == "conda" and at_path["version"] == "24.7.1"
    assert machine.run("conda_info", executable=str(machine.conda.parent.parent))["executable"] == str(machine.conda)
    on_path = machine.run("conda_info", path=f"{machine.conda.parent}:/usr/bin:/bin")
    assert on_path["executable"] == str(machine.conda)
    bare = Machine(tmp_path_factory.mktemp("home"), machine.conda, machine.channel)
    parts.install_conda(bare.home / "miniforge3")
    assert bare.run("conda_info")["executable"] == str(bare.home / "miniforge3" / "bin" / "conda")
    assert machine.run("conda_info", executable=str(machine.conda), search="nonesuch", channels=[machine.channel])["versions"] == []


def test_environment_modules_without_a_module_system(machine: Machine) -> None:
    if any(Path(path).exists() for path in ("/etc/profile.d/modules.sh", "/usr/share/modules/init/sh", "/usr/share/lmod/lmod/init/sh")):
        pytest.skip("this machine has a module system; molecule's scenario toolchain tests that")
    with pytest.raises(Failed, match="The environment modules anaconda3/2023.09 cannot be loaded, because the machine has no module system"):
        machine.run("conda_info", environment_modules=["anaconda3/2023.09"])
