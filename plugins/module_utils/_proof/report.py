# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of an answer's report, and what is wrong with the variables of the question."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text_table import table_lines

Row = t.Mapping[str, t.Any]
Columns = t.Dict[str, str]

_SIZES = (("weights_mib", "weights"), ("kv_mib", "KV"), ("compute_mib", "compute"))


@dataclass(frozen=True)
class Question:
    """Variables of the role chat_check, without their prefix. ``from_machine`` asks, ``machines`` are all that the inventory has."""

    machine: str
    machines: t.Collection[str]
    url: str
    head: str
    from_machine: str
    workers: t.Sequence[t.Mapping[str, t.Any]]


def problems(given: Question) -> Found:
    """What is wrong with the variables."""
    known = (*given.machines, "localhost")
    if not re.match("https?://[^/]", given.url):
        yield "chat_check_url is %s" % json.dumps(given.url), "set it to the server, http://ADDRESS:PORT"
    if given.head and given.head not in known:
        yield ("chat_check_head names %s, which is not in the inventory" % json.dumps(given.head),
               "set it to the machine that runs llama-server, or leave it empty")
    if given.from_machine not in known:
        yield ("chat_check_from names %s, which is not in the inventory" % json.dumps(given.from_machine),
               "set it to a machine of the inventory, or to localhost")
    if given.workers and not given.head:
        yield ("chat_check_workers is set and chat_check_head is not, so that nobody can see what the workers do",
               "set chat_check_head to the machine that runs llama-server")


def was_asked(rows: t.Iterable[Row]) -> bool:
    """Whether llama.cpp itself was asked before the start what each device would hold."""
    return any(row.get("word_compute_mib") is not None for row in rows)


def comparison_columns(rows: t.Sequence[Row]) -> Columns:
    """What was planned, what llama.cpp said of it where it was asked, and what is real."""
    columns = {"machine": "machine", "device": "device", "planned_layers": "layers planned", "layers": "real"}
    asked = was_asked(rows)
    for key, name in _SIZES:
        columns["planned_" + key] = name + " planned"
        if asked:
            columns["word_" + key] = "asked"
        columns[key] = "real"
    if sum(row.get("planned_beside_mib", 0) for row in rows) > 0:
        columns.update(planned_beside_mib="beside it planned", beside_mib="real")
    return columns


def device_columns(compared: bool) -> Columns:
    """What each device did; what it holds only where no comparison with the plan says it."""
    sizes = {} if compared else {key: name + " MiB" for key, name in _SIZES}
    return {"machine": "machine", "device": "device", "endpoint": "endpoint", "layers": "layers", **sizes,
            "bytes_sent": "bytes to it", "bytes_received": "bytes from it"}


def tables(devices: t.Sequence[Row], rows: t.Sequence[Row]) -> t.Dict[str, t.Any]:
    """The lines of the table of devices and of the one that compares them with the plan, each empty where there is nothing to show."""
    return {
        "devices": table_lines(devices, device_columns(bool(rows))) if devices else [],
        "comparison": table_lines(rows, comparison_columns(rows)) if rows else [],
        "asked": was_asked(rows),
    }
