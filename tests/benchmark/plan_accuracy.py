# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print predicted beside real memory for every model shape, as Markdown (`make bench-memory`).

The real figures are llama.cpp's own, recorded in tests/fixtures/plan; the recording is checked against a build by
tests/integration/test_plan_against_llama_cpp.py.
"""

from __future__ import annotations

import json
from collections import defaultdict

import memory_cases
import pinned
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import describe_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts, split_memory

MIB = 1 << 20
SHOWN = ((1, 1, 1), 0)


def cell(ours: list, theirs: list) -> str:
    """Predicted and real of one column, device by device; llama.cpp prints whole MiB, rounded down."""
    mine = [value // MIB for value in ours]
    return " ".join(str(m) if m == r else "%d (%d)" % (m, r) for m, r in zip(mine, theirs))


def main() -> None:
    cases = json.loads(pinned.fixture("llama_cpp").read_text(encoding="utf-8"))["cases"]
    models, accounts = {}, {}
    counts = defaultdict(lambda: [0, 0])
    shown = {}
    for shape, cluster, settings, split, real in cases:
        if shape not in models:
            made = sparse_gguf.SHAPES[shape]()
            models[shape] = describe_model(made.metadata, [
                type("T", (), {"name": n, "shape": tuple(s), "type_name": t, "size_bytes": sparse_gguf.tensor_size_bytes(s, t)})
                for n, s, t in made.tensors])
        run = RunSettings(as_fit_params=True, **settings)
        key = (shape, run)
        accounts.setdefault(key, Accounts(models[shape], run))
        devices, host = split_memory(accounts[key], split, ["cpu"] * len(split))
        ours = [[d.weight_bytes, d.context_bytes, d.compute_bytes] for d in devices] + [[host.weight_bytes, 0, host.compute_bytes]]
        for mine, told in zip(ours, real):
            counts[shape][0] += 1
            counts[shape][1] += [value // MIB for value in mine] == told
        if (tuple(cluster), memory_cases.SETTINGS.index(settings) if settings in memory_cases.SETTINGS else -1) == SHOWN and shape not in shown:
            shown[shape] = (split, devices, real)
    print("| shape | layers on 3 devices | weights MiB | KV MiB | compute MiB | rows compared | equal |")
    print("|---|---|---|---|---|---|---|")
    for shape, (split, devices, real) in shown.items():
        rows = real[: len(devices)]
        print("| %s | %s | %s | %s | %s | %d | %d |" % (
            shape, " ".join(map(str, split)), cell([d.weight_bytes for d in devices], [r[0] for r in rows]),
            cell([d.context_bytes for d in devices], [r[1] for r in rows]), cell([d.compute_bytes for d in devices], [r[2] for r in rows]),
            *counts[shape]))
    print("\n%d rows, weights, KV and compute equal on %d." % (sum(c[0] for c in counts.values()), sum(c[1] for c in counts.values())))


if __name__ == "__main__":
    main()
