# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the header of GGUF files: metadata and tensor table, never the weights.

The file may come from anywhere, so nothing in it is believed: each count, length and offset is compared with what is
really there before it is used, and nothing is allocated by a number alone. The limits are llama.cpp's own
(ggml/src/gguf.cpp of llama.cpp 0.5.0), so that a file accepted here is one that llama.cpp accepts; whether it knows a
tensor type that is not in tensor_types.py, it says itself.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.cursor import U32, U64, Cursor
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.metadata import is_int, read_metadata
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.reader import FileReader, Reader
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.signatures import looks_like
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensors import UINT64_MAX, TensorInfo, read_tensor

MAGIC = b"GGUF"
NEWEST_VERSION = 3

# Our own limits on what is walked over (see cursor.py): real models have some thousand tensors.
MAX_TENSORS = 1 << 16
MAX_KEYS = 1 << 14

# The smallest there can be: name length and one byte, number of dimensions, type, offset.
_SMALLEST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
# Key length and one byte, type, a value of one byte.
_SMALLEST_KEY_VALUE_BYTES = 8 + 1 + 4 + 1


@dataclass
class GgufFile:
    """The header of one GGUF file: what it is called in errors, version of the format, alignment in bytes, metadata and tensors; how long the
    header is, where the weights begin, how long the file is, and how much of it was read."""

    label: str
    version: int
    alignment: int
    metadata: t.Dict[str, t.Any]
    tensors: t.List[TensorInfo]
    header_size_bytes: int
    data_offset_bytes: int
    file_size_bytes: int
    bytes_read: int

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture; empty where the file does not say."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def needed_size_bytes(self) -> int:
        """How long the file must be for the last byte of the last tensor to be there (padding after it is not needed)."""
        if not self.tensors:
            return self.header_size_bytes
        last = self.tensors[-1]
        return self.data_offset_bytes + last.offset + last.size_bytes

    @property
    def complete(self) -> bool:
        """Whether all its weights are there."""
        return self.file_size_bytes >= self.needed_size_bytes

    @property
    def split_count(self) -> int:
        """Of how many files the model consists; 1 where the file does not say."""
        value = self.metadata.get("split.count", 1)
        return value if is_int(value) and value > 0 else 1

    @property
    def split_number(self) -> int:
        """Which of them this is, counted from 0."""
        value = self.metadata.get("split.no", 0)
        return value if is_int(value) else 0

    def incomplete_problem(self) -> str | None:
        """One sentence saying how much of the weights is missing, None when all are there."""
        if self.complete:
            return None
        return (
            f"{self.label} is cut off: its header describes {self.needed_size_bytes} bytes,"
            f" but the file has only {self.file_size_bytes} ({self.needed_size_bytes - self.file_size_bytes} missing)"
        )


def _read_start(cursor: Cursor) -> t.Tuple[int, int, int]:
    """Version, number of tensors, number of key-value pairs."""
    reader = cursor.reader
    label = reader.label
    start = reader.read(0, min(512, reader.size_bytes))
    if start[:4] != MAGIC:
        raise GgufError(f"{label} is not a GGUF file: {looks_like(start, reader.size_bytes)}")
    cursor.skip(4, "the magic")
    version = cursor.number(U32, "the version")
    if version & 0xFFFF == 0 and version != 0:
        swapped = U32.unpack(struct.pack(">I", version))[0]
        raise GgufError(
            f"{label} is a big-endian GGUF file (version {swapped}), made for another kind of processor:"
            " get the little-endian one"
        )
    if version == 1:
        raise GgufError(f"{label} is a GGUF file of version 1, which llama.cpp no longer reads: convert the model again")
    if version < 1 or version > NEWEST_VERSION:
        raise GgufError(
            f"{label} says it is a GGUF file of version {version}, but only versions 2 to {NEWEST_VERSION} are known"
        )
    n_tensors = cursor.number(U64, "the number of tensors")
    n_pairs = cursor.number(U64, "the number of metadata keys")
    for count, most, smallest, what in (
        (n_pairs, MAX_KEYS, _SMALLEST_KEY_VALUE_BYTES, "metadata keys"),
        (n_tensors, MAX_TENSORS, _SMALLEST_TENSOR_BYTES, "tensors"),
    ):
        if count * smallest > cursor.remaining:
            raise GgufError(
                f"{label} is cut off or damaged in its header: {count} {what} need at least {count * smallest} bytes,"
                f" but only {max(cursor.remaining, 0)} bytes follow"
            )
        if count > most:
            raise GgufError(f"{label} is damaged: it is said to have {count} {what}, more than the {most} that no real file needs")
    return version, n_tensors, n_pairs


def _padded(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


def read_gguf_from(reader: Reader) -> GgufFile:
    """Reads the header of one file from a reader. Raises GgufError; cut-off weights are no error here, see incomplete_problem."""
    cursor = Cursor(reader)
    label = reader.label
    version, n_tensors, n_pairs = _read_start(cursor)
    metadata, alignment = read_metadata(cursor, n_pairs)
    tensors: t.List[TensorInfo] = []
    names = set()
    expected = 0
    for index in range(n_tensors):
        tensor = read_tensor(cursor, index, n_tensors)
        if tensor.name in names:
            raise GgufError(f"{label} is damaged: it has the tensor {printable(tensor.name)} twice")
        if tensors and not tensors[-1].sized and tensor.offset % alignment == 0:
            tensors[-1] = tensors[-1].with_room(label, tensor.offset - tensors[-1].offset, alignment)
            expected = tensor.offset
        # llama.cpp wants the tensors one after the other, each at the next aligned place.
        if tensor.offset != expected:
            raise GgufError(
                f"{label} is damaged: tensor {printable(tensor.name)} is at offset {tensor.offset} instead of {expected}"
            )
        expected += _padded(max(0, tensor.size_bytes), alignment)
        if expected > UINT64_MAX:
            raise GgufError(f"{label} is damaged: its tensors together are said to be {expected} bytes")
        names.add(tensor.name)
        tensors.append(tensor)
    header_size = cursor.offset
    data_offset = _padded(header_size, alignment) if tensors else header_size
    if tensors and not tensors[-1].sized:
        # one byte where not even that is there: then the file is cut off
        tensors[-1] = tensors[-1].with_room(label, max(1 if tensors[-1].n_elements else 0, reader.size_bytes - data_offset - expected), alignment)
    return GgufFile(
        label=label,
        version=version,
        alignment=alignment,
        metadata=metadata,
        tensors=tensors,
        header_size_bytes=header_size,
        data_offset_bytes=data_offset,
        file_size_bytes=reader.size_bytes,
        bytes_read=reader.bytes_read,
    )


def read_gguf(path: str) -> GgufFile:
    """Reads the header of a file of this machine, as read_gguf_from does."""
    reader = FileReader(path)
    try:
        return read_gguf_from(reader)
    finally:
        reader.close()
