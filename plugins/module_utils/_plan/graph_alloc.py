# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a compute graph needs on one device.

llama.cpp sizes a compute buffer by walking the graph once and handing out addresses: a tensor lives from the node that
makes it to its last reader, and some operations overwrite their input. The same walk is done here on a graph that holds
only the tensors that matter (weights and caches live in buffers of their own).

Source: ggml/src/ggml-alloc.c of llama.cpp b11434 (ggml_dyn_tallocr_alloc, ggml_dyn_tallocr_free_bytes,
ggml_gallocr_allocate_node, ggml_gallocr_alloc_graph_impl), for buffers of one chunk, which RPC, CUDA and CPU buffers are.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

_ENDLESS = 1 << 62


class Pool:
    """Best fit with coalescing; the last free block has no end. ``high_water`` is the size the buffer needs."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.high_water = 0
        self._free: List[List[int]] = [[0, _ENDLESS]]

    def _pad(self, size: int) -> int:
        return -(-size // self.alignment) * self.alignment

    def take(self, size: int) -> int:
        size = self._pad(size)
        best = len(self._free) - 1
        best_size = _ENDLESS + 1
        for index in range(len(self._free) - 1):
            have = self._free[index][1]
            if size <= have <= best_size:
                best, best_size = index, have
        block = self._free[best]
        offset = block[0]
        block[0] += size
        block[1] -= size
        if block[1] == 0:
            del self._free[best]
        self.high_water = max(self.high_water, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        size = self._pad(size)
        if not size:
            return
        for index, block in enumerate(self._free):
            if block[0] + block[1] == offset:
                block[1] += size
                if index + 1 < len(self._free) and block[0] + block[1] == self._free[index + 1][0]:
                    block[1] += self._free[index + 1][1]
                    del self._free[index + 1]
                return
            if offset + size == block[0]:
                block[0] = offset
                block[1] += size
                if index > 0 and self._free[index - 1][0] + self._free[index - 1][1] == block[0]:
                    self._free[index - 1][1] += block[1]
                    del self._free[index]
                return
            if block[0] > offset:
                self._free.insert(index, [offset, size])
                return
        self._free.append([offset, size])


class Tensor:
    """A tensor of the graph; ``root`` is the tensor a view looks into, ``kept`` forbids reuse and freeing."""

    __slots__ = ("size", "layout", "sources", "root", "in_place", "kept", "children", "views", "offset", "allocated", "placed")

    def __init__(self, size: int, layout: Tuple[Any, ...], sources: Sequence["Tensor"], root: Optional["Tensor"], in_place: bool, kept: bool) -> None:
        self.size = size
        self.layout = layout
        self.sources = list(sources)
        self.root = root
        self.in_place = in_place
        self.kept = kept
        self.children = 0
        self.views = 0
        self.offset = -1
        self.allocated = False
        self.placed = False


class Graph:
    """The part of the compute graph that runs on one device, node by node in execution order."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.leaves: List[Tensor] = []
        self.nodes: List[Tensor] = []

    def input(self, size: int, copies: int, layout: Tuple[Any, ...] = ()) -> Tensor:
        """A tensor that arrives from elsewhere.

        With pipeline parallelism (copies > 1) every copy is made first and never freed
        (ggml/src/ggml-backend.cpp, ggml_backend_sched_split_graph); without, it is an ordinary tensor.
        """
        first = Tensor(size, layout, (), None, False, copies > 1)
        # the copies onto a device are the first thing a part of the graph does
        self.leaves.append(first)
        if copies > 1:
            self.leaves.extend(Tensor(size, layout, (), None, False, True) for _n in range(copies - 1))
        return first

    def leaf(self, size: int) -> Tensor:
        """A tensor that is given memory at the start and keeps it."""
        tensor = Tensor(size, (), (), None, False, True)
        self.leaves.append(tensor)
        return tensor

    def op(self, sources: Sequence[Tensor], *shape: int, in_place: bool = False, item: int = 4, kept: bool = False) -> Tensor:
        size = item
        for n in shape:
            size *= n
        tensor = Tensor(size, shape, sources, None, in_place, kept)
        self.nodes.append(tensor)
        return tensor

    def view(self, source: Tensor, *shape: int, whole: bool = True) -> Tensor:
        """Another look at a tensor; ``whole=False`` is a part of it, whose layout equals no other tensor's."""
        root = source.root or source
        layout: Tuple[Any, ...] = shape if whole else ("part",) + shape + (id(source),)
        tensor = Tensor(0, layout, [source], root, False, False)
        self.nodes.append(tensor)
        return tensor

    def use(self, *sources: Tensor) -> None:
        """A node that reads tensors and writes into a buffer of its own (a cache, another device's copy)."""
        sink = Tensor(0, (), sources, None, False, True)
        sink.placed = True
        self.nodes.append(sink)

    def size_bytes(self) -> int:
        pool = Pool(self.alignment)
        for tensor in self.nodes:
            if tensor.root is not None:
                tensor.root.views += 1
            for source in tensor.sources:
                source.children += 1
        for tensor in self.leaves:
            self._place(pool, tensor)
        for tensor in self.nodes:
            for source in tensor.sources:
                self._place(pool, source)
            self._place(pool, tensor)
            for source in tensor.sources:
                source.children -= 1
                if source.children or source.views:
                    continue
                if source.root is not None:
                    source.root.views -= 1
                    if not source.root.views and not source.root.children:
                        self._free(pool, source.root)
                else:
                    self._free(pool, source)
        return pool.high_water

    def _place(self, pool: Pool, tensor: Tensor) -> None:
        if tensor.placed or tensor.root is not None:
            return
        tensor.placed = tensor.allocated = True
        if tensor.in_place:
            # a view is never taken over: it owns no memory (ggml_gallocr_is_own)
            for parent in tensor.sources:
                if parent.root is not None or parent.kept or not parent.allocated or parent.layout != tensor.layout:
                    continue
                if parent.children != 1 or parent.views:
                    continue
                tensor.offset = parent.offset
                parent.allocated = False
                return
        tensor.offset = pool.take(tensor.size)

    @staticmethod
    def _free(pool: Pool, tensor: Tensor) -> None:
        if tensor.allocated and not tensor.kept:
            pool.give(tensor.offset, tensor.size)
            tensor.allocated = False
