# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server itself would hold where: with ``--fit on`` it measures before it loads, and is ended right after."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

MIB = 1 << 20
_ROW = re.compile(r"\|\s+- (\S+) .*\(\s*\d+ =\s*(\d+) \+\s*(\d+) \+\s*(\d+)\)")
_HOST = re.compile(r"\|\s+- Host .*\|\s+\d+ =\s*(\d+) \+\s*(\d+) \+\s*(\d+)")
_COMPUTE = re.compile(r"sched_reserve:\s+(\S+?)(?:\[\S+\])? compute buffer size =\s*([0-9.]+) MiB")


class Figures(NamedTuple):
    """MiB, rounded down to a whole one, but compute rounded to hundredths."""

    weights: float
    context: float
    compute: float


class Refused(Exception):
    """llama.cpp does not load this model with these settings; the message is its own."""


def ask(bin_dir: Path, model: Path, endpoints: Sequence[str], split: Sequence[int], *, context_size: int, parallel: int,
        kv_unified: bool = True, batch: int = 2048, ubatch: int = 512, type_k: str = "f16", type_v: str = "f16", flash_attention: str = "on",
        extra: Sequence[str] = ()) -> Tuple[List[Figures], Figures]:
    """The figures of each device, in the order of the split, and the head's own, which are all where the split is empty."""
    names = ["RPC%d" % index for index in range(len(split))]
    placed = ["--rpc", ",".join(endpoints), "--device", ",".join(names), "-ts", ",".join(map(str, split))] if split else ["--device", "none"]
    with tempfile.TemporaryDirectory() as directory:
        command = [str(Path(bin_dir) / "llama-server"), "-m", str(model), "-c", str(context_size), "-np", str(parallel),
                   "--kv-unified" if kv_unified else "--no-kv-unified", "-b", str(batch), "-ub", str(ubatch), "-ctk", type_k, "-ctv", type_v,
                   "-fa", flash_attention, "-ngl", "all", "--fit", "on", *placed, "--host", directory + "/server.sock", "-lv", "5", "--no-warmup", *extra]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                  env=dict(os.environ, GGML_NO_BACKTRACE="1"))
        compute: Dict[str, float] = {}
        rows: Dict[str, Any] = {}
        said: List[str] = []
        assert server.stdout is not None
        try:
            for line in server.stdout:
                said.append(line)
                found = _COMPUTE.search(line)
                if found:
                    compute.setdefault(found.group(1), float(found.group(2)))
                found = _ROW.search(line)
                if found:
                    rows[found.group(1)] = [float(n) for n in found.groups()[1:]]
                found = _HOST.search(line)
                if found:
                    rows["CPU"] = [float(n) for n in found.groups()]
                    break
        finally:
            server.kill()
            server.stdout.close()
            server.wait()
    if "CPU" not in rows:
        why = [line for line in said if " E " in line or "error" in line.lower() or "GGML_ASSERT" in line]
        raise Refused("".join(why[:4] or said[-4:]).strip())

    def figures(name: str) -> Figures:
        weights, context, rounded = rows.get(name, (0.0, 0.0, 0.0))
        return Figures(weights, context, compute.get(name, rounded))

    return [figures(name) for name in names], figures("CPU")
