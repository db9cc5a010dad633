# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks over the header of a GGUF file, with a window of it in memory.

The file may come from anywhere, so nothing in it is believed: each length is compared with what is really there before it is used, and nothing
is allocated by a number alone.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.reader import Reader

# ggml/src/gguf.cpp of llama.cpp 0.5.0.
MAX_STRING_BYTES = 1 << 30

# Our own limit on what is kept in memory: beyond this much text and this many numbers in all, what is long is summed up
# as if it were longer.
MAX_KEPT_BYTES = 1 << 22

# And limits on what is walked over, so that a server that lies about the size of a file cannot send for ever, nor a
# file of zeros be read as a vocabulary. The largest headers known (262,144 tokens and 514,906 merges) have 16 MiB
# and 0.8 million strings.
MAX_HEADER_BYTES = 1 << 26
MAX_STRINGS = 1 << 22

# One read from the file. Larger only where one string is.
_CHUNK_BYTES = 1 << 18

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")


class Cursor:
    """Walks over the header with a window of it in memory. Sizes and offsets are bytes; ``what`` is the thing an error names.

    Whatever reaches beyond the end of the file, or beyond what a real header has, raises GgufError.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.buffer = b""
        self.base = 0
        self.position = 0
        self.strings = 0
        self.kept_bytes = 0

    @property
    def offset(self) -> int:
        """Where in the file it stands."""
        return self.base + self.position

    @property
    def remaining(self) -> int:
        """The bytes from here to the end of the file; negative behind it."""
        return self.reader.size_bytes - self.offset

    def check_end(self, size: int, what: str) -> None:
        """Refuses that many bytes from here on where they cannot be there."""
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
        """The number here, of a format with one."""
        self.need(form.size, what)
        value = form.unpack_from(self.buffer, self.position)[0]
        self.position += form.size
        return value

    def string_length(self, what: str) -> int:
        """The length that stands before a string, where that much follows."""
        length = int(self.number(U64, f"the length of {what}"))
        if length > MAX_STRING_BYTES or length > self.remaining:
            raise GgufError(
                f"{self.reader.label} is cut off or damaged in its header: {what} at byte {self.offset} is said to be"
                f" {length} bytes long, but only {self.remaining} bytes follow"
            )
        return length

    def raw(self, size: int, what: str) -> bytes:
        """That many bytes as they are."""
        self.need(size, what)
        value = self.buffer[self.position:self.position + size]
        self.position += size
        return value

    def string(self, what: str, limit: int) -> str:
        """A string of at most ``limit`` bytes."""
        length = self.string_length(what)
        if length > limit:
            raise GgufError(
                f"{self.reader.label} is damaged: {what} at byte {self.offset} is {length} bytes long,"
                f" the format allows {limit}"
            )
        # A few published files carry names in other encodings, and llama.cpp does not look.
        return self.raw(length, what).decode("utf-8", "replace")

    def skip(self, size: int, what: str) -> None:
        """Goes on without looking at that many bytes; they are not read where they are outside the window."""
        self.check_end(size, what)
        self.position += size
        if self.position > len(self.buffer):
            self.base, self.position, self.buffer = self.offset, 0, b""

    def count_strings(self, count: int, what: str) -> None:
        """Counts the strings of an array, of which all arrays together have at most MAX_STRINGS."""
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
        """Goes over an array of strings. A vocabulary has some hundred thousand: this loop is what the time goes into."""
        unpack = U64.unpack_from
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
