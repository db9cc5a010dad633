# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that somebody else wrote, in a file or on the network, as it may reach a terminal, a journal or a table.

Nothing is imported here, and nothing but this function is meant to be: the watchdog's program takes this file along.
"""

from __future__ import annotations

import re
import typing as t

# ECMA-48: a control sequence (ESC [ ... letter), a string for the terminal itself (ESC ] ... BEL or ESC \\), and what has two letters.
_ESCAPE_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)


def printable(text: str, limit: t.Optional[int] = 80) -> str:
    """The text on one line, of letters that show: escape sequences are dropped, white space is a space, and all else a question mark.

    str.isprintable() knows Unicode's classes: control characters, marks that turn the direction of what follows, letters without width
    and halves of a pair are not printable. ``limit`` is the number of letters it may have; None is no limit.
    """
    if limit is not None:
        # What is never shown need not be cleaned, however much of it there is.
        cut = text[:8 * limit + 64]
        text = cut if len(cut) == len(text) else cut + "..."
    shown = "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in _ESCAPE_SEQUENCE.sub("", text)
    )
    return shown if limit is None or len(shown) <= limit else shown[: max(limit - 3, 0)] + "..."
