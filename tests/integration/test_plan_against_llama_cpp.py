# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicted memory against the pinned llama.cpp, live (conftest.py says how to name another build).

All cases are recorded in tests/fixtures/plan and compared by the unit tests; here it is a few of them, which show that it still says so.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Iterator

import healthy
import memory_cases
import oracle
import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict:
    directory = tmp_path_factory.mktemp("shapes")
    return {name: sparse_gguf.write(make(), directory / (name + ".gguf")) for name, make in sparse_gguf.SHAPES.items()}


@pytest.fixture(scope="module", params=memory_cases.CLUSTERS, ids=lambda c: "x".join(map(str, c)))
def workers(request: pytest.FixtureRequest, llama_cpp_bin: Path) -> Iterator[oracle.Workers]:
    with oracle.Workers(llama_cpp_bin, request.param) as running:
        yield running


@pytest.mark.parametrize("shape", sorted(sparse_gguf.SHAPES))
def test_every_device(workers: oracle.Workers, files: dict, llama_cpp_bin: Path, shape: str) -> None:
    header = read_gguf(str(files[shape]))
    model = plan_model.describe_model(header.metadata, header.tensors)
    found = []
    for case in memory_cases.live(workers.devices, shape):
        rows = oracle.fit_print(llama_cpp_bin, files[shape], workers.endpoints, case.split, **case.settings)
        found += memory_cases.problems(case, model, list(rows.values()))
    assert not found, "\n".join(found[:20])


def test_three_shards_are_one_model(files: dict, llama_cpp_bin: Path, tmp_path: Path) -> None:
    model = sparse_gguf.SHAPES["llama-8b"]()
    parts = sparse_gguf.write_split(model, tmp_path, 3)
    header = read_gguf_model(str(parts[1]))
    assert len(header.tensors) == len(model.tensors)
    described = plan_model.describe_model(header.metadata, header.tensors)
    with oracle.Workers(llama_cpp_bin, (1, 1)) as running:
        for case in memory_cases.live((1, 1), "llama-8b"):
            rows = oracle.fit_print(llama_cpp_bin, parts[0], running.endpoints, case.split, **case.settings)
            assert not memory_cases.problems(case, described, list(rows.values()))


@pytest.mark.parametrize(("parallel", "unified", "context", "split"), [(4, True, 8192, (16, 15)), (2, False, 4096, (10, 21))])
def test_a_running_server(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path, parallel: int, unified: bool, context: int, split: tuple) -> None:
    """Weights, KV and compute as llama-server's own log says, per device, rounded to hundredths of a MiB."""
    header = read_gguf(str(smollm2))
    model = plan_model.describe_model(header.metadata, header.tensors)
    settings = caches.RunSettings(context_size=context, parallel=parallel, kv_unified=unified)
    devices, host = placement.split_memory(placement.Accounts(model, settings), split, ["cpu", "cpu"])
    log_path = tmp_path / "server.log"
    with oracle.Workers(llama_cpp_bin, (1, 1)) as running, open(log_path, "wb") as log:
        server = subprocess.Popen(
            [str(llama_cpp_bin / "llama-server"), "-m", str(smollm2), "-c", str(context), "-np", str(parallel),
             "--kv-unified" if unified else "--no-kv-unified", "-ngl", "all", "--fit", "off", "-fa", "on", "--rpc",
             ",".join(running.endpoints), "--device", "RPC0,RPC1", "-ts", ",".join(map(str, split)), "--host", "127.0.0.1",
             "--port", "20390", "-lv", "4", "--no-warmup"], stdout=log, stderr=log, env=dict(os.environ, GGML_NO_BACKTRACE="1"))
        try:
            healthy.wait(20390, server, lambda: log_path.read_text(errors="replace"))
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(timeout=15)
    text = log_path.read_text(errors="replace")

    def told(pattern: str) -> list:
        return [float(n) for n in re.findall(pattern + r" buffer size = +([0-9.]+) MiB", text)]

    mib = 1 << 20
    assert told(r"RPC\d\[\S+\] model") == [round(d.weight_bytes / mib, 2) for d in devices]
    assert told(r"RPC\d\[\S+\] KV") == [round(d.context_bytes / mib, 2) for d in devices]
    assert told(r"RPC\d\[\S+\] compute") == [round(d.compute_bytes / mib, 2) for d in devices]
    assert told(r"CPU compute") == [round(host.compute_bytes / mib, 2)]
    assert told(r"CPU +output") == [round(host.output_bytes / mib, 2)]
    assert SimpleNamespace(weights=told(r"CPU_Mapped model")).weights == pytest.approx([host.weight_bytes / mib], abs=1.0)
