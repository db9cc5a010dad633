# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose a directory is, and what an interruption leaves."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned


def make(prefix, name="file", marker=True):
    with owned.being_made(str(prefix)):
        prefix.mkdir(exist_ok=True)
        (prefix / name).write_text("x")
        if marker:
            owned.write_marker(str(prefix), {"kind": "test"})


def test_states(tmp_path):
    prefix = tmp_path / "p"
    assert owned.state_of(str(prefix)) == owned.ABSENT
    prefix.mkdir()
    assert owned.state_of(str(prefix)) == owned.ABSENT
    make(prefix)
    assert owned.state_of(str(prefix)) == owned.OURS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]
    (prefix / owned.MARKER).write_text("{")
    assert owned.state_of(str(prefix)) == owned.FOREIGN


def test_while_it_is_made_it_does_not_count_and_nobody_else_makes_it(tmp_path):
    prefix = tmp_path / "p"
    with owned.being_made(str(prefix)):
        prefix.mkdir()
        owned.write_marker(str(prefix), {"kind": "test"})
        assert owned.state_of(str(prefix)) == owned.UNFINISHED
        with pytest.raises(owned.OwnedError, match="by another run at this moment"):
            make(prefix)
    assert owned.state_of(str(prefix)) == owned.OURS


def test_what_an_interrupted_run_left_goes_first(tmp_path):
    prefix = tmp_path / "p"
    with pytest.raises(KeyboardInterrupt), owned.being_made(str(prefix)):
        prefix.mkdir()
        (prefix / "half").write_text("x")
        raise KeyboardInterrupt
    assert owned.state_of(str(prefix)) == owned.UNFINISHED
    make(prefix)
    assert not (prefix / "half").exists() and owned.state_of(str(prefix)) == owned.OURS


def test_a_change_keeps_what_is_there_and_a_broken_change_does_not_count(tmp_path):
    prefix = tmp_path / "p"
    make(prefix, "first")
    make(prefix, "second")
    assert (prefix / "first").exists() and (prefix / "second").exists()
    with pytest.raises(ValueError), owned.being_made(str(prefix)):
        raise ValueError
    assert owned.state_of(str(prefix)) == owned.UNFINISHED
    make(prefix, "third")
    assert not (prefix / "first").exists()


@pytest.mark.parametrize("before", [True, False])
def test_a_failure_that_touched_nothing(tmp_path, before):
    prefix = tmp_path / "p"
    if before:
        make(prefix)
    with pytest.raises(ValueError), owned.being_made(str(prefix)) as making:
        making.intact = True
        raise ValueError
    assert owned.state_of(str(prefix)) == (owned.OURS if before else owned.ABSENT)
    assert [path.name for path in tmp_path.iterdir()] == (["p"] if before else [])


@pytest.mark.parametrize("do", [make, lambda prefix: owned.remove(str(prefix))], ids=["make", "remove"])
def test_what_is_not_ours_is_refused(tmp_path, do):
    prefix = tmp_path / "p"
    prefix.mkdir()
    (prefix / "theirs").write_text("x")
    with pytest.raises(owned.OwnedError, match="did not make, and is left as it is; choose another path"):
        do(prefix)
    assert [path.name for path in tmp_path.iterdir()] == ["p"] and (prefix / "theirs").read_text() == "x"


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "p").symlink_to(tmp_path / "real")
    (tmp_path / ".p.herd-unfinished").write_text("Being made.\n")
    with pytest.raises(owned.OwnedError, match="is a link"):
        owned.remove(str(tmp_path / "p"))
    assert (tmp_path / "real" / "file").exists()


def test_removal(tmp_path):
    prefix = tmp_path / "p"
    assert not owned.remove(str(prefix))
    make(prefix)
    assert owned.remove(str(prefix))
    assert not list(tmp_path.iterdir())
