# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that deploy.yml and verify.yml end with: what was planned for each device, what llama.cpp said of it before the start, and what it is."""

from __future__ import annotations

from typing import NamedTuple

_HEADING = "Layers and MiB, as planned, as llama.cpp itself said before the start, and as it is:"
# Figures are rounded to hundredths, and of two caches each is.
_ROUNDING_MIB = 0.03


class Row(NamedTuple):
    """A device, or the head's own CPU; figures in MiB as planned, as said, and as they are."""

    machine: str
    layers: tuple[float, float]
    weights: tuple[float, float, float]
    kv: tuple[float, float, float]
    compute: tuple[float, float, float]
    # What stands beside the model, where anything does: as planned by a bound, and as it is.
    beside: tuple[float, ...]


def rows(output: str) -> list[Row]:
    """The last table of a run, in which all figures were asked for; what the log does not tell counts as 0."""
    _before, there, after = output.rpartition(_HEADING)
    assert there, "no table has what llama.cpp itself said:\n" + output[-4000:]
    found = []
    for line in after.strip().split("\n\n", 1)[0].splitlines()[2:]:
        machine, _device, *cells = line.split()
        said = [0.0 if cell == "-" else float(cell) for cell in cells]
        found.append(Row(machine, (said[0], said[1]), (said[2], said[3], said[4]), (said[5], said[6], said[7]), (said[8], said[9], said[10]), tuple(said[11:])))
    return found


def differences(table: list[Row]) -> list[str]:
    """Where plan, word and real are not the same. Plans are whole MiB rounded up; weights and caches are said in whole ones rounded down."""
    found = []
    for row in table:
        if row.layers[0] != row.layers[1]:
            found.append(f"{row.machine}: {row.layers[0]:.0f} layers planned, {row.layers[1]:.0f} real")
        for name, (planned, word, real) in (("weights", row.weights), ("KV cache", row.kv), ("compute buffer", row.compute)):
            whole = 0 if name == "compute buffer" else 1
            if not (-_ROUNDING_MIB <= real - word <= whole + _ROUNDING_MIB and -_ROUNDING_MIB <= planned - real <= 1 + _ROUNDING_MIB):
                found.append(f"{row.machine}: {name} of {planned:.0f} MiB planned, {word} said, {real} real")
    return found
