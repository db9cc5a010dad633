# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the header of a model says, as plain data for operators, playbooks and the planner."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.kind import kind_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.metadata import ArraySummary, StringSummary, is_int
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import GgufModel
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensor_types import file_type_name


def describe(model: GgufModel, include_tensors: bool = False, include_metadata: bool = False) -> t.Dict[str, t.Any]:
    """All that an operator or a plan may want to know, as plain data: what the module gguf_info returns of a model and documents key by key."""
    first = model.first
    n_layers = model.value("block_count")
    layer_bytes: t.Dict[int, int] = {}
    layer_tensors: t.Dict[int, int] = {}
    type_bytes: t.Dict[str, int] = {}
    sizes: t.Dict[str, int] = {}
    n_parameters = 0
    for tensor in model.tensors:
        layer = tensor.layer
        if layer is not None:
            layer_bytes[layer] = layer_bytes.get(layer, 0) + tensor.size_bytes
            layer_tensors[layer] = layer_tensors.get(layer, 0) + 1
        sizes[tensor.name] = tensor.size_bytes
        type_bytes[tensor.type_name] = type_bytes.get(tensor.type_name, 0) + tensor.size_bytes
        n_parameters += tensor.n_elements
    # block_count comes from the file: a wrong one must not become the length of a list.
    layers = range(max(layer_bytes) + 1 if layer_bytes and max(layer_bytes) < len(sizes) else 0)
    file_type = model.metadata.get("general.file_type")
    facts: t.Dict[str, t.Any] = {
        "path": first.label,
        "version": first.version,
        "architecture": model.architecture,
        "name": printable(_text(model.metadata.get("general.name"))),
        "n_layers": n_layers if is_int(n_layers) else None,
        "n_tensors": len(sizes),
        "n_parameters": n_parameters,
        "tensors_per_layer": [layer_tensors.get(index, 0) for index in layers],
        "layer_weights_bytes": [layer_bytes.get(index, 0) for index in layers],
        "weights_bytes": sum(sizes.values()),
        "embedding_weights_bytes": sizes.get("token_embd.weight", 0),
        "output_weights_bytes": sizes.get("output.weight", 0),
        "output_tied_to_embedding": "token_embd.weight" in sizes and "output.weight" not in sizes,
        "other_weights_bytes": sum(
            tensor.size_bytes
            for tensor in model.tensors
            if tensor.layer is None and tensor.name not in ("token_embd.weight", "output.weight")
        ),
        "context_length": _plain(model.value("context_length")),
        "embedding_length": _plain(model.value("embedding_length")),
        "feed_forward_length": _plain(model.value("feed_forward_length")),
        "head_count": _plain(model.value("attention.head_count")),
        "head_count_kv": _plain(model.value("attention.head_count_kv")),
        "key_length": _plain(model.value("attention.key_length")),
        "value_length": _plain(model.value("attention.value_length")),
        "sliding_window": _plain(model.value("attention.sliding_window")),
        "expert_count": _plain(model.value("expert_count")),
        "expert_used_count": _plain(model.value("expert_used_count")),
        "vocab_size": _vocabulary_size(model),
        "file_type": file_type_name(file_type),
        "file_type_number": file_type if is_int(file_type) else None,
        "tensor_types_bytes": dict(sorted(type_bytes.items(), key=lambda item: (-item[1], item[0]))),
        "alignment_bytes": first.alignment,
        "file_size_bytes": model.file_size_bytes,
        "header_size_bytes": sum(item.header_size_bytes for item in model.files),
        "bytes_read": sum(item.bytes_read for item in model.files),
        "shards": [
            {
                "path": item.label,
                "file_size_bytes": item.file_size_bytes,
                "needed_size_bytes": item.needed_size_bytes,
                "n_tensors": len(item.tensors),
                "complete": item.complete,
            }
            for item in model.files
        ],
        "complete": model.complete,
    }
    if include_tensors:
        facts["tensors"] = [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "type": tensor.type_name,
                "layer": tensor.layer,
                "shard": number,
                "offset_bytes": item.data_offset_bytes + tensor.offset,
                "size_bytes": tensor.size_bytes,
            }
            for number, item in enumerate(model.files)
            for tensor in item.tensors
        ]
    if include_metadata:
        facts["metadata"] = {key: _plain(value) for key, value in model.metadata.items()}
    return facts


def describe_with_kind(model: GgufModel, include_tensors: bool = False, include_metadata: bool = False) -> t.Dict[str, t.Any]:
    """The same, and of which kind the file is."""
    kind = kind_of(model.metadata, [tensor.name for tensor in model.tensors])
    return {**describe(model, include_tensors, include_metadata), "kind": kind.kind, "kind_problem": kind.problem, "kind_remedy": kind.remedy}


def _text(value: t.Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(value: t.Any) -> t.Any:
    """A value as JSON can carry it."""
    if isinstance(value, ArraySummary):
        return {"array_of": value.type_name, "length": value.length}
    if isinstance(value, StringSummary):
        return {"string_of_bytes": value.length_bytes}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _vocabulary_size(model: GgufModel) -> int | None:
    value = model.value("vocab_size")
    if is_int(value):
        return int(value)
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, ArraySummary):
        return tokens.length
    if isinstance(tokens, list):
        return len(tokens)
    for tensor in model.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    return None
