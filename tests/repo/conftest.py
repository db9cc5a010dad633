# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What the checks of the collection as a whole share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Not resolve(): the checkout may itself be a link, and must be seen as it was entered.
CHECKOUT = Path(__file__).absolute().parents[2]
TOOLS = Path(sys.executable).parent

Runner = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def tool() -> Runner:
    """Run one of the environment's commands, `tool("ansible-doc", ..., cwd=...)`, without the caller's Ansible settings."""

    def run(name: str, *arguments: str | Path, cwd: Path = CHECKOUT, **variables: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_NOCOLOR": "1", "COLUMNS": "160"} | {key: str(value) for key, value in variables.items()}
        return subprocess.run(
            [str(TOOLS / name), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    return run
