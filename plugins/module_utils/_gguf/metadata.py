# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a GGUF file: keys and values, of which what is long is summed up.

Integers, floats, truth values and strings are Python's own, arrays are lists; an array or a string that is too long to be of interest, such as
the vocabulary, is an ArraySummary or a StringSummary.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.cursor import U32, U64, Cursor
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError

DEFAULT_ALIGNMENT = 32

# ggml/src/gguf.cpp of llama.cpp 0.5.0.
MAX_ARRAY_ELEMENTS = 1 << 30

# Our own limits, on what is kept in memory. Chat templates are tens of kilobytes, per-layer arrays a few hundred
# numbers; a vocabulary is neither.
MAX_KEY_BYTES = (1 << 16) - 1
MAX_KEPT_STRING_BYTES = 1 << 20
MAX_KEPT_ELEMENTS = 1024

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


@dataclass(frozen=True)
class ArraySummary:
    """What is kept of a long array: the name of its elements' type in GGUF, such as string or int32, and their number."""

    type_name: str
    length: int


@dataclass(frozen=True)
class StringSummary:
    """What is kept of a long string."""

    length_bytes: int


def is_int(value: t.Any) -> bool:
    """Whether a value is an integer, which a truth value is none of here."""
    return isinstance(value, int) and not isinstance(value, bool)


def _read_value(cursor: Cursor, key: str, type_number: int) -> t.Any:
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


def _read_array(cursor: Cursor, key: str) -> t.Any:
    label = cursor.reader.label
    what = f"the array {printable(key)}"
    type_number = cursor.number(U32, what)
    length = cursor.number(U64, what)
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


def read_metadata(cursor: Cursor, n_pairs: int) -> t.Tuple[t.Dict[str, t.Any], int]:
    """The metadata, ``n_pairs`` keys and values, and the alignment in bytes that it sets. Raises GgufError."""
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
        type_number = cursor.number(U32, f"the type of {printable(key)}")
        value = _read_value(cursor, key, type_number)
        if key == "general.alignment":
            if type_number != 4:
                raise GgufError(f"{label} is damaged: general.alignment is not of type uint32")
            if value == 0 or value & (value - 1):
                raise GgufError(f"{label} is damaged: its alignment {value} is not a power of two")
            alignment = value
        metadata[key] = value
    return metadata, alignment
