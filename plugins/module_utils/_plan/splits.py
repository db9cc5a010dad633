# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The split that a policy asks for: the best there is, the one that comes nearest, or whether there is one at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import head_spare_mib, machines_with_host_share, with_host_share
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES, Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Placed, Split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, PlanError, Request, accounts_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.search import Search


def find_split(request: Request, accounts: Accounts, machines: Sequence[Machine], at_least: Optional[int]) -> Optional[Split]:
    """The best split by the policy, None where none leaves ``at_least`` MiB on each device. Raises PlanError for more devices than there can be."""
    search = Search(accounts, machines_with_host_share(request, accounts, machines), request.head,
                    request.policy in ("all_machines", "named_machines"))
    if not search.devices:
        return None
    everyone = tuple(len(g.devices) for g in search.groups)
    if request.policy in ("all_machines", "named_machines"):
        if sum(everyone) > MAX_DEVICES:
            raise PlanError("llama.cpp splits a model over at most %d devices, these machines have %d" % (MAX_DEVICES, sum(everyone)))
        if sum(everyone) > accounts.model.n_slots:
            raise PlanError("the model has %d layers, too few for %d devices" % (accounts.model.n_slots, sum(everyone)))
        return search.best(full=True, at_least=at_least)
    if request.policy == "fewest_machines" and at_least is not None:
        ranks = [s.machines for s in search.single_splits() if s.headroom_mib >= at_least]
        order = search.possible(at_least) if len(search.devices) > 1 else None
        if order is not None:
            # the quick walk may need more machines than the thorough one
            thorough = search.walk(at_least, 0) if search.exact else None
            ranks.append(search.machines_of(thorough or order))
        return search.best(machines_limit=min(ranks), at_least=at_least) if ranks else None
    return search.best(at_least=at_least)


def least_bad_split(request: Request, accounts: Accounts, machines: Sequence[Machine]) -> Optional[Split]:
    """The split that comes nearest to fitting, on whatever machines the policy allows."""
    wide = request if request.policy in ("all_machines", "named_machines") else replace(request, policy="most_headroom")
    return find_split(wide, accounts, machines, None)


def quick_fits(request: Request, machines: Sequence[Machine]) -> bool:
    """Whether a split leaves the wanted headroom: one walk instead of a search for the best.

    With very many different devices only the best sets are tried, which errs on the side of no.
    """
    accounts = accounts_of(request.model, request.settings)
    if request.head_cpu and not any(m.devices for m in machines):
        spare = head_spare_mib(request, accounts)
        return spare is None or spare >= request.headroom_mib
    full = request.policy in ("all_machines", "named_machines")
    search = Search(accounts, machines_with_host_share(request, accounts, machines), request.head, full, quick=True)
    if not search.devices:
        return False
    if not full or len(search.devices) == 1:
        if any(s.headroom_mib >= request.headroom_mib for s in search.single_splits()):
            return True
    if full and len(search.devices) > min(MAX_DEVICES, accounts.model.n_slots):
        return False
    return len(search.devices) > 1 and search.possible(request.headroom_mib, 0, full) is not None


def split_of(request: Request, accounts: Accounts, parts: Sequence[Tuple[Device, int]], search: str = "exact") -> Split:
    """The split of devices, in order, with their numbers of slots, and of each what its very layers take."""
    alone, at, placed = len(parts) == 1, 0, []
    for given, count in parts:
        device = with_host_share(request, accounts, given)
        placed.append(Placed(device.alone() if alone else device, accounts.exact(device.kind, at, at + count, alone)))
        at += count
    return Split(tuple(placed), len({request.head} | {p.device.machine for p in placed}), search)


def exactly(request: Request, accounts: Accounts, split: Split) -> Split:
    """A split of the search, which goes by what grows with every slot, with what its very layers take."""
    return split_of(request, accounts, [(p.device, p.n_slots) for p in split.placed], split.search)
