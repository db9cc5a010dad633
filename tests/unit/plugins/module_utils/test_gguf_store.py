# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of verified models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import store as store_util
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make

SOURCE = {"url": "http://host/model.gguf", "sha256": ""}
OTHER = {"url": "http://host/other.gguf", "sha256": ""}


def bring(store, source, name, data):
    """A file as a download leaves it."""
    incoming = store.incoming(source)
    os.makedirs(incoming, exist_ok=True)
    path = os.path.join(incoming, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def put(store, source, name, data, sha256=None):
    return store.accept(source, [bring(store, source, name, data)], sha256 or {}, lambda path: None)


@pytest.fixture
def store(tmp_path):
    return store_util.Store(str(tmp_path))


def test_accepted_file_is_known_until_it_changes(store, tmp_path, monkeypatch):
    files = put(store, SOURCE, "model.gguf", make.gguf_bytes())
    assert [entry["path"] for entry in files] == [str(tmp_path / "model.gguf")]
    # Neither read nor hashed again.
    monkeypatch.setattr(store_util, "verify", None)
    monkeypatch.setattr(store_util, "file_sha256", None)
    assert store.find(SOURCE) == files
    assert store.find(OTHER) == []
    os.utime(tmp_path / "model.gguf", ns=(1, 1))
    assert store.find(SOURCE) == []


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"files": 3}', '{"files": [{}]}', '{"files": ["x"]}'])
def test_damaged_stamp_is_no_stamp(store, stamp):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    with open(store.stamp_path(SOURCE), "w", encoding="utf-8") as file:
        file.write(stamp)
    assert store.find(SOURCE) == []


@pytest.mark.parametrize(
    ("data", "sha256", "words"),
    [
        (b"<html>", {}, "is not a GGUF file: it is an HTML page"),
        (make.gguf_bytes()[:-4000], {}, "is cut off"),
        (make.gguf_bytes(seed=2), {"model.gguf": "0" * 64}, "has the SHA-256 [0-9a-f]{64} instead of 0{64}"),
    ],
)
def test_broken_file_never_replaces_a_good_one(store, tmp_path, data, sha256, words):
    good = make.gguf_bytes()
    put(store, SOURCE, "model.gguf", good)
    with pytest.raises(store_util.StoreError, match=words):
        put(store, OTHER, "model.gguf", data, sha256)
    assert (tmp_path / "model.gguf").read_bytes() == good
    assert store.find(SOURCE)
    assert not os.path.exists(store.incoming(OTHER))


def test_same_name_from_another_source_replaces(store, tmp_path):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    put(store, OTHER, "model.gguf", make.gguf_bytes(seed=2))
    assert (tmp_path / "model.gguf").read_bytes() == make.gguf_bytes(seed=2)
    assert store.find(OTHER) and not store.find(SOURCE)


def test_split_set(store, tmp_path):
    incoming = store.incoming(SOURCE)
    os.makedirs(incoming)
    paths = [str(path) for path in make.write_split(Path(incoming), "big")]
    files = store.accept(SOURCE, paths, {}, lambda path: None)
    assert [entry["path"] for entry in files] == [str(tmp_path / os.path.basename(path)) for path in paths]
    os.unlink(files[1]["path"])
    assert store.find(SOURCE) == []


def test_part_that_is_not_there_costs_the_others_nothing(store):
    incoming = store.incoming(SOURCE)
    os.makedirs(incoming)
    paths = make.write_split(Path(incoming), "big")
    paths[1].unlink()
    with pytest.raises(store_util.StoreError, match="big-00002-of-00003.gguf was not brought there"):
        store.accept(SOURCE, [str(path) for path in paths], {}, lambda path: None)
    assert paths[0].exists() and paths[2].exists()


def test_split_set_must_be_given_whole(store, tmp_path):
    paths = [str(path) for path in make.write_split(tmp_path, "big")]
    with pytest.raises(store_util.StoreError, match="is a model in 3 files"):
        store_util.verify(paths[:1], {})


def test_adopt_leaves_the_file_where_it_is(store, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.gguf").write_bytes(make.gguf_bytes())
    wanted = store_util.file_sha256(str(own / "mine.gguf"))
    files = store.adopt(SOURCE, [str(own / "mine.gguf")], {"mine.gguf": wanted.upper()})
    assert files[0]["sha256"] == wanted and store.find(SOURCE) == files
    store.remove()
    assert (own / "mine.gguf").exists() and not store.find(SOURCE)


def test_remove_keeps_what_is_not_ours(store, tmp_path):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    put(store, OTHER, "changed.gguf", make.gguf_bytes())
    (tmp_path / "changed.gguf").write_bytes(b"something else by now")
    (tmp_path / "users.gguf").write_bytes(b"never ours")
    bring(store, {"url": "unfinished"}, "part", b"x")
    assert store.remove(dry=True)[0] and (tmp_path / "model.gguf").exists()
    removed, kept = store.remove()
    assert str(tmp_path / "model.gguf") in removed and kept == [str(tmp_path / "changed.gguf")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.gguf", "users.gguf"]
    assert store.remove() == ([], [])


def test_sizes(tmp_path):
    assert store_util.free_bytes(str(tmp_path / "not" / "there")) > 0
    assert store_util.tree_bytes(str(tmp_path / "not")) == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"xyz")
    assert store_util.tree_bytes(str(tmp_path)) == 3


def test_a_file_is_known_again_by_its_content(store, tmp_path):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    os.utime(tmp_path / "model.gguf", ns=(1, 1))
    assert store.find(SOURCE) == []
    assert store.recheck(SOURCE) == (True, [])
    assert store.find(SOURCE)[0]["sha256"] == store_util.file_sha256(str(tmp_path / "model.gguf"))
    assert store.recheck(SOURCE) == (False, [])
    assert store.recheck(OTHER) == (False, [])


def test_a_file_whose_content_changed_is_named_and_no_longer_known(store, tmp_path):
    model = tmp_path / "model.gguf"
    data = make.gguf_bytes()
    put(store, SOURCE, "model.gguf", data)
    before = model.stat()
    model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    # It looks as it did: only reading it helps.
    assert store.recheck(SOURCE) == (False, []) and store.find(SOURCE)
    changed, problems = store.recheck(SOURCE, everything=True)
    assert changed and len(problems) == 1
    assert problems[0].startswith(f"{model} has the SHA-256 ")
    assert store.find(SOURCE) == [] and model.exists()


def test_a_file_that_is_gone_is_named(store, tmp_path):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    (tmp_path / "model.gguf").unlink()
    assert store.recheck(SOURCE) == (True, [f"{tmp_path / 'model.gguf'} cannot be read: No such file or directory"])
    assert store.recheck(SOURCE) == (False, [])


@pytest.mark.parametrize("stamp", ["", "[]", '{"files": [{}]}', '{"files": ["x"]}'])
def test_a_damaged_stamp_has_nothing_to_compare(store, stamp):
    put(store, SOURCE, "model.gguf", make.gguf_bytes())
    with open(store.stamp_path(SOURCE), "w", encoding="utf-8") as file:
        file.write(stamp)
    assert store.recheck(SOURCE) == (False, [])
