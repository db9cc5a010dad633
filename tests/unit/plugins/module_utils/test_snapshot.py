# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of services, kept and put back."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.snapshot import SnapshotError, differs, files, forget, put_back, take, units_of


def state(root: Path) -> dict:
    """Every file below, with all that matters of it."""
    return {name: (os.lstat(root / name).st_mode, os.readlink(root / name) if os.path.islink(root / name) else (root / name).is_file() and
            (root / name).read_text(encoding="utf-8")) for name in files(str(root))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    units = tmp_path / "etc" / "systemd" / "system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "llama-server.service").write_text("old", encoding="utf-8")
    (units / "ssh.service").write_text("not ours", encoding="utf-8")
    (units / "multi-user.target.wants" / "llama-server.service").symlink_to("/etc/systemd/system/llama-server.service")
    keys = tmp_path / "etc" / "llama-server" / "rpc-keys"
    keys.mkdir(parents=True, mode=0o700)
    (keys / "w1").write_text("key", encoding="utf-8")
    (keys / "w1").chmod(0o600)
    return tmp_path


def test_it_is_as_it_was(root):
    before, archive = state(root), str(root / "kept" / "before.tar")
    take(archive, ["llama-server.service"], str(root))
    assert os.stat(archive).st_mode & 0o777 == 0o600
    units = root / "etc" / "systemd" / "system"
    assert not differs(archive, str(root))
    (units / "llama-server.service").write_text("new", encoding="utf-8")
    assert differs(archive, str(root))
    (units / "llama-rpc-server@.service").write_text("new", encoding="utf-8")
    (units / "multi-user.target.wants" / "llama-server.service").unlink()
    (root / "etc" / "llama-rpc-server").mkdir()
    (root / "etc" / "llama-rpc-server" / "tls-key").write_text("new", encoding="utf-8")
    (root / "etc" / "llama-server" / "rpc-keys" / "w1").unlink()
    (root / "etc" / "llama-server" / "rpc-keys" / "w1").mkdir()
    put_back(archive, str(root))
    assert units_of(archive) == ["llama-server.service"]
    assert state(root) == before and not differs(archive, str(root))
    (root / "etc" / "llama-server" / "rpc-keys" / "w1").chmod(0o644)
    assert differs(archive, str(root))
    put_back(archive, str(root))
    assert state(root) == before
    assert (units / "ssh.service").read_text(encoding="utf-8") == "not ours"
    assert forget(archive) and not forget(archive) and not (root / "kept").exists()


def test_its_directory_which_is_the_records_is_open_to_everyone_whatever_the_umask_is(root):
    before = os.umask(0o077)
    try:
        take(str(root / "kept" / "before.tar"), [], str(root))
    finally:
        os.umask(before)
    assert os.stat(root / "kept").st_mode & 0o777 == 0o755 and os.stat(root / "kept" / "before.tar").st_mode & 0o777 == 0o600


def test_a_key_that_is_put_back_is_nobodys_to_open_before_its_mode_is_set(root, monkeypatch):
    archive, key = str(root / "kept" / "before.tar"), root / "etc" / "llama-server" / "rpc-keys" / "w1"
    take(archive, [], str(root))
    key.unlink()
    seen = []
    for name in ("chmod", "fchmod"):
        own = getattr(os, name)
        # What it is until then: a path, or the file that is written.
        monkeypatch.setattr(os, name, lambda where, *rest, own=own, **more: (seen.append(os.stat(where)), own(where, *rest, **more))[1])
    put_back(archive, str(root))
    assert [oct(one.st_mode & 0o777) for one in seen if one.st_ino == key.stat().st_ino] == ["0o600"]


@pytest.mark.parametrize("there", [True, False])
def test_a_key_elsewhere_belongs_to_it(root, there):
    archive, key = str(root / "kept" / "before.tar"), root / "srv" / "keys" / "api"
    key.parent.mkdir(parents=True)
    if there:
        key.write_text("old", encoding="utf-8")
        key.chmod(0o600)
    take(archive, [], str(root), paths=["/srv/keys/api", "/etc/llama-server/rpc-keys/w1"])
    assert not differs(archive, str(root))
    key.write_text("new", encoding="utf-8")
    key.chmod(0o644)
    assert differs(archive, str(root))
    put_back(archive, str(root))
    assert not differs(archive, str(root)) and key.exists() == there
    assert not there or (key.read_text(encoding="utf-8"), key.stat().st_mode & 0o777) == ("old", 0o600)


def test_what_is_no_regular_file_is_left_alone(root):
    archive, link, place = str(root / "kept" / "before.tar"), root / "link", root / "place"
    link.symlink_to(root / "etc")
    place.mkdir()
    take(archive, [], str(root), paths=["/link", "/place"])
    link.unlink()
    link.write_text("new", encoding="utf-8")
    assert not differs(archive, str(root))
    put_back(archive, str(root))
    assert link.read_text(encoding="utf-8") == "new" and place.is_dir()


def test_a_machine_on_which_nothing_was_is_bare_again(root):
    archive = str(root / "kept" / "before.tar")
    empty = root / "bare"
    empty.mkdir()
    take(archive, [], str(empty))
    (empty / "etc" / "llama-server").mkdir(parents=True)
    (empty / "etc" / "llama-server" / "api-key").write_text("x", encoding="utf-8")
    put_back(archive, str(empty))
    assert units_of(archive) == [] and files(str(empty)) == []


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_half_an_archive_is_refused(root, content):
    archive = root / "before.tar"
    archive.write_bytes(content)
    before = state(root)
    with pytest.raises(SnapshotError, match="not whole"):
        put_back(str(archive), str(root))
    assert state(root) == before


@pytest.mark.parametrize("change", [
    lambda keys: keys.chmod(0o777),
    lambda keys: keys.parent.chmod(0o775),
    lambda keys: os.chown(keys, 65534, 65534),
    lambda keys: (keys.rename(keys.with_name("moved")), keys.symlink_to("moved")),
], ids=["for all to write", "above it for a group", "somebody else's", "a link"])
def test_nobody_else_has_a_key_elsewhere_read_or_written(root, change):
    """Whoever may change a directory above it could put a link there, and root would follow it."""
    key, archive = root / "srv" / "keys" / "api", str(root / "kept" / "before.tar")
    key.parent.mkdir(parents=True)
    key.write_text("old", encoding="utf-8")
    take(archive, [], str(root), ["/srv/keys/api"])
    key.write_text("new", encoding="utf-8")
    change(key.parent)
    put_back(archive, str(root))
    assert key.read_text(encoding="utf-8") == "new"
    forget(archive)
    take(archive, [], str(root), ["/srv/keys/api"])
    with tarfile.open(archive) as tar:
        assert "srv/keys/api" not in tar.getnames()


def test_a_directory_in_the_place_of_a_key_elsewhere_stays(root):
    key, archive = root / "srv" / "keys" / "api", str(root / "kept" / "before.tar")
    key.parent.mkdir(parents=True)
    key.write_text("old", encoding="utf-8")
    take(archive, [], str(root), ["/srv/keys/api", ""])
    key.unlink()
    key.mkdir()
    (key / "other").write_text("not ours", encoding="utf-8")
    put_back(archive, str(root))
    assert (key / "other").read_text(encoding="utf-8") == "not ours"


def test_an_archive_of_a_time_without_further_files(root, tmp_path):
    whole, older = str(root / "kept" / "before.tar"), str(root / "kept" / "older.tar")
    take(whole, ["llama-server.service"], str(root))
    with tarfile.open(whole) as tar, tarfile.open(older, "w") as new:
        for member in tar.getmembers():
            if member.name != "further.json":
                new.addfile(member, tar.extractfile(member) if member.isfile() else None)
    assert not differs(older, str(root))
    put_back(older, str(root))
