# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""CUDA's versions. The texts are those of nvcc 13.0.88 and of its headers."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import versions as cuda

NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release 13.0, V13.0.88
Build cuda_13.0.r13.0/compiler.36424714_0
"""

HOST_CONFIG = """#if !defined(__GNUC__) && !defined(_WIN32)
#if defined(__GNUC__)

#if __GNUC__ > 15

#error -- unsupported GNU version! gcc versions later than 15 are not supported!
"""


def test_nvcc_says_its_version():
    assert cuda.cuda_of_nvcc(NVCC) == "13.0.88"
    assert cuda.cuda_of_nvcc("nvcc fatal   : Unknown option") == ""


def test_the_header_says_its_newest_gcc():
    assert cuda.newest_gcc_of_header(HOST_CONFIG) == 15
    assert cuda.newest_gcc_of_header("") == 0


@pytest.mark.parametrize(
    "driver, reported, serves",
    [
        ("535.183.01", "12.2", "12.2"),
        ("535.183.01", "", "12.2"),
        ("525.60.13", "", "12.0"),
        ("525.60.12", "", "11.8"),
        ("570.26", "", "12.8"),
        ("600.1", "", "13.1"),
        ("470.57.02", "", ""),
        ("", "", ""),
        ("600.1", "13.9", "13.9"),
    ],
)
def test_what_a_driver_serves(driver, reported, serves):
    assert cuda.cuda_of_driver(driver, reported) == serves


@pytest.mark.parametrize(
    "version, gcc", [("12.0", 12), ("12.3.107", 12), ("12.4", 13), ("12.7", 13), ("12.8", 14), ("13.0", 15), ("13.9", 16), ("11.8", 0), ("", 0)]
)
def test_newest_gcc(version, gcc):
    assert cuda.newest_gcc(version) == gcc


def test_versions_in_order():
    assert cuda.known_versions()[0] == "12.0" and cuda.known_versions() == sorted(cuda.known_versions(), key=cuda.version_tuple)
    assert cuda.driver_of_cuda("12.4.131") == "550.54.14" and cuda.driver_of_cuda("99.0") == ""
    assert cuda.major_minor("12.4.131") == "12.4" and cuda.major_minor("12") == "" and cuda.major_minor("") == ""


def test_functions_of_a_preprocessed_header():
    text = (
        "typedef enum cudaError_enum { CUDA_SUCCESS = 0 } CUresult;\nCUresult cuInit(unsigned int Flags);\n"
        "CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize);\nCUresult  cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize);\n"
        "typedef void ( * CUhostFn)(void *userData);\ntypedef CUresult (*CUcallback)(int);\nstatic CUresult helper(int a);\n"
    )
    assert cuda.driver_functions(text) == ["cuInit", "cuMemAlloc_v2"]
    assert cuda.stub_source(["cuInit"]) == "int cuInit(void) { return 34; }\n"
