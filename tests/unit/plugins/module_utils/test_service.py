# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sentence a user reads when a service does not come up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import readiness
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.readiness import (
    Machine,
    ServiceError,
    explain,
    holder,
    listens,
    telling_failure,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import held_by, parse_ss
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import JournalRun

SQUATTER = parse_ss('LISTEN 0 1 0.0.0.0:50052 0.0.0.0:* users:(("python3",pid=7,fd=3))')
UNIT = "llama-rpc-server@0.service"


@pytest.fixture
def units_of(monkeypatch):
    table = {}
    monkeypatch.setattr(readiness, "read_unit_of_process", lambda pid: table.get(pid, ""))
    return table


def test_who_has_the_port(units_of):
    assert holder(SQUATTER, "10.0.0.1", 50052, UNIT) == "python3 (pid 7)"
    units_of[7] = "squatter.service"
    assert holder(SQUATTER, "10.0.0.1", 50052, UNIT) == "python3 (pid 7, squatter.service)"


def test_the_unit_itself_is_nobody_else(units_of):
    units_of[7] = UNIT
    assert holder(SQUATTER, "10.0.0.1", 50052, UNIT) == ""
    assert holder(SQUATTER, "10.0.0.1", 50053, UNIT) == ""


def test_a_socket_without_a_process(units_of):
    said = holder(parse_ss("LISTEN 0 1 0.0.0.0:50052 0.0.0.0:*"), "10.0.0.1", 50052, UNIT)
    assert said == held_by(None, "", os.geteuid() == 0)


def test_only_the_units_own_process_counts_as_listening():
    assert listens(SQUATTER, "10.0.0.1", 50052, 7)
    assert not listens(SQUATTER, "10.0.0.1", 50052, 8)


@dataclass
class Failure:
    kind: str = "bind"
    line: str = "Failed to create server socket"
    problem: str = "the port is taken"
    remedy: str = "Choose another"


def parse(text: str) -> SimpleNamespace:
    return SimpleNamespace(failure=Failure() if "Failed" in text else None)


def test_the_newest_start_with_a_failure_counts():
    runs = [JournalRun("a", "Failed to create server socket", ""), JournalRun("b", "", "Started")]
    assert telling_failure(runs, parse)["kind"] == "bind"
    assert telling_failure(runs[1:], parse) is None


def test_a_known_failure_in_words():
    message = str(explain(UNIT, "does not stay up", vars(Failure()), []))
    assert message == (
        f"{UNIT} does not stay up: the port is taken. Choose another. Its log says: Failed to create server socket"
    )


def test_an_unknown_failure_quotes_the_services_own_last_line():
    runs = [JournalRun("a", "one\nlast own line\n", "Main process exited"), JournalRun("b", "", "Started")]
    message = str(explain(UNIT, "does not stay up", None, runs))
    assert message.endswith(f"See journalctl -u {UNIT}, which ends with: last own line")


def test_a_failure_without_a_journal():
    assert str(explain(UNIT, "does not exist", None, [])) == f"{UNIT} does not exist. See journalctl -u {UNIT}"


def test_tools_that_fail_are_named():
    with pytest.raises(ServiceError, match="ss failed: no permission"):
        Machine(lambda command: (1, "", "no permission\n")).sockets()


def test_no_journal_is_no_reason_to_fail():
    assert Machine(lambda command: (1, "", "no journal")).runs(UNIT) == []
