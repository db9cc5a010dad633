# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how long it takes from a GGUF header, on disk or on a web server, to a plan.

    make bench-plan
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import gguf_files
import model_server
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils import _caches, _gguf, _http_range, _model, _plan

CLUSTERS = {
    "15 equal devices": [24564] * 15,
    "15 devices of three sizes": [24564] * 5 + [32607] * 5 + [20475] * 5,
    "15 different devices, ample": [20000 + 400 * i for i in range(15)],
    "15 different devices, scarce": [17500 + 137 * i for i in range(15)],
}
ROW = "%-16s %-5s %-30s %-16s %-5s %-6s %9s %7s %7s %7s"


def with_vocabulary(path: Path) -> Path:
    """The file with the metadata of a tokenizer of 128,256 tokens, as the real ones have it."""
    vocabulary = gguf_files.large_vocabulary_pairs()[-4:]
    with path.open("rb") as stream:
        data = stream.read(_gguf.read_gguf(str(path)).header_size_bytes)
    size = path.stat().st_size
    count = int.from_bytes(data[16:24], "little") + len(vocabulary)
    with path.open("wb") as stream:
        stream.write(data[:16] + count.to_bytes(8, "little") + b"".join(vocabulary) + data[24:])
        stream.truncate(size + stream.tell())
    return path


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()):
        server = model_server.ModelServer(Path(directory)).start()
        print(ROW % ("model", "from", "devices", "policy", "fits", "search", "read", "header", "plan", "both"))
        for shape in ("llama-405b", "deepseek3-671b", "gemma3-27b"):
            path = with_vocabulary(sparse_gguf.write(sparse_gguf.SHAPES[shape](), Path(directory) / (shape + ".gguf")))
            for place in ("disk", "http"):
                for name, sizes in CLUSTERS.items():
                    machines = tuple(_plan.Machine("m%d" % i, (_plan.Device("m%d" % i, "CUDA0", "cuda", s, s, 1024),), 64000)
                                     for i, s in enumerate(sizes))
                    for policy in ("fewest_machines", "most_headroom"):
                        start = time.perf_counter()
                        header = (_gguf.read_gguf_model(str(path)) if place == "disk" else
                                  _http_range.read_remote_gguf_model("%s/files/%s" % (server.url, path.name)))
                        model = _model.describe_model(header.metadata, header.tensors)
                        read = time.perf_counter()
                        plan = _plan.make_plan(_plan.Request(model, _caches.RunSettings(parallel=4, kv_unified=True), machines, "m0", policy))
                        end = time.perf_counter()
                        print(ROW % (shape, place, name, policy, "yes" if plan.fits else "no", plan.split.search if plan.split else "",
                                     "%.1f MiB" % (header.first.bytes_read / 2**20), "%.2f s" % (read - start), "%.2f s" % (end - read),
                                     "%.2f s" % (end - start)))
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
