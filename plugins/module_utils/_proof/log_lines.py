# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a log of llama-server or rpc-server, and those of its last start.

**What may be missing.** ``common/log.cpp`` hands every line to a thread through a ring of 512. A process that aborts does not
wait for that thread, so the last lines are lost or come after the abort message, which goes straight to stderr: a head that met
an rpc-server of another version gave ``RPC server version mismatch`` before the abort message, after it, and not at all, in three runs
(see tests/fixtures/logs). ``--log-file`` gets the same lines from the same thread. Nothing makes it lossless, so every failure is also
known by its abort message, and a missing line never counts as a fact.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import plain

# journalctl's default output puts this before the line
_SYSLOG = re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s\[\]]+\[\d+\]: ")
# common/log.cpp: minutes.seconds.milliseconds.microseconds and the level
_STAMP = re.compile(r"^(\d{1,9})\.(\d\d)\.(\d\d\d)\.(\d\d\d) (?:([IWED]) )?")
# ggml_abort prints file:line: message
ABORT = r"(?:^|\s)(\S{1,300}\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm):\d{1,6}): (.*)"
_ABORT = re.compile(ABORT)


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    shown: str  # as a person should see it quoted
    text: str  # without time and level
    time_us: t.Optional[int]
    level: str


def _read_line(raw: str) -> Line:
    shown = plain(raw)
    text = _SYSLOG.sub("", shown, count=1)
    if text.startswith('{"type":"log"'):
        # --log-jsonl: one object a line, the message with its newline in it
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("msg"), str):
            time = record.get("time")
            level = str(record.get("level", ""))[:1].upper()
            message = record["msg"].rstrip()
            return Line(message, message, time if isinstance(time, int) else None, level)
    match = _STAMP.match(text)
    if not match:
        return Line(shown, text, None, "")
    minutes, seconds, millis, micros, level = match.groups()
    time_us = ((int(minutes) * 60 + int(seconds)) * 1000 + int(millis)) * 1000 + int(micros)
    return Line(shown, text[match.end() :], time_us, level or "")


def read_lines(text: str) -> t.List[Line]:
    """The lines of a log, of whatever kind they are."""
    return [_read_line(raw) for raw in text.split("\n")]


# A start that says so itself. Builds without one are cut where their clock jumps back.
_HEAD_BEGINS = re.compile(
    r"srv\s+llama_server: initializing \.\.\.|^build: \d+ \(|^main: build = \d+|^build_info: "
)
# 0.5.0 reads its arguments, and meets its workers, before it says anything; what it says of them has no time. After a head that
# listened or left, such a line is of the next one.
_HEAD_BEGINS_BADLY = re.compile(
    r"^error: invalid argument: |^error while handling (?:argument|environment variable) "
    r"|ggml-rpc\.cpp:\d+: (?:Failed to connect to|Failed to parse endpoint|RPC handshake failed)"
)


def last_head_start(lines: t.List[Line]) -> t.List[Line]:
    begin = 0
    clock: t.Optional[int] = None
    # Of the start that begins at `begin`: whether it got beyond preliminaries (a few lines, of a deprecated argument or a GPU, come before
    # its first own one), and whether it is over.
    far = over = False
    for index, line in enumerate(lines):
        begins = bool(_HEAD_BEGINS.search(line.text))
        anew = (begins and far) or (over and not begins and bool(_HEAD_BEGINS_BADLY.search(line.text)))
        if line.time_us is not None:
            anew = anew or (clock is not None and line.time_us < clock)
            clock = line.time_us
        if anew:
            begin, far, over = index, False, False
        far = far or begins or bool(_HEAD_FAR.search(line.text) or _ABORT.search(line.text))
        over = over or bool(_HEAD_OVER.search(line.text))
    return lines[begin:]


_HEAD_OVER = re.compile(r"listening on|cleaning up before exit|exiting due to")
_HEAD_FAR = re.compile(r"listening on|load_tensors:|cleaning up before exit|exiting due to|common_param")

# What a worker prints before its banner, on stderr and so at once: a run of these lines after others is a new start.
_WORKER_PREAMBLE = re.compile(
    r"^$|^!!!!|^WARNING: Host|Never expose the RPC server|experimental feature and is not secure|^ggml_cuda_init|^\s+Device \d+: "
    r"|^create_backend|^load_backend|^Started |^Starting .*\.service|^ggml_\w+_init"
)
_WORKER_BANNER = re.compile(r"^Starting RPC server")


def last_worker_start(lines: t.List[Line]) -> t.List[Line]:
    begin = 0
    banner = False  # of the start that begins at `begin`
    preamble_from: t.Optional[int] = None
    for index, line in enumerate(lines):
        if _WORKER_PREAMBLE.search(line.text):
            if preamble_from is None:
                preamble_from = index
            continue
        if preamble_from is not None and any(item.text for item in lines[preamble_from:index]):
            before = [item.text for item in lines[begin:preamble_from] if item.text]
            if before:
                begin = preamble_from
                banner = False
        preamble_from = None
        if _WORKER_BANNER.search(line.text):
            if banner:
                begin = index
            banner = True
    if preamble_from is not None and banner and any(item.text for item in lines[preamble_from:]):
        begin = preamble_from
    return lines[begin:]
