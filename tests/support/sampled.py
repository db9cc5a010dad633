# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of very many cases that only a real llama.cpp can answer a few, the same ones each time; with ``EVERY_CASE=1`` all of them.

And of what a Python computes alike whichever it is, a part with ``FEW_EXAMPLES=1``, which tools/test-versions sets for all but the first.
"""

from __future__ import annotations

import os
from typing import List, Sequence, TypeVar

T = TypeVar("T")
# Prime, and no divisor of the numbers of cases there are.
_STRIDE = 7


def every() -> bool:
    """Whether all of them are wanted."""
    return bool(os.environ.get("EVERY_CASE"))


def examples(number: int) -> int:
    """How many examples hypothesis tries where ``number`` are worth their time; a tenth of them with ``FEW_EXAMPLES=1``."""
    return max(2, number // 10) if os.environ.get("FEW_EXAMPLES") else number


def part(cases: Sequence[T]) -> Sequence[T]:
    """All of the recorded cases; with ``FEW_EXAMPLES=1`` each seventh."""
    return cases[::_STRIDE] if os.environ.get("FEW_EXAMPLES") else cases


def some(cases: Sequence[T], number: int, count: int = 1) -> List[T]:
    """``count`` of the cases, far from each other. The next ``number`` gets others, so that with enough numbers every case comes up."""
    if every():
        return list(cases)
    return [cases[(_STRIDE * number + len(cases) * turn // count) % len(cases)] for turn in range(count)]
