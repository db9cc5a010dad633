# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how long it takes from a GGUF header, on disk or on a web server, to a plan by formulas, and to one by asking the pinned llama.cpp.

    make bench-plan
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import asking
import gguf_files
import llama_cpp_build
import model_server
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import http_range
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.planner import make_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, Request

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
        data = stream.read(read_gguf(str(path)).header_size_bytes)
    size = path.stat().st_size
    count = int.from_bytes(data[16:24], "little") + len(vocabulary)
    with path.open("wb") as stream:
        stream.write(data[:16] + count.to_bytes(8, "little") + b"".join(vocabulary) + data[24:])
        stream.truncate(size + stream.tell())
    return path


RUN = caches.RunSettings(parallel=4, kv_unified=True)


def asked(path: Path) -> None:
    """What one question takes with its stand-ins, and what a plan does whose figures are all llama.cpp's own."""
    header = read_gguf_model(str(path))
    machines = (Machine("m0", (), 64000),) + tuple(
        Machine("w%d" % i, (Device("w%d" % i, "CPU", "cpu", 24564, 24564, 512),)) for i in range(15))
    request = Request(plan_model.describe_model(header.metadata, header.tensors), RUN, machines, "m0", "all_machines")
    bin_dir = llama_cpp_build.have().bin

    def question(asker: ask.Asker) -> int:
        asker.ask((9,) * 11 + (7,) * 4)
        return asker.questions

    def plan(asker: ask.Asker) -> int:
        assert rounds.plan_by_asking(request, asker.ask)[0].fits
        return asker.questions

    for what, work in (("a question", question), ("a plan", plan)):
        start = time.perf_counter()
        questions = asking.in_private(bin_dir, path, asking.ARGUMENTS, work)
        print("llama.cpp asked about %s on 15 devices: %s, questions: %d, %.2f s" % (path.stem, what, questions, time.perf_counter() - start))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()):
        server = model_server.ModelServer(Path(directory)).start()
        print(ROW % ("model", "from", "devices", "policy", "fits", "search", "read", "header", "plan", "both"))
        for shape in ("llama-405b", "deepseek3-671b", "gemma3-27b"):
            path = with_vocabulary(sparse_gguf.write(sparse_gguf.SHAPES[shape](), Path(directory) / (shape + ".gguf")))
            for place in ("disk", "http"):
                for name, sizes in CLUSTERS.items():
                    machines = tuple(Machine("m%d" % i, (Device("m%d" % i, "CUDA0", "cuda", s, s, 1024),), 64000)
                                     for i, s in enumerate(sizes))
                    for policy in ("fewest_machines", "most_headroom"):
                        start = time.perf_counter()
                        header = (read_gguf_model(str(path)) if place == "disk" else
                                  http_range.read_remote_gguf_model("%s/files/%s" % (server.url, path.name)))
                        model = plan_model.describe_model(header.metadata, header.tensors)
                        read = time.perf_counter()
                        plan = make_plan(Request(model, RUN, machines, "m0", policy))
                        end = time.perf_counter()
                        print(ROW % (shape, place, name, policy, "yes" if plan.fits else "no", plan.split.search if plan.split else "",
                                     "%.1f MiB" % (header.first.bytes_read / 2**20), "%.2f s" % (read - start), "%.2f s" % (end - read),
                                     "%.2f s" % (end - start)))
        asked(Path(directory) / "llama-405b.gguf")
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
