# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes small GGUF files for tests: right ones, split ones, and every kind of wrong one.

Written from the format's description in ggml/include/gguf.h, apart from the parser it tests.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path

TYPE_NUMBERS = {
    "uint8": 0,
    "int8": 1,
    "uint16": 2,
    "int16": 3,
    "uint32": 4,
    "int32": 5,
    "float32": 6,
    "bool": 7,
    "string": 8,
    "array": 9,
    "uint64": 10,
    "int64": 11,
    "float64": 12,
}
_FORMS = {"uint8": "B", "int8": "b", "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "float32": "f", "bool": "?"}
_FORMS.update({"uint64": "Q", "int64": "q", "float64": "d"})


@dataclass
class Tensor:
    """One entry of the tensor table. The size is given, not computed, so that the table can lie."""

    name: str
    shape: tuple[int, ...]
    type_number: int
    size_bytes: int
    offset: int | None = None


def f32(name: str, *shape: int) -> Tensor:
    """A tensor of 32-bit floats."""
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, shape, 0, 4 * count)


def q4_0(name: str, *shape: int) -> Tensor:
    """A tensor of 4-bit blocks: 18 bytes for 32 elements."""
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, shape, 2, count // 32 * 18)


def text(value: str | bytes, order: str = "<") -> bytes:
    """A string as the format has it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(data)) + data


def value(type_name: str, content: object, order: str = "<") -> bytes:
    """A value after its type number."""
    if type_name == "string":
        return text(content, order)  # type: ignore[arg-type]
    return struct.pack(order + _FORMS[type_name], content)


def pair(key: str, type_name: str, content: object, order: str = "<") -> bytes:
    """One metadata entry; `type_name` such as uint32, string or array:int32."""
    head = text(key, order)
    if type_name.startswith("array:"):
        inner = type_name.partition(":")[2]
        items = list(content)  # type: ignore[call-overload]
        body = b"".join(value(inner, item, order) for item in items)
        return head + struct.pack(order + "IIQ", 9, TYPE_NUMBERS[inner], len(items)) + body
    return head + struct.pack(order + "I", TYPE_NUMBERS[type_name]) + value(type_name, content, order)


def header(pairs: list[bytes], tensors: list[Tensor], version: int = 3, alignment: int = 32, order: str = "<") -> bytes:
    """Everything before the weights."""
    table = b""
    offset = 0
    for tensor in tensors:
        here = offset if tensor.offset is None else tensor.offset
        table += text(tensor.name, order) + struct.pack(order + "I", len(tensor.shape))
        table += struct.pack(f"{order}{len(tensor.shape)}Q", *tensor.shape)
        table += struct.pack(order + "IQ", tensor.type_number, here)
        offset += (tensor.size_bytes + alignment - 1) // alignment * alignment
    return b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + table


def gguf_bytes(
    pairs: list[bytes] | None = None,
    tensors: list[Tensor] | None = None,
    version: int = 3,
    alignment: int = 32,
    order: str = "<",
    seed: int = 1,
) -> bytes:
    """A whole file. The weights are noise, the same for the same seed."""
    pairs = standard_pairs() if pairs is None else pairs
    tensors = standard_tensors() if tensors is None else tensors
    data = header(pairs, tensors, version, alignment, order)
    noise = random.Random(seed)
    for tensor in tensors:
        data += b"\0" * (-len(data) % alignment)
        data += noise.randbytes(tensor.size_bytes)
    return data + b"\0" * (-len(data) % alignment)


def standard_pairs(n_layers: int = 2, vocabulary: int = 8) -> list[bytes]:
    """The metadata of a small model of architecture llama."""
    return [
        pair("general.architecture", "string", "llama"),
        pair("general.name", "string", "Test model"),
        pair("general.file_type", "uint32", 2),
        pair("llama.block_count", "uint32", n_layers),
        pair("llama.context_length", "uint32", 4096),
        pair("llama.embedding_length", "uint32", 64),
        pair("llama.feed_forward_length", "uint32", 128),
        pair("llama.attention.head_count", "uint32", 4),
        pair("llama.attention.head_count_kv", "uint32", 2),
        pair("tokenizer.ggml.tokens", "array:string", [f"token{number}" for number in range(vocabulary)]),
    ]


def standard_tensors(n_layers: int = 2, vocabulary: int = 8) -> list[Tensor]:
    """Its tensors: the embedding, two for each layer, the final norm and the output."""
    tensors = [q4_0("token_embd.weight", 64, vocabulary)]
    for layer in range(n_layers):
        tensors += [f32(f"blk.{layer}.attn_norm.weight", 64), q4_0(f"blk.{layer}.ffn_up.weight", 64, 128)]
    return tensors + [f32("output_norm.weight", 64), q4_0("output.weight", 64, vocabulary)]


def write_split(directory: Path, stem: str, count: int = 3) -> list[Path]:
    """A model in several files, named and keyed as llama-gguf-split does."""
    tensors = standard_tensors()
    size = -(-len(tensors) // count)
    paths = []
    for number in range(count):
        part = tensors[number * size:(number + 1) * size]
        pairs = [
            *(standard_pairs() if number == 0 else []),
            pair("split.no", "uint16", number),
            pair("split.count", "uint16", count),
            pair("split.tensors.count", "int32", len(tensors)),
        ]
        path = directory / f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"
        path.write_bytes(gguf_bytes(pairs, part, seed=number))
        paths.append(path)
    return paths


def large_vocabulary_pairs(tokens: int = 128_256, merges: int = 280_147) -> list[bytes]:
    """Metadata as large as that of a Llama 3 model."""
    noise = random.Random(3)
    lengths = [noise.randint(1, 14) for number in range(997)]
    names = [("x" * lengths[number % 997]) + str(number) for number in range(tokens)]
    joined = [f"{names[number % tokens]} {names[(number * 7) % tokens]}" for number in range(merges)]
    return [
        *standard_pairs()[:-1],
        pair("tokenizer.ggml.tokens", "array:string", names),
        pair("tokenizer.ggml.token_type", "array:int32", [1] * tokens),
        pair("tokenizer.ggml.merges", "array:string", joined),
        pair("tokenizer.chat_template", "string", "{{ messages }}" * 400),
    ]
