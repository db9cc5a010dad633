# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of what stands beside the model, before llama.cpp is asked: bounds, in bytes, from headers alone.

Two kinds. What lies where the model's layers lie (their adapters, the context of layers that draft) becomes a part of the model here, slot
by slot. What lies on one device (a draft model, a projector) is a figure for that device or for the head's RAM. Sources are those of
llama.cpp b11434.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, List, Mapping, Sequence

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import Layer, MemoryModelError, Model, pad
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts

# The largest alignment of a buffer's tensors: CUDA's and Vulkan's.
_ALIGN = 256
_LAYER = re.compile(r"blk\.([0-9]{1,9})\.")
# Patches of the largest picture that is taken as one, where the header does not say (tools/mtmd/clip.cpp, set_limit_image_tokens: up to
# 4096 tokens of four patches). A guess for the projectors that b11434 knows.
_PATCHES = 16384


@dataclass(frozen=True)
class Lone:
    """What a draft model or a projector takes: on a device of its own, or all of it in the head's RAM; and in the head's RAM besides.

    All of that is a bound. ``least_bytes`` it takes in any case, wherever it lies: its weights.
    """

    on_cuda_bytes: int
    on_cpu_bytes: int
    alone_bytes: int
    least_bytes: int
    host_bytes: int = 0

    def device_bytes(self, kind: str) -> int:
        return self.on_cuda_bytes if kind == "cuda" else self.on_cpu_bytes


def _slots(model: Model) -> List[int]:
    return list(model.beside) or [0] * model.n_slots


def with_adapter(model: Model, tensors: Sequence[Any]) -> Model:
    """A LoRA adapter's tensors lie beside those that they adapt (src/llama-adapter.cpp, llama_adapter_lora_init_impl)."""
    slots, widest = _slots(model), 0
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        slot = int(match.group(1)) if match else model.n_slots - 1
        if slot >= model.n_slots:
            raise MemoryModelError("the adapter has a tensor of layer %d, and the model has %d layers" % (slot, len(model.layers)))
        # those of the input embeddings lie in the head's RAM; a bound counts them with the output
        slots[slot] += pad(tensor.size_bytes, _ALIGN)
        if tensor.name.endswith(".lora_b") and len(tensor.shape) > 1:
            widest = max(widest, int(tensor.shape[0]) + int(tensor.shape[1]))
    return replace(model, beside=tuple(slots), beside_width=max(model.beside_width, widest))


def with_own_drafting(model: Model, metadata: Mapping[str, Any], tensors: Sequence[Any]) -> Model:
    """The layers that predict further tokens are loaded, and get a context of their own (common/speculative.cpp).

    Their weights are among the model's (src/models/*.cpp: TENSOR_SKIP without load_mtp), their caches in a context that holds them alone
    (src/llama-model.cpp, create_memory: the filter of LLAMA_CONTEXT_TYPE_MTP), where they are charged in full whatever the other layers do.
    ``tensors`` are the model's. Raises MemoryModelError for a model without such layers.
    """
    own: List[List[Any]] = [[] for _layer in model.layers]
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        if match and model.n_layer <= int(match.group(1)) < len(model.layers):
            own[int(match.group(1))].append(tensor)
    if not any(own):
        raise MemoryModelError("the model has no layers of its own that predict further tokens, which llama_server_spec_type asks for; take another"
                               " file of it, name a draft model, or leave llama_server_spec_type out")
    arch = str(metadata.get("general.architecture"))
    layers = list(model.layers)
    for il in range(model.n_layer, len(model.layers)):
        weights = sum(pad(tensor.size_bytes, _ALIGN) for tensor in own[il])
        k_row, v_row = _rows(model, arch, metadata, il)
        layers[il] = Layer(layers[il].kind, dict.fromkeys(layers[il].weight_bytes, weights), k_row, v_row)
    return replace(model, layers=tuple(layers), drafts=True)


def _rows(model: Model, arch: str, metadata: Mapping[str, Any], il: int) -> Sequence[int]:
    """Elements of a cell of K and V: those that the header gives, or the widest of another layer's."""
    def number(key: str, default: int) -> int:
        value = metadata.get("%s.%s" % (arch, key))
        if isinstance(value, (list, tuple)):
            value = value[il] if il < len(value) else max(list(value) or [0])
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else default

    heads = number("attention.head_count", 1) or 1
    kv_heads = number("attention.head_count_kv", heads)
    width = number("embedding_length", model.n_embd) // heads
    widest_k = max((layer.k_row for layer in model.layers), default=0)
    widest_v = max((layer.v_row for layer in model.layers), default=0)
    latent = bool(metadata.get(arch + ".attention.key_length_mla"))
    return (max(widest_k, kv_heads * number("attention.key_length", width)),
            0 if latent else max(widest_v, kv_heads * number("attention.value_length", width)))


def draft_model(accounts: Accounts, more_bytes: int = 0) -> Lone:
    """A draft model whole on one device: weights, caches, compute buffer (``accounts`` are the draft's own), and ``more_bytes`` of that."""
    whole = {kind: accounts.device(kind, 0, accounts.model.n_slots, True) for kind in ("cuda", "cpu")}
    alone = accounts.host_alone()
    return Lone(whole["cuda"].total_bytes + more_bytes, whole["cpu"].total_bytes + more_bytes, alone.total_bytes + more_bytes,
                min(whole["cpu"].weight_bytes, alone.weight_bytes), accounts.host(True).total_bytes)


def draft_settings(settings: RunSettings) -> RunSettings:
    """A draft's context has as many tokens as the model's, f16 caches unless told, and one output for each slot (common/speculative.cpp)."""
    return replace(settings, type_k=settings.draft_type_k, type_v=settings.draft_type_v, outputs=settings.parallel, rollback=0)


def projector(metadata: Mapping[str, Any], file_size_bytes: int) -> Lone:
    """A projector: its file, and what a picture takes while it is looked at (tools/mtmd/clip.cpp, reserve_compute_meta).

    For each patch the graph keeps a handful of rows of the encoder's width and two of its feed-forward width in float32, with flash attention.
    """
    rows, reach = 0, _PATCHES
    for part in ("vision", "audio"):
        def number(key: str, part: str = part) -> int:
            value = metadata.get("clip.%s.%s" % (part, key))
            return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20 else 0

        rows = max(rows, 8 * number("embedding_length") + 2 * number("feed_forward_length") + 2 * number("projection_dim"))
        patch = number("patch_size")
        if patch:
            reach = max(reach, (number("image_size") // patch) ** 2)
    size = file_size_bytes + 4 * rows * reach
    return Lone(size, size, size, file_size_bytes)
