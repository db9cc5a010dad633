# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of a GGUF file's tensors: what each is called, its shape, its type and where it lies."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.cursor import U32, U64, Cursor
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensor_types import REMOVED_TENSOR_TYPES, TENSOR_TYPES

# ggml/src/gguf.cpp and ggml/include/ggml.h of llama.cpp 0.5.0.
MAX_NAME_BYTES = 63
MAX_DIMENSIONS = 4
INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1
# Of a tensor whose type is not known, until the place of the next one says its size.
UNSIZED = -1

# No element of ggml's takes more (F64, I64).
_LARGEST_ELEMENT_BYTES = 8

_LAYER_TENSOR = re.compile(r"blk\.([0-9]+)\.")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor: its name, elements in each dimension, ggml's name of its type, and the bytes of it from ``offset`` on within the file's data.

    A type that ggml has got since, or a fork's, is called by its number (TYPE_43): ``size_bytes`` is UNSIZED until ``with_room`` says it.
    """

    name: str
    shape: t.Tuple[int, ...]
    type_name: str
    offset: int
    size_bytes: int

    @property
    def sized(self) -> bool:
        """Whether its size is known by its type."""
        return self.size_bytes >= 0

    def with_room(self, label: str, room_bytes: int, alignment: int) -> TensorInfo:
        """A tensor whose type says no size with all the bytes up to what comes next in the file, which are up to ``alignment`` - 1 more than it has.

        Raises GgufError where that is no place for its elements.
        """
        most = _LARGEST_ELEMENT_BYTES * self.n_elements
        if not (1 if most else 0) <= room_bytes < most + alignment:
            raise GgufError(
                f"{label} is damaged: tensor {printable(self.name)} of the unknown type {self.type_name} has {self.n_elements} elements"
                f" and {room_bytes} bytes of the file"
            )
        return replace(self, size_bytes=room_bytes)

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
        # the llama.cpp that is to load it may know it
        return TensorInfo(name, shape, f"TYPE_{type_number}", cursor.number(U64, f"the offset of tensor {shown}"), UNSIZED)
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
