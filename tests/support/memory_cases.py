# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases in which predicted memory is compared with llama.cpp's own, and the comparison.

``python tests/support/memory_cases.py BIN_DIR OUT.json`` asks a llama.cpp build and records its answers, with the build's own
number, so that the comparison also runs where no build is at hand.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import sampled
import sparse_gguf

MIB = 1 << 20
# RPC workers, by how many devices each offers
CLUSTERS: Tuple[Tuple[int, ...], ...] = ((1, 1), (1, 1, 1), (1, 3), (1, 1, 1, 1))
SETTINGS: Tuple[Dict[str, Any], ...] = (
    {"context_size": 8192, "parallel": 1, "ubatch": 512},
    {"context_size": 32768, "parallel": 4, "ubatch": 256},
)
MORE_SETTINGS: Tuple[Dict[str, Any], ...] = (
    {"context_size": 16384, "parallel": 2, "ubatch": 1024, "type_k": "q8_0", "type_v": "q8_0"},
    {"context_size": 4096, "parallel": 1, "ubatch": 512, "type_k": "q4_0", "type_v": "q4_0"},
    # a batch that is no multiple of the slots
    {"context_size": 8192, "parallel": 3, "ubatch": 512},
)

_ACCOUNTS: Dict[Any, Any] = {}


class Case(NamedTuple):
    shape: str
    cluster: Tuple[int, ...]
    settings: Dict[str, Any]
    split: Tuple[int, ...]


def splits(n_slots: int, n_devices: int, count: int, seed: str) -> List[Tuple[int, ...]]:
    """An even split, the two most lopsided ones and random ones."""
    rnd = random.Random(seed)
    even = [n_slots // n_devices] * n_devices
    for index in range(n_slots - sum(even)):
        even[index] += 1
    out = [tuple(even), (1,) * (n_devices - 1) + (n_slots - n_devices + 1,), (n_slots - n_devices + 1,) + (1,) * (n_devices - 1)]
    while len(out) < count:
        cuts = sorted(rnd.sample(range(1, n_slots), n_devices - 1))
        found = tuple(b - a for a, b in zip([0] + cuts, cuts + [n_slots]))
        if found not in out:
            out.append(found)
    return out[:count]


def cases(cluster: Sequence[int], shapes: Sequence[str] = tuple(sparse_gguf.SHAPES)) -> Iterator[Case]:
    for shape in shapes:
        model = sparse_gguf.SHAPES[shape]()
        n_slots = model.metadata[model.key("block_count")] + 1
        every = SETTINGS + (MORE_SETTINGS if tuple(cluster) == (1, 1, 1) else ())
        for number, settings in enumerate(every):
            for split in splits(n_slots, sum(cluster), 5, "%s %d" % (shape, number)):
                yield Case(shape, tuple(cluster), settings, split)


def live(cluster: Sequence[int], shape: str) -> List[Case]:
    """Of all cases of a shape, which are recorded, those that are compared with a running llama.cpp as well."""
    return sampled.some(list(cases(cluster, [shape])), sorted(sparse_gguf.SHAPES).index(shape) + CLUSTERS.index(tuple(cluster)))


def problems(case: Case, model: Any, real: Sequence[Sequence[int]]) -> List[str]:
    """What is wrong with the prediction for a case, ``real`` being llama.cpp's rows (devices in order, then the host)."""
    from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
    from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts, split_memory

    settings = RunSettings(as_fit_params=True, **case.settings)
    key = (case.shape, settings)
    if key not in _ACCOUNTS:
        _ACCOUNTS[key] = Accounts(model, settings)
    devices, host = split_memory(_ACCOUNTS[key], case.split, ["cpu"] * len(case.split))
    rows = [(d.weight_bytes, d.context_bytes, d.compute_bytes) for d in devices] + [(host.weight_bytes, 0, host.compute_bytes)]
    found = []
    for number, (row, told) in enumerate(zip(rows, real)):
        where = "%s %s %s, device %d of %s" % (case.shape, case.cluster, case.settings, number, case.split)
        # llama.cpp prints whole MiB, rounded down
        for what, ours, theirs in zip(("weights", "context", "compute"), row, told):
            if ours // MIB != theirs:
                found.append("%s: %s %.2f MiB, llama.cpp says %d" % (where, what, ours / MIB, theirs))
    return found


def build_of(bin_dir: Path) -> str:
    """What a build calls itself, such as b11434."""
    said = subprocess.run([str(bin_dir / "llama-server"), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    found = re.search(r"\(build (\d+),|version: (\d+) \(", said)
    return "b" + (found.group(1) or found.group(2))


def record(bin_dir: Path, out: Path) -> None:
    import oracle

    recorded = []
    with tempfile.TemporaryDirectory() as directory:
        paths = {name: sparse_gguf.write(make(), Path(directory) / (name + ".gguf")) for name, make in sparse_gguf.SHAPES.items()}
        for cluster in CLUSTERS:
            with oracle.Workers(bin_dir, cluster) as workers:
                for case in cases(cluster):
                    rows = oracle.fit_print(bin_dir, paths[case.shape], workers.endpoints, case.split, **case.settings)
                    recorded.append([case.shape, case.cluster, case.settings, case.split, list(rows.values())])
    lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in recorded)
    about = json.dumps("llama-fit-params --fit-print on of llama.cpp " + build_of(bin_dir) + " (CPU build) "
                       "over ggml-rpc-server workers on loopback, "
                       "with -d CPU repeated for a worker of several devices; rows are [model, context, compute] MiB per device, "
                       "then the host; made by `python tests/support/memory_cases.py BIN_DIR OUT.json` from tests/support/sparse_gguf.py's shapes")
    out.write_text('{"about": %s,\n"cases": [\n%s\n]}\n' % (about, lines), encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
