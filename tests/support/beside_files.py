# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files of what stands beside a model, that llama-server really loads and answers with.

A model with a layer that predicts further tokens, a LoRA adapter and a multimodal projector. Their weights are noise: what they
say is nonsense, but the same nonsense each time, and another one where a file is left out.
"""

from __future__ import annotations

import random
import struct
from array import array
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import architectures
import gguf_files
import sparse_gguf

Rows = List[Tuple[str, Tuple[int, ...]]]


def _write(path: Path, pairs: List[bytes], rows: Rows, seed: int = 1, scale: float = 0.05) -> Path:
    """All tensors in 32-bit floats; what a norm multiplies by is around 1."""
    noise = random.Random(seed)
    tensors = [gguf_files.f32(name, *shape) for name, shape in rows]
    data = gguf_files.header(pairs, tensors)
    out = [data, b"\0" * (-len(data) % 32)]
    for tensor in tensors:
        count = tensor.size_bytes // 4
        middle = 1.0 if "norm" in tensor.name or ".ln" in tensor.name else 0.0
        values = array("f", [noise.gauss(middle, scale) for _number in range(count)])
        out += [values.tobytes(), b"\0" * (-tensor.size_bytes % 32)]
    path.write_bytes(b"".join(out))
    return path


def _pairs(metadata: Dict[str, Any]) -> List[bytes]:
    return [sparse_gguf._string(key) + sparse_gguf._value(value) for key, value in metadata.items()]  # noqa: SLF001


def _bytes_vocabulary() -> Tuple[Dict[str, Any], bytes]:
    """GPT-2's alphabet, a token for each byte, without a merge that matters; and the tokens' types, which are int32."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable}
    names.update({byte: chr(256 + number) for number, byte in enumerate(others)})
    tokens = [names[byte] for byte in range(256)] + ["ab", "<|end|>"]
    types = [1] * 257 + [3]
    keys = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["a b"],
            "tokenizer.ggml.bos_token_id": 257, "tokenizer.ggml.eos_token_id": 257, "tokenizer.ggml.add_bos_token": False}
    raw = sparse_gguf._string("tokenizer.ggml.token_type") + struct.pack("<IIQ%di" % len(types), 9, 5, len(types), *types)  # noqa: SLF001
    return keys, raw


def mtp_model(path: Path, n_layer: int = 4, n_nextn: int = 1) -> Path:
    """A GLM-4.5 of 2 MB with ``n_nextn`` layers of its own that predict further tokens."""
    keys, types = _bytes_vocabulary()
    model = sparse_gguf.glm4moe("mtp", n_layer=n_layer, n_nextn=n_nextn, n_embd=64, n_ff=128, n_ff_exp=32, n_head=4, n_head_kv=2, head_dim=16,
                                n_expert=4, n_used=2, n_vocab=len(keys["tokenizer.ggml.tokens"]), weights="F32", down="F32")
    metadata = {key: value for key, value in model.metadata.items() if not key.startswith("tokenizer.")}
    return _write(path, [*_pairs({**metadata, **keys}), types], [(name, shape) for name, shape, _type in model.tensors], scale=0.2)


def lora(path: Path, n_layer: int = 30, n_embd: int = 576, n_ff: int = 1536, rank: int = 4, alpha: float = 64.0, layers: Optional[range] = None) -> Path:
    """An adapter for a model of architecture llama, SmolLM2-135M unless said otherwise: the last projection of each layer."""
    rows: Rows = []
    for layer in layers or range(n_layer):
        name = "blk.%d.ffn_down.weight" % layer
        rows += [(name + ".lora_a", (n_ff, rank)), (name + ".lora_b", (rank, n_embd))]
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": alpha}
    return _write(path, _pairs(metadata), rows)


def projector(path: Path, n_embd: int = 576, width: int = 64, n_ff: int = 128, n_layer: int = 2, image_size: int = 32, patch_size: int = 16) -> Path:
    """A projector of LLaVA's kind for a model of that width (tools/mtmd/models/llava.cpp)."""
    metadata: Dict[str, Any] = {
        "general.type": "mmproj", "general.architecture": "clip", "clip.has_vision_encoder": True, "clip.projector_type": "mlp",
        "clip.use_gelu": True, "clip.vision.image_size": image_size, "clip.vision.patch_size": patch_size,
        "clip.vision.embedding_length": width, "clip.vision.feed_forward_length": n_ff, "clip.vision.projection_dim": n_embd,
        "clip.vision.attention.head_count": 4, "clip.vision.block_count": n_layer, "clip.vision.attention.layer_norm_epsilon": 1e-5,
    }
    pairs = _pairs(metadata) + [gguf_files.pair("clip.vision." + name, "array:float32", [0.5] * 3) for name in ("image_mean", "image_std")]
    rows: Rows = [("v.patch_embd.weight", (patch_size, patch_size, 3, width)), ("v.position_embd.weight", (width, (image_size // patch_size) ** 2))]
    for layer in range(n_layer):
        block = "v.blk.%d." % layer
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            rows += [(block + name + ".weight", (width, width)), (block + name + ".bias", (width,))]
        for name in ("ln1", "ln2"):
            rows += [(block + name + ".weight", (width,)), (block + name + ".bias", (width,))]
        rows += [(block + "ffn_up.weight", (width, n_ff)), (block + "ffn_up.bias", (n_ff,)),
                 (block + "ffn_down.weight", (n_ff, width)), (block + "ffn_down.bias", (width,))]
    rows += [("mm.0.weight", (width, n_embd)), ("mm.0.bias", (n_embd,)), ("mm.2.weight", (n_embd, n_embd)), ("mm.2.bias", (n_embd,))]
    return _write(path, pairs, rows)


def model_that_answers(name: str, path: Path) -> Path:
    """A model of one of llama.cpp's architectures (architectures.names()) with noise for weights and a vocabulary of bytes."""
    keys, types = _bytes_vocabulary()
    recorded = architectures.model(name)
    words, recorded_words = len(keys["tokenizer.ggml.tokens"]), {n: s for n, s, _t in recorded.tensors}["token_embd.weight"][1]
    metadata = {key: value for key, value in recorded.metadata.items() if not key.startswith("tokenizer.")}
    for key in list(metadata):
        if key.endswith(".vocab_size"):
            metadata[key] = sparse_gguf.Typed("u32", words)
    rows = [(tensor, tuple(words if axis and size == recorded_words and tensor in ("token_embd.weight", "output.weight") else size
                           for axis, size in enumerate(shape))) for tensor, shape, _type in recorded.tensors]
    return _write(path, [*_pairs({**metadata, **keys}), types], rows, scale=0.1)


def draft_facts(architecture: str) -> Dict[str, Any]:
    """What gguf_info returns of a file that only drafts for SmolLM2-135M, with what src/models/ of llama.cpp b11434 asks of one.

    Of eagle3 and dflash one without embeddings of its own, of gemma4-assistant one without keys and values, all of whose layers are said to
    predict further tokens.
    """
    target, words = 576, 49152
    assistant = architecture == "gemma4-assistant"
    n_layer, width, n_ff, head = {"eagle3": (1, target, 1536, 64), "dflash": (5, target, 1536, 64), "gemma4-assistant": (4, 256, 2048, 256)}[architecture]
    taken = 2 * width if architecture == "eagle3" else width
    keys: Dict[str, Any] = {"block_count": n_layer, "embedding_length": width, "feed_forward_length": n_ff, "context_length": 8192,
                            "attention.head_count": 4 if assistant else 9, "attention.head_count_kv": 2 if assistant else 3,
                            "attention.key_length": head, "attention.value_length": head}
    rows: Rows = [("output_norm.weight", (width,))]
    if assistant:
        keys.update({"nextn_predict_layers": n_layer, "attention.shared_kv_layers": n_layer, "embedding_length_out": target,
                     "attention.sliding_window": 512, "attention.sliding_window_pattern": [True] * (n_layer - 1) + [False],
                     "attention.key_length_swa": head, "attention.value_length_swa": head})
        rows += [("token_embd.weight", (width, words)), ("nextn.pre_projection.weight", (2 * target, width)),
                 ("nextn.post_projection.weight", (width, target))]
    else:
        rows += [("fc.weight", (3 * target, width))] + [("output.weight", (width, words))] * (architecture == "eagle3")
    for layer in range(n_layer):
        block, q, kv = "blk.%d." % layer, keys["attention.head_count"] * head, keys["attention.head_count_kv"] * head
        rows += [(block + "attn_norm.weight", (width,)), (block + "attn_q.weight", (taken, q)), (block + "attn_output.weight", (q, width)),
                 (block + "ffn_norm.weight", (width,)), (block + "ffn_gate.weight", (width, n_ff)), (block + "ffn_up.weight", (width, n_ff)),
                 (block + "ffn_down.weight", (n_ff, width))]
        if not assistant:
            rows += [(block + "attn_k.weight", (taken, kv)), (block + "attn_v.weight", (taken, kv))]
    kinds = [(name, shape, "F16" if len(shape) > 1 else "F32") for name, shape in rows]
    tensors = [{"name": name, "shape": list(shape), "type": kind, "size_bytes": sparse_gguf.tensor_size_bytes(shape, kind)} for name, shape, kind in kinds]
    return {"metadata": {"general.architecture": architecture, **{"%s.%s" % (architecture, key): value for key, value in keys.items()}},
            "tensors": tensors, "file_size_bytes": sum(tensor["size_bytes"] for tensor in tensors)}
