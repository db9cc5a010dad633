# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster may stay as it was planned before.

Free memory moves by a few MiB all the time, and each move could make another split the best by as little. A running cluster
is not restarted for that: the earlier split stays while it fits and is no worse in what its policy promises.
"""

from __future__ import annotations

import hashlib
from typing import Any, Mapping, Optional

from ansible_collections.herd.llama_cpp.plugins.module_utils._placement import Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import Placed, Plan, Request, Split, with_host_share


def basis(request: Request) -> str:
    """A digest of what was asked for: the model, the settings and the policy, but not the machines' memory."""
    asked = (request.model, request.settings, request.head, request.policy, request.named, request.headroom_mib)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


def kept_split(request: Request, accounts: Accounts, best: Optional[Split], earlier: Mapping[str, Any]) -> Optional[Split]:
    """The earlier plan's split with today's memory, or None when it must not stay.

    It must not when something else was asked for, a device is gone or the split does not fit any more, when ``best`` needs
    fewer machines (policy fewest_machines), or uses other devices (the other policies).
    """
    if best is None or earlier.get("basis") != basis(request):
        return None
    devices = {(d.machine, d.name, d.kind): d for m in with_host_share(request, accounts, request.machines) for d in m.devices}
    try:
        wanted = [(devices[entry["machine"], entry["device"], entry["kind"]], int(entry["tensor_split"])) for entry in earlier["devices"]]
    except (KeyError, TypeError, ValueError):
        return None
    if not wanted or any(count < 1 for _device, count in wanted) or sum(count for _device, count in wanted) != accounts.model.n_slots:
        return None
    placed, at = [], 0
    for device, count in wanted:
        placed.append(Placed(device.alone() if len(wanted) == 1 else device, accounts.device(device.kind, at, at + count, len(wanted) == 1)))
        at += count
    split = Split(tuple(placed), len({request.head} | {p.device.machine for p in placed}), best.search)
    if split.headroom_mib < request.headroom_mib:
        return None
    if request.policy == "fewest_machines":
        return split if split.machines <= best.machines else None
    same = {p.device.label for p in split.placed} == {p.device.label for p in best.placed}
    return split if same else None


def keep_split(plan: Plan, earlier: Mapping[str, Any]) -> bool:
    """Give a plan that fits the earlier plan's split where that may stay; whether it did.

    A head that computes alone has no split, so that the same wish is the same plan.
    """
    if not plan.fits:
        return False
    if plan.on_head:
        return earlier.get("basis") == basis(plan.request) and not earlier.get("devices")
    split = kept_split(plan.request, plan.accounts, plan.split, earlier)
    if split is None:
        return False
    plan.split = split
    return True
