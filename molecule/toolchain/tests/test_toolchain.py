# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the toolchain compiled, as an ordinary user."""

from __future__ import annotations

import json

import pytest

testinfra_hosts = ["ansible://builder"]

PREFIX = "/home/maker/.local/share/herd.llama_cpp/toolchain/conda-cuda13.0-gcc12"
STANDINS = "/home/maker/from-installer/conda-cuda12.4-gcc12"

PROGRAM = r"""
#include <cstdio>
#include <cublas_v2.h>
__global__ void twice(float *x) { x[threadIdx.x] *= 2; }
int main() {
    int devices = 0;
    cudaError_t error = cudaGetDeviceCount(&devices);
    cublasHandle_t handle;
    if (error == cudaSuccess) { twice<<<1, 1>>>(nullptr); cublasCreate(&handle); }
    printf("devices: %d (%s)\n", devices, cudaGetErrorName(error));
}
"""


@pytest.fixture(scope="module")
def result(host):
    return json.loads(host.file("/home/maker/result.json").content_string)


def test_nothing_needed_root(host):
    assert host.check_output("id -un") == "maker"
    assert host.run("sudo -n true").rc != 0
    assert host.check_output(f"stat -c %U {PREFIX}/bin/nvcc {STANDINS}/bin/nvcc") == "maker\nmaker"


def test_the_environment_from_the_installer(host):
    assert "V12.4.1" in host.check_output(f"{STANDINS}/bin/nvcc --version")
    assert host.check_output("/home/maker/from-installer/miniforge/bin/conda --version") == "conda 24.7.1"
    assert host.run("test -e /home/maker/from-installer/conda-installer.sh").rc != 0
    assert host.run("command -v conda").rc != 0, "nobody's PATH was touched"


def test_the_compiler_says_what_it_is(host, result):
    assert result["toolkit"]["nvcc"] == f"{PREFIX}/bin/nvcc"
    assert "release 13.0, V13.0.88" in host.check_output(f"{PREFIX}/bin/nvcc --version")
    assert result["toolkit"]["cmake"].startswith(PREFIX) and result["toolkit"]["ninja"].startswith(PREFIX)


def test_a_cuda_program_compiles_links_and_starts_outside_the_environment(host, result):
    directory = host.check_output("mktemp -d")
    host.run_test(f"cat > {directory}/twice.cu <<'END'\n{PROGRAM}\nEND")
    toolkit = result["toolkit"]
    host.check_output(f"{toolkit['nvcc']} -ccbin {toolkit['cxx']} -arch=sm_86 -o {directory}/twice {directory}/twice.cu -lcublas -Xlinker -rpath={PREFIX}/lib")
    assert "elf64" in host.check_output(f"objdump -f {directory}/twice")
    assert "not found" not in host.check_output(f"ldd {directory}/twice")
    said = host.check_output(f"env -i {directory}/twice")
    assert said.startswith("devices: 0 (cudaError"), said


def test_llama_cpp_was_configured_with_it(result):
    log = result["log"]
    assert log["failure"] is None and log["configure_ok"] is True
    assert log["cuda_compiler"] == f"{PREFIX}/bin/nvcc" and log["cuda_version"] == "13.0.88"
    assert log["backends"] == ["CPU", "CUDA", "RPC"] and log["cuda_architectures"] == ["86"]
    assert log["cuda_host_compiler"] == "GNU 12.2.0"
    for name in ("cuda_found", "cuda_compiler", "backend_CUDA", "backend_RPC", "cuda_objects"):
        assert log["evidence"][name], name


def test_two_real_cuda_objects(host, result):
    assert result["log"]["n_cuda_objects"] == 2
    objects = host.check_output(f"find {result['build_dir']}/build -name '*.cu.o'").split()
    assert len(objects) == 2
    for path in objects:
        assert ".nv_fatbin" in host.check_output(f"objdump -h {path}"), "it holds code for a GPU"


def test_the_stub_links_and_has_the_drivers_functions(host, result):
    stub = f"{result['build_dir']}/stubs/libcuda.so"
    functions = host.check_output(f"nm -D --defined-only {stub}")
    for name in ("cuMemCreate", "cuMemAddressReserve", "cuMemMap", "cuDeviceGet", "cuGetErrorString"):
        assert f" {name}\n" in functions + "\n", name
    cache = host.file(f"{result['build_dir']}/build/CMakeCache.txt").content_string
    assert f"CUDA_cuda_driver_LIBRARY:UNINITIALIZED={stub}" in cache or f"CUDA_cuda_driver_LIBRARY:FILEPATH={stub}" in cache
    ninja = host.file(f"{result['build_dir']}/build/build.ninja").content_string
    assert f"-Wl,-rpath-link,{result['build_dir']}/stubs" in ninja
    assert f"-rpath,{result['build_dir']}/stubs" not in ninja.replace("-rpath-link,", "")
