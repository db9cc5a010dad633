# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged and malicious headers for the reader and the planner, see tests/support/gguf_fuzz.py: 2,500, with EVERY_CASE=1 ten thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import sampled

ROOT = Path(__file__).parents[2]
CASES = 10_000 if sampled.every() else 2_500


def test_thousands_of_damaged_headers():
    """A result or one sentence, each within a second of processor time, all within 64 MiB more than the process had before."""
    path = os.pathsep.join([str(ROOT / "playbooks" / "collections"), str(ROOT / "tests" / "support")])
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "support" / "gguf_fuzz.py"), "--cases", str(CASES)], capture_output=True,
                          text=True, timeout=600, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["failures"] == []
    assert result["cases"] == CASES
    # not all are refused at the door: enough get as far as a plan
    assert result["described"] > CASES // 5 and result["planned"] > CASES // 20
