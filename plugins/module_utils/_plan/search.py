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

import itertools
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import KV_TYPES, RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import BLOCKS, MIB, MemoryModelError, Model, mib_up, pad
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES, Accounts, DeviceMemory, HostMemory

POLICIES = ("fewest_machines", "most_headroom", "all_machines", "named_machines")
# Sets of devices beyond which the search keeps only the best of each size.
EXACT_STATES = 1 << 15
EXACT_STATES_ALL = 1 << 11
_BEAM = 48
# The head's own process besides the buffers counted here: measured between 60 and 250 MiB, mostly the vocabulary. Fitted.
HEAD_PROCESS_MIB = 300
CONTEXT_STEP = 256
# What a part beside the model is called.
BESIDE = {"draft": "draft model", "mmproj": "projector", "lora": "adapter"}
# Bits per weight of common quantisations of whole files, measured on a 70B (tools/quantize/README.md of llama.cpp).
QUANTISATIONS = (("Q8_0", 8.50), ("Q6_K", 6.56), ("Q5_K_M", 5.67), ("Q5_K_S", 5.52), ("Q4_K_M", 4.84), ("Q4_K_S", 4.57), ("IQ4_XS", 4.25),
                 ("Q3_K_L", 4.27), ("Q3_K_M", 3.89), ("Q3_K_S", 3.47), ("IQ3_XXS", 3.06), ("Q2_K", 2.96), ("IQ2_XXS", 2.06))


class PlanError(Exception):
    """No plan can be computed; the message is one sentence for the user."""


@dataclass(frozen=True)
class Device:
    machine: str
    name: str
    kind: str = "cuda"
    total_mib: int = 0
    free_mib: int = 0
    reserve_mib: int = 0
    description: str = ""
    # whether its memory is the machine's RAM, as of a GPU on the processor's chip
    shared_memory: bool = False
    # what llama-server itself takes of that memory where the head is this machine: with further devices, and alone
    host_mib: int = 0
    host_alone_mib: int = 0

    @property
    def capacity_mib(self) -> int:
        return self.free_mib - self.reserve_mib - self.host_mib

    def alone(self) -> "Device":
        """The device as the only one of a plan: llama-server needs less itself then."""
        return replace(self, host_mib=self.host_alone_mib)

    @property
    def label(self) -> str:
        return "%s/%s" % (self.machine, self.name)


@dataclass(frozen=True)
class Machine:
    name: str
    devices: Tuple[Device, ...] = ()
    ram_free_mib: Optional[int] = None


@dataclass(frozen=True)
class Placed:
    device: Device
    memory: DeviceMemory

    @property
    def headroom_mib(self) -> int:
        """What stays free besides the reserve, rounded down."""
        return (self.device.capacity_mib * MIB - self.memory.total_bytes) // MIB

    @property
    def n_slots(self) -> int:
        return self.memory.end_slot - self.memory.first_slot


@dataclass(frozen=True)
class Split:
    """Devices in the order llama.cpp is told, each with its run of slots."""

    placed: Tuple[Placed, ...]
    machines: int
    search: str = "exact"

    @property
    def headroom_mib(self) -> int:
        return min(p.headroom_mib for p in self.placed)


class _Class(NamedTuple):
    """Groups whose devices get equally far from every slot, for one headroom."""

    # the slot a run from each slot ends before
    reach: Tuple[int, ...]
    # its devices by their groups, the one to take first in front
    groups: Tuple[int, ...]
    # slots of the longest run that does not end the model, and by how many the longest that does is shorter
    most: int
    loss: int


class _Group(NamedTuple):
    """Devices that are alike: they can stand in for each other."""

    kind: str
    capacity_mib: int
    devices: Tuple[Device, ...]


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


class Search:
    """Finds the best split of one model over a set of devices."""

    def __init__(self, accounts: Accounts, machines: Sequence[Machine], head: str, everything: bool = False, quick: bool = False) -> None:
        self.accounts = accounts
        self.head = head
        self.n_slots = accounts.model.n_slots
        groups: Dict[Tuple[str, int], List[Device]] = {}
        # the head's devices first: they cost no further machine
        for machine in sorted(machines, key=lambda m: m.name != head):
            for device in machine.devices:
                groups.setdefault((device.kind, device.capacity_mib), []).append(device)
        self.groups = [_Group(kind, capacity, tuple(devices)) for (kind, capacity), devices in
                       sorted(groups.items(), key=lambda item: -item[0][1])]
        self.devices = [device for group in self.groups for device in group.devices]
        self.limits = tuple(min(len(group.devices), MAX_DEVICES) for group in self.groups)
        states = 1
        for limit in self.limits:
            states *= limit + 1
        self.exact = states <= (EXACT_STATES_ALL if everything or quick else EXACT_STATES)
        self.cuts: List[int] = []
        self._machine_devices = {m.name: tuple(m.devices) for m in machines}
        self._cover: Dict[Tuple[int, ...], Tuple[int, Tuple[Tuple[Device, ...], ...]]] = {}
        self._single_device = all(len(m.devices) <= 1 for m in machines)
        self._head_group = next((i for i, group in enumerate(self.groups) if any(d.machine == head for d in group.devices)), -1)
        self._classes: Dict[Tuple[int, bool], List[_Class]] = {}

    # -- which machines supply a set of devices ----------------------------------------------------------------------

    def cover(self, counts: Tuple[int, ...]) -> Tuple[int, Tuple[Tuple[Device, ...], ...]]:
        """The fewest machines, the head included, that have ``counts`` devices of each group; and those devices."""
        if counts not in self._cover:
            self._cover[counts] = self._cover_machines(counts)
        return self._cover[counts]

    def _cover_machines(self, counts: Tuple[int, ...]) -> Tuple[int, Tuple[Tuple[Device, ...], ...]]:
        if self._single_device:
            chosen = tuple(group.devices[:n] for group, n in zip(self.groups, counts))
            return len({self.head} | {d.machine for devices in chosen for d in devices}), chosen
        names = [n for n, devices in self._machine_devices.items() if devices and n != self.head]
        have = {name: self._per_group(self._machine_devices[name]) for name in names}
        left = tuple(max(0, n - own) for n, own in zip(counts, self._per_group(self._machine_devices.get(self.head, ()))))
        # equal machines are tried once
        kinds: Dict[Tuple[int, ...], List[str]] = {}
        for name in names:
            kinds.setdefault(have[name], []).append(name)
        for size in range(len(names) + 1):
            for combination in itertools.combinations_with_replacement(sorted(kinds, reverse=True), size):
                if any(combination.count(k) > len(kinds[k]) for k in set(combination)):
                    continue
                if all(sum(k[i] for k in combination) >= left[i] for i in range(len(left))):
                    pools = {k: iter(v) for k, v in kinds.items()}
                    taken = {self.head} | {next(pools[k]) for k in combination}
                    chosen = tuple(tuple(d for d in group.devices if d.machine in taken)[:n] for group, n in zip(self.groups, counts))
                    return size + 1, chosen
        return len(names) + 2, tuple(group.devices[:n] for group, n in zip(self.groups, counts))

    def _per_group(self, devices: Sequence[Device]) -> Tuple[int, ...]:
        return tuple(sum(1 for d in devices if (d.kind, d.capacity_mib) == (g.kind, g.capacity_mib)) for g in self.groups)

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

        ``full`` asks for every device, each with at least one slot. ``beam`` keeps only the best sets of each size.
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

    def counts_of(self, order: Sequence[int]) -> Tuple[int, ...]:
        counts = [0] * len(self.groups)
        for index in order:
            counts[index] += 1
        return tuple(counts)

    def machines_of(self, order: Sequence[int]) -> int:
        return self.cover(self.counts_of(order))[0]

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
            machines, chosen = self.cover(tuple(int(i == index) for i in range(len(self.groups))))
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
        machines, chosen = self.cover(self.counts_of(order))
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


@dataclass(frozen=True)
class Request:
    """Everything a plan depends on."""

    model: Model
    settings: RunSettings
    machines: Tuple[Machine, ...]
    head: str
    policy: str = "fewest_machines"
    named: Tuple[str, ...] = ()
    headroom_mib: int = 0
    # extra memory of the head's process, such as a multimodal projector that runs on the CPU
    host_extra_mib: int = 0
    # no machine has a device and the head's CPU is to run the model
    head_cpu: bool = False
    # what stands beside the model, place_beside.Beside
    beside: Any = None
    # whether the llama.cpp that will run is the one that the formulas were compared with
    compared: bool = False


@dataclass
class Plan:
    request: Request
    split: Optional[Split]
    fits: bool
    accounts: Accounts
    problems: List[str] = field(default_factory=list)
    largest_context: int = 0
    shortfall: Optional[Dict[str, Any]] = None
    ways_out: List[Dict[str, Any]] = field(default_factory=list)
    # no device at all: the head's CPU runs the model, and this is what its RAM has left, where its size is known
    on_head: bool = False
    headroom_mib: Optional[int] = None
    # the bound, or what is known of another llama.cpp, does not fit, and what is known exactly does
    may_fit: bool = False


def unsure_of(model: Model, settings: RunSettings) -> Tuple[str, ...]:
    """Why the plan of a model with these settings rests on a bound; empty where every figure is llama.cpp's own."""
    return model.unknown + (() if settings.flash_attention else ("compute buffers without flash attention",))


def check_settings(model: Model, settings: RunSettings) -> None:
    """Refuse what llama.cpp refuses."""
    if settings.context_size < 1 or settings.parallel < 1 or settings.ubatch < 1 or settings.batch < 1:
        raise PlanError("context size, slots, batch and micro batch must be at least 1")
    if settings.parallel > 256:
        raise PlanError("llama.cpp serves at most 256 slots, not %d" % settings.parallel)
    for name in (settings.type_k, settings.type_v):
        if name.lower() not in KV_TYPES:
            raise PlanError("'%s' is no type of a KV cache; choose one of %s" % (name, ", ".join(KV_TYPES)))
    if not settings.flash_attention and settings.type_v.lower() not in ("f32", "f16", "bf16"):
        raise PlanError("a quantised V cache needs flash attention")
    if any(layer.kind.mla for layer in model.layers) and settings.type_k.lower() != settings.type_v.lower():
        raise PlanError("this model's latent attention has one cache: llama.cpp wants the same type for K and V")
    for layer in model.layers:
        for type_name, row in ((settings.type_k, layer.k_row), (settings.type_v, layer.v_row)):
            if row % BLOCKS[type_name.lower()][0]:
                raise PlanError("a KV cache of type %s needs rows of a multiple of %d, this model's have %d" % (
                    type_name, BLOCKS[type_name.lower()][0], row))


def candidates(request: Request) -> List[Machine]:
    """The machines a policy may use; the head is always among them."""
    names = {m.name for m in request.machines}
    if request.head not in names:
        raise PlanError("the head %s is not among the machines" % request.head)
    unknown = [n for n in request.named if n not in names]
    if unknown:
        raise PlanError("%s is not among the machines" % unknown[0])
    if request.policy not in POLICIES:
        raise PlanError("'%s' is no policy; choose one of %s" % (request.policy, ", ".join(POLICIES)))
    if request.policy == "named_machines":
        if not request.named:
            raise PlanError("the policy named_machines needs the names of the machines")
        wanted = set(request.named) | {request.head}
        # a head that is not named still runs llama-server, but none of its devices is used
        return [m if m.name in request.named else replace(m, devices=()) for m in request.machines if m.name in wanted]
    return list(request.machines)


def with_host_share(request: Request, accounts: Accounts, device: Device) -> Device:
    """The device with what llama-server itself needs taken from its memory, where that is the head's RAM."""
    if not device.shared_memory or device.machine != request.head:
        return device
    several, alone = (_host_parts(accounts.host(by_itself), request)["total_mib"] for by_itself in (False, True))
    return replace(device, host_mib=several, host_alone_mib=alone)


def split_of(request: Request, accounts: Accounts, parts: Sequence[Tuple[Device, int]], search: str = "exact") -> Split:
    """Devices with their numbers of slots, in order, each with what its very layers take."""
    alone, at, placed = len(parts) == 1, 0, []
    for given, count in parts:
        device = with_host_share(request, accounts, given)
        placed.append(Placed(device.alone() if alone else device, accounts.exact(device.kind, at, at + count, alone)))
        at += count
    return Split(tuple(placed), len({request.head} | {p.device.machine for p in placed}), search)


def exactly(request: Request, accounts: Accounts, split: Split) -> Split:
    """A split of the search, which goes by what grows with every slot, with what its very layers take."""
    return split_of(request, accounts, [(p.device, p.n_slots) for p in split.placed], split.search)


def _machines_with_host_share(request: Request, accounts: Accounts, machines: Sequence[Machine]) -> List[Machine]:
    return [replace(m, devices=tuple(with_host_share(request, accounts, d) for d in m.devices)) for m in machines]


def find_split(request: Request, accounts: Accounts, machines: Sequence[Machine], at_least: Optional[int]) -> Optional[Split]:
    search = Search(accounts, _machines_with_host_share(request, accounts, machines), request.head,
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


def accounts_of(model: Model, settings: RunSettings) -> Accounts:
    """What is known of a model without asking llama.cpp."""
    return BoundAccounts(model, settings) if unsure_of(model, settings) else Accounts(model, settings)


def make_plan(request: Request, accounts: Optional[Accounts] = None, with_context: bool = True) -> Plan:
    """The best plan for a request, or what is missing and the cheapest ways to get there.

    ``accounts`` say what each run of layers takes; formulas or a bound, where they are not given. Without ``with_context`` the largest
    context is not looked for.
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
    plan.may_fit = (not plan.fits or bool(plan.problems)) and _may_fit(plan)
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


def least_beside(request: Request) -> Request:
    """The request with no more of what stands beside the model than is known exactly; the same one where that is all of it."""
    parts = request.beside.parts if request.beside is not None else []
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


def _least(plan: Plan) -> Optional[Tuple[Request, Accounts]]:
    """What is known exactly, where a plan rests on a bound, or on formulas and another llama.cpp will run."""
    model, request = plan.request.model, least_beside(plan.request)
    if unsure_of(model, request.settings):
        return request, BoundAccounts(model, request.settings, least=True)
    try:
        if not request.compared:
            return request, BoundAccounts(replace(model, unknown=("another llama.cpp",)), request.settings, least=True)
    except MemoryModelError:
        # it reads more of the header than the formulas do
        pass
    return None if request is plan.request else (request, plan.accounts)


def _may_fit(plan: Plan) -> bool:
    """Whether llama.cpp may well load a model that does not fit: what is known exactly fits."""
    known = _least(plan)
    if known is None:
        return False
    request, accounts = known
    split = plan.split if plan.fits else find_split(request, accounts, candidates(request), request.headroom_mib)
    return split is not None and not host_problems(replace(plan, request=request, accounts=accounts, split=split))


# -- the head's CPU alone ---------------------------------------------------------------------------------------------

def head_spare_mib(request: Request, accounts: Accounts) -> Optional[int]:
    """What the head's RAM has left when its CPU runs everything, None where its size is not known."""
    ram = next(m for m in request.machines if m.name == request.head).ram_free_mib
    if ram is None:
        return None
    return ram - _host_parts(accounts.host_alone(), request)["total_mib"]


def _plan_on_head(request: Request, accounts: Accounts, with_context: bool) -> Plan:
    spare = head_spare_mib(request, accounts)
    plan = Plan(request, None, spare is None or spare >= request.headroom_mib, accounts, on_head=True, headroom_mib=spare)
    if plan.fits:
        if with_context:
            plan.largest_context = estimated_context(plan)
        return plan
    known = _least(plan)
    if known is not None:
        least = head_spare_mib(*known)
        plan.may_fit = least is not None and least >= request.headroom_mib
    missing = request.headroom_mib - (spare or 0)
    plan.shortfall = {"machine": request.head, "device": "CPU", "missing_mib": missing, "total_missing_mib": missing}
    plan.problems = ["%s: its CPU alone needs about %d MiB of RAM%s, %d MiB more than are free" % (
        request.head, host_mib(plan)["total_mib"], " and %d MiB of headroom" % request.headroom_mib if request.headroom_mib else "", missing)]
    plan.ways_out = ways_out(request, request.machines)
    return plan


# -- what else would fit ----------------------------------------------------------------------------------------------

def _quick_fits(request: Request, machines: Sequence[Machine]) -> bool:
    """Whether a split leaves the wanted headroom: one walk instead of a search for the best.

    With very many different devices only the best sets are tried, which errs on the side of no.
    """
    accounts = accounts_of(request.model, request.settings)
    if request.head_cpu and not any(m.devices for m in machines):
        spare = head_spare_mib(request, accounts)
        return spare is None or spare >= request.headroom_mib
    full = request.policy in ("all_machines", "named_machines")
    search = Search(accounts, _machines_with_host_share(request, accounts, machines), request.head, full, quick=True)
    if not search.devices:
        return False
    if not full or len(search.devices) == 1:
        if any(s.headroom_mib >= request.headroom_mib for s in search.single_splits()):
            return True
    if full and len(search.devices) > min(MAX_DEVICES, accounts.model.n_slots):
        return False
    return len(search.devices) > 1 and search.possible(request.headroom_mib, 0, full) is not None


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
    return _estimated_context(request, machines, request.settings.context_size)


def _estimated_context(request: Request, machines: Sequence[Machine], least: int = 0) -> int:
    return largest_context(request, lambda n: _quick_fits(replace(request, settings=replace(request.settings, context_size=n)), machines), least)


def ways_out(request: Request, machines: Sequence[Machine]) -> List[Dict[str, Any]]:
    """Up to three changes that would make it fit, each on its own, cheapest first."""
    found: List[Dict[str, Any]] = []
    settings = request.settings
    for type_name in ("q8_0", "q4_0"):
        if settings.type_k.lower() in ("f16", "bf16", "f32") and settings.flash_attention:
            smaller = replace(settings, type_k=type_name, type_v=type_name)
            try:
                check_settings(request.model, smaller)
            except PlanError:
                continue
            if _quick_fits(replace(request, settings=smaller), machines):
                found.append({"change": "kv_type", "kv_type": type_name,
                              "text": "store the KV cache as %s (-ctk %s -ctv %s)" % (type_name, type_name, type_name)})
                break
    context = _estimated_context(request, machines)
    if 0 < context < settings.context_size:
        found.append({"change": "context_size", "context_size": context, "text": "a context of %d instead of %d" % (context, settings.context_size)})
    if settings.ubatch > 128:
        if _quick_fits(replace(request, settings=replace(settings, ubatch=128)), machines):
            found.append({"change": "ubatch", "ubatch": 128, "text": "a micro batch of 128 instead of %d (-ub 128): slower prompts" % settings.ubatch})
    smaller_file = _smaller_quantisation(request, machines)
    if smaller_file:
        found.append(smaller_file)
    bigger = _one_more_machine(request, machines)
    if bigger:
        found.append(bigger)
    return found[:3]


def _smaller_quantisation(request: Request, machines: Sequence[Machine]) -> Optional[Dict[str, Any]]:
    """The least change of the file's quantisation that fits, weights scaled as a whole."""
    model = request.model
    if not model.quantised_elements:
        return None
    bits = 8 * model.quantised_bytes / model.quantised_elements
    for name, wanted in sorted(QUANTISATIONS, key=lambda item: -item[1]):
        if wanted >= bits:
            continue
        factor = wanted / bits
        layers = tuple(replace(layer, weight_bytes={k: int(v * factor) for k, v in layer.weight_bytes.items()}) for layer in model.layers)
        scaled = replace(model, layers=layers, output_bytes={k: int(v * factor) for k, v in model.output_bytes.items()})
        if _quick_fits(replace(request, model=scaled), machines):
            size = int(model.file_size_bytes * factor)
            return {"change": "quantisation", "quantisation": name, "file_size_bytes": size,
                    "text": "a file quantised to about %s (%.1f bits per weight, some %.0f GB instead of %.0f)" % (
                        name, wanted, size / 1e9, model.file_size_bytes / 1e9)}
    return None


def _one_more_machine(request: Request, machines: Sequence[Machine]) -> Optional[Dict[str, Any]]:
    """How many more machines like the largest there is make it fit, or else the smallest device of one further machine that does."""
    devices = [d for m in machines for d in m.devices]
    if len(devices) >= MAX_DEVICES:
        return None
    model = max((m for m in machines if m.devices), key=lambda m: sum(d.free_mib for d in m.devices), default=None)
    if model is not None:
        for count in range(1, (MAX_DEVICES - len(devices)) // len(model.devices) + 1):
            more = [Machine("another%d" % n, tuple(replace(d, machine="another%d" % n) for d in model.devices)) for n in range(count)]
            if _quick_fits(request, list(machines) + more):
                each = " + ".join("%.0f" % (d.free_mib / 1024) for d in model.devices)
                return {"change": "machine", "machines": count, "like": model.name, "free_mib": sum(d.free_mib for d in model.devices),
                        "text": "%d more machine%s like %s (%s GiB free%s)" % (
                            count, "" if count == 1 else "s", model.name, each, "" if count == 1 else " each")}
    kind = devices[0].kind if devices else "cuda"
    reserve = max((d.reserve_mib for d in devices), default=0)

    def works(gib: int) -> bool:
        extra = Machine("another", (Device("another", "device", kind, gib * 1024, gib * 1024, reserve),))
        return _quick_fits(request, list(machines) + [extra])

    top = 1024
    if not works(top):
        return None
    need = top - largest(0, top - 1, lambda n: works(top - n))
    return {"change": "machine", "free_mib": need * 1024, "text": "one more machine with a device of %d GiB free" % need}


def _beside_alone(plan: Plan) -> List[Tuple[Device, Dict[str, Any]]]:
    """What stands beside the model on devices without layers, of which the search leaves nothing to judge."""
    holding = {p.device.label for p in plan.split.placed} if plan.split is not None else set()
    devices = {d.label: d for m in plan.request.machines for d in m.devices if d.label not in holding}
    parts = plan.request.beside.parts if plan.request.beside is not None else []
    return [(devices[label], part) for part in parts for label in ["%(machine)s/%(device)s" % part] if label in devices]


def host_problems(plan: Plan) -> List[str]:
    """The head's own RAM (input embeddings, its compute buffer, the results and the process), and devices that hold no layers and a part beside."""
    if plan.split is None:
        return []
    need = host_mib(plan)["total_mib"]
    head = next(m for m in plan.request.machines if m.name == plan.request.head)
    problems, alone = [], _beside_alone(plan)
    for device in dict.fromkeys(d for d, _part in alone):
        if device.free_mib < device.reserve_mib and (head.ram_free_mib is None or not _in_head_ram(plan, device)):
            parts = [part for other, part in alone if other is device]
            mib = sum(part["mib"] for part in parts)
            problems.append("%s: %s has no room for the %s: %d MiB and the reserve of %d MiB, %d MiB are free; name another device, or none for the RAM"
                            " of %s (%s)" % (device.machine, device.name, " and the ".join(BESIDE[part["for"]] for part in parts), mib,
                                             device.reserve_mib - mib, device.free_mib, head.name,
                                             ", ".join("cluster_plan_%s_device" % part["for"] for part in parts)))
    if any(p.device.machine == head.name and p.device.shared_memory for p in plan.split.placed):
        # Counted on that device already, whose memory is this RAM.
        return problems
    cpu = sum(mib_up(p.memory.total_bytes) for p in plan.split.placed if p.device.machine == head.name and p.device.kind == "cpu")
    if head.ram_free_mib is not None and need + cpu > head.ram_free_mib:
        problems.append("%s: llama-server needs about %d MiB of RAM, %d MiB are free" % (head.name, need + cpu, head.ram_free_mib))
    return problems


def _in_head_ram(plan: Plan, device: Device) -> bool:
    return device.shared_memory and device.machine == plan.request.head


def host_mib(plan: Plan) -> Dict[str, int]:
    if plan.on_head:
        return _host_parts(plan.accounts.host_alone(), plan.request)
    parts = _host_parts(plan.accounts.host(plan.split is not None and len(plan.split.placed) == 1), plan.request)
    more = sum(part["mib"] for device, part in _beside_alone(plan) if _in_head_ram(plan, device))
    return dict(parts, extra_mib=parts["extra_mib"] + more, total_mib=parts["total_mib"] + more)


def _host_parts(host: HostMemory, request: Request) -> Dict[str, int]:
    parts = {
        "weights_mib": mib_up(host.weight_bytes),
        "kv_mib": mib_up(host.context_bytes),
        "compute_mib": mib_up(host.compute_bytes),
        "output_mib": mib_up(host.output_bytes),
        "process_mib": HEAD_PROCESS_MIB,
        "extra_mib": request.host_extra_mib + mib_up(host.beside_bytes),
    }
    parts["total_mib"] = sum(parts.values())
    return parts
