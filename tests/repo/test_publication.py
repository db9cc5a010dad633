# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What others are told of the collection is so: the systems that tests run on, what an execution environment has to have."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[path.name for path in SCENARIOS])
def test_machines_that_are_not_there_can_be_destroyed(scenario: Path) -> None:
    """Where a scenario has a cleanup, molecule's own sequence begins with it, on machines that it does not reach."""
    settings = load(scenario / "molecule.yml")
    if "cleanup" in settings["ansible"]["playbooks"]:
        assert settings["scenario"]["destroy_sequence"] == ["destroy"]
