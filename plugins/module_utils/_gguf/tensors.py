# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of a GGUF file's tensors: what each is called, its shape, its type and where it lies."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.cursor import U32, U64, Cursor
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensor_types import FIRST_TYPE_OF_FORKS, REMOVED_TENSOR_TYPES, TENSOR_TYPES

# ggml/src/gguf.cpp and ggml/include/ggml.h of llama.cpp 0.5.0.
MAX_NAME_BYTES = 63
MAX_DIMENSIONS = 4
INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1

_LAYER_TENSOR = re.compile(r"blk\.([0-9]+)\.")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor: its name, elements in each dimension, ggml's name of its type, and the bytes of it from ``offset`` on within the file's data."""

    name: str
    shape: t.Tuple[int, ...]
    type_name: str
    offset: int
    size_bytes: int

    @property
    def layer(self) -> int | None:
        """The layer it belongs to, None for the embedding, the output and the like."""
        match = _LAYER_TENSOR.match(self.name)
        return int(match.group(1)) if match else None

    @property
    def n_elements(self) -> int:
        """The number of its weights."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def read_tensor(cursor: Cursor, index: int, n_tensors: int) -> TensorInfo:
    """The next line of the table, number ``index`` from 0 of ``n_tensors``. Raises GgufError where llama.cpp would not read it."""
    label = cursor.reader.label
    name = cursor.string(f"the name of tensor {index + 1} of {n_tensors}", MAX_NAME_BYTES)
    shown = printable(name)
    n_dimensions = cursor.number(U32, f"the shape of tensor {shown}")
    if n_dimensions > MAX_DIMENSIONS:
        raise GgufError(
            f"{label} is damaged: tensor {shown} has {n_dimensions} dimensions, at most {MAX_DIMENSIONS} are possible"
        )
    shape = tuple(cursor.number(U64, f"the shape of tensor {shown}") for axis in range(n_dimensions))
    n_elements = 1
    for size in shape:
        n_elements *= size
        if size > INT64_MAX or n_elements > INT64_MAX:
            raise GgufError(f"{label} is damaged: tensor {shown} has an impossible shape, {list(shape)}")
    type_number = cursor.number(U32, f"the type of tensor {shown}")
    if type_number in REMOVED_TENSOR_TYPES:
        raise GgufError(
            f"{label} has tensor {shown} of type {REMOVED_TENSOR_TYPES[type_number]}, which llama.cpp no longer reads:"
            " get a newer conversion of the model"
        )
    if type_number not in TENSOR_TYPES:
        raise GgufError(
            f"{label} has tensor {shown} of the unknown type {type_number}: "
            + (
                "a fork's quantiser made the file, or it is damaged; get one that llama.cpp itself can read"
                if type_number >= FIRST_TYPE_OF_FORKS
                else f"the file is damaged or newer than this collection, which knows the types up to {max(TENSOR_TYPES)}"
            )
        )
    kind = TENSOR_TYPES[type_number]
    row = shape[0] if shape else 1
    if row % kind.block_elements:
        raise GgufError(
            f"{label} is damaged: tensor {shown} has rows of {row} elements, not a multiple of the"
            f" {kind.block_elements} that {kind.name} needs"
        )
    size_bytes = n_elements // kind.block_elements * kind.block_bytes
    if size_bytes > UINT64_MAX:
        raise GgufError(f"{label} is damaged: tensor {shown} is said to be {size_bytes} bytes")
    offset = cursor.number(U64, f"the offset of tensor {shown}")
    return TensorInfo(name, shape, kind.name, offset, size_bytes)
