# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private key and the certificate of llama_server on a disk that is really full, a small one that is mounted for it. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from playbook_run import PlaybookRun, run_playbook

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def certificate(disk: Path) -> PlaybookRun:
    given = {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "__llama_server_tls_dir": str(disk / "tls"),
        "llama_server_tls": "self-signed",
        "llama_server_address": "127.0.0.1",
    }
    task = {"ansible.builtin.include_role": {"name": "herd.llama_cpp.llama_server", "tasks_from": "certificate"}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    (disk.parent / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    return run_playbook(str(disk.parent / "play.yml"), "localhost,", "-e", json.dumps(given), timeout_s=300)


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


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_like_a_key(disk: Path) -> None:
    (disk / "tls").mkdir()
    full = fill(disk)
    run = certificate(disk)
    assert run.rc != 0 and run.says("the private key could not be written to", "See that there is room on that disk"), run.output
    assert list((disk / "tls").iterdir()) == []
    full.unlink()
    assert certificate(disk).rc == 0
    whole(disk)
    again = certificate(disk)
    assert again.rc == 0 and again.changed == 0, again.output


def test_an_empty_key_of_an_earlier_release_is_made_anew(disk: Path) -> None:
    (disk / "tls").mkdir()
    (disk / "tls" / "key.pem").touch()
    run = certificate(disk)
    assert run.rc == 0, run.output
    whole(disk)


def test_a_certificate_that_cannot_be_renewed_stays(disk: Path) -> None:
    assert certificate(disk).rc == 0
    before = (disk / "tls" / "certificate.pem").read_bytes()
    # Another key: the certificate is not for it, and there is no room for another one.
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(disk / "tls" / "key.pem")], check=True)
    fill(disk)
    run = certificate(disk)
    assert run.rc != 0 and run.says("the certificate could not be written to"), run.output
    assert (disk / "tls" / "certificate.pem").read_bytes() == before
