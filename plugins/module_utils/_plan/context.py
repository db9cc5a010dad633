# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest context that fits, without asking llama.cpp."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Sequence

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import pad
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Machine, Request, candidates
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import quick_fits

# src/llama-context.cpp pads the context of a sequence to as many tokens.
CONTEXT_STEP = 256


def largest(low: int, high: int, works: Callable[[int], bool]) -> int:
    """The largest n in (low, high] that works, low if none; works is true up to some n."""
    while high > low:
        middle = (low + high + 1) // 2
        if works(middle):
            low = middle
        else:
            high = middle - 1
    return low


def largest_context(request: Request, works: Callable[[int], bool], least: int = 0) -> int:
    """The largest context that ``works``, in steps of 256 per sequence from ``least`` up to what the model was trained for; else ``least``."""
    step = CONTEXT_STEP * (1 if request.settings.kv_unified else request.settings.parallel)
    most = max(1, pad(request.model.n_ctx_train or 1 << 20, CONTEXT_STEP) // CONTEXT_STEP)
    return max(least, step * largest(least // step, max(least // step, most), lambda n: works(n * step)))


def estimated_context(plan: Plan) -> int:
    """The largest context on the devices of a plan that fits, without asking llama.cpp; that of the plan is not too large, whatever an estimate says."""
    request, machines = plan.request, list(plan.request.machines)
    if plan.split is not None:
        used = {p.device.label for p in plan.split.placed}
        machines = [replace(m, devices=tuple(d for d in m.devices if d.label in used)) for m in candidates(request)]
    return context_that_fits(request, machines, request.settings.context_size)


def context_that_fits(request: Request, machines: Sequence[Machine], least: int = 0) -> int:
    """The largest context on these machines that fits, in tokens, without asking llama.cpp; ``least`` where none larger does."""
    return largest_context(request, lambda n: quick_fits(replace(request, settings=replace(request.settings, context_size=n)), machines), least)
