# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Run every part of the tests (`make test-NAME` each), and close with one table.

A part that fails does not stop the next: one run says all that is wrong. Two run at a time, because virtual machines and downloads wait a lot; what
waits for nothing gets the processors' time that those leave over. Each shows its output when it has ended. What holds a limit of time runs last, with
nothing beside it, on machines that were made before.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The build of llama.cpp comes first; of what needs it the longest begin first.
BUILD = "build"
WITH_IT = ["molecule SCENARIO=default", "molecule SCENARIO=upgrade", "integration", "molecule SCENARIO=--timed-begin", "molecule SCENARIO=reuse",
           "molecule SCENARIO=toolchain"]
# Nothing but work for a processor. Above 5 they would hardly move beside a compiler, and give up waiting for their own processes.
LEFT_OVER, NICE = ["versions", "unit", "sanity", "lint", "repo", "importer"], 2
ALONE = ["molecule SCENARIO=--timed-end"]
_CLOSING = re.compile(r"^=+ (?P<counts>.*\b\d+ (?:passed|failed|error|skipped|xfailed).*) in [\d.]+s.*=+$")
_QUIET_CLOSING = re.compile(r"^(?P<counts>\d+ (?:passed|failed|error|skipped)[\w ,]*) in [\d.]+s")
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)")
_SANITY = re.compile(r"^sanity: (\d+) checks, (.*)")
_SANITY_FAILED = re.compile(r"^FATAL: The (\d+) sanity test\(s\)")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# Molecule draws this before each line of pytest and Ansible.
_FRAME = "\N{BOX DRAWINGS LIGHT VERTICAL}"
# What Ansible says of a task that failed goes on until an empty line, the next task or that it does not matter.
_FATAL, _NEXT, _IGNORED = "fatal: [", ("TASK [", "PLAY ", "RUNNING HANDLER "), "...ignoring"
# A closing table that can be read whole where only the end of an output is kept. Of the tasks that failed the last are what ended a playbook.
LONGEST, MOST, MOST_FATAL = 400, 12, 3


@dataclass
class Part:
    """What one part came to."""

    name: str
    rc: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    remarks: list[str] = field(default_factory=list)
    fatal: list[str] = field(default_factory=list)
    in_fatal: bool = False

    def read(self, line: str) -> None:
        """Take what the line says about the number of tests."""
        text = _ESCAPES.sub("", line).strip()
        closing = _CLOSING.match(text) or _QUIET_CLOSING.match(text)
        if closing:
            for number, kind in _COUNT.findall(closing["counts"]):
                self.counts["failed" if kind.startswith("error") else kind] += int(number)
        elif match := _SANITY_FAILED.match(text):
            self.counts["failed"] += int(match[1])
        elif match := _SANITY.match(text):
            self.counts["passed"] += int(match[1]) - self.counts["failed"]
        elif (own := text.removeprefix(_FRAME).lstrip()).startswith(("FAILED ", "ERROR ")):
            self.remarks.append(own)
        elif " skipped: " in text and text.endswith("."):
            self.counts["skipped"] += 1
            self.remarks.append(text)
        elif text.startswith("== molecule scenario ") and " passed in " in text:
            self.counts["passed"] += 1
        elif text.startswith("== molecule scenario ") and " failed after " in text:
            self.counts["failed"] += 1
        self.read_fatal(text.removeprefix(_FRAME).lstrip())

    def read_fatal(self, text: str) -> None:
        """Take what the line says about a task of a playbook."""
        if text.startswith(_FATAL):
            self.fatal.append(text)
        elif self.in_fatal and text == _IGNORED:
            self.fatal.pop()
        elif self.in_fatal and text and not text.startswith(_NEXT):
            self.fatal[-1] += " " + text
            return
        self.in_fatal = text.startswith(_FATAL)

    def close(self, rc: int, seconds: float) -> None:
        """A part without numbers of its own counts as one test; one that ended badly has failed, whatever it counted."""
        self.rc, self.seconds = rc, seconds
        if rc:
            self.remarks += self.fatal[-MOST_FATAL:]
        if rc and not self.counts["failed"]:
            self.counts["failed"] += 1
        elif not any(self.counts.values()):
            self.counts["passed"] += 1


def run(name: str, at_once: bool = False, nice: int = 0) -> Part:
    """Run one part, behind others by ``nice``, and pass its output on: line by line, or as a whole."""
    part = Part(name)
    began = time.monotonic()
    output = [f"\n==== make test-{name}\n"]
    process = subprocess.Popen(
        ["nice", "-n", str(nice), "make", *f"test-{name}".split()],
        cwd=ROOT,
        # An outer make's job server is of no use to these.
        # Wide, so that pytest's last lines say what is wrong.
        env={**{key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}, "COLUMNS": "240"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    for line in process.stdout:
        part.read(line)
        output.append(line)
        if at_once:
            print("".join(output), end="", flush=True)
            output.clear()
    part.close(process.wait(), time.monotonic() - began)
    print("".join(output), end="", flush=True)
    return part


def run_after(first: Future[Part], name: str) -> Part:
    """Run one part when another has ended."""
    wait([first])
    return run(name)


def main() -> int:
    """Run them all; 0 when nothing failed."""
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool, ThreadPoolExecutor(max_workers=1) as behind:
        built = pool.submit(run, BUILD)
        others = [behind.submit(run, name, nice=NICE) for name in LEFT_OVER]
        others += [pool.submit(run_after, built, name) for name in WITH_IT]
        parts = [part.result() for part in [built, *others]]
    parts += [run(name, at_once=True) for name in ALONE]
    print("\n==== summary")
    for part in parts:
        counts = ", ".join(f"{number} {kind}" for kind, number in part.counts.items() if number)
        print(f"  test-{part.name:<31} {'FAILED' if part.rc else 'ok':<7} {counts:<36} {part.seconds:6.0f} s")
        for remark in part.remarks[:MOST]:
            print(f"      {remark[:LONGEST]}")
        if len(part.remarks) > MOST:
            print(f"      and {len(part.remarks) - MOST} more")
    total = {kind: sum(part.counts[kind] for part in parts) for kind in ("passed", "failed", "skipped")}
    print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped in {time.monotonic() - began:.0f} s")
    return 1 if any(part.rc for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
