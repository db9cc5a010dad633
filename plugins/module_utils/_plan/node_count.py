# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many machines a model needs by the simple rule: its file size against what each machine's VRAM leaves free."""

from __future__ import annotations

import re
import typing as t
from decimal import Decimal, InvalidOperation

ORDERS = ("largest_first", "given")

_UNITS: t.Mapping[str, int] = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")

# No model is that small: a bare 40 is somebody who means gigabytes.
_SMALLEST_MODEL_BYTES = 10**5
# Nor has a machine that much VRAM (8 GPUs of 288 GB are 2304): a bare 24564 is somebody who read MiB off nvidia-smi.
_NO_MACHINE_GB = 3000


class NodeCountError(ValueError):
    """The question cannot be answered. One sentence without the final full stop."""


def size_bytes(value: t.Any, what: str, bare_unit: str) -> int:
    """Bytes from a number (in the bare unit) or a text such as 40 GB or 24564 MiB."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match:
            unit = match.group(2).lower()
            if unit not in _UNITS:
                raise NodeCountError(
                    "%s is '%s', whose unit is none of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB" % (what, value)
                )
            return int(Decimal(match.group(1)) * _UNITS[unit])
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise NodeCountError("%s is a %s, not a number or a text such as '40 GB'" % (what, type(value).__name__))
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation as exc:
        raise NodeCountError("%s is '%s', not a number or a text such as '40 GB'" % (what, value)) from exc
    if not number.is_finite() or number < 0:
        raise NodeCountError("%s is %s, but it cannot be negative or without bounds" % (what, value))
    if bare_unit == "gb" and number >= _NO_MACHINE_GB:
        raise NodeCountError("%s is %s without a unit, which would be GB, and no machine has that: write the unit, such as '%s MiB'" % (what, value, value))
    return int(number * _UNITS[bare_unit])


def _gb(size: int) -> str:
    return "%.1f GB" % (size / 10**9)


def node_count(size: t.Any, vram: t.Any, reserve: t.Any = 2, order: str = "largest_first") -> int:
    """The number of machines whose VRAM, less the reserve on each, holds the model."""
    if order not in ORDERS:
        raise NodeCountError("order is '%s', but must be one of %s" % (order, " and ".join(ORDERS)))
    model = size_bytes(size, "the model's size", "b")
    if model < _SMALLEST_MODEL_BYTES:
        raise NodeCountError(
            "the model's size is %d bytes, which no model is: write the unit, such as '%s GB'" % (model, size)
        )
    kept = size_bytes(reserve, "the reserve", "gb")
    if not isinstance(vram, (list, tuple)):
        usable = size_bytes(vram, "the VRAM per machine", "gb") - kept
        if usable <= 0:
            raise NodeCountError("a machine's VRAM less the reserve of %s leaves nothing for a model" % _gb(kept))
        return -(-model // usable)
    free = [size_bytes(item, "the VRAM of machine %d" % number, "gb") - kept for number, item in enumerate(vram, start=1)]
    # A machine that the reserve takes whole holds no layer, so it is none of the machines counted.
    free = [item for item in free if item > 0]
    if order == "largest_first":
        free.sort(reverse=True)
    held = 0
    for number, item in enumerate(free, start=1):
        held += item
        if held >= model:
            return number
    raise NodeCountError(
        "the model has %s, but the %d machines together hold %s after a reserve of %s on each"
        % (_gb(model), len(vram), _gb(held), _gb(kept))
    )
