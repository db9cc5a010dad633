# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook of the checkout as an operator would and read what it said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)")


@dataclass
class PlaybookRun:
    """What one run left: exit status, output, and the recap as numbers per machine."""

    rc: int
    output: str
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Without a recap nothing could be said to have changed.
        assert self.recap or "PLAY RECAP" not in self.output, "the recap cannot be read"

    @property
    def changed(self) -> int:
        """Changed tasks over all machines."""
        return sum(counts["changed"] for counts in self.recap.values())

    def says(self, *words: str) -> bool:
        """Whether one line of the output (or a wrapped pair of lines) holds all the words."""
        flat = re.sub(r"\s+", " ", self.output)
        lines = self.output.splitlines() + [flat]
        return any(all(word.lower() in line.lower() for word in words) for line in lines)


def _command(playbook: str, inventory: str | Path, arguments: tuple[str, ...]) -> dict[str, object]:
    """What subprocess needs to run a playbook as an operator would, without a terminal."""
    return {
        "args": [
            str(Path(sys.executable).parent / "ansible-playbook"),
            str(ROOT / "playbooks" / playbook),
            "-i",
            str(inventory),
            *arguments,
        ],
        "cwd": ROOT,
        # Molecule wants colours, which would hide the recap from us. With -vvv every ansible-core shows what a module was called with, from 2.20 on
        # only where that is asked for.
        "env": {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_INJECT_INVOCATION": "true"},
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }


def _finished(rc: int, output: str) -> PlaybookRun:
    recap = {
        match["host"]: {key: int(match[key]) for key in ("ok", "changed", "unreachable", "failed")}
        for match in map(_RECAP.match, output.splitlines())
        if match
    }
    return PlaybookRun(rc, output, recap)


def run_playbook(playbook: str, inventory: str | Path, *arguments: str, timeout_s: int = 900) -> PlaybookRun:
    """Run `playbook` (a path below playbooks/) against `inventory`; never raises on a failed play."""
    result = subprocess.run(**_command(playbook, inventory, arguments), timeout=timeout_s, check=False)
    return _finished(result.returncode, result.stdout)


def disturb_playbook(playbook: str, inventory: str | Path, *arguments: str, at: str, act: Callable[[], object], timeout_s: int = 900) -> PlaybookRun:
    """The same, and `act` is called when `at` appears in the output for the first time, with the run going on meanwhile; it has to appear."""
    output, acted = [], False
    with subprocess.Popen(**_command(playbook, inventory, arguments), start_new_session=True) as process:
        watchdog = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            for line in process.stdout:
                output.append(line)
                if at in line and not acted:
                    acted = True
                    act()
        finally:
            watchdog.cancel()
    assert acted, f"it did not get as far as '{at}':\n{''.join(output)[-4000:]}"
    return _finished(process.returncode, "".join(output))


def interrupt_playbook(playbook: str, inventory: str | Path, *arguments: str, at: str, timeout_s: int = 600) -> bool:
    """Run a playbook and kill it, with everything it started here, when `at` appears in its output."""
    with subprocess.Popen(**_command(playbook, inventory, arguments), start_new_session=True) as process:
        watchdog = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            for line in process.stdout:
                if at in line:
                    os.killpg(process.pid, signal.SIGKILL)
                    return True
        finally:
            watchdog.cancel()
    return False
