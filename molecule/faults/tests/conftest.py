# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import clusters
import fault_lab
import pytest
from playbook_run import ROOT

ALL = os.environ.get("HERD_FAULTS") == "all"
ROUNDS = int(os.environ.get("HERD_FAULTS_ROUNDS", "1"))
KEPT = ROOT / ".cache" / "faults.json"

_made: list[fault_lab.FaultLab] = []


@pytest.fixture(scope="session", params=range(ROUNDS), ids=lambda number: f"round{number + 1}")
def round_number(request: pytest.FixtureRequest) -> int:
    """All faults in turn, and then again."""
    return int(request.param)


@pytest.fixture(scope="session")
def the_lab() -> fault_lab.FaultLab:
    _made.append(fault_lab.FaultLab(clusters.scenario("faults"), Path("/var/lib/herd.llama_cpp/lab-faults")))
    return _made[0]


@pytest.fixture
def lab(the_lab: fault_lab.FaultLab, round_number: int) -> fault_lab.FaultLab:
    """The cluster, which is well when a test begins."""
    the_lab.settle()
    return the_lab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the machines said during a test that failed: the lab may be gone when somebody asks."""
    report = yield
    if report.failed and _made:
        for machine in ("head", "worker1", "worker2"):
            command = f"journalctl -q --no-pager -o short-precise -u 'llama-*' --since=@{int(call.start)} | tail -n 200"
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                report.sections.append((f"journal of {machine}", _made[0].run(machine, command, check=False)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results = _made[0].results if _made else []
    if results:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        terminalreporter.write_sep("-", f"recovery, kept in {KEPT.relative_to(ROOT)}")
        terminalreporter.write_line(fault_lab.table(results))
