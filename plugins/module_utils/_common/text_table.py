# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of values as aligned lines of text for a terminal."""

from __future__ import annotations

import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

_LONGEST = 300


class TableError(ValueError):
    """The rows or columns cannot make a table."""


def _cell(value: t.Any, decimals: int) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "%.*f" % (decimals, value)
    return " ".join(printable(str(value), _LONGEST).split())


def table_lines(rows: t.Any, columns: t.Mapping[str, str], decimals: int = 2) -> t.List[str]:
    """A heading, a rule and one line per row; numbers to the right, text to the left, unknown as ``-``.

    ``columns`` maps each row's key to the column's heading, in the order the columns shall have.
    """
    if not columns:
        raise TableError("no columns are given")
    if isinstance(rows, (str, bytes, t.Mapping)) or not isinstance(rows, t.Iterable):
        raise TableError("expected a list of rows, got a %s" % type(rows).__name__)
    table = [[printable(str(heading), _LONGEST) for heading in columns.values()]]
    numeric = [True] * len(columns)
    for position, row in enumerate(rows, start=1):
        if not isinstance(row, t.Mapping):
            raise TableError("row %d is a %s, not a mapping" % (position, type(row).__name__))
        values = [row.get(key) for key in columns]
        for index, value in enumerate(values):
            if value not in (None, "") and (isinstance(value, bool) or not isinstance(value, (int, float))):
                numeric[index] = False
        table.append([_cell(value, decimals) for value in values])
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]

    def joined(line: t.Sequence[str]) -> str:
        cells = [
            text.rjust(width) if right else text.ljust(width) for text, width, right in zip(line, widths, numeric)
        ]
        return "  ".join(cells).rstrip()

    return [joined(table[0]), "  ".join("-" * width for width in widths)] + [joined(line) for line in table[1:]]
