# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model in one file or in several (gguf-split), by the names of the files and by what their headers say of each other."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError, GgufMissing
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import MAX_TENSORS, GgufFile, read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.metadata import is_int
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensors import TensorInfo

SHARD_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)


@dataclass
class GgufModel:
    """A whole model: one file, or all files of a split set in their order."""

    files: t.List[GgufFile]

    @property
    def first(self) -> GgufFile:
        """The file that has the metadata of the model."""
        return self.files[0]

    @property
    def metadata(self) -> t.Dict[str, t.Any]:
        """The metadata of the first file; the others say of themselves only which they are."""
        return self.first.metadata

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture; empty where the file does not say."""
        return self.first.architecture

    @property
    def tensors(self) -> t.List[TensorInfo]:
        """The tensors of all files."""
        return [tensor for item in self.files for tensor in item.tensors]

    @property
    def file_size_bytes(self) -> int:
        """The size of all files together."""
        return sum(item.file_size_bytes for item in self.files)

    def value(self, key: str) -> t.Any:
        """A value of the architecture's own, such as block_count for llama.block_count; None where there is none."""
        return self.metadata.get(f"{self.architecture}.{key}")

    @property
    def complete(self) -> bool:
        """Whether the weights of all files are there."""
        return all(item.complete for item in self.files)

    def incomplete_problem(self) -> str | None:
        """One sentence about the first file that is cut off, None where none is."""
        for item in self.files:
            problem = item.incomplete_problem()
            if problem:
                return problem
        return None


def read_gguf_model(path: str) -> GgufModel:
    """Reads the headers of a model, given its file or any one of its shards. Raises GgufError."""
    return read_gguf_parts(path, read_gguf)


def read_gguf_parts(name: str, read: t.Callable[[str], GgufFile]) -> GgufModel:
    """The model that a file belongs to, wherever its files are: ``read`` reads the header of the one of that name. Raises GgufError."""
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
        if is_int(total) and is_int(expected) and total != expected:
            raise GgufError(
                f"{item.label} is of another model than {first.label}: it says the model has {total} tensors, not {expected}"
            )
        for tensor in item.tensors:
            if tensor.name in seen:
                raise GgufError(f"{item.label} and {seen[tensor.name]} both have the tensor {printable(tensor.name)}")
            seen[tensor.name] = item.label
    expected = first.metadata.get("split.tensors.count")
    if is_int(expected) and expected != len(seen):
        raise GgufError(f"{first.label} says the model has {expected} tensors, but its {len(files)} files have {len(seen)}")


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
