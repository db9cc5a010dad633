# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of damaged and malicious GGUF headers, put through what gguf_info and cluster_plan do with them.

    PYTHONPATH=playbooks/collections:tests/support python tests/support/gguf_fuzz.py --cases 10000 [--seed 1] [--only N]

Each case must end in a result or in the one exception that is meant for it, a printable sentence, in bounded time. The
process limits its own address space, so that whatever a case makes it allocate beyond the allowance is a MemoryError and
thus a failure. The same seed makes the same cases; ``--only`` runs one of them and shows its exception in full.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import gguf_files as make
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import GgufModel, read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import POLICIES, PlanError

MEMORY_BYTES = 64 << 20
MACHINES = [
    {"name": "head", "ram_free_mib": 64000, "devices": [{"name": "CUDA0", "kind": "cuda", "total_mib": 24564, "free_mib": 24000}]},
    {"name": "worker", "devices": [{"name": "CUDA0", "kind": "cuda", "total_mib": 12288, "free_mib": 12000}]},
]
NUMBERS = (0, 1, 2, 3, 31, 33, 63, 64, 65, 255, 256, 1023, 1025, 65535, 1 << 20, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 33, (1 << 64) - 1)
BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


class Field(NamedTuple):
    """A number in a header: where it is, how wide, and what it means."""

    offset: int
    width: int
    what: str


@dataclass
class Base:
    """A whole header and what follows it: nothing but length."""

    name: str
    header: bytes
    size_bytes: int
    fields: List[Field]
    # where the metadata and the tensor table begin, to put something between
    pairs_at: int
    tensors_at: int


def walk(data: bytes) -> Tuple[List[Field], int, int]:
    """The numbers of a right header, written apart from the parser that is tested."""
    fields = [Field(4, 4, "version"), Field(8, 8, "count"), Field(16, 8, "count")]
    n_tensors, n_pairs = struct.unpack_from("<QQ", data, 8)
    at = pairs_at = 24

    def number(width: int, what: str) -> int:
        nonlocal at
        fields.append(Field(at, width, what))
        at += width
        return int.from_bytes(data[at - width:at], "little")

    def text() -> None:
        nonlocal at
        size = number(8, "length")
        at += size

    widths = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    for _pair in range(n_pairs):
        text()
        kind = number(4, "type")
        if kind == 8:
            text()
        elif kind == 9:
            inner, count = number(4, "type"), number(8, "length")
            if inner == 8:
                for item in range(count):
                    size = struct.unpack_from("<Q", data, at)[0]
                    if item < 3:
                        fields.append(Field(at, 8, "length"))
                    at += 8 + size
            else:
                fields.append(Field(at, widths[inner], "value"))
                at += widths[inner] * count
        else:
            number(widths[kind], "value")
    tensors_at = at
    for _tensor in range(n_tensors):
        text()
        for _axis in range(number(4, "dimensions")):
            number(8, "dimension")
        number(4, "type")
        number(8, "offset")
    return fields, pairs_at, tensors_at


def base(name: str, header: bytes, size_bytes: int) -> Base:
    fields, pairs_at, tensors_at = walk(header)
    return Base(name, header, size_bytes, fields, pairs_at, tensors_at)


def sparse(model: sparse_gguf.Model, directory: Path) -> Base:
    # a short one, so that looking for the longest that fits is quick
    model.metadata[model.key("context_length")] = 2048
    path = sparse_gguf.write(model, directory / "base.gguf")
    header = path.read_bytes()[:read_gguf(str(path)).header_size_bytes]
    return base(model.name, header, path.stat().st_size)


def bases(directory: Path) -> List[Base]:
    """One of each kind of layer that the planner knows, with few layers, and tokenizers of three sizes."""
    small = make.header(make.standard_pairs(), make.standard_tensors())
    middle = make.header(make.large_vocabulary_pairs(1500, 1200), make.standard_tensors())
    odd = make.header([make.pair("a.%s" % name, name, value) for name, value in (
        ("uint8", 1), ("int8", -1), ("uint16", 2), ("int16", -2), ("int32", -3), ("float32", 0.5), ("bool", True), ("uint64", 7),
        ("int64", -7), ("float64", 0.25), ("array:string", ["x", "y"]), ("array:bool", [True]), ("array:float64", [1.0, 2.0]))], [])
    shapes = [
        sparse_gguf.llama("llama", n_layer=2, n_embd=1024, n_ff=4096, n_head=16, n_head_kv=4, n_vocab=4096),
        sparse_gguf.gemma3("gemma3", n_layer=6, n_embd=1024, n_ff=4096, n_head=8, n_head_kv=4, n_vocab=4096),
        sparse_gguf.gpt_oss("gpt-oss", n_layer=2, n_expert=8, n_vocab=4096),
        sparse_gguf.deepseek2("deepseek2", n_layer=3, n_nextn=1, n_embd=2048, n_ff=4096, n_ff_exp=512, n_head=16, n_expert=8, n_used=2, n_dense=1,
                              n_vocab=4096),
        sparse_gguf.qwen3next("qwen3next", n_layer=4, n_expert=8, n_used=2, n_vocab=4096),
        sparse_gguf.falcon_h1("falcon-h1", n_layer=2, n_vocab=4096),
        sparse_gguf.granite_hybrid("granitehybrid", n_layer=6, n_expert=8, n_used=2, n_vocab=4096),
    ]
    return [base("small", small, len(small) + 65536), base("middle", middle, len(middle) + 65536), base("odd", odd, len(odd)),
            *(sparse(model, directory) for model in shapes)]


# -- mutations --------------------------------------------------------------------------------------------------------

Mutation = Callable[[random.Random, Base, bytearray], None]


def put(data: bytearray, field: Field, number: int) -> None:
    data[field.offset:field.offset + field.width] = (number & ((1 << 8 * field.width) - 1)).to_bytes(field.width, "little")


def one_of(rnd: random.Random, source: Base, *what: str) -> Field:
    found = [field for field in source.fields if not what or field.what in what]
    return rnd.choice(found or source.fields)


def flip_bits(rnd: random.Random, source: Base, data: bytearray) -> None:
    for _bit in range(rnd.randint(1, 8)):
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)


def overwrite(rnd: random.Random, source: Base, data: bytearray) -> None:
    for _byte in range(rnd.randint(1, 16)):
        data[rnd.randrange(len(data))] = rnd.choice(BYTES)


def any_number(rnd: random.Random, source: Base, data: bytearray) -> None:
    for _field in range(rnd.randint(1, 3)):
        put(data, one_of(rnd, source), rnd.choice(NUMBERS))


def lengths(rnd: random.Random, source: Base, data: bytearray) -> None:
    put(data, one_of(rnd, source, "length", "count"), rnd.choice(NUMBERS))


def values(rnd: random.Random, source: Base, data: bytearray) -> None:
    for _field in range(rnd.randint(1, 3)):
        put(data, one_of(rnd, source, "value"), rnd.choice(NUMBERS))


def types(rnd: random.Random, source: Base, data: bytearray) -> None:
    put(data, one_of(rnd, source, "type"), rnd.choice([*range(45), 99, 0xFFFFFFFF]))


def dimensions(rnd: random.Random, source: Base, data: bytearray) -> None:
    """Overflows of the number of elements, of bytes, and shapes that no tensor of that name has."""
    for _field in range(rnd.randint(1, 4)):
        put(data, one_of(rnd, source, "dimension", "dimensions"), rnd.choice(NUMBERS))


def offsets(rnd: random.Random, source: Base, data: bytearray) -> None:
    """Tensors on top of each other, apart from each other or beyond the end."""
    field, other = one_of(rnd, source, "offset"), one_of(rnd, source, "offset")
    data[field.offset:field.offset + field.width] = data[other.offset:other.offset + field.width]
    if rnd.random() < 0.5:
        put(data, field, rnd.choice(NUMBERS))


def cut(rnd: random.Random, source: Base, data: bytearray) -> None:
    del data[rnd.randrange(len(data)):]


def insert(rnd: random.Random, source: Base, data: bytearray) -> None:
    at = rnd.randrange(len(data))
    data[at:at] = rnd.choice([rnd.randbytes(rnd.randint(1, 64)), bytes(rnd.randint(1, 5000)), b"\xff" * rnd.randint(1, 64)])


def delete(rnd: random.Random, source: Base, data: bytearray) -> None:
    at = rnd.randrange(len(data))
    del data[at:at + rnd.choice((1, 2, 4, 8, 100, 5000))]


def more_pairs(data: bytearray, source: Base, pairs: List[bytes], at: int = 0) -> None:
    data[16:24] = struct.pack("<Q", struct.unpack_from("<Q", data, 16)[0] + len(pairs))
    where = at or source.tensors_at
    data[where:where] = b"".join(pairs)


def nested_arrays(rnd: random.Random, source: Base, data: bytearray) -> None:
    depth = rnd.choice((1, 2, 100, 20_000))
    more_pairs(data, source, [make.text("nested") + struct.pack("<I", 9) + struct.pack("<IQ", 9, rnd.choice((1, 1 << 30))) * depth
                              + struct.pack("<IQB", 0, 1, 7)])


def enormous_text(rnd: random.Random, source: Base, data: bytearray) -> None:
    length = rnd.choice((1 << 16, 1 << 20, (1 << 20) + 1, 1 << 30, (1 << 30) + 1, 1 << 63, (1 << 64) - 1))
    where = source.pairs_at if rnd.random() < 0.5 else 0
    if rnd.random() < 0.5:
        more_pairs(data, source, [make.text("long") + struct.pack("<IQ", 8, length)], where)
    else:
        more_pairs(data, source, [struct.pack("<Q", length) + b"k" * 20], where)


def enormous_array(rnd: random.Random, source: Base, data: bytearray) -> None:
    more_pairs(data, source, [make.text("many") + struct.pack("<IIQ", 9, rnd.choice([*range(13)]), rnd.choice(NUMBERS))
                              + bytes(rnd.choice((0, 100, 100_000)))], rnd.choice((0, source.pairs_at)))


def duplicate_keys(rnd: random.Random, source: Base, data: bytearray) -> None:
    key = rnd.choice(("general.architecture", "general.alignment", "split.count", "llama.block_count", "twice"))
    pair = make.pair(key, *rnd.choice((("uint32", 32), ("string", "llama"), ("uint16", 2))))
    more_pairs(data, source, [pair, pair])


SUFFIXES = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "nextn_predict_layers", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
    "attention.key_length_mla", "attention.value_length_mla", "attention.q_lora_rank", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.recurrent_layers", "attention.shared_kv_layers", "attention.indexer.key_length",
    "full_attention_interval", "rope.dimension_count", "expert_count", "expert_used_count", "vocab_size", "embedding_scale",
    "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank",
)


def odd_value(rnd: random.Random) -> Tuple[str, Any]:
    kind = rnd.choice(("uint32", "uint64", "int32", "int64", "float32", "float64", "bool", "string", "array:uint32", "array:int32", "array:bool",
                       "array:string", "array:float32"))
    inner = kind.rpartition(":")[2]

    def item() -> Any:
        if inner == "string":
            return rnd.choice(("", "7", "llama", "a\nb", "\x1b[31m", "x" * 2000))
        if inner == "bool":
            return rnd.random() < 0.5
        if inner.startswith("float"):
            return rnd.choice((0.0, -1.0, 1e30, float("inf"), float("-inf"), float("nan"), 4.0))
        width = int(inner[-2:])
        return rnd.choice((0, 1, 2, 4, 7, 64, 100, 512, 513, 4096, -1, -2**31, 2**31 - 1) if inner[0] == "i" else
                          (0, 1, 2, 4, 7, 64, 100, 512, 513, 4096, 2**31, 2**width - 1))

    if kind.startswith("array:"):
        return kind, [item() for _n in range(rnd.choice((0, 1, 2, 7, 100, 512, 1024, 1025)))]
    return kind, item()


def other_metadata(rnd: random.Random, source: Base, data: bytearray) -> None:
    """Well-formed, with values that no model has: what the planner must stand."""
    arch = next((a for a in ("llama", "gemma3", "gpt-oss", "deepseek2", "qwen3next", "falcon-h1", "granitehybrid") if a == source.name), "llama")
    if rnd.random() < 0.1:
        arch = "newcomer"
    wanted = {"%s.%s" % (arch, rnd.choice(SUFFIXES)): odd_value(rnd) for _n in range(rnd.randint(1, 3))}
    if rnd.random() < 0.2:
        wanted["general.architecture"] = odd_value(rnd) if rnd.random() < 0.3 else ("string", arch)
    pairs, at = [], source.pairs_at
    # those of the base stay, unless they are set anew
    for start, end, key in pair_spans(source):
        if key not in wanted:
            pairs.append(source.header[start:end])
        at = end
    pairs += [make.pair(key, kind, value) for key, (kind, value) in wanted.items()]
    data[:] = data[:16] + struct.pack("<Q", len(pairs)) + b"".join(pairs) + source.header[at:]


_SPANS: Dict[str, List[Tuple[int, int, str]]] = {}


def pair_spans(source: Base) -> List[Tuple[int, int, str]]:
    if source.name not in _SPANS:
        # a pair's first field is the length of its key; the type follows the key at once
        inside = [field for field in source.fields if source.pairs_at <= field.offset < source.tensors_at]
        starts = [one.offset for one, two in zip(inside, inside[1:]) if one.what == "length" and two.what == "type"
                  and two.offset == one.offset + 8 + struct.unpack_from("<Q", source.header, one.offset)[0]]
        ends = starts[1:] + [source.tensors_at]
        _SPANS[source.name] = [(a, b, source.header[a + 8:a + 8 + struct.unpack_from("<Q", source.header, a)[0]].decode())
                               for a, b in zip(starts, ends)]
    return _SPANS[source.name]


def zeros_behind(rnd: random.Random, source: Base, data: bytearray) -> None:
    """Nothing: the file is made long enough for any lie, see case()."""
    any_number(rnd, source, data)


MUTATIONS: Tuple[Tuple[Mutation, int], ...] = (
    (flip_bits, 12), (overwrite, 12), (any_number, 8), (lengths, 8), (values, 10), (types, 6), (dimensions, 6), (offsets, 4), (cut, 4), (insert, 4),
    (delete, 4), (nested_arrays, 2), (enormous_text, 4), (enormous_array, 4), (duplicate_keys, 2), (other_metadata, 20), (zeros_behind, 4),
)


def write(path: Path, data: bytes, size_bytes: int) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.truncate(max(size_bytes, len(data)))


def case(rnd: random.Random, sources: List[Base], directory: Path, large: Base, number: int) -> Tuple[str, Path]:
    """Writes the file or files of a case; what was done, and which file to read."""
    source = large if number % 250 == 0 else rnd.choice(sources)
    data = bytearray(source.header)
    done = []
    for _more in range(1 if rnd.random() < 0.8 else 2):
        mutate = rnd.choices([m for m, _w in MUTATIONS], [w for _m, w in MUTATIONS])[0]
        if data:
            try:
                mutate(rnd, source, data)
            except (IndexError, struct.error):
                # the one before left too little of it
                continue
            done.append(mutate.__name__)
    size = source.size_bytes
    if "zeros_behind" in done or "enormous_text" in done or "enormous_array" in done:
        size = rnd.choice((size, 1 << 24, 1 << 40))
    elif "cut" in done:
        size = len(data)
    what = "%s: %s" % (source.name, "+".join(done))
    if number % 20 == 1 and source is not large:
        return "split " + what, split(rnd, bytes(data), directory)
    path = directory / "case.gguf"
    write(path, data, size)
    return what, path


def split(rnd: random.Random, data: bytes, directory: Path) -> Path:
    """A set of three whose one part is the damaged file, or has odd numbers."""
    paths = make.write_split(directory, "set")
    number = rnd.randrange(3)
    if rnd.random() < 0.5:
        pairs = [make.pair("split.%s" % key, kind, rnd.choice((0, 1, 2, 3, 65535))) for key, kind in (("no", "uint16"), ("count", "uint16"))]
        pairs.append(make.pair("split.tensors.count", "int32", rnd.choice((-1, 0, 7, 2**31 - 1))))
        data = make.gguf_bytes([*make.standard_pairs(), *pairs] if rnd.random() < 0.5 else pairs, make.standard_tensors()[:rnd.randrange(4)])
    paths[number].write_bytes(data)
    return paths[rnd.randrange(3)]


# -- the run ----------------------------------------------------------------------------------------------------------

def check_sentence(exc: Exception) -> None:
    said = str(exc)
    if not said or not said.isprintable() or len(said) > 1000:
        raise AssertionError("not one sentence: %r" % said[:300])


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def run(cases: int, seed: int, only: int, limit: bool) -> Dict[str, Any]:
    result: Dict[str, Any] = {"cases": 0, "refused": 0, "described": 0, "planned": 0, "not_planned": 0, "slowest_read_s": 0.0, "slowest_read": "",
                              "slowest_plan_s": 0.0, "slowest_plan": "", "failures": []}
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        sources = bases(directory)
        # made by another process, so that the room it takes to make does not stay as room for the cases
        subprocess.run([sys.executable, __file__, "--write-large", str(directory / "large")], check=True)
        header = (directory / "large").read_bytes()
        large = base("large", header, len(header) + 65536)
        if limit:
            # whatever is loaded lately is loaded before
            report.plan_from_facts(_facts(_read(make_path(directory, sources[0]))), MACHINES, host="head", unknown="bound")
            limit_memory()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(cases):
            if only >= 0 and number != only:
                continue
            what = ""
            try:
                what, path = case(random.Random("%d %d" % (seed, number)), sources, directory, large, number)
                one(path, number, what, result)
            except Exception as exc:  # pylint: disable=broad-except
                if only >= 0:
                    traceback.print_exc()
                result["failures"].append("case %d (%s): %s: %s" % (number, what, type(exc).__name__, str(exc)[:300]))
            result["cases"] += 1
        result["more_memory_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return result


def make_path(directory: Path, source: Base) -> Path:
    path = directory / "first.gguf"
    write(path, source.header, source.size_bytes)
    return path


def _read(path: Path) -> GgufModel:
    return read_gguf_model(str(path))


def _facts(model: GgufModel) -> Dict[str, Any]:
    model.incomplete_problem()
    return describe(model, include_tensors=True, include_metadata=True)


def one(path: Path, number: int, what: str, result: Dict[str, Any]) -> None:
    # the time of this process alone: other work on the machine must not fail the test
    start = time.process_time()
    try:
        facts = _facts(_read(path))
        json.dumps(facts)
        result["described"] += 1
    except GgufError as exc:
        check_sentence(exc)
        result["refused"] += 1
        facts = None
    took = time.process_time() - start
    if took > result["slowest_read_s"]:
        result.update(slowest_read_s=took, slowest_read="case %d (%s)" % (number, what))
    if took > 1:
        raise AssertionError("reading took %.1f s" % took)
    if facts is None:
        return
    start = time.process_time()
    try:
        report.plan_from_facts(facts, MACHINES, host="head", context_size=2048, unknown="bound" if number % 3 else "refuse",
                               policy=POLICIES[number % 3])
        result["planned"] += 1
    except PlanError as exc:
        check_sentence(exc)
        result["not_planned"] += 1
    took = time.process_time() - start
    if took > result["slowest_plan_s"]:
        result.update(slowest_plan_s=took, slowest_plan="case %d (%s)" % (number, what))
    if took > 1:
        raise AssertionError("planning took %.1f s" % took)


def main() -> None:
    parser = argparse.ArgumentParser(description="Damaged GGUF headers, thousands of them.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, default=-1)
    parser.add_argument("--no-limit", action="store_true")
    parser.add_argument("--write-large", type=Path)
    options = parser.parse_args()
    if options.write_large:
        options.write_large.write_bytes(make.header(make.large_vocabulary_pairs(), make.standard_tensors()))
        return
    result = run(options.cases, options.seed, options.only, not options.no_limit)
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
