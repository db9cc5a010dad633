# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bytes of a GGUF file come from: a file here, or what a subclass reads."""

from __future__ import annotations

import os

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError, GgufMissing


class Reader:
    """Where the bytes come from. A subclass reads from a file, or from somewhere else, such as a web server."""

    #: what to call it in an error
    label: str
    #: how long the whole file is
    size_bytes: int
    #: how much was read so far
    bytes_read: int = 0

    def read(self, offset: int, size: int) -> bytes:
        """The ``size`` bytes at ``offset``; fewer only where the file ends. Raises GgufError where they cannot be read."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of what it holds."""


class FileReader(Reader):
    """Reads a file of this machine. Raises GgufMissing where there is none, and GgufError where it cannot be opened."""

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
