# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was planned for each device, what llama.cpp said of it before the start, and what it is: one comparison, of a plan's rows (filter
plan_deviations) or of the table that deploy.yml and verify.yml end with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HEADING = "Layers and MiB, as planned, as llama.cpp itself said before the start, and as it is:"
_FIGURES = ("weights", "kv", "compute")
_COLUMNS = ("planned_layers", "layers", *(place % name for name in _FIGURES for place in ("planned_%s_mib", "word_%s_mib", "%s_mib")))
# Figures are rounded to hundredths, and of two caches each is.
_ROUNDING_MIB = {"weights": 0.03, "kv": 0.03, "compute": 0.02}


def rows(output: str) -> list[dict[str, Any]]:
    """The last table of a run, in which all figures were asked for, as plan_deviations has its rows; what the log does not tell is None."""
    _before, there, after = output.rpartition(_HEADING)
    assert there, "no table has what llama.cpp itself said:\n" + output[-4000:]
    found = []
    for line in after.strip().split("\n\n", 1)[0].splitlines()[2:]:
        machine, device, *cells = line.split()
        said = [None if cell == "-" else float(cell) for cell in cells]
        found.append({"machine": machine, "device": device, **dict(zip(_COLUMNS, said))})
    return found


def differences(table: Sequence[dict[str, Any]], lost: int = 0) -> list[str]:
    """Where plan, word and real are not the same. Plans are whole MiB rounded up; weights and caches are said in whole ones rounded down.

    Of what is there the log has a line; as many as ``lost`` may be missing, as now and then one is.
    """
    found, missing = [], []
    for row in table:
        if (row["layers"] or 0) != (row["planned_layers"] or 0):
            (missing if row["layers"] is None else found).append(f"{row['machine']}: {row['planned_layers']} layers planned, {row['layers']} real")
        for name in _FIGURES:
            planned, word, real = row[f"planned_{name}_mib"], row[f"word_{name}_mib"], row[f"{name}_mib"]
            off, whole = _ROUNDING_MIB[name], 0 if name == "compute" else 1
            said = f"{row['machine']}: {name} of {planned:.0f} MiB planned, {word} said, {real} real"
            if not -off <= planned - word <= 1 + off:
                found.append(said)
            elif real is None:
                missing += [said] if word > off else []
            elif not (-off <= real - word <= whole + off and -off <= planned - real <= 1 + off):
                found.append(said)
    return found + (missing if len(missing) > lost else [])
