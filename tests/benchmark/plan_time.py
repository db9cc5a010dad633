# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how long it takes from a GGUF header to a plan.

    PYTHONPATH=playbooks/collections:tests/support python tests/benchmark/plan_time.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils import _gguf, _memory, _plan

CLUSTERS = {
    "15 equal devices": [24564] * 15,
    "15 devices of three sizes": [24564] * 5 + [32607] * 5 + [20475] * 5,
    "15 devices of fifteen sizes": [20000 + 400 * i for i in range(15)],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for shape in ("llama-405b", "deepseek3-671b", "gemma3-27b"):
            path = sparse_gguf.write(sparse_gguf.SHAPES[shape](), Path(directory) / "model.gguf")
            for name, sizes in CLUSTERS.items():
                start = time.perf_counter()
                header = _gguf.read_gguf(str(path))
                model = _memory.describe_model(header.metadata, header.tensors)
                read = time.perf_counter()
                machines = tuple(_plan.Machine("m%d" % i, (_plan.Device("m%d" % i, "CUDA0", "cuda", s, s, 1024),), 64000)
                                 for i, s in enumerate(sizes))
                for policy in ("fewest_machines", "most_headroom"):
                    begin = time.perf_counter()
                    plan = _plan.make_plan(_plan.Request(model, _memory.RunSettings(parallel=4, kv_unified=True), machines, "m0", policy))
                    print("%-16s %-28s %-16s fits %-5s header %.2f s, plan %.2f s, %s" % (
                        shape, name, policy, plan.fits, read - start, time.perf_counter() - begin, plan.split.search if plan.split else ""))


if __name__ == "__main__":
    main()
