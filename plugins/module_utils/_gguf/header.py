# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the header of GGUF files: metadata and tensor table, never the weights.

The file may come from anywhere, so nothing in it is believed: each count, length and offset is compared with what is
really there before it is used, and nothing is allocated by a number alone. The limits are llama.cpp's own
(ggml/src/gguf.cpp of llama.cpp 0.5.0), so that a file accepted here is one that llama.cpp accepts.
"""

from __future__ import annotations

import math
import os
import re
import struct
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

MAGIC = b"GGUF"
NEWEST_VERSION = 3
DEFAULT_ALIGNMENT = 32

# ggml/src/gguf.cpp and ggml/include/ggml.h of llama.cpp 0.5.0.
MAX_STRING_BYTES = 1 << 30
MAX_ARRAY_ELEMENTS = 1 << 30
MAX_NAME_BYTES = 63
MAX_DIMENSIONS = 4
INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1

# Our own limits, on what is kept in memory. Chat templates are tens of kilobytes, per-layer arrays a few hundred
# numbers; a vocabulary is neither.
MAX_KEY_BYTES = (1 << 16) - 1
MAX_KEPT_STRING_BYTES = 1 << 20
MAX_KEPT_ELEMENTS = 1024
# Beyond this much text and this many numbers in all, what is long is summed up as if it were longer.
MAX_KEPT_BYTES = 1 << 22

# And limits on what is walked over, so that a server that lies about the size of a file cannot send for ever, nor a
# file of zeros be read as a vocabulary. The largest headers known (262,144 tokens and 514,906 merges) have 16 MiB,
# 0.8 million strings and some thousand tensors.
MAX_HEADER_BYTES = 1 << 26
MAX_STRINGS = 1 << 22
MAX_TENSORS = 1 << 16
MAX_KEYS = 1 << 14

# One read from the file. Larger only where one string is.
_CHUNK_BYTES = 1 << 18


class GgufError(Exception):
    """The file is not a usable GGUF file. The text is one sentence without the final full stop."""


class GgufMissing(GgufError):
    """There is no such file."""


@dataclass(frozen=True)
class TensorType:
    name: str
    block_elements: int
    block_bytes: int


# ggml/include/ggml.h (enum ggml_type), ggml/src/ggml.c (type_traits) and ggml/src/ggml-common.h (block_*; QK_K = 256)
# of llama.cpp 0.5.0. Numbers that are not here were removed from the format.
TENSOR_TYPES: t.Mapping[int, TensorType] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 36),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}

# llama.cpp numbers its types without gaps; forks (ik_llama.cpp from 97 on) count theirs from far above.
FIRST_TYPE_OF_FORKS = 90

REMOVED_TENSOR_TYPES: t.Mapping[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}

# include/llama.h (enum llama_ftype) of llama.cpp 0.5.0, by the names that files are known by.
FILE_TYPES: t.Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    4: "Q4_1_SOME_F16",
    5: "Q4_2",
    6: "Q4_3",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    33: "Q4_0_4_4",
    34: "Q4_0_4_8",
    35: "Q4_0_8_8",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
# LLAMA_FTYPE_GUESSED: the file did not say, the converter guessed.
FILE_TYPE_GUESSED = 1024

# enum gguf_type of ggml/include/gguf.h.
_TYPE_STRING = 8
_TYPE_ARRAY = 9
_SCALARS: t.Mapping[int, t.Tuple[str, struct.Struct]] = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
# The smallest there can be: name length and one byte, number of dimensions, type, offset.
_SMALLEST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
# Key length and one byte, type, a value of one byte.
_SMALLEST_KEY_VALUE_BYTES = 8 + 1 + 4 + 1

SHARD_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)
_LAYER_TENSOR = re.compile(r"blk\.([0-9]+)\.")


@dataclass(frozen=True)
class ArraySummary:
    """What is kept of an array too long to be of interest, such as the vocabulary."""

    type_name: str
    length: int


@dataclass(frozen=True)
class StringSummary:
    """What is kept of a string too long to be of interest."""

    length_bytes: int


@dataclass(frozen=True)
class TensorInfo:
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
        count = 1
        for size in self.shape:
            count *= size
        return count


class Reader:
    """Where the bytes come from. A subclass reads from somewhere else, such as a web server."""

    #: what to call it in an error
    label: str
    #: how long the whole file is
    size_bytes: int
    #: how much was read so far
    bytes_read: int = 0

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there; fewer than asked for only where the file ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of what it holds."""


class FileReader(Reader):
    def __init__(self, path: str) -> None:
        self.label = path
        try:
            # Unbuffered: the parser asks for large pieces, and bytes_read then is the truth.
            self._file = open(path, "rb", buffering=0)
        except FileNotFoundError as exc:
            raise GgufMissing(f"{path} does not exist") from exc
        except IsADirectoryError as exc:
            raise GgufError(f"{path} is a directory, not a GGUF file") from exc
        except OSError as exc:
            raise GgufError(f"{path} cannot be read: {exc.strerror}") from exc
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            pieces = []
            while size > 0:
                piece = self._file.read(size)
                if not piece:
                    break
                pieces.append(piece)
                size -= len(piece)
        except OSError as exc:
            raise GgufError(f"{self.label} cannot be read: {exc.strerror}") from exc
        data = b"".join(pieces)
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        self._file.close()


class _Cursor:
    """Walks over the header with a window of it in memory."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.buffer = b""
        self.base = 0
        self.position = 0
        self.strings = 0
        self.kept_bytes = 0

    @property
    def offset(self) -> int:
        return self.base + self.position

    @property
    def remaining(self) -> int:
        return self.reader.size_bytes - self.offset

    def check_end(self, size: int, what: str) -> None:
        """That many bytes from here on can be there."""
        if size > self.remaining:
            raise GgufError(
                f"{self.reader.label} is cut off or damaged in its header: {what} at byte {self.offset} needs"
                f" {size} bytes, but the file ends after {max(self.remaining, 0)} more"
            )
        if self.offset + size > MAX_HEADER_BYTES:
            raise GgufError(
                f"{self.reader.label} is damaged: with {what} its header would be longer than the"
                f" {MAX_HEADER_BYTES >> 20} MiB that no real one needs"
            )

    def need(self, size: int, what: str) -> None:
        """Has at least that many bytes in the window, from the position on."""
        if self.position + size <= len(self.buffer):
            return
        self.check_end(size, what)
        start = self.offset
        window = self.reader.read(start, min(max(size, _CHUNK_BYTES), self.reader.size_bytes - start))
        if len(window) < size:
            raise GgufError(f"{self.reader.label} became shorter while it was read")
        self.base, self.position, self.buffer = start, 0, window

    def number(self, form: struct.Struct, what: str) -> t.Any:
        self.need(form.size, what)
        value = form.unpack_from(self.buffer, self.position)[0]
        self.position += form.size
        return value

    def string_length(self, what: str) -> int:
        length = int(self.number(_U64, f"the length of {what}"))
        if length > MAX_STRING_BYTES or length > self.remaining:
            raise GgufError(
                f"{self.reader.label} is cut off or damaged in its header: {what} at byte {self.offset} is said to be"
                f" {length} bytes long, but only {self.remaining} bytes follow"
            )
        return length

    def raw(self, size: int, what: str) -> bytes:
        self.need(size, what)
        value = self.buffer[self.position:self.position + size]
        self.position += size
        return value

    def string(self, what: str, limit: int) -> str:
        length = self.string_length(what)
        if length > limit:
            raise GgufError(
                f"{self.reader.label} is damaged: {what} at byte {self.offset} is {length} bytes long,"
                f" the format allows {limit}"
            )
        # A few published files carry names in other encodings, and llama.cpp does not look.
        return self.raw(length, what).decode("utf-8", "replace")

    def skip(self, size: int, what: str) -> None:
        self.check_end(size, what)
        self.position += size
        if self.position > len(self.buffer):
            self.base, self.position, self.buffer = self.offset, 0, b""

    def count_strings(self, count: int, what: str) -> None:
        self.strings += count
        if self.strings > MAX_STRINGS:
            raise GgufError(f"{self.reader.label} is damaged: {what} is said to have {count} texts, more than any real one has")

    def keeps(self, size: int) -> bool:
        """Whether there is room to keep something of that size, a summary being the alternative."""
        if self.kept_bytes + size > MAX_KEPT_BYTES:
            return False
        self.kept_bytes += size
        return True

    def skip_strings(self, count: int, what: str) -> None:
        """A vocabulary has some hundred thousand: this loop is what the time goes into."""
        unpack = _U64.unpack_from
        while count:
            buffer, position, last = self.buffer, self.position, len(self.buffer) - 8
            while count and position <= last:
                position += 8 + unpack(buffer, position)[0]
                count -= 1
            # The last one may reach beyond the window, or, if its length is a lie, beyond the file.
            self.position = min(position, len(buffer))
            self.skip(position - self.position, what)
            if count:
                self.need(8, what)


@dataclass
class GgufFile:
    """The header of one GGUF file."""

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
        return self.file_size_bytes >= self.needed_size_bytes

    @property
    def split_count(self) -> int:
        """Of how many files the model consists; 1 where the file does not say."""
        value = self.metadata.get("split.count", 1)
        return value if _is_int(value) and value > 0 else 1

    @property
    def split_number(self) -> int:
        """Which of them this is, counted from 0."""
        value = self.metadata.get("split.no", 0)
        return value if _is_int(value) else 0

    def incomplete_problem(self) -> str | None:
        """One sentence saying how much of the weights is missing, None when all are there."""
        if self.complete:
            return None
        return (
            f"{self.label} is cut off: its header describes {self.needed_size_bytes} bytes,"
            f" but the file has only {self.file_size_bytes} ({self.needed_size_bytes - self.file_size_bytes} missing)"
        )


def _is_int(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def looks_like(start: bytes, size_bytes: int) -> str:
    """What a file that is not GGUF seems to be, from its first bytes (some 512 are enough)."""
    if size_bytes == 0:
        return "it is empty"
    if not start.strip(b"\0"):
        return "it begins with zeros, like a download that reserved its space and was interrupted"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:64].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it is an HTML page, perhaps an error or login page of the server it was downloaded from"
    if lower.startswith((b"<?xml", b"<error")):
        return "it is an XML document, perhaps an error message of the server it was downloaded from"
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a git-lfs pointer, so the repository was cloned without git-lfs"
    if text.startswith((b"{", b"[")) and (b'"' in text[:64] or text[:2] in (b"{}", b"[]")):
        return "it is a JSON document, perhaps an error message of the server it was downloaded from"
    for magic, what in (
        (b"PK\x03\x04", "it is a zip archive (such as a Python wheel or a PyTorch checkpoint)"),
        (b"\x1f\x8b", "it is gzip-compressed"),
        (b"BZh", "it is bzip2-compressed"),
        (b"\xfd7zXZ\0", "it is xz-compressed"),
        (b"\x28\xb5\x2f\xfd", "it is zstd-compressed"),
        (b"7z\xbc\xaf", "it is a 7z archive"),
        (b"\x7fELF", "it is a program or library (ELF)"),
        (b"%PDF", "it is a PDF document"),
        (b"#!", "it is a script"),
        (b"\x80\x02", "it is a Python pickle (an old PyTorch checkpoint)"),
        (b"FUGG", "its magic is reversed"),
        (b"lmgg", "it is in the GGML format of 2023, which llama.cpp no longer reads"),
        (b"fmgg", "it is in the GGMF format of 2023, which llama.cpp no longer reads"),
        (b"tjgg", "it is in the GGJT format of 2023, which llama.cpp no longer reads"),
        (b"algg", "it is an adapter in the GGLA format of 2023, which llama.cpp no longer reads"),
        (b"\x89HDF\r\n", "it is an HDF5 file"),
    ):
        if start.startswith(magic):
            return what
    if start[257:262] == b"ustar":
        return "it is a tar archive"
    if len(start) > 9 and start[8:10] == b'{"' and _U64.unpack_from(start)[0] < size_bytes:
        return "it is a safetensors file, which must be converted first"
    shown = start[:16]
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start[:64]):
        return f'it is text that begins with "{shown.decode("ascii").strip()}"'
    return f"it begins with the bytes {shown[:4].hex(' ') if shown else ''}".rstrip()


def _read_value(cursor: _Cursor, key: str, type_number: int) -> t.Any:
    what = f"the value of {printable(key)}"
    if type_number in _SCALARS:
        return cursor.number(_SCALARS[type_number][1], what)
    if type_number == _TYPE_STRING:
        length = cursor.string_length(what)
        if length > MAX_KEPT_STRING_BYTES or not cursor.keeps(length):
            cursor.skip(length, what)
            return StringSummary(length)
        return cursor.raw(length, what).decode("utf-8", "replace")
    if type_number == _TYPE_ARRAY:
        return _read_array(cursor, key)
    raise GgufError(f"{cursor.reader.label} is damaged or newer than GGUF version 3: key {printable(key)} has a value of the unknown type {type_number}")


def _read_array(cursor: _Cursor, key: str) -> t.Any:
    label = cursor.reader.label
    what = f"the array {printable(key)}"
    type_number = cursor.number(_U32, what)
    length = cursor.number(_U64, what)
    if type_number == _TYPE_STRING:
        type_name, smallest = "string", 8
    elif type_number in _SCALARS:
        type_name, smallest = _SCALARS[type_number][0], _SCALARS[type_number][1].size
    elif type_number == _TYPE_ARRAY:
        raise GgufError(f"{label} has an array of arrays at key {printable(key)}, which llama.cpp does not read")
    else:
        raise GgufError(f"{label} is damaged or newer than GGUF version 3: array {printable(key)} has elements of the unknown type {type_number}")
    if length > MAX_ARRAY_ELEMENTS:
        raise GgufError(f"{label} is damaged: array {printable(key)} is said to have {length} elements")
    if length * smallest > cursor.remaining:
        raise GgufError(
            f"{label} is cut off or damaged in its header: {what} at byte {cursor.offset} is said to have {length}"
            f" elements, but only {cursor.remaining} bytes follow"
        )
    if type_number == _TYPE_STRING:
        cursor.count_strings(length, what)
    # a number or text takes some 64 bytes more in memory than in the file
    if length > MAX_KEPT_ELEMENTS or not cursor.keeps(64 * length):
        if type_number == _TYPE_STRING:
            cursor.skip_strings(length, what)
        else:
            cursor.skip(length * smallest, what)
        return ArraySummary(type_name, length)
    if type_number == _TYPE_STRING:
        return [_read_value(cursor, key, _TYPE_STRING) for index in range(length)]
    data = cursor.raw(length * smallest, what)
    form = _SCALARS[type_number][1]
    return [item[0] for item in form.iter_unpack(data)] if data else []


def _read_start(cursor: _Cursor) -> t.Tuple[int, int, int]:
    """Version, number of tensors, number of key-value pairs."""
    reader = cursor.reader
    label = reader.label
    start = reader.read(0, min(512, reader.size_bytes))
    if start[:4] != MAGIC:
        raise GgufError(f"{label} is not a GGUF file: {looks_like(start, reader.size_bytes)}")
    cursor.skip(4, "the magic")
    version = cursor.number(_U32, "the version")
    if version & 0xFFFF == 0 and version != 0:
        swapped = _U32.unpack(struct.pack(">I", version))[0]
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
    n_tensors = cursor.number(_U64, "the number of tensors")
    n_pairs = cursor.number(_U64, "the number of metadata keys")
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


def _read_metadata(cursor: _Cursor, n_pairs: int) -> t.Tuple[t.Dict[str, t.Any], int]:
    """The metadata and the alignment it sets."""
    label = cursor.reader.label
    metadata: t.Dict[str, t.Any] = {}
    alignment = DEFAULT_ALIGNMENT
    for index in range(n_pairs):
        key = cursor.string(f"the name of metadata key {index + 1} of {n_pairs}", MAX_KEY_BYTES)
        if not key:
            raise GgufError(f"{label} is damaged: metadata key {index + 1} of {n_pairs} has no name")
        if key in metadata:
            raise GgufError(f"{label} is damaged: it has the metadata key {printable(key)} twice")
        if not cursor.keeps(len(key)):
            raise GgufError(f"{label} is damaged: the names of its metadata keys are longer than all of any real file's")
        type_number = cursor.number(_U32, f"the type of {printable(key)}")
        value = _read_value(cursor, key, type_number)
        if key == "general.alignment":
            if type_number != 4:
                raise GgufError(f"{label} is damaged: general.alignment is not of type uint32")
            if value == 0 or value & (value - 1):
                raise GgufError(f"{label} is damaged: its alignment {value} is not a power of two")
            alignment = value
        metadata[key] = value
    return metadata, alignment


def _read_tensor(cursor: _Cursor, index: int, n_tensors: int) -> TensorInfo:
    label = cursor.reader.label
    name = cursor.string(f"the name of tensor {index + 1} of {n_tensors}", MAX_NAME_BYTES)
    shown = printable(name)
    n_dimensions = cursor.number(_U32, f"the shape of tensor {shown}")
    if n_dimensions > MAX_DIMENSIONS:
        raise GgufError(
            f"{label} is damaged: tensor {shown} has {n_dimensions} dimensions, at most {MAX_DIMENSIONS} are possible"
        )
    shape = tuple(cursor.number(_U64, f"the shape of tensor {shown}") for axis in range(n_dimensions))
    n_elements = 1
    for size in shape:
        n_elements *= size
        if size > INT64_MAX or n_elements > INT64_MAX:
            raise GgufError(f"{label} is damaged: tensor {shown} has an impossible shape, {list(shape)}")
    type_number = cursor.number(_U32, f"the type of tensor {shown}")
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
    offset = cursor.number(_U64, f"the offset of tensor {shown}")
    return TensorInfo(name, shape, kind.name, offset, size_bytes)


def _padded(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


def read_gguf_from(reader: Reader) -> GgufFile:
    """Reads the header from a reader."""
    cursor = _Cursor(reader)
    label = reader.label
    version, n_tensors, n_pairs = _read_start(cursor)
    metadata, alignment = _read_metadata(cursor, n_pairs)
    tensors: t.List[TensorInfo] = []
    names = set()
    expected = 0
    for index in range(n_tensors):
        tensor = _read_tensor(cursor, index, n_tensors)
        if tensor.name in names:
            raise GgufError(f"{label} is damaged: it has the tensor {printable(tensor.name)} twice")
        # llama.cpp wants the tensors one after the other, each at the next aligned place.
        if tensor.offset != expected:
            raise GgufError(
                f"{label} is damaged: tensor {printable(tensor.name)} is at offset {tensor.offset} instead of {expected}"
            )
        expected += _padded(tensor.size_bytes, alignment)
        if expected > UINT64_MAX:
            raise GgufError(f"{label} is damaged: its tensors together are said to be {expected} bytes")
        names.add(tensor.name)
        tensors.append(tensor)
    header_size = cursor.offset
    return GgufFile(
        label=label,
        version=version,
        alignment=alignment,
        metadata=metadata,
        tensors=tensors,
        header_size_bytes=header_size,
        data_offset_bytes=_padded(header_size, alignment) if tensors else header_size,
        file_size_bytes=reader.size_bytes,
        bytes_read=reader.bytes_read,
    )


def read_gguf(path: str) -> GgufFile:
    """Reads the header of one file. Raises GgufError; cut-off weights are no error here, see incomplete_problem."""
    reader = FileReader(path)
    try:
        return read_gguf_from(reader)
    finally:
        reader.close()


def shard_names(name: str) -> t.List[str]:
    """All names of the split set a name (or path) belongs to, the first shard first; the name alone if it is no shard.

    The pattern is llama.cpp's own, llama_split_path in src/llama.cpp.
    """
    match = SHARD_NAME.fullmatch(name)
    if not match:
        return [name]
    count = int(match.group("count"))
    if not 1 <= int(match.group("number")) <= count:
        return [name]
    return [f"{match.group('prefix')}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


def _enumerate_words(items: t.Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def missing_shards_problem(names: t.Sequence[str], present: t.Container[str]) -> str | None:
    """One sentence naming the parts of a split set that are not there, None when all are."""
    missing = [number for number, name in enumerate(names, start=1) if name not in present]
    if not missing:
        return None
    shown = [os.path.basename(names[number - 1]) for number in missing]
    more = ""
    if len(shown) > 4:
        more = f" and {len(shown) - 3} more"
        shown = shown[:3]
    parts = "part" if len(missing) == 1 else "parts"
    verb = "is" if len(missing) == 1 else "are"
    listed = ", ".join(shown) + more if more else _enumerate_words(shown)
    return f"{parts} {listed} of a model in {len(names)} files {verb} missing"


@dataclass
class GgufModel:
    """A whole model: one file, or all files of a split set."""

    files: t.List[GgufFile] = field(default_factory=list)

    @property
    def first(self) -> GgufFile:
        return self.files[0]

    @property
    def metadata(self) -> t.Dict[str, t.Any]:
        return self.first.metadata

    @property
    def architecture(self) -> str:
        return self.first.architecture

    @property
    def tensors(self) -> t.List[TensorInfo]:
        return [tensor for item in self.files for tensor in item.tensors]

    @property
    def file_size_bytes(self) -> int:
        return sum(item.file_size_bytes for item in self.files)

    def value(self, key: str) -> t.Any:
        """A value of the architecture's own, such as block_count for llama.block_count."""
        return self.metadata.get(f"{self.architecture}.{key}")

    @property
    def complete(self) -> bool:
        return all(item.complete for item in self.files)

    def incomplete_problem(self) -> str | None:
        for item in self.files:
            problem = item.incomplete_problem()
            if problem:
                return problem
        return None


def read_gguf_model(path: str) -> GgufModel:
    """Reads the headers of a model, given its file or any one of its shards. Raises GgufError."""
    return read_gguf_parts(path, read_gguf)


def read_gguf_parts(name: str, read: t.Callable[[str], GgufFile]) -> GgufModel:
    """The model that a file belongs to, wherever its files are: ``read`` reads the header of the one of that name."""
    given = read(name)
    if given.split_count <= 1:
        return GgufModel([given])
    names = shard_names(name)
    if len(names) != given.split_count:
        raise GgufError(
            f"{given.label} is part {given.split_number + 1} of a model in {given.split_count} files, but its name does not end"
            f" in -{given.split_number + 1:05d}-of-{given.split_count:05d}.gguf, by which llama.cpp finds the others"
        )
    found: t.Dict[str, GgufFile] = {}
    for other in names:
        try:
            found[other] = given if other == name else read(other)
        except GgufMissing:
            # all that are missing are named at once
            continue
        if sum(len(item.tensors) for item in found.values()) > MAX_TENSORS:
            raise GgufError(f"{given.label} is part of a model with more than {MAX_TENSORS} tensors, which no real model has")
    problem = missing_shards_problem(names, found)
    if problem:
        raise GgufError(f"{given.label} cannot be used alone: {problem}")
    files = [found[other] for other in names]
    _check_parts(files)
    return GgufModel(files)


def _check_parts(files: t.Sequence[GgufFile]) -> None:
    """That the files of a split set, in the order of their names, are one model.

    llama.cpp asks for the numbers, for tensors that are there once and for their total (src/llama-model-loader.cpp, the
    constructor). That the parts agree on the rest is asked for here: it is how parts of two downloads show.
    """
    first = files[0]
    seen: t.Dict[str, str] = {}
    for number, item in enumerate(files):
        if item.split_number != number or item.split_count != len(files):
            raise GgufError(
                f"{item.label} says it is part {item.split_number + 1} of {item.split_count},"
                f" but by its name it is part {number + 1} of {len(files)}"
            )
        # gguf-split writes the architecture into the first part alone, other tools into each
        if item.architecture and item.architecture != first.architecture:
            raise GgufError(
                f"{item.label} is of another model than {first.label}: its architecture is {printable(item.architecture)},"
                f" not {printable(first.architecture) or 'the unnamed one of the first part'}"
            )
        total, expected = item.metadata.get("split.tensors.count"), first.metadata.get("split.tensors.count")
        if _is_int(total) and _is_int(expected) and total != expected:
            raise GgufError(
                f"{item.label} is of another model than {first.label}: it says the model has {total} tensors, not {expected}"
            )
        for tensor in item.tensors:
            if tensor.name in seen:
                raise GgufError(f"{item.label} and {seen[tensor.name]} both have the tensor {printable(tensor.name)}")
            seen[tensor.name] = item.label
    expected = first.metadata.get("split.tensors.count")
    if _is_int(expected) and expected != len(seen):
        raise GgufError(f"{first.label} says the model has {expected} tensors, but its {len(files)} files have {len(seen)}")


def file_type_name(value: t.Any) -> str:
    """The usual name of general.file_type, such as Q4_K_M; empty where it is unknown."""
    return FILE_TYPES.get(value & ~FILE_TYPE_GUESSED, "") if _is_int(value) else ""


def _vocabulary_size(model: GgufModel) -> int | None:
    value = model.value("vocab_size")
    if _is_int(value):
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


def describe(model: GgufModel, include_tensors: bool = False, include_metadata: bool = False) -> t.Dict[str, t.Any]:
    """All that an operator or a plan may want to know, as plain data."""
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
        "n_layers": n_layers if _is_int(n_layers) else None,
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
        "file_type_number": file_type if _is_int(file_type) else None,
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
