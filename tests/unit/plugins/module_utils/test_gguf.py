# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GGUF reader, on files made byte by byte and on damaged ones."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf, read_gguf_from
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.metadata import MAX_KEPT_STRING_BYTES, ArraySummary, StringSummary
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.reader import Reader
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import GgufModel, missing_shards_problem, read_gguf_model, shard_names
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensor_types import TENSOR_TYPES, file_type_name
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make


class BytesReader(Reader):
    """A reader over bytes in memory that counts, as a remote one would."""

    def __init__(self, data, size_bytes=None):
        self.label = "model.gguf"
        self.data = data
        self.size_bytes = len(data) if size_bytes is None else size_bytes
        self.largest = 0

    def read(self, offset, size):
        piece = self.data[offset:offset + size]
        self.bytes_read += len(piece)
        self.largest = max(self.largest, size)
        return piece


def parse(data, size_bytes=None):
    return read_gguf_from(BytesReader(data, size_bytes))


def problem(data):
    with pytest.raises(GgufError) as caught:
        parse(data)
    return str(caught.value)


def with_counts(n_tensors, n_pairs, rest=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_pairs) + rest


@pytest.mark.parametrize("version", [2, 3])
def test_whole_file(version):
    data = make.gguf_bytes(version=version)
    found = parse(data)
    assert (found.version, found.architecture, found.alignment) == (version, "llama", 32)
    assert found.metadata["general.name"] == "Test model"
    assert found.metadata["llama.block_count"] == 2
    assert found.metadata["tokenizer.ggml.tokens"][:2] == ["token0", "token1"]
    assert [(item.name, item.type_name, item.shape) for item in found.tensors[:2]] == [
        ("token_embd.weight", "Q4_0", (64, 8)),
        ("blk.0.attn_norm.weight", "F32", (64,)),
    ]
    assert found.header_size_bytes == len(make.header(make.standard_pairs(), make.standard_tensors(), version))
    assert found.data_offset_bytes % 32 == 0
    assert found.complete and found.incomplete_problem() is None
    last = found.tensors[-1]
    assert found.needed_size_bytes == found.data_offset_bytes + last.offset + last.size_bytes <= len(data)


@pytest.mark.parametrize(
    ("type_name", "content"),
    [
        ("uint8", 255),
        ("int8", -128),
        ("uint16", 65535),
        ("int16", -32768),
        ("uint32", 2**32 - 1),
        ("int32", -(2**31)),
        ("float32", 0.5),
        ("bool", True),
        ("string", "Grüße ✓"),
        ("uint64", 2**64 - 1),
        ("int64", -(2**63)),
        ("float64", 1e300),
        ("array:uint8", [1, 2, 3]),
        ("array:bool", [True, False]),
        ("array:string", ["", "a", "ü"]),
        ("array:float64", [0.25, -1.5]),
        ("array:int32", []),
    ],
)
def test_every_value_type(type_name, content):
    found = parse(make.gguf_bytes([make.pair("a.key", type_name, content)], []))
    assert found.metadata == {"a.key": content}


@pytest.mark.parametrize("type_name", ["array:string", "array:int32", "array:bool", "array:float64"])
def test_long_arrays_are_not_kept(type_name):
    content = [str(number) for number in range(1025)] if type_name.endswith("string") else [1] * 1025
    pairs = [make.pair("before", "uint8", 1), make.pair("a.long", type_name, content), make.pair("after", "uint8", 2)]
    found = parse(make.gguf_bytes(pairs, [make.f32("one", 3)]))
    assert found.metadata["a.long"] == ArraySummary(type_name.partition(":")[2], 1025)
    assert found.metadata["after"] == 2
    assert found.tensors[0].name == "one"


def test_long_string_is_not_kept():
    pairs = [make.pair("a", "string", "x" * (MAX_KEPT_STRING_BYTES + 1)), make.pair("b", "uint8", 2)]
    found = parse(make.gguf_bytes(pairs, []))
    assert found.metadata == {"a": StringSummary(MAX_KEPT_STRING_BYTES + 1), "b": 2}


def test_string_longer_than_one_window():
    text = "y" * 600_000
    found = parse(make.gguf_bytes([make.pair("a", "string", text), make.pair("b", "uint8", 2)], []))
    assert found.metadata == {"a": text, "b": 2}


def test_names_that_are_not_utf8_do_not_stop_it():
    found = parse(make.gguf_bytes([make.text(b"a\xffb") + struct.pack("<IB", 0, 7)], []))
    assert list(found.metadata.values()) == [7]


@pytest.mark.parametrize("number", sorted(TENSOR_TYPES))
def test_every_tensor_type(number):
    kind = TENSOR_TYPES[number]
    tensor = make.Tensor("t", (kind.block_elements * 3, 5), number, kind.block_bytes * 15)
    found = parse(make.gguf_bytes([], [tensor, make.f32("next", 1)]))
    assert found.tensors[0].type_name == kind.name
    assert found.tensors[0].size_bytes == kind.block_bytes * 15
    assert found.tensors[0].n_elements == kind.block_elements * 15


@pytest.mark.parametrize("number", [43, 143])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_type_that_nobody_knows_yet_has_the_bytes_up_to_what_comes_next(number, place):
    tensors = [make.f32("a", 8), make.q4_0("b", 64, 3), make.f32("c", 5)]
    tensors[place] = make.Tensor(tensors[place].name, (64, 3), number, 108)
    data = make.gguf_bytes([], tensors)
    found = parse(data)
    assert [(item.name, item.offset) for item in found.tensors] == [(item.name, item.offset) for item in parse(
        make.gguf_bytes([], [*tensors[:place], make.q4_0(tensors[place].name, 64, 3), *tensors[place + 1:]])).tensors]
    # what is padded counts as well
    assert (found.tensors[place].type_name, found.tensors[place].size_bytes) == ("TYPE_%d" % number, 128) and found.complete
    facts = describe(GgufModel([found]), include_tensors=True)
    assert facts["tensors"][place]["type"] == "TYPE_%d" % number and facts["tensor_types_bytes"]["TYPE_%d" % number] == 128
    cut = parse(data[:found.data_offset_bytes + found.tensors[place].offset])
    assert not cut.complete and "is cut off" in cut.incomplete_problem()


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_alignment(alignment):
    pairs = [make.pair("general.alignment", "uint32", alignment)]
    found = parse(make.gguf_bytes(pairs, make.standard_tensors(), alignment=alignment))
    assert found.alignment == alignment
    assert found.complete


def test_file_without_tensors_has_no_padding():
    found = parse(make.header([make.pair("a", "uint8", 1)], []))
    assert found.data_offset_bytes == found.header_size_bytes == found.needed_size_bytes
    assert found.complete


def test_cut_off_weights_are_told_in_bytes():
    data = make.gguf_bytes()
    found = parse(data)
    cut = parse(data[:found.needed_size_bytes - 100])
    assert not cut.complete
    assert cut.incomplete_problem() == (
        f"model.gguf is cut off: its header describes {found.needed_size_bytes} bytes, but the file has only"
        f" {found.needed_size_bytes - 100} (100 missing)"
    )
    # The padding after the last tensor may be missing.
    assert parse(data[:found.needed_size_bytes]).complete


def test_every_cut_in_the_header_is_an_error():
    data = make.gguf_bytes()
    end = parse(data).header_size_bytes
    for length in range(end):
        said = problem(data[:length])
        assert "\n" not in said
        if length >= 4:
            assert "cut off or damaged in its header" in said, (length, said)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_counts(0, 2**60), ["metadata keys need at least", "0 bytes follow"]),
        (with_counts(2**64 - 1, 0), ["tensors need at least"]),
        (with_counts(0, 1, struct.pack("<Q", 2**63) + b"x" * 20), ["the name of metadata key 1 of 1", "only 20 bytes"]),
        (with_counts(0, 1, struct.pack("<Q", 70_000) + b"x" * 80_000), ["the format allows 65535"]),
        (with_counts(0, 1, make.text("") + b"\0" * 20), ["has no name"]),
        (make.gguf_bytes([make.pair("a", "uint8", 1)] * 2, []), ["key a twice"]),
        (with_counts(0, 1, make.text("k") + struct.pack("<I", 13) + b"\0" * 9), ["unknown type 13", "damaged or newer than GGUF version 3"]),
        (with_counts(0, 1, make.text("k") + struct.pack("<IIQ", 9, 9, 1)), ["an array of arrays"]),
        (with_counts(0, 1, make.text("k") + struct.pack("<IIQ", 9, 99, 1)), ["elements of the unknown type 99"]),
        (with_counts(0, 1, make.text("k") + struct.pack("<IIQ", 9, 5, 2**62)), ["said to have 4611686018427387904"]),
        (with_counts(0, 1, make.text("k") + struct.pack("<IIQ", 9, 5, 2**20)), ["1048576 elements", "0 bytes follow"]),
        (
            with_counts(0, 1, make.text("k") + struct.pack("<IIQQ", 9, 8, 2000, 2**63) + b"\0" * 16000),
            ["the array k", "cut off or damaged"],
        ),
        (make.gguf_bytes([make.pair("general.alignment", "uint32", 24)], []), ["alignment 24 is not a power of two"]),
        (make.gguf_bytes([make.pair("general.alignment", "uint32", 0)], []), ["alignment 0"]),
        (make.gguf_bytes([make.pair("general.alignment", "uint64", 32)], []), ["not of type uint32"]),
        (make.gguf_bytes([], [make.f32("n" * 64, 1)]), ["64 bytes long, the format allows 63"]),
        (make.gguf_bytes([], [make.f32("same", 8), make.f32("same", 8)]), ["tensor same twice"]),
        (make.gguf_bytes([], [make.f32("t", 1, 1, 1, 1, 1)]), ["5 dimensions, at most 4"]),
        (make.gguf_bytes([], [make.Tensor("t", (2**40, 2**40), 0, 4)]), ["impossible shape"]),
        (make.gguf_bytes([], [make.Tensor("t", (2**63,), 0, 4)]), ["impossible shape"]),
        (make.gguf_bytes([], [make.Tensor("t", (33,), 2, 18)]), ["rows of 33 elements", "32 that Q4_0 needs"]),
        (make.gguf_bytes([], [make.Tensor("t", (32,), 4, 18)]), ["type Q4_2", "no longer reads"]),
        (make.gguf_bytes([], [make.Tensor("t", (32,), 43, 600)]), ["tensor t of the unknown type TYPE_43 has 32 elements and 608 bytes"]),
        (make.gguf_bytes([], [make.Tensor("t", (32,), 43, 600), make.f32("u", 8)]), ["TYPE_43 has 32 elements and 608 bytes"]),
        (make.gguf_bytes([], [make.Tensor("t", (32,), 43, 18), make.Tensor("u", (8,), 0, 32, 0)]), ["TYPE_43 has 32 elements and 0 bytes"]),
        (make.gguf_bytes([], [make.Tensor("t", (32,), 43, 18), make.Tensor("u", (8,), 0, 32, 33)]), ["tensor u is at offset 33 instead of 0"]),
        (make.gguf_bytes([], [make.Tensor("t", (8,), 0, 32, 32)]), ["at offset 32 instead of 0"]),
        (make.gguf_bytes([], [make.f32("a", 9), make.Tensor("b", (8,), 0, 32, 36)]), ["at offset 36 instead of 64"]),
        (with_counts(0, 0, version=1), ["version 1, which llama.cpp no longer reads"]),
        (with_counts(0, 0, version=4), ["of version 4, but only versions 2 to 3"]),
        (with_counts(0, 0, version=0), ["of version 0"]),
        (make.gguf_bytes(order=">"), ["a big-endian GGUF file (version 3)"]),
    ],
)
def test_damaged_headers(data, words):
    said = problem(data)
    for word in words:
        assert word in said
    assert said.startswith("model.gguf ") and "\n" not in said and not said.endswith(".")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it is empty"),
        (b"\0" * 4096, "it begins with zeros"),
        (b"<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"\n  <html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (b'{"error": "Repository not found"}', "a JSON document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"),
        (b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        (b"\x1f\x8b\x08" + b"\0" * 40, "gzip"),
        (b"\x7fELF" + b"\0" * 40, "ELF"),
        (b"tjgg" + b"\0" * 40, "GGJT format of 2023"),
        (struct.pack("<Q", 30) + b'{"__metadata__":{}}' + b" " * 60, "a safetensors file"),
        (b"x" * 257 + b"ustar\0" + b"\0" * 300, "a tar archive"),
        (b"Not Found", 'text that begins with "Not Found"'),
        (b"\x01\x02\x03\x04" * 8, "begins with the bytes 01 02 03 04"),
        (b"GG", 'text that begins with "GG"'),
    ],
)
def test_what_is_not_gguf_is_named(data, what):
    said = problem(data)
    assert said.startswith("model.gguf is not a GGUF file: it ")
    assert what in said


def test_no_allocation_by_a_number_alone():
    """A file of a few bytes that promises gigabytes must not cost memory, nor ask the reader for more than is there."""
    promises = [
        with_counts(2**50, 1, b"\0" * 64),
        with_counts(0, 1, make.text("k") + struct.pack("<IIQ", 9, 8, 2**30) + b"\0" * 64),
        with_counts(0, 1, make.text("k") + struct.pack("<IQ", 8, 2**30) + b"\0" * 64),
        make.gguf_bytes([], [make.Tensor("t", (2**40,), 0, 0)]),
    ]
    tracemalloc.start()
    try:
        for data in promises:
            reader = BytesReader(data)
            try:
                read_gguf_from(reader)
            except GgufError:
                pass
            assert reader.largest <= len(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_noise_never_raises_anything_else():
    """Thousands of damaged copies: a sentence or a result, never another exception."""
    noise = random.Random(7)
    whole = bytearray(make.gguf_bytes())
    end = parse(bytes(whole)).header_size_bytes
    refused = 0
    for _attempt in range(3000):
        copy = bytearray(whole)
        for _change in range(noise.randint(1, 4)):
            copy[noise.randrange(4, end)] = noise.choice((0, 1, 0x7F, 0x80, 0xFF, noise.randrange(256)))
        try:
            describe(GgufModel([parse(bytes(copy))]), include_tensors=True, include_metadata=True)
        except GgufError as exc:
            refused += 1
            assert "\n" not in str(exc)
    assert refused > 1000


def test_large_vocabulary_is_fast_and_reads_the_header_alone(tmp_path):
    path = tmp_path / "large.gguf"
    tensors = make.standard_tensors(80, 8)
    header = make.header(make.large_vocabulary_pairs(), tensors)
    with path.open("wb") as file:
        file.write(header)
        # As long as it says, without taking the space.
        file.truncate(len(header) + 32 + sum(tensor.size_bytes + 32 for tensor in tensors))
    best = 10.0
    for _attempt in range(3):
        start = time.perf_counter()
        model = read_gguf_model(str(path))
        facts = describe(model)
        best = min(best, time.perf_counter() - start)
    assert facts["vocab_size"] == 128_256
    assert facts["header_size_bytes"] == len(header)
    assert facts["bytes_read"] <= len(header) + (1 << 18) + 512
    # 0.1 s on an idle machine; the bound leaves room for a busy one.
    assert best < 1.0, best


def test_description():
    facts = describe(GgufModel([parse(make.gguf_bytes())]), include_tensors=True, include_metadata=True)
    assert facts["architecture"] == "llama"
    assert (facts["n_layers"], facts["n_tensors"], facts["vocab_size"]) == (2, 7, 8)
    assert facts["tensors_per_layer"] == [2, 2]
    assert facts["layer_weights_bytes"] == [256 + 4608] * 2
    assert facts["embedding_weights_bytes"] == facts["output_weights_bytes"] == 288
    assert facts["output_tied_to_embedding"] is False
    assert facts["other_weights_bytes"] == 256
    assert facts["weights_bytes"] == 2 * 4864 + 2 * 288 + 256
    assert facts["n_parameters"] == 64 * 8 * 2 + 2 * (64 + 64 * 128) + 64
    assert (facts["file_type"], facts["file_type_number"]) == ("Q4_0", 2)
    assert facts["tensor_types_bytes"] == {"Q4_0": 2 * 4608 + 2 * 288, "F32": 3 * 256}
    assert (facts["head_count"], facts["head_count_kv"], facts["context_length"]) == (4, 2, 4096)
    assert facts["complete"] is True
    assert facts["tensors"][1]["layer"] == 0 and facts["tensors"][0]["layer"] is None
    assert facts["tensors"][0]["offset_bytes"] % 32 == 0
    assert facts["metadata"]["general.name"] == "Test model"


def test_description_of_odd_files():
    """Nothing but the magic, and layers numbered beyond all sense."""
    empty = describe(GgufModel([parse(make.gguf_bytes([], []))]))
    assert empty["architecture"] == "" and empty["n_layers"] is None and empty["vocab_size"] is None
    odd = describe(GgufModel([parse(make.gguf_bytes([], [make.f32("blk.999999999999.x", 1)]))]))
    assert odd["layer_weights_bytes"] == [] and odd["weights_bytes"] == 4


def test_vocabulary_size_without_a_tokenizer():
    facts = describe(GgufModel([parse(make.gguf_bytes(make.standard_pairs()[:-1]))]))
    assert facts["vocab_size"] == 8


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "F32"), (14, "Q4_K_S"), (15, "Q4_K_M"), (18, "Q6_K"), (18 | 1024, "Q6_K"), (41, "Q2_0"), (999, ""), ("7", ""), (True, "")],
)
def test_file_types(number, name):
    assert file_type_name(number) == name


@pytest.mark.parametrize("given", [0, 1, 2])
def test_split_set_from_any_part(tmp_path, given):
    paths = make.write_split(tmp_path, "big")
    model = read_gguf_model(str(paths[given]))
    assert [item.label for item in model.files] == [str(path) for path in paths]
    facts = describe(model, include_tensors=True)
    assert facts["path"] == str(paths[0])
    assert facts["n_tensors"] == 7 and facts["complete"]
    assert facts["tensors_per_layer"] == [2, 2]
    assert facts["file_size_bytes"] == sum(path.stat().st_size for path in paths)
    assert [tensor["shard"] for tensor in facts["tensors"]] == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ([1], "part big-00002-of-00003.gguf of a model in 3 files is missing"),
        ([0, 1], "parts big-00001-of-00003.gguf and big-00002-of-00003.gguf of a model in 3 files are missing"),
    ],
)
def test_missing_parts_are_named(tmp_path, gone, words):
    paths = make.write_split(tmp_path, "big")
    for number in gone:
        paths[number].unlink()
    with pytest.raises(GgufError, match=words):
        read_gguf_model(str(paths[2]))


def test_many_missing_parts_are_counted():
    names = shard_names("x-00001-of-00009.gguf")
    said = missing_shards_problem(names, {names[0]})
    assert said == (
        "parts x-00002-of-00009.gguf, x-00003-of-00009.gguf, x-00004-of-00009.gguf and 5 more of a model in 9 files are missing"
    )


def test_part_under_the_wrong_name(tmp_path):
    paths = make.write_split(tmp_path, "big")
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(GgufError, match="says it is part 3 of 3, but by its name it is part 2 of 3"):
        read_gguf_model(str(paths[0]))


def test_part_that_was_renamed(tmp_path):
    paths = make.write_split(tmp_path, "big")
    other = paths[0].rename(tmp_path / "model.gguf")
    with pytest.raises(GgufError, match="does not end in -00001-of-00003.gguf"):
        read_gguf_model(str(other))


def test_cut_off_part_is_named(tmp_path):
    paths = make.write_split(tmp_path, "big")
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    model = read_gguf_model(str(paths[0]))
    assert not model.complete
    assert "big-00002-of-00003.gguf is cut off" in model.incomplete_problem()


def test_wrong_tensor_total(tmp_path):
    paths = make.write_split(tmp_path, "big")
    pairs = [make.pair("split.no", "uint16", 2), make.pair("split.count", "uint16", 3)]
    paths[2].write_bytes(make.gguf_bytes(pairs, [make.f32("extra.one", 1), make.f32("extra.two", 1)]))
    with pytest.raises(GgufError, match="says the model has 7 tensors, but its 3 files have 8"):
        read_gguf_model(str(paths[0]))


def test_tensor_in_two_parts(tmp_path):
    paths = make.write_split(tmp_path, "big")
    pairs = [make.pair("split.no", "uint16", 2), make.pair("split.count", "uint16", 3)]
    paths[2].write_bytes(make.gguf_bytes(pairs, [make.f32("output_norm.weight", 64)]))
    with pytest.raises(GgufError, match="both have the tensor output_norm.weight"):
        read_gguf_model(str(paths[0]))


def test_shard_names():
    assert shard_names("/m/a-00002-of-00003.gguf") == [f"/m/a-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    assert shard_names("plain.gguf") == ["plain.gguf"]
    assert shard_names("a-00004-of-00003.gguf") == ["a-00004-of-00003.gguf"]
    assert shard_names("a-00000-of-00003.gguf") == ["a-00000-of-00003.gguf"]


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(GgufError, match="absent.gguf does not exist"):
        read_gguf(str(tmp_path / "absent.gguf"))
    with pytest.raises(GgufError, match="is a directory, not a GGUF file"):
        read_gguf(str(tmp_path))
