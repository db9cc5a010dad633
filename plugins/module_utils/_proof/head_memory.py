# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where llama-server (the head) put what, by its log: from the sizes of buffers to devices and their layers.

Formats: devices chosen in ``llama_prepare_model_devices`` (``src/llama.cpp``), layers and weights in ``load_tensors`` (``src/llama-model.cpp``),
KV cache in ``src/llama-kv-cache.cpp``, recurrent state in ``src/llama-memory-recurrent.cpp``, compute buffers in ``src/llama-context.cpp``; of
0.5.0 and build 11434, and as older builds back to the first with RPC had them (``llm_load_tensors:``, ``llama_kv_cache_init:``).

Only ``layer N assigned to device`` says where a layer is, and needs ``-lv 5``, which also prints every request's text, so it is nothing to
run a service with. At ``-lv 4`` the layers of a device follow from its share of the KV cache, except where the layers differ in size: then
they are None and not a guess.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

_USING_DEVICE = re.compile(r"using device (\S+?) \((.*)\) - +(\d+) MiB free$")
_DEVICE_ID = re.compile(r"^(.*?)\) \(([^()]*)$")
_DEVICE_INFO = re.compile(r"^(?:cmn\s+\S+:)?\s+- (\S+)\s*: (.*) \((\d+) MiB, (\d+) MiB free\)$")
_WEIGHTS = re.compile(r"load_tensors:\s+(\S+)\s+(?:model )?buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
_BUFFER = re.compile(r":\s+(\S+)\s+(KV|RS|DSV4 \S+ state|compute|output|LoRA)\s+buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
# What stands beside the model comes after it: what drafts (common/speculative.cpp), then a projector (tools/mtmd/clip.cpp).
_DRAFTS = re.compile(r"common_speculative_init_result: (?:loading draft model|creating MTP draft context)")
_PROJECTS = re.compile(r"clip_ctx: CLIP using (\S+) backend")
_PROJECTOR_SIZE = re.compile(r"load_hparams: model size:\s+(\d+(?:\.\d+)?) MiB")
_CACHE_SIZE = re.compile(r":\s+size\s*=\s*\d+(?:\.\d+)? MiB \(\s*\d+ cells,\s*(\d+) layers,")
_CACHE_SIZE_OLD = re.compile(r"KV self size\s*=")
# src/llama-kv-cache-dsa.cpp, -dsv4.cpp, -msa.cpp, llama-memory-hybrid-idx.cpp: of layers that have another cache already
_INDEXER_CACHE = re.compile(r"creating (?:\S+ )*\S*indexer KV cache")
_RPC_BUFFER = re.compile(r"^RPC(\d*)\[(.+)\]$")


@dataclass
class HeadDevice:
    """A device that the head uses, with what it put there. ``host`` is the head's own memory."""

    name: str
    kind: str
    endpoint: t.Optional[str] = None
    description: str = ""
    total_mib: t.Optional[int] = None
    free_mib: t.Optional[int] = None
    host: bool = False
    layers: t.Optional[int] = None
    holds_output: t.Optional[bool] = None
    weights_mib: t.Optional[float] = None
    kv_mib: t.Optional[float] = None
    recurrent_mib: t.Optional[float] = None
    compute_mib: t.Optional[float] = None
    output_mib: t.Optional[float] = None
    # of adapters, of what drafts, and of a projector, all of it together
    beside_mib: t.Optional[float] = None
    buffers: t.List[str] = field(default_factory=list)


class Placement(t.NamedTuple):
    """The devices, the workers' first and the head's own memory last, and how their layers are known: ``assigned``, ``kv`` or not at all."""

    devices: t.List[HeadDevice]
    layers_source: t.Optional[str]


@dataclass
class _Cache:
    """One cache (of several in some models) as printed: a size per buffer, then how many layers they are."""

    recurrent: bool
    indexer: bool = False
    sizes: t.List[t.Tuple[str, float]] = field(default_factory=list)
    n_layers: t.Optional[int] = None
    closed: bool = False


class Memory:
    """What a head's log says of devices and of the buffers on them, line by line, and then whose those are."""

    def __init__(self) -> None:
        self.used: t.List[HeadDevice] = []
        self.known: t.List[HeadDevice] = []  # all that the machine sees, used or not
        self.weights: t.List[t.Tuple[str, float]] = []
        self.output: t.List[t.Tuple[str, float]] = []
        self.compute: t.Dict[str, float] = {}
        self.caches: t.List[_Cache] = []
        self.indexer_follows = False
        # of what stands beside the model, by buffer and kind; what is read belongs to ``part``, the model where it is empty
        self.beside: t.Dict[t.Tuple[str, str], float] = {}
        self.part = ""
        self.projects_on = ""
        self.assigned: t.Dict[int, str] = {}

    # -- reading

    def read(self, words: str) -> bool:
        """Whether a line is of memory or of a device; then what it says is kept."""
        return self._read_beside(words) or self._read_buffer(words) or self._read_device(words)

    def _read_beside(self, words: str) -> bool:
        """Sizes of what stands beside the model, which must not count as the model's."""
        projects, size = _PROJECTS.search(words), _PROJECTOR_SIZE.search(words)
        if _DRAFTS.search(words):
            self.part = "draft"
        elif projects:
            self.part, self.projects_on = "projector", projects.group(1)
        elif size and self.projects_on:
            self.beside[self.projects_on, "projector weights"] = float(size.group(1))
        elif not (self.part and _CACHE_SIZE.search(words)):
            found = _BUFFER.search(words) or (_WEIGHTS.search(words) if self.part else None)
            if not found or not (self.part or "LoRA" in found.groups()):
                return False
            groups = found.groups()
            name, what, number = groups[0], groups[1] if len(groups) == 3 else "weights", float(groups[-1])
            if what == "LoRA":
                self.beside[name, what] = self.beside.get((name, what), 0.0) + number
            else:
                # a graph that is reserved again says so again, and recurrent states and caches of two lengths are several lines
                more = 0.0 if what == "compute" else self.beside.get((name, self.part + what), 0.0)
                self.beside[name, self.part + what] = more + number
        return True

    def _read_buffer(self, words: str) -> bool:
        weights = _WEIGHTS.search(words)
        if weights:
            self.weights.append((weights.group(1), float(weights.group(2))))
            return True
        buffer = _BUFFER.search(words)
        if buffer:
            name, what, size = buffer.group(1), buffer.group(2), float(buffer.group(3))
            if what == "compute":
                self.compute[name] = size  # printed again when the graph is reserved again
            elif what == "output":
                self.output.append((name, size))
            else:
                recurrent = what != "KV"
                if not self.caches or self.caches[-1].closed or self.caches[-1].recurrent != recurrent:
                    self.caches.append(_Cache(recurrent, self.indexer_follows and not recurrent))
                    self.indexer_follows = self.indexer_follows and recurrent
                self.caches[-1].sizes.append((name, size))
            return True
        if _INDEXER_CACHE.search(words):
            self.indexer_follows = True
            return True
        size_line = _CACHE_SIZE.search(words)
        if (size_line or _CACHE_SIZE_OLD.search(words)) and self.caches:
            self.caches[-1].closed = True
            if size_line:
                self.caches[-1].n_layers = int(size_line.group(1))
            return True
        return False

    def _read_device(self, words: str) -> bool:
        using = _USING_DEVICE.search(words)
        if using:
            name, rest, free = using.groups()
            # "(description) (id)"; builds without an id print the description alone, and it may have parentheses itself
            described = _DEVICE_ID.match(rest)
            device = _new_device(name, described.group(1) if described else rest)
            device.free_mib = int(free)
            if not any(item.name == name for item in self.used):
                self.used.append(device)
            return True
        info = _DEVICE_INFO.match(words)
        if info:
            device = _new_device(info.group(1), info.group(2))
            device.total_mib, device.free_mib = int(info.group(3)), int(info.group(4))
            self.known.append(device)
            return True
        return False

    # -- concluding

    def device_name(self, buffer: str) -> str:
        """The device of a buffer.

        RPC devices are named RPC0, RPC1 ... through all servers, but their buffers ``RPC<device of that server>[endpoint]``
        (``ggml_backend_rpc_buffer_type_name``), so two servers both have an RPC0[...].
        """
        match = _RPC_BUFFER.match(buffer)
        if not match:
            return "CPU" if _is_host(buffer) else buffer
        if not match.group(1):
            return buffer  # the old name of the device itself
        position, endpoint = int(match.group(1)), match.group(2)
        for devices in (self.known, self.used):
            there = [device.name for device in devices if device.endpoint == endpoint]
            if position < len(there) and (devices is self.known or len(there) == 1 or not self.known):
                return sorted(there, key=_trailing_number)[position]
        return buffer

    def label(self, buffer: str) -> str:
        """What a person calls the device of a buffer."""
        name = self.device_name(buffer)
        match = _RPC_BUFFER.match(buffer)
        if match:
            return "%s (the worker at %s)" % (name, match.group(2)) if name != buffer else "the worker at %s" % match.group(2)
        return "the head's own memory" if name == "CPU" else name

    def _entry(self, table: t.Dict[str, HeadDevice], buffer: str) -> HeadDevice:
        name = self.device_name(buffer)
        if name not in table:
            known = [device for device in self.known if device.name == name]
            match = _RPC_BUFFER.match(buffer)
            table[name] = known[0] if known else _new_device(name, match.group(2) if match else "")
        entry = table[name]
        if buffer not in entry.buffers:
            entry.buffers.append(buffer)
        return entry

    def _sizes(self) -> t.Iterator[t.Tuple[str, str, float]]:
        """Each size of a buffer in MiB, with the figure of its device that it is a part of."""
        for sizes, what in ((self.weights, "weights_mib"), (self.output, "output_mib"), (self.compute.items(), "compute_mib")):
            for buffer, size in sizes:
                yield buffer, what, size
        for (buffer, _kind), size in self.beside.items():
            yield buffer, "beside_mib", size
        for cache in self.caches:
            for buffer, size in cache.sizes:
                yield buffer, "recurrent_mib" if cache.recurrent else "kv_mib", size

    def place(self, n_layer: t.Optional[int], n_layer_all: t.Optional[int], offloaded: t.Optional[int]) -> Placement:
        """Every device with what is on it.

        ``n_layer`` are the model's layers as the log has them, ``n_layer_all`` with those that draft, ``offloaded`` those that it calls
        offloaded.
        """
        table: t.Dict[str, HeadDevice] = {}
        for device in self.used:
            known = [item for item in self.known if item.name == device.name]
            if known:
                device.total_mib = known[0].total_mib
            table[device.name] = device
        for buffer, what, size in self._sizes():
            entry = self._entry(table, buffer)
            setattr(entry, what, round((getattr(entry, what) or 0.0) + size, 2))
        # Own memory last: it is the head's, and a reader looks for the devices first.
        devices = [device for device in table.values() if not device.host] + [device for device in table.values() if device.host]
        source, counts = self._layers(n_layer, n_layer_all)
        if counts is not None:
            for device in devices:
                device.layers = counts.get(device.name, 0)
        holder = self._output_holder(devices, source, offloaded)
        if holder:
            for device in devices:
                device.holds_output = device.name == holder
        return Placement(devices, source)

    def _layers(self, n_layer: t.Optional[int], n_layer_all: t.Optional[int]) -> t.Tuple[t.Optional[str], t.Optional[t.Dict[str, int]]]:
        """How it is known and how many layers each device holds; nothing where the log does not tell."""
        if self.assigned:
            last = max(self.assigned)  # the output's slot
            if len(self.assigned) == last + 1 and (n_layer is None or last >= n_layer):
                counts: t.Dict[str, int] = {}
                for layer, name in self.assigned.items():
                    if layer != last:
                        counts[name] = counts.get(name, 0) + 1
                return "assigned", counts
        by_cache = self._layers_by_cache(n_layer, n_layer_all)
        return None if by_cache is None else "kv", by_cache

    def _layers_by_cache(self, n_layer: t.Optional[int], n_layer_all: t.Optional[int]) -> t.Optional[t.Dict[str, int]]:
        totals = {value for value in (n_layer, n_layer_all) if value}
        if not totals or not self.caches:
            return None
        own = [cache for cache in self.caches if not cache.recurrent and not cache.indexer]
        state = [cache for cache in self.caches if cache.recurrent]
        if len(own) == 1 and not state and own[0].n_layers is None:
            own[0].n_layers = n_layer  # builds that print "KV self size" do not say how many
        if any(cache.n_layers is None for cache in own) or len(state) > 1:
            return None
        held = sum(cache.n_layers or 0 for cache in own)
        if state:
            # The line of a recurrent cache counts the model's layers, not its own: they are those without a KV cache.
            state[0].n_layers = max(totals) - held
            groups = own + state
        elif held in totals:
            groups = own
        elif own and own[0].n_layers in totals:
            groups = own[:1]  # the others index the same layers
        else:
            return None
        counts: t.Dict[str, int] = {}
        for cache in groups:
            part = _share(cache)
            if part is None:
                return None
            for buffer, layers in part:
                name = self.device_name(buffer)
                counts[name] = counts.get(name, 0) + layers
        return counts

    def _output_holder(self, devices: t.List[HeadDevice], source: t.Optional[str], offloaded: t.Optional[int]) -> str:
        """The device of the output matrix, empty where the log does not tell."""
        if source == "assigned":
            return self.assigned[max(self.assigned)]
        if offloaded is None or not self.weights:
            return ""
        if offloaded == 0 or all(device.host for device in devices):
            return "CPU"
        # The output is the slot after the last layer, so it is on the last device in order that got any weights. Builds that do not print
        # the order leave it open.
        return next((device.name for device in reversed(self.used) if device.weights_mib), "")


def _share(cache: _Cache) -> t.Optional[t.List[t.Tuple[str, int]]]:
    """The layers behind each size, when all are of one size; else None."""
    total, n_layers = sum(size for _name, size in cache.sizes), cache.n_layers or 0
    if n_layers == 0 or total <= 0:
        return [] if n_layers == 0 else None
    one = total / n_layers
    slack = 0.02 + 0.01 / one  # the log rounds to a hundredth of a MiB
    if slack > 0.4:
        return None
    counts = [(name, size / one) for name, size in cache.sizes]
    if any(abs(count - round(count)) > slack for _name, count in counts):
        return None
    whole = [(name, int(round(count))) for name, count in counts]
    return whole if sum(count for _name, count in whole) == n_layers else None


def _is_host(buffer: str) -> bool:
    """Buffers in the head's own memory: CPU_Mapped, CPU_REPACK, the pinned CUDA_Host ..."""
    return buffer.split("_", 1)[0] == "CPU" or buffer.endswith("_Host") or buffer in ("AMX", "BLAS", "HBM", "Host")


def _trailing_number(name: str) -> int:
    match = re.search(r"(\d{1,9})$", name)
    return int(match.group(1)) if match else 0


def _new_device(name: str, description: str) -> HeadDevice:
    host = _is_host(name)
    old = re.match(r"^RPC\[(.+)\]$", name)
    if host:
        kind = "cpu"
    else:
        letters = re.match(r"[A-Za-z]+", name)
        kind = letters.group(0).lower() if letters else "unknown"
    endpoint = old.group(1) if old else (description if kind == "rpc" else None)
    return HeadDevice(name=name, kind=kind, endpoint=endpoint, description=description, host=host)
