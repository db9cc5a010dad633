# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small model of every architecture llama.cpp knows, as its own test program makes them: headers without weights.

``python tests/support/architectures.py BIN_DIR OUT`` runs BIN_DIR's test-llama-archs (target of that name, with
``-DLLAMA_BUILD_TESTS=ON``) and records metadata and tensor tables of the files it writes.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Dict, FrozenSet, List, Sequence, Tuple, Union

import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import model_from_facts

RECORDED = Path(__file__).parents[1] / "fixtures" / "plan" / "architectures_b11434.json"
COMMAND = "test-llama-archs -o DIR"
# What they are compared with.
SETTINGS: Tuple[Dict[str, Any], ...] = (
    {"context_size": 8192, "parallel": 1},
    {"context_size": 65536, "parallel": 4},
    {"context_size": 65536, "parallel": 3, "type_k": "q8_0", "type_v": "q8_0"},
    {"context_size": 8192, "parallel": 4, "kv_unified": False, "ubatch": 256},
)
# What llama.cpp itself does not load with a quantised cache, and what it says then.
REFUSED = {"grok-moe": "flash_attn", "laguna-moe": "does not divide n_embd_head_k=80"}
_NAMES = {number: name for name, (number, _block, _size) in sparse_gguf.TYPES.items()}


@lru_cache(maxsize=1)
def _recorded() -> Dict[str, Any]:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def names() -> List[str]:
    return sorted(_recorded()["models"])


@lru_cache(maxsize=None)
def model(name: str) -> sparse_gguf.Model:
    """One of the models, its metadata in the types the file has them in."""
    recorded = _recorded()
    about = recorded["models"][name]
    architecture = about["architecture"]
    stored = dict(recorded["common"], **about["metadata"])
    metadata = {key.replace("{arch}", architecture): sparse_gguf.Typed(kind, value)
                for key, (kind, value) in stored.items() if key not in about.get("without", ())}
    tensors = []
    for row in about["tensors"]:
        layers, tensor, shape, kind = row.split(" ")
        for layer in layers.split(","):
            tensors.append((tensor.replace("{layer}", layer), tuple(int(n) for n in shape.split("x")), kind))
    return sparse_gguf.Model(name, architecture, metadata, tensors)


def facts(name: str) -> Dict[str, Any]:
    """What gguf_info returns for the model with its metadata and its tensors."""
    made = model(name)
    tensors = [{"name": tensor, "shape": list(shape), "type": kind, "size_bytes": sparse_gguf.tensor_size_bytes(shape, kind)}
               for tensor, shape, kind in made.tensors]
    return {"name": name, "metadata": {key: typed.value for key, typed in made.metadata.items()},
            "file_size_bytes": sum(t["size_bytes"] for t in tensors), "tensors": tensors}


def write(name: str, path: Union[str, Path]) -> Path:
    """A file with the model's header and no weights."""
    return sparse_gguf.write(model(name), path)


@lru_cache(maxsize=None)
def traits(name: str) -> FrozenSet[str]:
    """What may make llama.cpp build another graph or another cache: each sort of tensor, and which of them make up a layer, with or without a window.

    One that there are formulas for has its name besides.
    """
    made = model(name)
    sorts = {tensor.split(".", 2)[-1].rsplit(".", 1)[0] for tensor, _shape, _kind in made.tensors if tensor.startswith("blk.")}
    layer = [part for part in ("attn_q", "attn_qkv", "attn_q_a", "attn_kv_a_mqa", "indexer", "ssm_", "shortconv", "_exps", "_shexp")
             if any(part == sort if part.startswith("attn") else part in sort for sort in sorts)]
    layer += ["window"] * (made.key("attention.sliding_window_pattern") in made.metadata)
    apart = {tensor for tensor, _shape, _kind in made.tensors if not tensor.startswith("blk.")}
    return frozenset(sorts | apart | {" ".join(layer)} | (set() if model_from_facts(facts(name)).unknown else {name}))


def varied() -> List[str]:
    """So many of the models that all traits are among them: each time the one with most that are not there yet."""
    left = {name: traits(name) for name in names()}
    missing = frozenset().union(*left.values())
    found = []
    while missing:
        found.append(max(left, key=lambda name: (len(left[name] & missing), name)))
        missing -= left.pop(found[-1])
    return sorted(found)


# -- recording --------------------------------------------------------------------------------------------------------

def _unpack(stream: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, stream.read(struct.calcsize("<" + code)))[0]


def _text(stream: BinaryIO) -> str:
    return stream.read(_unpack(stream, "Q")).decode("utf-8")


def _value(stream: BinaryIO, kind: int) -> Tuple[str, Any]:
    if kind == 8:
        return "str", _text(stream)
    if kind == 9:
        inner, count = _unpack(stream, "I"), _unpack(stream, "Q")
        values = [_value(stream, inner) for _n in range(count)]
        return "[%s]" % sparse_gguf.KINDS[inner], [value for _kind, value in values]
    value = _unpack(stream, sparse_gguf.CODES[sparse_gguf.KINDS[kind]])
    if isinstance(value, float):
        # JSON has no infinity; and the shortest number that is the same float32 says it all
        value = str(value) if value in (float("inf"), float("-inf")) else float("%.9g" % value)
    return sparse_gguf.KINDS[kind], value


def read(path: Path) -> Tuple[Dict[str, Tuple[str, Any]], List[sparse_gguf.TensorRow]]:
    """Metadata with its types, and the tensor table. Only for files of one's own making: nothing is checked."""
    with open(path, "rb") as stream:
        assert stream.read(4) == b"GGUF"
        _version, n_tensors, n_keys = _unpack(stream, "I"), _unpack(stream, "Q"), _unpack(stream, "Q")
        metadata = {}
        for _n in range(n_keys):
            key = _text(stream)
            metadata[key] = _value(stream, _unpack(stream, "I"))
        tensors = []
        for _n in range(n_tensors):
            name, dimensions = _text(stream), _unpack(stream, "I")
            shape = tuple(_unpack(stream, "Q") for _d in range(dimensions))
            tensors.append((name, shape, _NAMES[_unpack(stream, "I")]))
            _unpack(stream, "Q")
    return metadata, tensors


def _rows(tensors: Sequence[sparse_gguf.TensorRow]) -> List[str]:
    """Tensors that only differ by their layer are one row."""
    rows: Dict[Tuple[str, str, str], List[str]] = {}
    for name, shape, kind in tensors:
        parts = name.split(".")
        layer = "-"
        if parts[0] == "blk":
            layer, parts[1] = parts[1], "{layer}"
        rows.setdefault((".".join(parts), "x".join(map(str, shape)), kind), []).append(layer)
    return ["%s %s %s %s" % (",".join(layers), name, shape, kind) for (name, shape, kind), layers in rows.items()]


def record(bin_dir: Path, out: Path) -> None:
    version = subprocess.run([str(bin_dir / "llama-server"), "--version"], capture_output=True, text=True, check=True)
    said = next(line for line in (version.stdout + version.stderr).splitlines() if line.startswith("version"))
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([str(bin_dir / "test-llama-archs"), "-o", directory], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = {path.stem: read(path) for path in sorted(Path(directory).glob("*.gguf"))}
    models: Dict[str, Any] = {}
    counts: Counter = Counter()
    for name, (metadata, tensors) in found.items():
        architecture = metadata["general.architecture"][1]
        renamed = {"{arch}" + key[len(architecture):] if key.startswith(architecture + ".") else key: list(value)
                   for key, value in metadata.items()}
        models[name] = {"architecture": architecture, "metadata": renamed, "tensors": _rows(tensors)}
        counts.update((key, json.dumps(value)) for key, value in renamed.items())
    common = {key: json.loads(value) for (key, value), count in counts.items() if 2 * count > len(models)}
    for about in models.values():
        about["without"] = [key for key in common if key not in about["metadata"]]
        about["metadata"] = {key: value for key, value in about["metadata"].items() if common.get(key) != value}
    text = json.dumps({"llama_cpp": said, "command": COMMAND, "common": common}, separators=(",", ":"))[:-1]
    rows = ",\n".join("%s:%s" % (json.dumps(name), json.dumps(about, separators=(",", ":"))) for name, about in models.items())
    out.write_text('%s,"models":{\n%s\n}}\n' % (text, rows), encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
