# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The closing table of all tests says what failed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

# As molecule shows them: framed, and broken where a line is long.
OUTPUT = """
  \x1b[2m│\x1b[0m TASK [Look at what need not be there] ***
  \x1b[2m│\x1b[0m \x1b[0;31mfatal: [head]: FAILED! => {"msg": "it is not there"}\x1b[0m
  \x1b[2m│\x1b[0m ...ignoring
  \x1b[2m│\x1b[0m TASK [Start llama-server] ***
  \x1b[2m│\x1b[0m \x1b[0;31mfatal: [head]: FAILED! => {"changed": false, "msg": "Unable to start service\x1b[0m
  \x1b[2m│\x1b[0m \x1b[0;31m  llama-server.service"}\x1b[0m
  \x1b[2m│\x1b[0m
  \x1b[2m│\x1b[0m PLAY RECAP ***
  \x1b[2m│\x1b[0m FAILED tests/test_faults.py::test_head_killed - AssertionError
== molecule scenario faults failed after 9 s
"""


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("run_tests", Path(__file__).absolute().parents[2] / "tools" / "run_tests.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_tests", module)
    spec.loader.exec_module(module)
    found = module.Part("molecule SCENARIO=faults")
    for line in OUTPUT.splitlines():
        found.read(line)
    return found


def test_the_test_and_the_task_that_failed_are_named(part: Any) -> None:
    part.close(1, 9.0)
    assert part.remarks == [
        "FAILED tests/test_faults.py::test_head_killed - AssertionError",
        'fatal: [head]: FAILED! => {"changed": false, "msg": "Unable to start service llama-server.service"}']
    assert part.counts["failed"] == 1


def test_of_what_went_well_no_failure_is_shown(part: Any) -> None:
    """A task may fail and be made good."""
    part.close(0, 9.0)
    assert part.remarks == ["FAILED tests/test_faults.py::test_head_killed - AssertionError"]
