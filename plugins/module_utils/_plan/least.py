# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that a model takes for certain, where its plan counts more than that.

A plan counts more where it rests on a bound, or on formulas while another llama.cpp will run, and with what stands beside the model. Where what
is certain fits and the plan does not, llama.cpp may well load the model, and only it can say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Optional, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import host_problems
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import MemoryModelError
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Request, candidates, unsure_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import find_split


def least_beside(request: Request) -> Request:
    """The request with no more of what stands beside the model than is known exactly; the same one where that is all of it."""
    if request.beside is None:
        return request
    parts = request.beside.parts
    spare: Dict[Tuple[str, str], int] = {}
    for part in parts:
        more = part["mib"] - part.get("least_mib", part["mib"])
        if more > 0:
            spare[part["machine"], part["device"]] = spare.get((part["machine"], part["device"]), 0) + more
    if not spare:
        return request
    machines = tuple(replace(m, devices=tuple(replace(d, reserve_mib=d.reserve_mib - spare.get((m.name, d.name), 0)) for d in m.devices))
                     for m in request.machines)
    beside = replace(request.beside, machines=list(machines), parts=[dict(part, mib=part.get("least_mib", part["mib"])) for part in parts])
    # of the head's RAM what lies there and what a device's part takes of it besides are one figure
    return replace(request, machines=machines, beside=beside, host_extra_mib=request.host_extra_mib - spare.get((request.head, ""), 0))


def least_known(plan: Plan) -> Optional[Tuple[Request, Accounts]]:
    """What is known exactly: the request and accounts of a plan that counts more than that, None where it counts no more."""
    model, request = plan.request.model, least_beside(plan.request)
    checkpoint_bytes = plan.accounts.checkpoint_bytes()
    if unsure_of(model, request.settings):
        return request, BoundAccounts(model, request.settings, least=True, checkpoint_bytes=checkpoint_bytes)
    try:
        if not request.compared:
            return request, BoundAccounts(replace(model, unknown=("another llama.cpp",)), request.settings, least=True, checkpoint_bytes=checkpoint_bytes)
    except MemoryModelError:
        # it reads more of the header than the formulas do
        pass
    return None if request is plan.request else (request, plan.accounts)


def may_fit(plan: Plan) -> bool:
    """Whether llama.cpp may well load a model that does not fit: what is known exactly fits."""
    known = least_known(plan)
    if known is None:
        return False
    request, accounts = known
    split = plan.split if plan.fits else find_split(request, accounts, candidates(request), request.headroom_mib)
    return split is not None and not host_problems(replace(plan, request=request, accounts=accounts, split=split))
