# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster may stay as it was planned before.

Free memory moves by a few MiB all the time, and each move could make another split the best by as little. A running cluster
is not restarted for that: the earlier split stays while it fits and is no worse in what its policy promises.
"""

from __future__ import annotations

import hashlib
from typing import Any, List, Mapping, Optional, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import host_problems
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan, Split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Request
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import split_of


def basis(request: Request) -> str:
    """A digest of what was asked for: the model, the settings and the policy, but not the machines' memory."""
    asked = (request.model, request.settings, request.head, request.policy, request.named, request.headroom_mib)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


def earlier_devices(request: Request, earlier: Mapping[str, Any]) -> List[Tuple[Device, int]]:
    """The devices of an earlier plan with their slots; none where something else was asked for, or a device is gone."""
    if earlier.get("basis") != basis(request):
        return []
    devices = {(d.machine, d.name, d.kind): d for m in request.machines for d in m.devices}
    try:
        wanted = [(devices[entry["machine"], entry["device"], entry["kind"]], int(entry["tensor_split"])) for entry in earlier["devices"]]
    except (KeyError, TypeError, ValueError):
        return []
    if any(count < 1 for _device, count in wanted) or sum(count for _device, count in wanted) != request.model.n_slots:
        return []
    return wanted


def kept_split(request: Request, accounts: Accounts, best: Optional[Split], earlier: Mapping[str, Any], stay: bool = False) -> Optional[Split]:
    """The earlier plan's split with today's memory, or None when it must not stay.

    It must not when something else was asked for, a device is gone or the split does not fit any more, when ``best`` needs
    fewer machines (policy fewest_machines), or uses other devices (the other policies). Where there is no ``best``, an estimate says that
    nothing fits: the earlier split stays if what it takes is known from llama.cpp itself. With ``stay`` it stays wherever it fits.
    """
    wanted = earlier_devices(request, earlier)
    if not wanted or (best is None and tuple(count for _device, count in wanted) not in getattr(accounts, "answers", {})):
        return None
    split = split_of(request, accounts, wanted, best.search if best else "exact")
    if split.headroom_mib < request.headroom_mib:
        return None
    if stay or best is None:
        return split
    if request.policy == "fewest_machines":
        return split if split.machines <= best.machines else None
    same = {p.device.label for p in split.placed} == {p.device.label for p in best.placed}
    return split if same else None


def keep_split(plan: Plan, earlier: Mapping[str, Any], stay: bool = False) -> bool:
    """Give a plan the earlier plan's split where that may stay, with ``stay`` wherever it fits; whether it did.

    A head that computes alone has no split, so that the same wish is the same plan.
    """
    if plan.on_head:
        return plan.fits and earlier.get("basis") == basis(plan.request) and not earlier.get("devices")
    split = kept_split(plan.request, plan.accounts, plan.split if plan.fits else None, earlier, stay)
    if split is None:
        return False
    plan.split = split
    plan.problems = host_problems(plan)
    if not plan.fits:
        plan.fits, plan.shortfall, plan.ways_out = True, None, []
        plan.largest_context = plan.request.settings.context_size
    return True
