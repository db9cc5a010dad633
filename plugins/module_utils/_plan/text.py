# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan for a terminal."""

from __future__ import annotations

import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text_table import table_lines
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.words import (
    beside_lines, device_name, devices_with_parts, figures_lines, kept_words, layer_range, shared_device,
)

Mapping = t.Mapping[str, t.Any]

COLUMNS = {
    "machine": "machine", "device": "device", "endpoint": "endpoint", "layers": "layers", "weights_mib": "weights", "kv_mib": "KV",
    "compute_mib": "compute", "beside_mib": "beside", "host_mib": "llama-server", "reserve_mib": "reserve", "free_mib": "was free", "headroom_mib": "left",
}


def _rows(plan: Mapping, commands: t.Sequence[Mapping]) -> t.List[t.Dict[str, t.Any]]:
    endpoints = {(command["machine"], command["device"]): command["endpoint"] for command in commands}
    rows = []
    for device in devices_with_parts(plan):
        rows.append(dict(
            device,
            device=device_name(device),
            endpoint=endpoints.get((device["machine"], device["device"]), ""),
            layers=layer_range(device).replace("\u2013", "-"),
        ))
    return rows


def plan_text(plan: Mapping, model: Mapping, commands: t.Sequence[Mapping] = (), notes: t.Sequence[str] = ()) -> str:
    """The plan as lines: who holds what, who is not needed, what will run, or why it does not fit."""
    name = model.get("name") or str(model.get("path") or "").rsplit("/", 1)[-1] or "The model"
    size = " %.1f GB," % (model["file_size_bytes"] / 1e9) if model.get("file_size_bytes") else ""
    what = "%s (%s, %d layers,%s context %d)." % (name, plan["architecture"], plan["n_layers"], size, plan["context_size"])
    host = plan["host"]
    if plan["devices"]:
        shared = shared_device(plan)
        rows = _rows(plan, commands)
        columns = {key: head for key, head in COLUMNS.items() if key not in ("beside_mib", "host_mib") or any(row.get(key) for row in rows)}
        lines = [what + " MiB on each device:", ""] + table_lines(rows, columns) + [""]
        if shared:
            lines.append("%s of %s has no memory of its own: llama-server itself needs %d MiB of the same RAM%s." % (
                shared["device"], shared["machine"], shared["host_mib"], kept_words(host)))
        else:
            lines.append("%s also needs %d MiB of RAM for llama-server itself%s." % (host["machine"], host["total_mib"], kept_words(host)))
    else:
        lines = [what, "The CPU of %s runs it alone, with %d MiB of RAM: %d for weights, %d for the KV cache, %d for computing, the rest for"
                 " llama-server itself%s." % (host["machine"], host["total_mib"], host["weights_mib"], host["kv_mib"], host["compute_mib"],
                                              kept_words(host))]
    lines += beside_lines(plan)
    if plan.get("requests"):
        lines.append("It serves " + plan["requests"])
    if plan["unused_machines"]:
        lines.append("Not needed: %s." % ", ".join(plan["unused_machines"]))
    lines += figures_lines(plan)
    if plan.get("kept"):
        lines.append("The split is the one of the running cluster, which still fits.")
    if plan["fits"]:
        lines.append("It fits. The largest context on these machines is %d." % plan["largest_context"])
        for command in commands:
            lines += ["", "%s, %s:" % (command["machine"], command["unit"])] + command["text"].splitlines()
    else:
        bound = plan["confidence"]["bound"] or (plan.get("beside") or {}).get("parts")
        may = " by %s, though it may in truth" % ("that bound" if bound else "these formulas") if plan.get("may_fit") else ""
        lines.append("It does not fit%s: %s." % (may, "; ".join(plan["problems"])))
        lines += ["A way out: %s." % way["text"] for way in plan["ways_out"]]
    if notes:
        lines += [""] + list(notes)
    return "\n".join(lines)
