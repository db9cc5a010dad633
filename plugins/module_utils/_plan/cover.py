# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines supply a set of devices: the fewest, the head always among them."""

from __future__ import annotations

import itertools
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine

# How many devices of each group, in the order of the groups.
Counts = Tuple[int, ...]


class Group(NamedTuple):
    """Devices that are alike: they can stand in for each other."""

    kind: str
    capacity_mib: int
    devices: Tuple[Device, ...]


class Cover:
    """The machines that supply devices of ``groups``, each set of devices looked for once."""

    def __init__(self, groups: Sequence[Group], machines: Sequence[Machine], head: str) -> None:
        self.groups = groups
        self.head = head
        self.single_device = all(len(m.devices) <= 1 for m in machines)
        self._machine_devices = {m.name: m.devices for m in machines}
        self._found: Dict[Counts, Tuple[int, Tuple[Tuple[Device, ...], ...]]] = {}

    def of(self, counts: Counts) -> Tuple[int, Tuple[Tuple[Device, ...], ...]]:
        """The number of the fewest machines, the head included, that have ``counts`` devices of each group; and those devices, by group."""
        if counts not in self._found:
            self._found[counts] = self._find(counts)
        return self._found[counts]

    def _find(self, counts: Counts) -> Tuple[int, Tuple[Tuple[Device, ...], ...]]:
        if self.single_device:
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
