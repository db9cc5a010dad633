# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user ID that is nobody else's, with real processes. Root alone can become another user."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._common import unprivileged
from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc import hello

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def somebody() -> Iterator[int]:
    """The only ID of the range that a process has, as its saved one alone: it may become that user again."""
    with subprocess.Popen([sys.executable, "-c", "import os; os.setresuid(0, 0, 61184); print(flush=True); input()"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        yield 61184
        process.stdin.close()


@as_root
def test_what_a_process_has_is_not_chosen(somebody: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "LAST_ID", somebody + 1)
    assert unprivileged.own_user_id() == somebody + 1
    monkeypatch.setattr(unprivileged, "LAST_ID", somebody)
    with pytest.raises(unprivileged.NoUserError, match="every user ID from 61184 to 61184 is in use"):
        unprivileged.own_user_id()


@as_root
def test_what_an_account_or_a_service_has_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "_DYNAMIC", str(tmp_path))
    account = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid and entry.pw_uid not in unprivileged._running())  # noqa: SLF001
    monkeypatch.setattr(unprivileged, "FIRST_ID", account)
    monkeypatch.setattr(unprivileged, "LAST_ID", account)
    with pytest.raises(unprivileged.NoUserError):
        unprivileged.own_user_id()
    monkeypatch.setattr(unprivileged, "FIRST_ID", 65000)
    monkeypatch.setattr(unprivileged, "LAST_ID", 65000)
    assert unprivileged.own_user_id() == 65000
    (tmp_path / "65000").touch()
    with pytest.raises(unprivileged.NoUserError):
        unprivileged.own_user_id()


@as_root
def test_two_at_once_are_two_users() -> None:
    assert len({unprivileged.own_user_id() for _time in range(8)}) > 4


def test_who_is_not_root_stays_who_he_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert unprivileged.own_user_id() is None


@as_root
@pytest.mark.parametrize(("what", "said"), [("Uid", "[0-9]+"), ("Gid", "[0-9]+"), ("NoNewPrivs", "1"), ("Groups", "")])
def test_an_executable_that_is_asked_for_its_protocol_is_nobody_else(what: str, said: str) -> None:
    """Other processes of nobody could signal and trace it, and it them."""
    with hello._Child(["/usr/bin/grep", "^%s:" % what, "/proc/self/status"]) as child:  # noqa: SLF001
        child.process.wait(timeout=30)
        words = child.last_words().split()[1:]
    assert re.fullmatch(said, words[0] if words else "")
    if what in ("Uid", "Gid"):
        assert len(set(words)) == 1 and unprivileged.FIRST_ID <= int(words[0]) <= unprivileged.LAST_ID
