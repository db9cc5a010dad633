# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the machines, their order and their layers so that a model fits.

The memory of a run of consecutive layers on a device only grows with the run. So for a wanted headroom it is enough to
know, for each set of devices, how far they can get from the first layer on: the further the better. That is a dynamic
programme over sets of devices (equal devices counted, not named), and the best headroom is found by bisection.

Two things keep the sets few without leaving one out that matters. For a given headroom, devices of different size that
get equally far from everywhere are as good as equal. And a set is dropped when even the longest runs of the devices that
are left would not reach the end.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.cover import Counts, Cover, Group
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import MIB, mib_up
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES, Accounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Placed, Split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine

# Sets of devices beyond which the search keeps only the best of each size.
EXACT_STATES = 1 << 15
EXACT_STATES_ALL = 1 << 11
_BEAM = 48


class _Class(NamedTuple):
    """Groups whose devices get equally far from every slot, for one headroom."""

    # the slot a run from each slot ends before
    reach: Tuple[int, ...]
    # its devices by their groups, the one to take first in front
    groups: Tuple[int, ...]
    # slots of the longest run that does not end the model, and by how many the longest that does is shorter
    most: int
    loss: int


def _bits(number: int) -> Iterator[int]:
    """The places of the bits that are set, the lowest first."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


class Search:
    """Finds the best split of one model over a set of devices.

    A device is known by its group; in an order of groups each stands for any device of it. ``everything`` says that all devices are to be used,
    ``quick`` that an answer which may err is better than a slow one: of many different devices fewer sets are tried then.
    """

    def __init__(self, accounts: Accounts, machines: Sequence[Machine], head: str, everything: bool = False, quick: bool = False) -> None:
        self.accounts = accounts
        self.n_slots = accounts.model.n_slots
        groups: Dict[Tuple[str, int], List[Device]] = {}
        # the head's devices first: they cost no further machine
        for machine in sorted(machines, key=lambda m: m.name != head):
            for device in machine.devices:
                groups.setdefault((device.kind, device.capacity_mib), []).append(device)
        self.groups = [Group(kind, capacity, tuple(devices)) for (kind, capacity), devices in
                       sorted(groups.items(), key=lambda item: -item[0][1])]
        self.devices = [device for group in self.groups for device in group.devices]
        self.limits = tuple(min(len(group.devices), MAX_DEVICES) for group in self.groups)
        states = 1
        for limit in self.limits:
            states *= limit + 1
        self.exact = states <= (EXACT_STATES_ALL if everything or quick else EXACT_STATES)
        self.cuts: List[int] = []
        self.cover = Cover(self.groups, machines, head)
        self._single_device = self.cover.single_device
        self._head_group = next((i for i, group in enumerate(self.groups) if any(d.machine == head for d in group.devices)), -1)
        self._classes: Dict[Tuple[int, bool], List[_Class]] = {}

    # -- how far devices get -----------------------------------------------------------------------------------------

    def furthest(self, group: int, first: int, headroom_mib: int) -> int:
        """The end of the longest run from ``first`` that leaves ``headroom_mib`` on a device of ``group``."""
        kind, capacity, _devices = self.groups[group]
        room = (capacity - headroom_mib) * MIB
        return first + bisect_right(self.accounts.row(kind, first, room), room)

    def classes(self, headroom_mib: int, merge: bool) -> List[_Class]:
        """Devices by how far they get, the strongest first; without ``merge`` a class for each group."""
        key = (headroom_mib, merge)
        if key not in self._classes:
            self._classes = {key: self._make_classes(headroom_mib, merge)}
        return self._classes[key]

    def _make_classes(self, headroom_mib: int, merge: bool) -> List[_Class]:
        n = self.n_slots
        alike: Dict[Any, List[int]] = {}
        reaches: List[Tuple[int, ...]] = []
        for index, limit in enumerate(self.limits):
            reach = tuple(self.furthest(index, first, headroom_mib) for first in range(n))
            reaches.append(reach)
            alike.setdefault(reach if merge else index, []).extend([index] * limit)
        found = []
        for groups in alike.values():
            # the head's device costs no further machine
            groups.sort(key=lambda index: index != self._head_group)
            reach = reaches[groups[0]]
            most = max(min(end, n - 1) - first for first, end in enumerate(reach))
            last = max((n - first for first, end in enumerate(reach) if end == n), default=0)
            found.append(_Class(reach, tuple(groups), most, most - last))
        return sorted(found, key=lambda c: -c.most)

    def walk(self, headroom_mib: int, machines_limit: int, full: bool = False, beam: int = 0) -> Optional[List[int]]:
        """An order of groups that reaches the end with two devices or more, or None.

        ``full`` asks for every device, each with at least one slot. ``beam`` keeps only the best sets of each size, ``machines_limit`` those of no
        more machines; 0 is no limit.
        A set of devices is a number in a mixed radix, so that adding a device is adding its class's stride.
        """
        if full and self.exact:
            return self.walk_all(headroom_mib)
        # where machines have several devices, which of two different ones is taken decides how many machines serve
        classes = self.classes(headroom_mib, self._single_device and not full)
        strides, stride = [], 1
        for item in classes:
            strides.append(stride)
            stride *= len(item.groups) + 1
        steps = [(number, strides[number], len(item.groups), item.reach) for number, item in enumerate(classes)]
        head_class = next((number for number, item in enumerate(classes) if self._head_group in item.groups), -1)
        total = sum(self.limits)
        devices_limit = min(total, MAX_DEVICES)
        if machines_limit and self._single_device:
            devices_limit = min(devices_limit, machines_limit)
        frontier: Dict[int, Tuple[int, Tuple[int, ...]]] = {0: (0, ())}
        best: Optional[Tuple[int, List[int]]] = None
        for used in range(1, devices_limit + 1):
            # the first of several devices cannot take everything; with ``full`` each later one needs a slot
            most = self.n_slots - (total - used) if full else self.n_slots - (used == 1)
            after: Dict[int, Tuple[int, Tuple[int, ...]]] = {}
            for state, (position, order) in frontier.items():
                if not full and not self._can_end(classes, strides, state, position, devices_limit - used + 1):
                    continue
                for number, weight, count, reach in steps:
                    if state // weight % (count + 1) == count:
                        continue
                    end = reach[position]
                    if end > most:
                        end = most
                    if end <= position:
                        continue
                    new = state + weight
                    if new in after and after[new][0] >= end:
                        continue
                    if machines_limit and self._machines(order + (number,), classes, head_class) > machines_limit:
                        continue
                    after[new] = (end, order + (number,))
            finished = [order for end, order in after.values() if end == self.n_slots] if used > 1 and (not full or used == total) else []
            for order in finished:
                rank = self._machines(order, classes, head_class)
                if best is None or rank < best[0]:
                    best = rank, self._group_order(order, classes)
            # with single-device machines more devices never means fewer machines
            if best is not None and (machines_limit or full or self._single_device or best[0] == 1):
                break
            if beam and len(after) > beam:
                after = dict(sorted(after.items(), key=lambda item: -item[1][0])[:beam])
            frontier = {state: value for state, value in after.items() if value[0] < self.n_slots}
            if not frontier:
                break
        return best[1] if best is not None else None

    def _can_end(self, classes: Sequence[_Class], strides: Sequence[int], state: int, position: int, more: int) -> bool:
        """Whether ``more`` of the devices that are left could reach the end if each had its longest run."""
        loss = self.n_slots
        for item, stride in zip(classes, strides):
            left = len(item.groups) - state // stride % (len(item.groups) + 1)
            if not left:
                continue
            # classes come with the longest runs first; the one that ends the model is any of those left
            position += item.most * min(left, more)
            more -= min(left, more)
            loss = min(loss, item.loss)
            if position - loss >= self.n_slots:
                return True
        return False

    def _machines(self, order: Sequence[int], classes: Sequence[_Class], head_class: int) -> int:
        if self._single_device:
            return len(order) + (head_class not in order)
        return self.machines_of(self._group_order(order, classes))

    @staticmethod
    def _group_order(order: Sequence[int], classes: Sequence[_Class]) -> List[int]:
        pools = [iter(item.groups) for item in classes]
        return [next(pools[number]) for number in order]

    def walk_all(self, headroom_mib: int) -> Optional[List[int]]:
        """Like ``walk`` with every device used.

        A device that must hold something may want the cheap layers, so that further is not always better: all ends that
        a set of devices can reach are kept, as bits. The cuts found are left in ``self.cuts``.
        """
        strides, stride = [], 1
        for limit in self.limits:
            strides.append(stride)
            stride *= limit + 1
        total, n = sum(self.limits), self.n_slots
        levels: List[Dict[int, int]] = [{0: 1}]
        for _used in range(total):
            after: Dict[int, int] = {}
            for state, ends in levels[-1].items():
                for index, limit in enumerate(self.limits):
                    if state // strides[index] % (limit + 1) < limit:
                        bits = self._steps(index, ends, headroom_mib)
                        if bits:
                            after[state + strides[index]] = after.get(state + strides[index], 0) | bits
            levels.append(after)
        state = stride - 1
        if not levels[total].get(state, 0) >> n & 1:
            return None
        order, cuts, end = [], [n], n
        for used in range(total, 0, -1):
            index, start = next(
                (index, start) for index in range(len(self.limits)) if state // strides[index] % (self.limits[index] + 1)
                for start in _bits(levels[used - 1].get(state - strides[index], 0))
                if start < end <= self.furthest(index, start, headroom_mib))
            order.append(index)
            cuts.append(start)
            state, end = state - strides[index], start
        self.cuts = cuts[::-1]
        return order[::-1]

    def _steps(self, index: int, ends: int, headroom_mib: int) -> int:
        """All ends a device of a group can reach from a set of starts."""
        reached = 0
        for start in _bits(ends):
            if start < self.n_slots:
                reached |= (2 << self.furthest(index, start, headroom_mib)) - (2 << start)
        return reached

    def counts_of(self, order: Sequence[int]) -> Counts:
        """How many devices of each group an order of groups has."""
        counts = [0] * len(self.groups)
        for index in order:
            counts[index] += 1
        return tuple(counts)

    def machines_of(self, order: Sequence[int]) -> int:
        """How many machines supply an order of groups, the head among them."""
        return self.cover.of(self.counts_of(order))[0]

    def possible(self, headroom_mib: int, machines_limit: int = 0, full: bool = False) -> Optional[List[int]]:
        """``walk``, trying the best sets first: a success there saves looking at all of them."""
        found = self.walk(headroom_mib, machines_limit, full, _BEAM)
        if found is None and self.exact:
            found = self.walk(headroom_mib, machines_limit, full)
        return found

    # -- the best split ----------------------------------------------------------------------------------------------

    def alone(self, machines_limit: int = 0) -> Optional[Split]:
        """The best single device, without pipeline copies."""
        splits = [s for s in self.single_splits() if not machines_limit or s.machines <= machines_limit]
        return max(splits, key=lambda s: (s.headroom_mib, -s.machines)) if splits else None

    def single_splits(self) -> List[Split]:
        """The whole model on one device, for each kind of device."""
        splits = []
        for index, group in enumerate(self.groups):
            machines, chosen = self.cover.of(tuple(int(i == index) for i in range(len(self.groups))))
            splits.append(Split((Placed(chosen[index][0].alone(), self.accounts.device(group.kind, 0, self.n_slots, True)),), machines))
        return splits

    def bounds(self) -> Tuple[int, int]:
        """Headrooms that surely work and surely do not, in MiB."""
        largest = max(g.capacity_mib for g in self.groups)
        smallest = min(g.capacity_mib for g in self.groups)
        whole = max(mib_up(self.accounts.most(kind)) for kind in {g.kind for g in self.groups})
        return smallest - whole - 1, largest + 1

    def best(self, machines_limit: int = 0, full: bool = False, at_least: Optional[int] = None) -> Optional[Split]:
        """The split with the most headroom; with ``at_least``, only if that much is possible."""
        if not self.groups:
            return None
        several: Optional[Split] = None
        if len(self.devices) > 1:
            low, high = self.bounds()
            low = low if at_least is None else at_least
            order = self.possible(low, machines_limit, full)
            if order is not None:
                # bisect among the best sets, then prove with all sets that one MiB more is impossible
                low, order = self._bisect(low, high, order, lambda h: self.walk(h, machines_limit, full, _BEAM))
                step = 1
                while self.exact and low < high:
                    found = self.walk(low + step, machines_limit, full)
                    if found is None:
                        if step == 1:
                            break
                        low, order = self._bisect(low, low + step, order, lambda h: self.walk(h, machines_limit, full))
                        break
                    low, order, step = low + step, found, 2 * step
                several = self.lay_out(order, low, full)
        single = None if full and len(self.devices) > 1 else self.alone(machines_limit)
        options = [s for s in (single, several) if s is not None and (at_least is None or s.headroom_mib >= at_least)]
        return max(options, key=lambda s: (s.headroom_mib, -s.machines, -len(s.placed))) if options else None

    @staticmethod
    def _bisect(low: int, high: int, order: List[int], walk: Callable[[int], Optional[List[int]]]) -> Tuple[int, List[int]]:
        while high - low > 1:
            middle = (low + high) // 2
            found = walk(middle)
            if found is None:
                high = middle
            else:
                low, order = middle, found
        return low, order

    def lay_out(self, order: Sequence[int], headroom_mib: int, full: bool) -> Split:
        """Name the devices of an order of groups and even out their headroom without lowering the smallest."""
        machines, chosen = self.cover.of(self.counts_of(order))
        pools = [list(devices) for devices in chosen]
        devices = [pools[index].pop(0) for index in order]
        if full and self.exact:
            self.walk_all(headroom_mib)
            cuts = list(self.cuts)
        else:
            cuts = [0]
            for number, index in enumerate(order):
                cuts.append(min(self.furthest(index, cuts[-1], headroom_mib), self.n_slots - (len(order) - number - 1)))
            cuts[-1] = self.n_slots
        cuts = self._even_out(devices, cuts)
        placed = tuple(Placed(device, self.accounts.device(device.kind, cuts[i], cuts[i + 1], False)) for i, device in enumerate(devices))
        return Split(placed, machines, "exact" if self.exact else "beam")

    def _even_out(self, devices: Sequence[Device], cuts: List[int]) -> List[int]:
        def headroom(i: int, lo: int, hi: int) -> int:
            return devices[i].capacity_mib * MIB - self.accounts.total(devices[i].kind, lo, hi, False)

        for _round in range(4 * self.n_slots):
            moved = False
            for i in range(len(devices) - 1):
                left, cut, right = cuts[i], cuts[i + 1], cuts[i + 2]
                now = min(headroom(i, left, cut), headroom(i + 1, cut, right))
                for new in (cut - 1, cut + 1):
                    if left < new < right and min(headroom(i, left, new), headroom(i + 1, new, right)) > now:
                        cuts[i + 1] = new
                        moved = True
                        break
            if not moved:
                break
        return cuts
