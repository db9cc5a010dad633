# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to a plan: the best split, or what is missing and what would help."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.context import estimated_context
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import head_spare_mib, host_mib, host_problems
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.least import least_known, may_fit
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan, Split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError, Request, accounts_of, candidates, check_settings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import exactly, find_split, least_bad_split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ways_out import ways_out
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.words import kept_words


def make_plan(request: Request, accounts: Optional[Accounts] = None, with_context: bool = True) -> Plan:
    """The best plan for a request, or what is missing and the cheapest ways to get there.

    ``accounts`` say what each run of layers takes; formulas or a bound, where they are not given. Without ``with_context`` the largest
    context is not looked for. Raises PlanError.
    """
    check_settings(request.model, request.settings)
    machines = candidates(request)
    labels = [d.label for m in machines for d in m.devices]
    for label in labels:
        if labels.count(label) > 1:
            raise PlanError("the device %s is listed twice" % label)
    accounts = accounts or accounts_of(request.model, request.settings)
    if not labels:
        # of all machines, not of those the policy allows: a list that is empty by mistake must not become a slow server
        if not request.head_cpu or any(m.devices for m in request.machines):
            raise PlanError("none of the machines has a device to put layers on; list at least one (a worker's CPU counts as one), or,"
                            " where no machine has any, set head_cpu to let the CPU of %s run the model alone" % request.head)
        return _plan_on_head(request, accounts, with_context)
    split = find_split(request, accounts, machines, request.headroom_mib)
    plan = Plan(request, split and exactly(request, accounts, split), split is not None, accounts)
    if split is None:
        # it says where the memory is missing
        least_bad = least_bad_split(request, accounts, machines)
        if least_bad is not None:
            plan.split = exactly(request, accounts, least_bad)
            plan.shortfall = _shortfall(request, plan.split)
        plan.ways_out = ways_out(request, machines)
    elif with_context:
        plan.largest_context = estimated_context(plan)
    plan.problems = host_problems(plan)
    plan.may_fit = (not plan.fits or bool(plan.problems)) and may_fit(plan)
    return plan


def _shortfall(request: Request, split: Split) -> Dict[str, Any]:
    worst = min(split.placed, key=lambda p: p.headroom_mib)
    return {
        "machine": worst.device.machine, "device": worst.device.name, "missing_mib": request.headroom_mib - worst.headroom_mib,
        "total_missing_mib": sum(max(0, request.headroom_mib - p.headroom_mib) for p in split.placed),
    }


def settle(plan: Plan, split: Split) -> None:
    """Give a plan a split whose figures are known, and what they say of it, whatever was estimated."""
    request = plan.request
    plan.split, fits = split, split.headroom_mib >= request.headroom_mib
    if fits and not plan.fits:
        plan.shortfall, plan.ways_out, plan.largest_context = None, [], request.settings.context_size
    elif not fits:
        plan.shortfall, plan.largest_context = _shortfall(request, split), 0
        plan.ways_out = plan.ways_out or ways_out(request, candidates(request))
    plan.fits, plan.problems = fits, host_problems(plan)


def _plan_on_head(request: Request, accounts: Accounts, with_context: bool) -> Plan:
    spare = head_spare_mib(request, accounts)
    plan = Plan(request, None, spare is None or spare >= request.headroom_mib, accounts, on_head=True, headroom_mib=spare)
    if plan.fits:
        if with_context:
            plan.largest_context = estimated_context(plan)
        return plan
    known = least_known(plan)
    if known is not None:
        least = head_spare_mib(*known)
        plan.may_fit = least is not None and least >= request.headroom_mib
    missing = request.headroom_mib - (spare or 0)
    plan.shortfall = {"machine": request.head, "device": "CPU", "missing_mib": missing, "total_missing_mib": missing}
    host = host_mib(plan)
    plan.problems = ["%s: its CPU alone needs about %d MiB of RAM%s%s, %d MiB more than are free" % (
        request.head, host["total_mib"], kept_words(host), " and %d MiB of headroom" % request.headroom_mib if request.headroom_mib else "", missing)]
    plan.ways_out = ways_out(request, request.machines)
    return plan
