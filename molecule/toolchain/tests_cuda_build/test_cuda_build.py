# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An RPC server with CUDA that needs nothing of the toolchain it was built with."""

from __future__ import annotations

import pytest
from playbook_run import ROOT, run_playbook

testinfra_hosts = ["ansible://builder"]

BIN = "/home/maker/llama.cpp/current/bin"


@pytest.fixture(scope="module")
def libraries(host):
    return host.check_output(f"env -i /usr/bin/ldd {BIN}/ggml-rpc-server")


def test_every_library_is_beside_it_but_the_drivers(libraries):
    assert "not found" not in libraries
    for name in ("libggml-cuda", "libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libstdc++.so.6"):
        line = next(line for line in libraries.splitlines() if name in line)
        assert f"=> {BIN}/" in line or "/llama.cpp/builds/" in line, line
    assert "/usr/local/lib/libcuda.so.1" in libraries


def test_nothing_points_at_the_toolchain_or_the_stub(host):
    paths = host.check_output(f"for file in {BIN}/*; do readelf -d $file | grep -E 'R(UN)?PATH' || true; done")
    assert "toolchain" not in paths and "stubs" not in paths


def test_it_starts_and_says_that_there_is_no_device(host):
    said = host.run(f"timeout 20 {BIN}/ggml-rpc-server -d CUDA0 -H 127.0.0.1 -p 50999")
    assert said.rc == 1, "a device that is not there is no reason to compute on the CPU"


def test_all_cuda_objects_were_compiled(host):
    log = host.check_output("cat /home/maker/llama.cpp-work/build/*/build.log")
    # As many as the pinned source has without flash attention.
    assert log.count("Building CUDA object") == 144


def test_the_finished_build_needs_no_toolchain(host):
    run = run_playbook(str(ROOT / "molecule/toolchain/finished.yml"), ROOT / "molecule/toolchain/inventory")
    assert run.rc == 0, run.output[-3000:]
    assert host.run("/home/maker/finished/current/bin/ggml-rpc-server --help").rc <= 1
    assert host.file("/home/maker/finished/current").linked_to.rsplit("/", 1)[1] == host.file("/home/maker/llama.cpp/current").linked_to.rsplit("/", 1)[1]


def test_a_worker_of_it_fails_without_a_gpu_and_says_why(host):
    run = run_playbook(str(ROOT / "molecule/toolchain/cuda_worker.yml"), ROOT / "molecule/toolchain/inventory")
    assert run.rc != 0
    assert run.says("llama-rpc-server@0.service does not stay up", "this machine has no device CUDA0", "nvidia-smi"), run.output[-3000:]
    assert host.run("ss -Hltn 'sport = :50052'").stdout == ""
