# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that looks after a worker's tensor cache, on real files."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).absolute().parents[4] / "roles/rpc_server/files/tensor_cache.py"
DAY = 86400


@pytest.fixture(scope="module")
def cache():
    spec = importlib.util.spec_from_file_location("tensor_cache", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tensor_cache"] = module  # its processes look it up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tmp_path(tmp_path):
    """The directory of the files, in one of their own as on a worker."""
    (tmp_path / "rpc").mkdir()
    return tmp_path / "rpc"


def put(cache, directory: Path, content: bytes, age_days: float = 0) -> Path:
    path = directory / ("%016x" % cache.step_in_python(content, cache.OFFSET))
    path.write_bytes(content)
    when = time.time() - age_days * DAY
    os.utime(path, (when, when))
    return path


# From the reference of the hash's authors, http://www.isthe.com/chongo/tech/comp/fnv/
@pytest.mark.parametrize(("text", "value"), [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)])
def test_hash(cache, text, value):
    assert cache.step_in_python(text, cache.OFFSET) == value
    assert cache.fastest_step()(text, cache.OFFSET) == value


def test_the_fast_hash_is_the_slow_one_over_several_chunks(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 1000)
    path = put(cache, tmp_path, os.urandom(4567))
    assert cache.digest(path, cache.fastest_step()) == cache.digest(path, cache.step_in_python) == path.name


def test_works_without_the_library(cache):
    assert cache.fastest_step(("libno-such-thing.so",)) is cache.step_in_python


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b"", lambda b: b[:5] + bytes([b[5] ^ 1]) + b[6:], lambda b: b + b"x"])
def test_a_damaged_file_goes_and_is_named(cache, tmp_path, capsys, harm):
    whole, damaged = put(cache, tmp_path, b"whole" * 100), put(cache, tmp_path, b"damaged" * 100)
    damaged.write_bytes(harm(damaged.read_bytes()))
    assert cache.main([str(tmp_path)]) == 0
    assert whole.exists() and not damaged.exists()
    said = capsys.readouterr().out
    assert f"removed {damaged}: it is damaged" in said and whole.name not in said and "1 files" in said


def test_a_file_is_read_again_only_when_it_changed(cache, tmp_path, monkeypatch):
    paths = [put(cache, tmp_path, bytes([n]) * 100) for n in range(3)]
    read = []
    monkeypatch.setattr(cache, "names_of", lambda names: read.append(sorted(names)) or [Path(name).name for name in names])
    cache.main([str(tmp_path)])
    paths[1].write_bytes(b"cut")
    cache.main([str(tmp_path)])
    cache.main([str(tmp_path), "--all"])
    every = sorted(map(str, paths))
    assert read == [every, [str(paths[1])], every]


def test_what_was_not_used_for_long_goes(cache, tmp_path, capsys):
    old, new = put(cache, tmp_path, b"old", 31), put(cache, tmp_path, b"new", 29)
    cache.main([str(tmp_path), "--max-age-days", "30"])
    assert not old.exists() and new.exists()
    assert "it was not used for 31 days" in capsys.readouterr().out


def test_the_longest_unused_goes_first_where_there_is_too_much(cache, tmp_path):
    files = [put(cache, tmp_path, bytes([n]) * (1 << 19), age_days=9 - n) for n in range(4)]
    cache.main([str(tmp_path), "--max-mib", "1"])
    assert [path.exists() for path in files] == [False, False, True, True]


def test_a_name_that_rpc_server_does_not_give_goes_and_links_stay_unread(cache, tmp_path):
    other = tmp_path / "core"
    other.write_bytes(b"x")
    (tmp_path / "0123456789abcdef").symlink_to("/etc/passwd")
    cache.main([str(tmp_path)])
    assert not other.exists() and Path("/etc/passwd").exists()
