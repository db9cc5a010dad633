# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file that is not GGUF seems to be, by its first bytes."""

from __future__ import annotations

import struct


def looks_like(start: bytes, size_bytes: int) -> str:
    """A clause that says what the file seems to be, from its first bytes (some 512 are enough) and its size."""
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
    if len(start) > 9 and start[8:10] == b'{"' and struct.unpack_from("<Q", start)[0] < size_bytes:
        return "it is a safetensors file, which must be converted first"
    shown = start[:16]
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start[:64]):
        return f'it is text that begins with "{shown.decode("ascii").strip()}"'
    return f"it begins with the bytes {shown[:4].hex(' ') if shown else ''}".rstrip()
