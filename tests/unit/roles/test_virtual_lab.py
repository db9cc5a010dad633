# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role virtual_lab says of an inventory before it makes anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "virtual_lab" / "files"
sys.path.insert(0, str(FILES))

from virtual_lab import forwarding  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.apt import apt_sources  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.images import image_of  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.look import made  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.nspawn import nspawn_name  # noqa: E402  pylint: disable=wrong-import-position
from virtual_lab.requirements import inventory_problems  # noqa: E402  pylint: disable=wrong-import-position

LAB = {"name": "herd", "network": "198.18.0.0/24", "cache_dir": "/cache", "mirror": "", "packages": ["sudo", "dbus"]}
MACHINE = {"name": "alpha", "address": "198.18.0.10", "user": "debian", "sudo": "password", "ssh_port": 22, "suite": "bookworm"}


def said(*machines: dict) -> str:
    return "; ".join(" ".join(one) for one in inventory_problems({**LAB, "machines": [{**MACHINE, **machine} for machine in machines]}))


@pytest.mark.parametrize("name", ["alpha", "worker-2.lab", "gpu0.site.example", "0a"])
def test_names_that_an_inventory_has(name):
    assert said({"name": name, "ssh_port": 2222, "user": "ada", "suite": "trixie", "sudo": "nopasswd"}) == ""


@pytest.mark.parametrize(("machine", "words"), [
    ({"name": "worker_2"}, "worker_2 is no name for a machine of the lab use"),
    ({"name": "-a"}, "-a is no name"),
    ({"name": "a..b"}, "a..b is no name"),
    ({"name": "a" * 43}, "is no name"),
    ({"address": "198.18.0.1"}, "set its virtual_lab_address"),
    ({"address": "alpha.example"}, "has the address 'alpha.example', which is no free one of 198.18.0.0/24"),
    ({"user": "Ada Lovelace"}, "alpha: Ada Lovelace is no name for a user set its ansible_user"),
    ({"sudo": "never"}, "alpha: virtual_lab_sudo is never set it to password or nopasswd"),
    ({"ssh_port": 70000}, "alpha: 70000 is no port for SSH set its ansible_port"),
    ({"suite": "../x"}, "alpha: ../x is no release of Debian set its virtual_lab_suite"),
])
def test_what_cannot_be_made_is_named(machine, words):
    assert words in said(machine)


def test_each_machine_has_an_address_of_its_own():
    assert "alpha and beta have the same address" in said({}, {"name": "beta"})


def test_machines_have_different_names_on_this_computer():
    names = [nspawn_name(LAB, name) for name in ("alpha", "worker-1.lab", "worker-2.lab", "worker")]
    assert len(set(names)) == 4 and all(len(name) <= 12 for name in names), names


def test_an_image_is_named_for_what_is_in_it():
    named = {image_of(one, suite) for one in (LAB, {**LAB, "mirror": "http://m"}, {**LAB, "packages": ["sudo"]}) for suite in ("trixie", "bookworm")}
    assert len(named) == 6
    assert image_of({**LAB, "packages": ["dbus", "sudo"]}, "trixie") == image_of(LAB, "trixie")


@pytest.mark.parametrize("lacking", ["", "missing", "image", "forwarding", "bridge", "table", "rules"])
def test_a_lab_that_lacks_anything_is_not_made(lacking, tmp_path, monkeypatch):
    """Not one whose rules are those of another version of the role, either. The machines are looked after each time."""
    monkeypatch.setattr(forwarding, "FORWARD_DIR", str(tmp_path))
    monkeypatch.setattr(forwarding, "FORWARD_SWITCH", str(tmp_path / "switch"))
    (tmp_path / "switch").write_text("0\n" if lacking == "forwarding" else "1\n")
    (tmp_path / "lab-herd").write_text("")
    (tmp_path / "nftables.conf").write_text("table ip old {}\n" if lacking == "rules" else "table ip lab {}\n")
    lab = {**LAB, "state_dir": str(tmp_path), "cache_dir": str(tmp_path), "machines": [MACHINE], "rules": "table ip lab {}\n"}
    if lacking != "image":
        Path(image_of(lab, "bookworm")).mkdir(parents=True)
    seen = {"missing": ["nftables"] if lacking == "missing" else [], "bridge": {"present": True, "ready": lacking != "bridge"}, "table": lacking != "table"}
    assert made(lab, seen) == (lacking == "")


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs this computer's own apt")
def test_another_release_is_looked_for_where_this_computer_finds_its_own():
    sources = apt_sources("bullseye", "")
    if not sources:
        pytest.skip("this computer's apt knows no mirror of Debian")
    assert set(sources) <= {"bullseye", "bullseye-updates", "bullseye-security"}
    assert sources["bullseye"].startswith("http")


def test_the_command_reads_a_lab_and_answers():
    """As the role's tasks call it, with a lab of which it looks at nothing else."""
    done = subprocess.run(
        [sys.executable, "-B", "-E", "-s", str(FILES / "lab.py"), "look"],
        input=json.dumps({**LAB, "network": "198.18.0.1/24"}), capture_output=True, text=True, check=True, cwd="/",
    )
    assert json.loads(done.stdout) == {"problems": [{
        "problem": "virtual_lab_network is not a network: 198.18.0.1/24 has host bits set", "remedy": "set it to one such as 198.18.0.0/24"}]}
