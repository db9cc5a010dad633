# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write GGUF files that have a real header and tensor table but no weights.

The data section is only ``truncate``d, so a 405B model takes a few kilobytes of disk. llama.cpp's own planning
tool (``llama-fit-params --fit-print on``) reads such a file like any other, which makes every size testable here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

# name -> (id, elements in a block, bytes in a block); ggml/include/ggml.h and ggml/src/ggml-common.h of llama.cpp 0.5.0
TYPES: Dict[str, Tuple[int, int, int]] = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
    "IQ4_NL": (20, 32, 18),
    "IQ3_S": (21, 256, 110),
    "IQ4_XS": (23, 256, 136),
    "BF16": (30, 1, 2),
    "MXFP4": (39, 32, 17),
}
ALIGNMENT = 32
TensorRow = Tuple[str, Tuple[int, ...], str]


class U16(int):
    """An integer that is written as uint16 (split.no and split.count are)."""


class I32(int):
    """An integer that is written as int32 (split.tensors.count is)."""


# the types of a header's values: gguf.h, enum gguf_type
KINDS = {0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "str", 9: "array", 10: "u64", 11: "i64", 12: "f64"}
CODES = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "bool": "?", "u64": "Q", "i64": "q", "f64": "d"}


class Typed(NamedTuple):
    """A value that is written as the type it names, ``[u32]`` being an array."""

    kind: str
    value: Any


@dataclass
class Model:
    """A model as a converter would write it: metadata without a vocabulary, and the tensor table."""

    name: str
    architecture: str
    metadata: Dict[str, Any]
    tensors: List[TensorRow] = field(default_factory=list)

    def key(self, suffix: str) -> str:
        return "%s.%s" % (self.architecture, suffix)

    def add(self, name: str, shape: Sequence[int], type_name: str = "F32") -> None:
        self.tensors.append((name, tuple(int(n) for n in shape), type_name))


def tensor_size_bytes(shape: Sequence[int], type_name: str) -> int:
    _type_id, block, size = TYPES[type_name]
    if shape[0] % block:
        raise ValueError("%s needs rows of a multiple of %d, not %d" % (type_name, block, shape[0]))
    count = 1
    for n in shape:
        count *= n
    return count // block * size


def _string(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _typed(kind: str, value: Any) -> bytes:
    numbers = {name: number for number, name in KINDS.items()}
    if kind.startswith("["):
        inner = kind[1:-1]
        return struct.pack("<IIQ", numbers["array"], numbers[inner], len(value)) + b"".join(_typed(inner, item)[4:] for item in value)
    raw = _string(value) if kind == "str" else struct.pack("<" + CODES[kind], float(value) if kind in ("f32", "f64") else value)
    return struct.pack("<I", numbers[kind]) + raw


def _value(value: Any) -> bytes:
    """A metadata value with its type tag: bool 7, uint16 2, uint32 4, int32 5, float32 6, string 8, array 9."""
    if isinstance(value, Typed):
        return _typed(*value)
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, U16):
        return struct.pack("<IH", 2, value)
    if isinstance(value, I32):
        return struct.pack("<Ii", 5, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, (list, tuple)):
        head = struct.pack("<I", 9)
        if value and isinstance(value[0], bool):
            return head + struct.pack("<IQ%dB" % len(value), 7, len(value), *value)
        if value and isinstance(value[0], str):
            return head + struct.pack("<IQ", 8, len(value)) + b"".join(_string(v) for v in value)
        return head + struct.pack("<IQ%dI" % len(value), 4, len(value), *value)
    raise TypeError("no GGUF type for %r" % (value,))


def facts(shape: str, file_size_bytes: int = 0) -> Dict[str, Any]:
    """What gguf_info returns for a shape with its metadata and tensors, as far as the planner reads it."""
    model = SHAPES[shape]()
    return {"name": shape, "metadata": model.metadata, "file_size_bytes": file_size_bytes, "tensors": [
        {"name": n, "shape": list(s), "type": t, "size_bytes": tensor_size_bytes(s, t)} for n, s, t in model.tensors]}


def write(model: Model, path: Union[str, Path], metadata: Optional[Dict[str, Any]] = None,
          tensors: Optional[List[TensorRow]] = None) -> Path:
    """Write one file; ``metadata`` and ``tensors`` replace the model's own (used for the parts of a split set)."""
    path = Path(path)
    metadata = dict(model.metadata if metadata is None else metadata)
    tensors = model.tensors if tensors is None else tensors
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        head.append(_string(key) + _value(value))
    offset = 0
    for name, shape, type_name in tensors:
        head.append(_string(name) + struct.pack("<I%dQ" % len(shape), len(shape), *shape))
        head.append(struct.pack("<IQ", TYPES[type_name][0], offset))
        offset += -(-tensor_size_bytes(shape, type_name) // ALIGNMENT) * ALIGNMENT
    raw = b"".join(head)
    raw += b"\0" * (-len(raw) % ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part%d" % os.getpid())
    with open(temporary, "wb") as stream:
        stream.write(raw)
        stream.truncate(len(raw) + offset)
    os.replace(temporary, path)
    return path


def write_split(model: Model, directory: Union[str, Path], parts: int) -> List[Path]:
    """Write the model as ``parts`` files the way gguf-split does: all metadata in the first, tensors in order."""
    step = -(-len(model.tensors) // parts)
    paths = []
    for index in range(parts):
        split = {"split.no": U16(index), "split.count": U16(parts), "split.tensors.count": I32(len(model.tensors))}
        path = Path(directory) / ("%s-%05d-of-%05d.gguf" % (model.name, index + 1, parts))
        metadata = dict(model.metadata, **split) if index == 0 else split
        paths.append(write(model, path, metadata, model.tensors[index * step:(index + 1) * step]))
    return paths


# ---------------------------------------------------------------------------------------------------------------------
# Shapes. Dimensions are those of published models; tensor names and shapes are what llama.cpp 0.5.0 asks for in
# src/models/<architecture>.cpp, load_arch_tensors.
# ---------------------------------------------------------------------------------------------------------------------

def _mix_k_m(layer: int, n_layer: int) -> bool:
    """The layers where a *_K_M quantisation spends more bits (src/llama-quant.cpp, use_more_bits)."""
    return layer < n_layer // 8 or layer >= 7 * n_layer // 8 or (layer - n_layer // 8) % 3 == 2


def _base(name: str, architecture: str, *, n_layer: int, n_embd: int, n_ff: Any, n_head: Any, n_head_kv: Any, n_vocab: int,
          n_ctx_train: int, head_dim: Optional[int] = None, **more: Any) -> Model:
    metadata: Dict[str, Any] = {
        "general.architecture": architecture,
        "general.name": name,
        "tokenizer.ggml.model": "no_vocab",
    }
    values: Dict[str, Any] = {
        "vocab_size": n_vocab,
        "context_length": n_ctx_train,
        "embedding_length": n_embd,
        "block_count": n_layer,
        "feed_forward_length": n_ff,
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    if head_dim is not None:
        values["attention.key_length"] = head_dim
        values["attention.value_length"] = head_dim
        values["rope.dimension_count"] = head_dim
    values.update(more)
    metadata.update(("%s.%s" % (architecture, key), value) for key, value in values.items())
    return Model(name, architecture, metadata)


def _attention(model: Model, layer: int, n_embd: int, q_dim: int, kv_dim: int, weights: str, v_weights: Optional[str] = None,
               *, bias: bool = False, head_norm: int = 0) -> None:
    prefix = "blk.%d." % layer
    model.add(prefix + "attn_norm.weight", (n_embd,))
    model.add(prefix + "attn_q.weight", (n_embd, q_dim), weights)
    model.add(prefix + "attn_k.weight", (n_embd, kv_dim), weights)
    model.add(prefix + "attn_v.weight", (n_embd, kv_dim), v_weights or weights)
    model.add(prefix + "attn_output.weight", (q_dim, n_embd), weights)
    if bias:
        model.add(prefix + "attn_q.bias", (q_dim,))
        model.add(prefix + "attn_k.bias", (kv_dim,))
        model.add(prefix + "attn_v.bias", (kv_dim,))
    if head_norm:
        model.add(prefix + "attn_q_norm.weight", (head_norm,))
        model.add(prefix + "attn_k_norm.weight", (head_norm,))


def _dense_ffn(model: Model, layer: int, n_embd: int, n_ff: int, weights: str, down: Optional[str] = None, norm: bool = True) -> None:
    prefix = "blk.%d." % layer
    if norm:
        model.add(prefix + "ffn_norm.weight", (n_embd,))
    model.add(prefix + "ffn_gate.weight", (n_embd, n_ff), weights)
    model.add(prefix + "ffn_down.weight", (n_ff, n_embd), down or weights)
    model.add(prefix + "ffn_up.weight", (n_embd, n_ff), weights)


def _moe_ffn(model: Model, layer: int, n_embd: int, n_ff_exp: int, n_expert: int, weights: str, down: Optional[str] = None,
             *, norm: bool = True, n_ff_shared: int = 0, shared_gate: bool = False, probs_bias: bool = False) -> None:
    prefix = "blk.%d." % layer
    if norm:
        model.add(prefix + "ffn_norm.weight", (n_embd,))
    model.add(prefix + "ffn_gate_inp.weight", (n_embd, n_expert))
    if probs_bias:
        model.add(prefix + "exp_probs_b.bias", (n_expert,))
    model.add(prefix + "ffn_gate_exps.weight", (n_embd, n_ff_exp, n_expert), weights)
    model.add(prefix + "ffn_down_exps.weight", (n_ff_exp, n_embd, n_expert), down or weights)
    model.add(prefix + "ffn_up_exps.weight", (n_embd, n_ff_exp, n_expert), weights)
    if shared_gate:
        model.add(prefix + "ffn_gate_inp_shexp.weight", (n_embd,))
    if n_ff_shared:
        model.add(prefix + "ffn_gate_shexp.weight", (n_embd, n_ff_shared), weights)
        model.add(prefix + "ffn_down_shexp.weight", (n_ff_shared, n_embd), down or weights)
        model.add(prefix + "ffn_up_shexp.weight", (n_embd, n_ff_shared), weights)


def _ends(model: Model, n_embd: int, n_vocab: int, embedding: str, output: Optional[str]) -> None:
    model.add("token_embd.weight", (n_embd, n_vocab), embedding)
    model.add("output_norm.weight", (n_embd,))
    if output:
        model.add("output.weight", (n_embd, n_vocab), output)


def llama(name: str, *, n_layer: int, n_embd: int, n_ff: int, n_head: int, n_head_kv: int, n_vocab: int = 128256,
          n_ctx_train: int = 131072, weights: str = "Q4_K", more_bits: Optional[str] = None, embedding: Optional[str] = None,
          output: Optional[str] = "Q6_K", rope_freqs: bool = True) -> Model:
    """Llama 2/3 and Mistral; ``output=None`` ties the embeddings, ``more_bits`` mixes quantisations the way K_M does."""
    model = _base(name, "llama", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=n_ctx_train)
    head_dim = n_embd // n_head
    _ends(model, n_embd, n_vocab, embedding or weights, output)
    if rope_freqs:
        model.add("rope_freqs.weight", (head_dim // 2,))
    for layer in range(n_layer):
        better = more_bits if more_bits and _mix_k_m(layer, n_layer) else weights
        _attention(model, layer, n_embd, n_embd, head_dim * n_head_kv, weights, better)
        _dense_ffn(model, layer, n_embd, n_ff, weights, better)
    return model


def mixtral(name: str, *, n_layer: int = 32, n_embd: int = 4096, n_ff: int = 14336, n_head: int = 32, n_head_kv: int = 8,
            n_expert: int = 8, n_used: int = 2, n_vocab: int = 32000, weights: str = "Q4_K") -> Model:
    model = _base(name, "llama", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=32768, expert_count=n_expert, expert_used_count=n_used)
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer):
        _attention(model, layer, n_embd, n_embd, n_embd // n_head * n_head_kv, weights)
        _moe_ffn(model, layer, n_embd, n_ff, n_expert, weights)
    return model


def qwen2(name: str, *, n_layer: int = 64, n_embd: int = 5120, n_ff: int = 27648, n_head: int = 40, n_head_kv: int = 8,
          n_vocab: int = 152064, weights: str = "Q4_K", output: Optional[str] = "Q6_K") -> Model:
    model = _base(name, "qwen2", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=32768)
    _ends(model, n_embd, n_vocab, weights, output)
    for layer in range(n_layer):
        _attention(model, layer, n_embd, n_embd, n_embd // n_head * n_head_kv, weights, bias=True)
        _dense_ffn(model, layer, n_embd, n_ff, weights)
    return model


def qwen3(name: str, *, n_layer: int = 36, n_embd: int = 4096, n_ff: int = 12288, n_head: int = 32, n_head_kv: int = 8,
          head_dim: int = 128, n_vocab: int = 151936, weights: str = "Q8_0", output: Optional[str] = "Q8_0") -> Model:
    model = _base(name, "qwen3", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=40960, head_dim=head_dim)
    _ends(model, n_embd, n_vocab, weights, output)
    for layer in range(n_layer):
        _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, weights, head_norm=head_dim)
        _dense_ffn(model, layer, n_embd, n_ff, weights)
    return model


def qwen3moe(name: str, *, n_layer: int = 48, n_embd: int = 2048, n_ff: int = 6144, n_ff_exp: int = 768, n_head: int = 32,
             n_head_kv: int = 4, head_dim: int = 128, n_expert: int = 128, n_used: int = 8, n_vocab: int = 151936,
             weights: str = "Q4_K") -> Model:
    model = _base(name, "qwen3moe", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv,
                  n_vocab=n_vocab, n_ctx_train=262144, head_dim=head_dim, expert_count=n_expert, expert_used_count=n_used,
                  expert_feed_forward_length=n_ff_exp)
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer):
        _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, weights, head_norm=head_dim)
        _moe_ffn(model, layer, n_embd, n_ff_exp, n_expert, weights)
    return model


def gemma2(name: str, *, n_layer: int = 42, n_embd: int = 3584, n_ff: int = 14336, n_head: int = 16, n_head_kv: int = 8,
           head_dim: int = 256, n_swa: int = 4096, n_vocab: int = 256000, weights: str = "Q4_K") -> Model:
    model = _base(name, "gemma2", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=8192, head_dim=head_dim, **{"attention.sliding_window": n_swa})
    _gemma(model, n_layer, n_embd, n_ff, n_head * head_dim, n_head_kv * head_dim, n_vocab, weights, 0)
    return model


def gemma3(name: str, *, n_layer: int = 62, n_embd: int = 5376, n_ff: int = 21504, n_head: int = 32, n_head_kv: int = 16,
           head_dim: int = 128, n_swa: int = 1024, n_vocab: int = 262144, weights: str = "Q4_K") -> Model:
    model = _base(name, "gemma3", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=131072, head_dim=head_dim, **{"attention.sliding_window": n_swa})
    _gemma(model, n_layer, n_embd, n_ff, n_head * head_dim, n_head_kv * head_dim, n_vocab, weights, head_dim)
    return model


def _gemma(model: Model, n_layer: int, n_embd: int, n_ff: int, q_dim: int, kv_dim: int, n_vocab: int, weights: str,
           head_norm: int) -> None:
    _ends(model, n_embd, n_vocab, "Q6_K", None)
    for layer in range(n_layer):
        _attention(model, layer, n_embd, q_dim, kv_dim, weights, head_norm=head_norm)
        model.add("blk.%d.post_attention_norm.weight" % layer, (n_embd,))
        _dense_ffn(model, layer, n_embd, n_ff, weights)
        model.add("blk.%d.post_ffw_norm.weight" % layer, (n_embd,))


def gpt_oss(name: str, *, n_layer: int = 36, n_embd: int = 2880, n_ff: int = 2880, n_head: int = 64, n_head_kv: int = 8,
            head_dim: int = 64, n_expert: int = 128, n_used: int = 4, n_swa: int = 128, n_vocab: int = 201088) -> Model:
    model = _base(name, "gpt-oss", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv, n_vocab=n_vocab,
                  n_ctx_train=131072, head_dim=head_dim, expert_count=n_expert, expert_used_count=n_used,
                  expert_feed_forward_length=n_ff, **{"attention.sliding_window": n_swa})
    _ends(model, n_embd, n_vocab, "Q8_0", "Q8_0")
    for layer in range(n_layer):
        prefix = "blk.%d." % layer
        _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, "Q8_0", bias=True)
        model.add(prefix + "attn_output.bias", (n_embd,))
        model.add(prefix + "attn_sinks.weight", (n_head,))
        model.add(prefix + "post_attention_norm.weight", (n_embd,))
        _moe_ffn(model, layer, n_embd, n_ff, n_expert, "MXFP4", norm=False)
        model.add(prefix + "ffn_gate_inp.bias", (n_expert,))
        for part, width in (("gate", n_ff), ("down", n_embd), ("up", n_ff)):
            model.add(prefix + "ffn_%s_exps.bias" % part, (width, n_expert))
    return model


def deepseek2(name: str, *, n_layer: int = 61, n_nextn: int = 0, n_embd: int = 7168, n_ff: int = 18432, n_ff_exp: int = 2048,
              n_head: int = 128, q_lora: int = 1536, kv_lora: int = 512, rope: int = 64, nope: int = 128, v_head: int = 128,
              n_expert: int = 256, n_used: int = 8, n_dense: int = 3, n_vocab: int = 129280, weights: str = "Q4_K") -> Model:
    """DeepSeek V2/V3: latent attention (MLA); ``n_nextn`` appends multi-token-prediction blocks."""
    metadata = {
        "attention.q_lora_rank": q_lora,
        "attention.kv_lora_rank": kv_lora,
        "attention.key_length": kv_lora + rope,
        "attention.value_length": kv_lora,
        "attention.key_length_mla": nope + rope,
        "attention.value_length_mla": v_head,
        "rope.dimension_count": rope,
        "leading_dense_block_count": n_dense,
        "expert_count": n_expert,
        "expert_used_count": n_used,
        "expert_feed_forward_length": n_ff_exp,
        "expert_shared_count": 1,
        "expert_weights_scale": 2.5,
        "expert_weights_norm": True,
        "expert_gating_func": 2,
    }
    if not q_lora:
        del metadata["attention.q_lora_rank"]
    if n_nextn:
        metadata["nextn_predict_layers"] = n_nextn
    model = _base(name, "deepseek2", n_layer=n_layer + n_nextn, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=1,
                  n_vocab=n_vocab, n_ctx_train=163840, **metadata)
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer + n_nextn):
        prefix = "blk.%d." % layer
        model.add(prefix + "attn_norm.weight", (n_embd,))
        if q_lora:
            model.add(prefix + "attn_q_a_norm.weight", (q_lora,))
            model.add(prefix + "attn_q_a.weight", (n_embd, q_lora), weights)
            model.add(prefix + "attn_q_b.weight", (q_lora, n_head * (nope + rope)), weights)
        else:
            model.add(prefix + "attn_q.weight", (n_embd, n_head * (nope + rope)), weights)
        model.add(prefix + "attn_kv_a_norm.weight", (kv_lora,))
        model.add(prefix + "attn_kv_a_mqa.weight", (n_embd, kv_lora + rope), weights)
        model.add(prefix + "attn_k_b.weight", (nope, kv_lora, n_head), "Q8_0")
        model.add(prefix + "attn_v_b.weight", (kv_lora, v_head, n_head), "Q8_0")
        model.add(prefix + "attn_output.weight", (n_head * v_head, n_embd), weights)
        if layer < n_dense:
            _dense_ffn(model, layer, n_embd, n_ff, weights)
        else:
            _moe_ffn(model, layer, n_embd, n_ff_exp, n_expert, weights, n_ff_shared=n_ff_exp, probs_bias=True)
        if layer >= n_layer:
            _nextn(model, layer, n_embd, n_vocab, weights, embeddings=True)
    return model


def _nextn(model: Model, layer: int, n_embd: int, n_vocab: int, weights: str, *, embeddings: bool) -> None:
    prefix = "blk.%d.nextn." % layer
    model.add(prefix + "eh_proj.weight", (2 * n_embd, n_embd), weights)
    model.add(prefix + "enorm.weight", (n_embd,))
    model.add(prefix + "hnorm.weight", (n_embd,))
    if embeddings:
        model.add(prefix + "embed_tokens.weight", (n_embd, n_vocab), weights)
        model.add(prefix + "shared_head_head.weight", (n_embd, n_vocab), weights)
    model.add(prefix + "shared_head_norm.weight", (n_embd,))


def glm4moe(name: str, *, n_layer: int = 46, n_nextn: int = 1, n_embd: int = 4096, n_ff: int = 10944, n_ff_exp: int = 1408,
            n_head: int = 96, n_head_kv: int = 8, head_dim: int = 128, n_expert: int = 128, n_used: int = 8, n_vocab: int = 151552,
            weights: str = "Q4_K", down: str = "Q8_0") -> Model:
    model = _base(name, "glm4moe", n_layer=n_layer + n_nextn, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv,
                  n_vocab=n_vocab, n_ctx_train=131072, head_dim=head_dim, expert_count=n_expert, expert_used_count=n_used,
                  expert_feed_forward_length=n_ff_exp, expert_shared_count=1, leading_dense_block_count=1,
                  nextn_predict_layers=n_nextn)
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer + n_nextn):
        _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, weights, bias=True)
        model.add("blk.%d.post_attention_norm.weight" % layer, (n_embd,))
        if layer < 1:
            _dense_ffn(model, layer, n_embd, n_ff, weights, down, norm=False)
        else:
            _moe_ffn(model, layer, n_embd, n_ff_exp, n_expert, weights, down, norm=False, n_ff_shared=n_ff_exp, probs_bias=True)
        if layer >= n_layer:
            _nextn(model, layer, n_embd, n_vocab, weights, embeddings=False)
    return model


def qwen3next(name: str, *, n_layer: int = 48, n_embd: int = 2048, n_ff: int = 5120, n_ff_exp: int = 512, n_head: int = 16,
              n_head_kv: int = 2, head_dim: int = 256, n_expert: int = 512, n_used: int = 10, d_conv: int = 4, d_state: int = 128,
              n_group: int = 16, n_v_heads: int = 32, n_vocab: int = 151936, weights: str = "Q4_K") -> Model:
    """Three gated-delta-net layers to one attention layer."""
    value_dim = d_state * n_v_heads
    key_dim = d_state * n_group
    model = _base(name, "qwen3next", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv,
                  n_vocab=n_vocab, n_ctx_train=262144, head_dim=head_dim, expert_count=n_expert, expert_used_count=n_used,
                  expert_feed_forward_length=n_ff_exp, expert_shared_feed_forward_length=n_ff_exp, **{
                      "ssm.conv_kernel": d_conv, "ssm.inner_size": value_dim, "ssm.state_size": d_state,
                      "ssm.time_step_rank": n_v_heads, "ssm.group_count": n_group, "rope.dimension_count": 64})
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer):
        prefix = "blk.%d." % layer
        if (layer + 1) % 4:
            model.add(prefix + "attn_norm.weight", (n_embd,))
            model.add(prefix + "attn_qkv.weight", (n_embd, key_dim * 2 + value_dim), weights)
            model.add(prefix + "attn_gate.weight", (n_embd, value_dim), weights)
            model.add(prefix + "ssm_conv1d.weight", (d_conv, key_dim * 2 + value_dim))
            model.add(prefix + "ssm_dt.bias", (n_v_heads,))
            model.add(prefix + "ssm_a", (n_v_heads,))
            model.add(prefix + "ssm_ba.weight", (n_embd, n_v_heads * 2), weights)
            model.add(prefix + "ssm_norm.weight", (d_state,))
            model.add(prefix + "ssm_out.weight", (value_dim, n_embd), weights)
        else:
            _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, weights, head_norm=head_dim)
            # the query projection also carries the output gate
            model.tensors = [(n, (n_embd, 2 * n_head * head_dim), t) if n == prefix + "attn_q.weight" else (n, s, t)
                             for n, s, t in model.tensors]
        model.add(prefix + "post_attention_norm.weight", (n_embd,))
        _moe_ffn(model, layer, n_embd, n_ff_exp, n_expert, weights, norm=False, n_ff_shared=n_ff_exp, shared_gate=True)
    return model


def falcon_h1(name: str, *, n_layer: int = 44, n_embd: int = 3072, n_ff: int = 12288, n_head: int = 12, n_head_kv: int = 2,
              head_dim: int = 128, d_conv: int = 4, d_inner: int = 3072, d_state: int = 256, n_group: int = 1,
              n_ssm_head: int = 24, n_vocab: int = 130048, weights: str = "Q4_K") -> Model:
    """Attention and a Mamba-2 mixer side by side in each layer."""
    model = _base(name, "falcon-h1", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head_kv,
                  n_vocab=n_vocab, n_ctx_train=262144, head_dim=head_dim, **{
                      "ssm.conv_kernel": d_conv, "ssm.inner_size": d_inner, "ssm.state_size": d_state,
                      "ssm.time_step_rank": n_ssm_head, "ssm.group_count": n_group})
    _ends(model, n_embd, n_vocab, weights, "Q6_K")
    for layer in range(n_layer):
        prefix = "blk.%d." % layer
        _mamba2(model, prefix, n_embd, d_conv, d_inner, d_state, n_group, n_ssm_head, weights)
        _attention(model, layer, n_embd, n_head * head_dim, n_head_kv * head_dim, weights)
        model.add(prefix + "ffn_norm", (n_embd,))
        _dense_ffn(model, layer, n_embd, n_ff, weights, norm=False)
    return model


def _mamba2(model: Model, prefix: str, n_embd: int, d_conv: int, d_inner: int, d_state: int, n_group: int, n_ssm_head: int,
            weights: str) -> None:
    conv = d_inner + 2 * n_group * d_state
    model.add(prefix + "ssm_in.weight", (n_embd, d_inner + conv + n_ssm_head), weights)
    model.add(prefix + "ssm_conv1d.weight", (d_conv, conv))
    model.add(prefix + "ssm_conv1d.bias", (conv,))
    model.add(prefix + "ssm_dt.bias", (n_ssm_head,))
    model.add(prefix + "ssm_a", (1, n_ssm_head))
    model.add(prefix + "ssm_d", (1, n_ssm_head))
    model.add(prefix + "ssm_norm.weight", (d_inner // n_group, n_group))
    model.add(prefix + "ssm_out.weight", (d_inner, n_embd), weights)


def granite_hybrid(name: str, *, n_layer: int = 40, n_embd: int = 4096, n_ff: int = 768, n_expert: int = 72, n_used: int = 10,
                   n_head: int = 32, n_head_kv: int = 8, n_ff_shared: int = 1536, d_conv: int = 4, d_state: int = 128,
                   n_group: int = 1, n_ssm_head: int = 128, n_vocab: int = 100352, weights: str = "Q4_K") -> Model:
    """Nine Mamba-2 layers to one attention layer, each with experts or, where there are none, dense."""
    attention_layers = [layer for layer in range(n_layer) if layer % 10 == 5]
    heads = [n_head_kv if layer in attention_layers else 0 for layer in range(n_layer)]
    model = _base(name, "granitehybrid", n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=heads,
                  n_vocab=n_vocab, n_ctx_train=131072, head_dim=n_embd // n_head, **{
                      "expert_count": n_expert, "expert_used_count": n_used, "expert_shared_feed_forward_length": n_ff_shared,
                      "ssm.conv_kernel": d_conv, "ssm.inner_size": 2 * n_embd, "ssm.state_size": d_state,
                      "ssm.time_step_rank": n_ssm_head, "ssm.group_count": n_group})
    _ends(model, n_embd, n_vocab, weights, None)
    for layer in range(n_layer):
        prefix = "blk.%d." % layer
        if layer in attention_layers:
            _attention(model, layer, n_embd, n_embd, n_embd // n_head * n_head_kv, weights)
        else:
            model.add(prefix + "attn_norm.weight", (n_embd,))
            _mamba2(model, prefix, n_embd, d_conv, 2 * n_embd, d_state, n_group, n_ssm_head, weights)
        if n_expert:
            _moe_ffn(model, layer, n_embd, n_ff, n_expert, weights, n_ff_shared=n_ff_shared)
        else:
            _dense_ffn(model, layer, n_embd, n_ff, weights)
    return model


SHAPES: Dict[str, Callable[[], Model]] = {
    "llama-8b": lambda: llama("llama-8b", n_layer=32, n_embd=4096, n_ff=14336, n_head=32, n_head_kv=8),
    # the guide's two files: 40 GB and 59 GB
    "llama-70b-q4": lambda: llama("llama-70b-q4", n_layer=80, n_embd=8192, n_ff=28672, n_head=64, n_head_kv=8),
    "llama-70b-q6": lambda: llama("llama-70b-q6", n_layer=80, n_embd=8192, n_ff=28672, n_head=64, n_head_kv=8, weights="Q6_K",
                                  embedding="Q8_0", output="Q8_0"),
    "llama-405b": lambda: llama("llama-405b", n_layer=126, n_embd=16384, n_ff=53248, n_head=128, n_head_kv=8),
    "llama-8b-mixed": lambda: llama("llama-8b-mixed", n_layer=32, n_embd=4096, n_ff=14336, n_head=32, n_head_kv=8,
                                    more_bits="Q6_K"),
    "llama-1b-tied": lambda: llama("llama-1b-tied", n_layer=16, n_embd=2048, n_ff=8192, n_head=32, n_head_kv=8, weights="Q8_0",
                                   output=None),
    "qwen2-32b": lambda: qwen2("qwen2-32b"),
    "qwen3-8b": lambda: qwen3("qwen3-8b"),
    "gemma2-9b": lambda: gemma2("gemma2-9b"),
    "gemma3-27b": lambda: gemma3("gemma3-27b"),
    "mixtral-8x7b": lambda: mixtral("mixtral-8x7b"),
    "qwen3moe-30b": lambda: qwen3moe("qwen3moe-30b"),
    "gpt-oss-120b": lambda: gpt_oss("gpt-oss-120b"),
    "deepseek2-16b": lambda: deepseek2("deepseek2-16b", n_layer=27, n_embd=2048, n_ff=10944 // 256 * 256, n_ff_exp=1408 // 256 * 256,
                                       n_head=16, q_lora=0, n_expert=64, n_used=6, n_dense=1, n_vocab=102400),
    "deepseek3-671b": lambda: deepseek2("deepseek3-671b"),
    "deepseek3-671b-mtp": lambda: deepseek2("deepseek3-671b-mtp", n_nextn=1),
    "glm4moe-106b-mtp": lambda: glm4moe("glm4moe-106b-mtp", down="Q8_0"),
    "qwen3next-80b": lambda: qwen3next("qwen3next-80b"),
    "falcon-h1-7b": lambda: falcon_h1("falcon-h1-7b"),
    "granite-hybrid-3b": lambda: granite_hybrid("granite-hybrid-3b", n_embd=2048, n_ff=8192, n_expert=0, n_used=0, n_ff_shared=0,
                                                n_ssm_head=64),
    "granite-hybrid-32b": lambda: granite_hybrid("granite-hybrid-32b"),
    "smollm2-135m": lambda: llama("smollm2-135m", n_layer=30, n_embd=576, n_ff=1536, n_head=9, n_head_kv=3, n_vocab=49152,
                                  n_ctx_train=8192, weights="Q4_1", embedding="Q8_0", output=None, rope_freqs=False),
}
