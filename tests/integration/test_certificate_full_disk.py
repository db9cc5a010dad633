# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private key and the certificate of llama_server on a disk that is really full, a small one that is mounted for it. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest
from playbook_run import PlaybookRun, run_playbook

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")


CASES = ("full", "empty", "renewed")


class Disks:
    """A small one for each case, which is a machine of one inventory, so that a run of the playbook serves all of them."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __getitem__(self, case: str) -> Path:
        return self.place / case

    def certificates(self, *cases: str) -> PlaybookRun:
        hosts = {case: {"place": str(self[case] / "tls")} for case in cases}
        given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "llama_server_tls": "self-signed",
                 "llama_server_address": "127.0.0.1"}
        # The role's own variable is stronger than the inventory's.
        task = {"ansible.builtin.include_role": {"name": "herd.llama_cpp.llama_server", "tasks_from": "certificate"},
                "vars": {"__llama_server_tls_dir": "{{ place }}"}}
        (self.place / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": given}}), encoding="utf-8")
        (self.place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]), encoding="utf-8")
        return run_playbook(str(self.place / "play.yml"), self.place / "hosts.json", timeout_s=300)


@dataclass
class Story:
    """Three runs, and what was there between them."""

    disks: Disks
    runs: list[PlaybookRun]
    #: what the full disk held after the first run
    left: list[Path]
    #: the certificate before it should have been renewed
    before: bytes

    def failed(self, run: int, case: str) -> int:
        return self.runs[run].recap[case]["failed"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    disks = Disks(tmp_path_factory.mktemp("disks"))
    with ExitStack() as mounted:
        for case in CASES:
            disks[case].mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disks[case])], check=True)
            mounted.callback(subprocess.run, ["umount", str(disks[case])], check=True)
        for case in ("full", "empty"):
            (disks[case] / "tls").mkdir()
        full = fill(disks["full"])
        (disks["empty"] / "tls" / "key.pem").touch()
        runs = [disks.certificates(*CASES)]
        left = list((disks["full"] / "tls").iterdir())
        full.unlink()
        tls = disks["renewed"] / "tls"
        before = (tls / "certificate.pem").read_bytes()
        # Another key: the certificate is not for it, and there is no room for another one.
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(tls / "key.pem")], check=True)
        fill(disks["renewed"])
        runs += [disks.certificates("full", "renewed"), disks.certificates("full")]
        yield Story(disks, runs, left, before)


def fill(disk: Path) -> Path:
    path = disk / "full"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return path


def whole(disk: Path) -> None:
    for kind, name in (("pkey", "key.pem"), ("x509", "certificate.pem")):
        subprocess.run(["openssl", kind, "-noout", "-in", str(disk / "tls" / name)], check=True)
    assert (disk / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (disk / "tls").iterdir()) == ["certificate.pem", "key.pem"]


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_like_a_key(story: Story) -> None:
    run = story.runs[0]
    assert story.failed(0, "full") and run.says("the private key could not be written to", "See that there is room on that disk"), run.output
    assert story.left == []
    assert not story.failed(1, "full"), story.runs[1].output
    whole(story.disks["full"])
    again = story.runs[2]
    assert again.rc == 0 and again.changed == 0, again.output


def test_an_empty_key_of_an_earlier_release_is_made_anew(story: Story) -> None:
    assert not story.failed(0, "empty"), story.runs[0].output
    whole(story.disks["empty"])


def test_a_certificate_that_cannot_be_renewed_stays(story: Story) -> None:
    assert not story.failed(0, "renewed")
    assert story.failed(1, "renewed") and story.runs[1].says("the certificate could not be written to"), story.runs[1].output
    assert (story.disks["renewed"] / "tls" / "certificate.pem").read_bytes() == story.before
