# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is there whole or not at all."""

from __future__ import annotations

import os

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._common import whole_file


def test_a_file_is_replaced_and_its_mode_is_the_one_that_is_asked_for(tmp_path):
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o666)
    whole_file.write_whole(str(path), b"new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_an_interrupted_write_has_left_is_replaced_and_a_link_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("somebody else's")
    (tmp_path / ".key.new").symlink_to(other)
    whole_file.write_whole(str(tmp_path / "key"), b"new")
    assert (tmp_path / "key").read_text() == "new" and not (tmp_path / "key").is_symlink()
    assert other.read_text() == "somebody else's" and not (tmp_path / ".key.new").is_symlink()


def test_everyone_may_look_into_a_directory_whatever_the_umask_is(tmp_path):
    before = os.umask(0o077)
    try:
        whole_file.make_public("%s/a/b/" % tmp_path)
    finally:
        os.umask(before)
    (tmp_path / "a" / "b").chmod(0o700)
    whole_file.make_public(str(tmp_path / "a" / "b"))
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o755, 0o700], "one that is there stays as it is"


def test_what_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        whole_file.write_whole(str(path), b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"] and path.read_text() == "old"


def test_a_file_of_another_name_is_nobodys_half(tmp_path):
    """A key is called as its machine, and that as somebody likes."""
    for name in ("w1.new", "w1"):
        whole_file.write_whole(str(tmp_path / name), name.encode())
    assert (tmp_path / "w1.new").read_text() == "w1.new" and (tmp_path / "w1").read_text() == "w1"
