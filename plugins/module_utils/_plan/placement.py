# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot llama.cpp puts on which device for a given split, and what each device then holds."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings, checkpoint_bytes, layer_context_bytes
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.graph import Share, compute_bytes, host_compute_bytes, lends_operation, lent_bytes
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import Model

# llama.cpp splits over at most 16 devices, the CPU included (ggml/src/ggml-backend.cpp, GGML_SCHED_MAX_BACKENDS)
MAX_DEVICES = 15

# How often a layer is repeated when its device graph is replayed: free blocks alternate with a period of two, and a lone
# layer was measured to need up to what two need.
_REPEAT = 4
_MANY_KINDS = 5


class DeviceMemory(NamedTuple):
    first_slot: int
    end_slot: int
    weight_bytes: int
    context_bytes: int
    compute_bytes: int
    # of what stands beside the model: adapters, the context of the model's own layers that draft
    beside_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.context_bytes + self.compute_bytes + self.beside_bytes


class HostMemory(NamedTuple):
    weight_bytes: int
    compute_bytes: int
    output_bytes: int
    context_bytes: int = 0
    beside_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.compute_bytes + self.output_bytes + self.context_bytes + self.beside_bytes


def _f32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def slot_devices(split: Sequence[float], n_slots: int) -> List[int]:
    """The device of every slot when everything is offloaded.

    src/llama-model.cpp, llama_model_base::load_tensors: a running sum of the split, normalised, in float32; slot i goes
    to the first device whose sum is above i / n_slots.
    """
    sums: List[float] = []
    total = 0.0
    for part in split:
        total = _f32(total + _f32(part))
        sums.append(total)
    sums = [_f32(s / total) for s in sums]
    return [bisect_right(sums, _f32(_f32(slot) / _f32(n_slots))) for slot in range(n_slots)]


class Accounts:
    """Memory of any run of slots on any kind of device, with everything that can be summed or remembered kept."""

    def __init__(self, model: Model, settings: RunSettings) -> None:
        self.model = model
        self.settings = settings
        self._sums: Dict[str, Tuple[List[int], List[int]]] = {}
        self._compute: Dict[Tuple[Any, ...], int] = {}
        self._shares: Dict[Tuple[str, Share], int] = {}
        self._totals: Dict[str, List[int]] = {}
        # a row as far as it was needed, and the ends at which the rest of it changes
        self._rows: Dict[Tuple[str, int], Tuple[List[int], List[int]]] = {}
        self._beside = [0]
        own = replace(settings, type_k=settings.draft_type_k, type_v=settings.draft_type_v)
        for slot, n_bytes in enumerate(model.beside or [0] * model.n_slots):
            if model.drafts and model.n_layer <= slot < len(model.layers):
                n_bytes += layer_context_bytes(model, own, slot, "cuda")
            self._beside.append(self._beside[-1] + n_bytes)
        self._kinds = [layer.kind for layer in model.layers[:model.n_layer]]
        self._ids: Dict[Any, int] = {}
        self._kind_ids = [self._ids.setdefault(kind, len(self._ids)) for kind in self._kinds]
        self._sets: Dict[Tuple[int, int], FrozenSet[int]] = {}
        # the slots whose device would run an operation of the layer before; the search charges for it everywhere
        self._borrow = {il + 1 for il, (kind, following) in enumerate(zip(self._kinds, self._kinds[1:]))
                        if lends_operation(settings, kind, following)}
        self._lender = max((self._kinds[il - 1] for il in self._borrow), key=lambda kind: lent_bytes(model, settings, kind),
                           default=None)
        self._where: List[List[int]] = [[] for _kind in self._ids]
        for il, index in enumerate(self._kind_ids):
            self._where[index].append(il)

    def prefix(self, kind: str) -> Tuple[List[int], List[int]]:
        """Bytes of weights and of caches of the slots before each slot, and of all."""
        if kind not in self._sums:
            weights, contexts = [0], [0]
            cache: Dict[Tuple[Any, ...], int] = {}
            for il, layer in enumerate(self.model.layers):
                weights.append(weights[-1] + layer.weight_bytes[kind])
                key = (layer.k_row, layer.v_row, layer.state_r, layer.state_s, layer.kind.cache)
                if key not in cache:
                    cache[key] = layer_context_bytes(self.model, self.settings, il, kind)
                # what drafts has its caches in another context
                contexts.append(contexts[-1] + (cache[key] if il < self.model.n_layer else 0))
            weights.append(weights[-1] + self.model.output_bytes[kind])
            contexts.append(contexts[-1])
            self._sums[kind] = weights, contexts
        return self._sums[kind]

    def device(self, kind: str, first: int, end: int, alone: bool) -> DeviceMemory:
        """Slots ``first`` to ``end`` (not included) on one device; the last slot is the output."""
        weights, contexts = self.prefix(kind)
        weight = weights[end] - weights[first]
        if first < len(self.model.layers):
            # rope frequencies: one copy per device that holds layers (TENSOR_DUPLICATED)
            weight += self.model.shared_bytes[kind]
        compute = self._compute_bytes(kind, first, end, alone)
        beside = self._beside[end] - self._beside[first] + self._beside_compute(kind, first, end, alone)
        return DeviceMemory(first, end, weight, contexts[end] - contexts[first], compute, beside)

    def _beside_compute(self, kind: str, first: int, end: int, alone: bool) -> int:
        """Bounds: what an adapter adds to a graph, and the graph of layers that draft, on each device that has one of them or the output.

        src/llama-graph.cpp, build_lora_mm: two more results beside the widest one. Layers that draft run as a graph of their own, from the
        embeddings and the model's last rows to the output, of one layer (src/models/*.cpp, graph_mtp): charged is that of one layer of the model.
        """
        tokens = self.settings.tokens
        extra = 2 * 4 * tokens * self.model.beside_width
        if self.model.drafts and end > self.model.n_layer:
            # the embeddings and the rows, four copies of each where there are several devices (ggml-backend.cpp, GGML_SCHED_MAX_COPIES)
            extra += 2 * 4 * 4 * tokens * self.model.n_embd + max(
                self._compute_of(kind, frozenset({index}), 1, True, True, True, alone) for index in set(self._kind_ids))
        return extra

    def exact(self, kind: str, first: int, end: int, alone: bool) -> DeviceMemory:
        """What ``device`` says, with the compute buffer of these very layers in their order.

        Never more than ``device``, which the search goes by because it grows with every slot; this is what llama.cpp takes.
        """
        n_layer = self.model.n_layer
        share = Share(tuple(self._kinds[first:min(end, n_layer)]), first == 0, end == self.model.n_slots, first < n_layer <= end, alone,
                      self._kinds[first - 1] if first < n_layer and first in self._borrow else None, end in self._borrow)
        return self.device(kind, first, end, alone)._replace(compute_bytes=compute_bytes(self.model, self.settings, share, kind))

    def total(self, kind: str, first: int, end: int, alone: bool) -> int:
        return self.device(kind, first, end, alone).total_bytes

    def most(self, kind: str) -> int:
        """As much as any run takes that is not alone."""
        return self.total(kind, 0, self.model.n_slots, False)

    def row(self, kind: str, first: int, room: Optional[int] = None) -> List[int]:
        """What ``total`` says of every run from ``first`` on, the shortest first, for several devices.

        Runs whose weights and caches alone do not fit into ``room`` bytes may be left out.
        """
        key = (kind, first)
        if key not in self._rows:
            self._rows[key] = [], self._changes(first)
        row, ends = self._rows[key]
        if not ends or (row and room is not None and row[-1] > room):
            return row
        if kind not in self._totals:
            self._totals[kind] = [w + c + b for w, c, b in zip(*self.prefix(kind), self._beside)]
        totals = self._totals[kind]
        fixed = (self.model.shared_bytes[kind] if first < len(self.model.layers) else 0) - totals[first]
        while ends and (room is None or totals[ends[0]] + fixed <= room):
            end = ends.pop(0)
            more = fixed + self._compute_bytes(kind, first, end, False) + self._beside_compute(kind, first, end, False)
            row += [total + more for total in totals[end:ends[0] if ends else None]]
        return row

    def _changes(self, first: int) -> List[int]:
        """The ends from which on a run from ``first`` may need another compute buffer, see _compute_bytes."""
        n_slots = self.model.n_slots
        changes = {first + 1, first + _REPEAT - 1, first + _REPEAT, self.model.n_layer, self.model.n_layer + 1, n_slots}
        if len(self._ids) <= _MANY_KINDS:
            for where in self._where:
                place = bisect_left(where, first)
                if place < len(where):
                    changes.add(where[place] + 1)
        return sorted(end for end in changes if first < end <= n_slots)

    def _compute_bytes(self, kind: str, first: int, end: int, alone: bool) -> int:
        n_layer = self.model.n_layer
        stop = min(end, n_layer)
        is_first, last = first == 0, end == self.model.n_slots
        ends = first < n_layer <= end
        present = self._present(first, stop)
        return self._compute_of(kind, present, max(2, min(stop - first, _REPEAT)), is_first, last, ends, alone)

    def _present(self, first: int, stop: int) -> FrozenSet[int]:
        if stop <= first:
            return frozenset()
        # the last layer counts by itself where the graph ends in it
        key = (first, stop)
        if key not in self._sets:
            # a model of many kinds of layers is charged for all of them everywhere: there are too many sets to measure
            part = self._kind_ids[first:stop] if len(self._ids) <= _MANY_KINDS else self._kind_ids
            self._sets[key] = frozenset(part)
        return self._sets[key]

    def _measure(self, kind: str, present: FrozenSet[int], count: int, is_first: bool, last: bool, ends: bool, alone: bool) -> int:
        """The largest buffer among the ways layers of these kinds follow each other in this model.

        A device is charged for the kinds it holds, not for their exact order: that keeps the charge from shrinking
        when a device is given one more layer, which the search for the best split relies on.
        """
        order = list(self._ids)
        best = 0
        for repeat in range(1, max(1, count) + 1):
            sequence: List[int] = []
            for index in self._kind_ids:
                if index in present and sequence[-repeat:] != [index] * repeat and len(sequence) < 8 * repeat:
                    sequence.append(index)
            sequence += [index for index in present if index not in sequence]
            if ends and sequence and sequence[-1] != self._kind_ids[-1]:
                sequence.append(self._kind_ids[-1])
            kinds = tuple(order[i] for i in sequence)
            share = Share(kinds, is_first, last, ends, alone, self._lender if not is_first and any(k.state_first for k in kinds) else None,
                          self._lender is not None and bool(kinds) and not ends)
            if (kind, share) not in self._shares:
                self._shares[kind, share] = compute_bytes(self.model, self.settings, share, kind)
            best = max(best, self._shares[kind, share])
        if 1 < len(present) <= _MANY_KINDS:
            # never less than with fewer kinds
            for index in present:
                fewer = present - {index}
                best = max(best, self._compute_of(kind, fewer, count, is_first, last, ends, alone))
        return best

    def _compute_of(self, kind: str, present: FrozenSet[int], count: int, is_first: bool, last: bool, ends: bool, alone: bool) -> int:
        key = (kind, present, count, is_first, last, ends, alone)
        if key not in self._compute:
            self._compute[key] = self._measure(kind, present, count, is_first, last, ends, alone)
        return self._compute[key]

    def checkpoint_bytes(self) -> int:
        """What one context checkpoint of one slot takes of the head's RAM."""
        return checkpoint_bytes(self.model, self.settings)

    def host(self, alone: bool) -> HostMemory:
        """The head's own CPU memory besides its process: input embeddings, the CPU's compute buffer, the results."""
        s = self.settings
        # src/llama-context.cpp, output_reserve: float32 logits per output, at least one per sequence
        outputs = 4 * self.model.n_vocab * max(s.parallel, s.output_rows if not s.as_fit_params else s.parallel)
        compute = host_compute_bytes(self.model, s, alone)
        beside = compute + 4 * self.model.n_vocab * s.parallel if self.model.drafts else 0
        return HostMemory(self.model.input_bytes, compute, outputs, 0, beside)

    def host_alone(self) -> HostMemory:
        """The same where there is no device at all and the head's CPU runs every layer.

        src/llama-model.cpp, load_tensors: without devices every layer is the CPU's, whatever -ngl says.
        """
        whole = self.device("cpu", 0, self.model.n_slots, True)
        compute = compute_bytes(self.model, self.settings, Share(tuple(self._kinds), True, True, True, True, on_head=True))
        weights = self.model.input_bytes + whole.weight_bytes - self.model.shared_with_input_bytes
        host = self.host(True)
        return HostMemory(weights, compute, host.output_bytes, whole.context_bytes, whole.beside_bytes + host.beside_bytes)


def split_memory(accounts: Accounts, counts: Sequence[int], kinds: Sequence[str]) -> Tuple[List[DeviceMemory], HostMemory]:
    """What each device holds when ``counts`` slots are given to the devices in order."""
    if sum(counts) != accounts.model.n_slots or len(kinds) != len(counts):
        raise ValueError("the counts sum to %d, the model has %d slots" % (sum(counts), accounts.model.n_slots))
    # llama.cpp pipelines when there is more than one device, used or not
    alone = len(counts) == 1
    out, at = [], 0
    for count, kind in zip(counts, kinds):
        out.append(accounts.exact(kind, at, at + count, alone) if count else DeviceMemory(at, at, 0, 0, 0))
        at += count
    return out, accounts.host(alone)
