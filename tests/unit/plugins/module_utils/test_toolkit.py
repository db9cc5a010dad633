# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which toolkit it is, and what stands in the way."""

from __future__ import annotations

import copy

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.cuda_toolkit_plan import cuda_toolkit_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import problem_text

DIR = "/home/me/toolchain"
INFO = {
    "architecture": "x86_64",
    "libc": "glibc 2.36",
    "directory": DIR,
    "writable": True,
    "free_mib": 50000,
    "entries": {},
    "toolkits": [],
    "system": {},
    "looked_at": ["/usr/local/cuda", "/opt/cuda"],
    "compilers": [{"cc": "/usr/bin/gcc", "cxx": "/usr/bin/g++", "version": "12.2.0"}],
}
SYSTEM = {
    "prefix": "/usr/local/cuda", "nvcc": "/usr/local/cuda/bin/nvcc",
    "nvcc_leads_outside": False, "cuda_version": "12.2.140", "newest_gcc": 12, "has_cublas": True,
}  # fmt: skip
OLD = {"machine": "gpu1", "driver_version": "535.183.01", "cuda_version": "12.2"}
NEW = {"machine": "gpu2", "driver_version": "580.65.06", "cuda_version": "13.0"}
NONE = {"machine": "head", "driver_version": "", "cuda_version": ""}


def plan(provider="conda", info=None, **more):
    given = {
        "provider": provider, "machine": "builder", "info": dict(copy.deepcopy(INFO), **(info or {})), "channels": ["conda-forge"], "space_mib": 12288,
        "available": ["11.8.0", "12.0.0", "12.2.0", "12.4.1", "13.0.2"], "conda": "/opt/conda/bin/conda", "extra_packages": ["cmake", "ninja"],
        "distribution": "debian-12", **more,
    }  # fmt: skip
    return cuda_toolkit_plan(given)


def installed(name, cuda, **more):
    toolkit = {
        "name": name,
        "prefix": f"{DIR}/{name}",
        "nvcc": f"{DIR}/{name}/bin/nvcc",
        "cuda_version": cuda,
        "newest_gcc": 0,
        "marker": {"kind": "x"},
        **more,
    }
    return {"toolkits": [toolkit], "entries": {name: "ours"}}


def problems(result):
    return problem_text(result["problems"])


# -- the version


@pytest.mark.parametrize(
    "drivers, version, gcc",
    [([], "13.0", "15"), ([NONE], "13.0", "15"), ([OLD, NEW], "12.2", "12"), ([NEW, OLD, NONE], "12.2", "12"), ([NEW], "13.0", "15")],
)
def test_the_oldest_driver_limits_the_newest_version(drivers, version, gcc):
    result = plan(drivers=drivers)
    assert (result["version"], result["gcc"], problems(result)) == (version, gcc, "")
    assert result["packages"] == [f"cuda-toolkit={version}", f"gcc_linux-64={gcc}", f"gxx_linux-64={gcc}", "cmake", "ninja"]
    assert result["prefix"] == f"{DIR}/conda-cuda{version}-gcc{gcc}" and not result["installed"]


def test_the_version_asked_for():
    assert plan(version="12.4", gcc_version="11")["identity"] == "conda-cuda12.4-gcc11-x86_64-glibc-2.36"
    assert plan(version="12.4.1")["version"] == "12.4"
    assert (
        "its NVIDIA driver 535.183.01 serves CUDA up to 12.2, and cuda_toolkit_version is CUDA 12.4. Update the driver to 550.54.14 or newer"
        in problems(plan(version="12.4", drivers=[OLD]))
    )
    assert "have no cuda-toolkit 12.3, but 11.8, 12.0, 12.2, 12.4, 13.0" in problems(plan(version="12.3"))
    assert "cuda_toolkit_version is CUDA 11.8, and llama.cpp is built with 12.0 or newer" in problems(plan(version="11.8"))
    assert "cuda_toolkit_version is twelve. Give major and minor version" in problems(plan(version="twelve"))


def test_nothing_that_fits():
    result = plan(available=["11.8.0"], drivers=[OLD])
    assert (
        "have cuda-toolkit 11.8, and what is needed is 12.0 or newer, and no newer than 12.2 because of the NVIDIA driver 535.183.01 of gpu1"
        in problems(result)
    )
    assert result["version"] == "" and result["packages"] == [] and result["prefix"] == ""
    assert "have cuda-toolkit in no version" in problems(plan(available=[]))


def test_drivers_that_are_too_old_or_do_not_answer():
    said = problems(plan(drivers=[{"machine": "gpu1", "driver_version": "470.57.02", "cuda_version": "11.4"}]))
    assert said == (
        "gpu1: its NVIDIA driver 470.57.02 serves CUDA up to 11.4, and llama.cpp is built with 12.0 or newer. Update the driver to 525.60.13 or newer,"
        " where there is one for its GPU: 470 is the last for Kepler (Tesla K80, GeForce 600 and 700), 390 for Fermi; such a GPU cannot be used."
    )
    assert "gpu1: its NVIDIA driver does not answer (Nvidia-smi ended with code 9)" in problems(
        plan(drivers=[{"machine": "gpu1", "error": "Nvidia-smi ended with code 9."}])
    )


def gpus(machine, *capabilities, driver="580.95.05", cuda="13.0"):
    return {"machine": machine, "driver_version": driver, "cuda_version": cuda, "compute_capabilities": list(capabilities)}


@pytest.mark.parametrize(
    "drivers, version",
    [
        ([gpus("p40", "6.1"), gpus("a", "8.6")], "12.4"),
        ([gpus("a", "8.6", "7.0")], "12.4"),
        ([gpus("a", "8.6")], "13.0"),
        ([gpus("a", "7.5", "12.0")], "13.0"),
        ([gpus("a", "12.0"), gpus("p40", "6.1")], "12.9"),
        ([gpus("new", "13.7")], "13.0"),
        ([gpus("a", "", "8.6")], "13.0"),
    ],
)
def test_every_gpu_limits_the_version(drivers, version):
    available = ["12.0.0", "12.4.1", "13.0.2"] + (["12.9.1"] if version == "12.9" else [])
    result = plan(drivers=drivers, available=available)
    assert (result["version"], problems(result)) == (version, "")


def test_gpus_and_toolkits_that_do_not_know_each_other():
    kepler = problems(plan(drivers=[gpus("k80", "3.7", driver="470.256.02", cuda="11.4"), gpus("a", "8.6")]))
    assert kepler == (
        "k80: its GPU of compute capability 3.7 cannot be used: CUDA 11.8 was the last to know it, and llama.cpp is built with 12.0 or newer. Leave the"
        " machine out of the cluster, or name the architectures of the GPUs that shall work in llama_cpp_cuda_architectures."
    )
    assert problems(plan(drivers=[gpus("pc", "3.5", "8.6")], architectures=["86"])) == "", "an old one for the screen is nobody's business"
    for provider, more in (("conda", {}), ("pip", {})):
        said = problems(plan(provider, version="13.0", drivers=[gpus("p40", "6.1")], **more))
        assert said == (
            "p40: its GPU of compute capability 6.1 is known to CUDA up to 12.9, and cuda_toolkit_version is CUDA 13.0."
            " Take CUDA 12.9 for the build (cuda_toolkit_version)."
        )
    assert problems(plan("system", {"system": SYSTEM}, drivers=[gpus("new", "12.0")])) == (
        "new: its GPU of compute capability 12.0 is known to CUDA from 12.8 on, and the toolkit in /usr/local/cuda is CUDA 12.2.140."
        " Take CUDA 12.8 or newer for the build (cuda_toolkit_version)."
    )
    assert "12.8 or newer because of its GPU (12.0) of new" in problems(plan(drivers=[gpus("new", "12.0")], available=["12.4"]))
    assert "no newer than 12.9 because of its GPU (6.1) of p40" in problems(plan("pip", drivers=[gpus("p40", "6.1")]))
    assert "Leave out the machine whose GPU that is" in problems(plan("pip", drivers=[gpus("p40", "6.1")]))
    both = problems(plan(drivers=[gpus("new", "12.0"), gpus("old", "8.6", driver="550.54.14", cuda="12.4")]))
    assert "new: its GPU of compute capability 12.0 is known to CUDA from 12.8 on, and old: its NVIDIA driver 550.54.14 serves CUDA up to 12.4." in both
    assert "Update the driver to 570.26 or newer" in both


def test_a_driver_that_does_not_say_what_it_serves_is_no_driver_without_limit():
    assert plan(drivers=[gpus("a", "8.6", driver="580.65.06", cuda="")], available=["12.9", "13.0", "13.5"])["version"] == "13.0"
    assert plan(drivers=[gpus("a", "8.6", driver="620.10.01", cuda="")], available=["13.0", "13.5"])["version"] == "13.0"
    assert plan(drivers=[gpus("a", "8.6", driver="", cuda="13.4")], available=["13.0", "13.4", "13.5"])["version"] == "13.4"
    assert "a: it has GPUs, and its NVIDIA driver does not say its version" in problems(plan(drivers=[gpus("a", "8.6", driver="", cuda="")]))
    assert plan(drivers=[gpus("a", "8.6", driver="595.1.2", cuda="Not Found")])["version"] == "13.0"


# -- the identity


@pytest.mark.parametrize("drivers", [[], [OLD, NEW]])
@pytest.mark.parametrize("provider", ["conda", "pip"])
def test_the_identity_is_the_same_before_and_after(provider, drivers):
    if provider == "pip":
        drivers = [driver for driver in drivers if driver is NEW]
    before = plan(provider, drivers=drivers)
    assert problems(before) == ""
    name = before["prefix"].rsplit("/", 1)[1]
    after = plan(provider, installed(name, before["version"] + ".88", newest_gcc=16), drivers=drivers, available=None, conda="")
    assert after["installed"] and after["identity"] == before["identity"] and after["prefix"] == before["prefix"]
    # Channels go on, toolchains stay.
    later = plan(provider, installed(name, before["version"] + ".88"), drivers=drivers, available=["12.2", "13.0", "13.9"])
    assert later["identity"] == before["identity"]


def test_identities():
    assert plan("pip", available=None)["identity"] == "pip-cuda13.5-gcc12-debian-12-x86_64-glibc-2.36"
    assert plan("system", {"system": SYSTEM})["identity"] == "system-cuda12.2.140-gcc12-debian-12-x86_64-glibc-2.36"


def test_an_installed_one_that_the_drivers_do_not_serve_is_passed_over():
    result = plan(info=installed("conda-cuda13.0-gcc15", "13.0.88"), drivers=[OLD])
    assert result["version"] == "12.2" and not result["installed"] and not problems(result)


# -- the place, and conda


def test_places():
    assert "builder: /home/me/toolchain/conda-cuda13.0-gcc15 is there, and this collection did not make it" in problems(
        plan(info={"entries": {"conda-cuda13.0-gcc15": "foreign"}})
    )
    assert problems(plan(info={"entries": {"conda-cuda13.0-gcc15": "unfinished"}})) == ""
    assert "has 100 MiB free, and the toolkit takes 12288 MiB" in problems(plan(info={"free_mib": 100}))
    assert "its user cannot write to /home/me/toolchain" in problems(plan(info={"writable": False}))
    there = installed("conda-cuda13.0-gcc15", "13.0.88")
    assert problems(plan(info={**there, "free_mib": 100, "writable": False})) == "", "an installed one needs neither"


@pytest.mark.parametrize(
    "given, said",
    [
        ({"installer": "https://x/y.sh", "installer_sha256": "0" * 64}, ""),
        ({"installer": "https://x/y.sh", "installer_sha256": ""}, "cuda_toolkit_conda_installer_sha256 is not a SHA-256"),
        ({"installer": ""}, "no installer is named"),
        ({"conda_wanted": "/x", "installer": "https://x/y.sh", "installer_sha256": "0" * 64}, "there is no conda at /x (cuda_toolkit_conda)"),
        ({"modules": ["a"], "installer": "https://x/y.sh", "installer_sha256": "0" * 64}, "the environment modules a bring no conda"),
    ],
)
def test_no_conda(given, said):
    result = plan(conda="", available=None, **given)
    assert said in problems(result) and bool(said) == bool(problems(result))


def test_a_gcc_that_nvcc_does_not_take():
    assert "nvcc 12.2 takes gcc up to 12, and cuda_toolkit_gcc_version is 13" in problems(plan(version="12.2", gcc_version="13"))
    there = installed("conda-cuda13.0-gcc15", "13.0.88", newest_gcc=14)
    assert "nvcc 13.0 takes gcc up to 14, and cuda_toolkit_gcc_version is 15" in problems(plan(info=there)), (
        "the toolkit's own word counts for more than the table"
    )


# -- the machine's own compiler


def test_the_default_compiler_where_it_will_do_else_the_newest_that_does():
    compilers = [
        {"cc": f"/usr/bin/gcc{end}", "cxx": f"/usr/bin/g++{end}", "version": version}
        for end, version in (("", "14.2.0"), ("-13", "13.3.0"), ("-12", "12.4.0"), ("-11", "11.4.0"))
    ]
    result = plan("system", {"system": SYSTEM, "compilers": compilers})
    assert result["compiler"]["cxx"] == "/usr/bin/g++-12" and result["gcc"] == "12" and not problems(result)
    assert plan("system", {"system": dict(SYSTEM, newest_gcc=14), "compilers": compilers})["compiler"]["cxx"] == "/usr/bin/g++"
    assert plan("system", {"system": SYSTEM, "compilers": compilers}, gcc_version="11")["compiler"]["cxx"] == "/usr/bin/g++-11"
    said = problems(plan("system", {"system": SYSTEM, "compilers": compilers[:2]}))
    assert "nvcc 12.2.140 takes gcc up to 12, and the machine has gcc 14.2.0, 13.3.0. Install an older one beside it (apt-get install g++-12)" in said
    assert "there is no gcc with its g++" in problems(plan("system", {"system": SYSTEM, "compilers": []}))
    assert "takes gcc up to 12, and cuda_toolkit_gcc_version is 13" in problems(
        plan("system", {"system": SYSTEM, "compilers": compilers[:1]}, gcc_version="13")
    )


@pytest.mark.parametrize(
    "change, more, said",
    [
        ({}, {}, ""),
        (None, {}, "there is no CUDA toolkit: no bin/nvcc in /usr/local/cuda, /opt/cuda. Install one"),
        ({"cuda_version": "11.8.89"}, {}, "the toolkit in /usr/local/cuda is CUDA 11.8.89, and llama.cpp is built with 12.0 or newer"),
        ({"cuda_version": ""}, {}, "/usr/local/cuda/bin/nvcc does not say its version"),
        ({"nvcc_leads_outside": True}, {}, "is a link that leads out of /usr/local/cuda"),
        ({"has_cublas": False}, {}, "the toolkit in /usr/local/cuda has no cuBLAS. Install libcublas-dev"),
        (
            {"cuda_version": "12.4.131"},
            {"drivers": [OLD]},
            "gpu1: its NVIDIA driver 535.183.01 serves CUDA up to 12.2, and the toolkit in /usr/local/cuda is CUDA 12.4.131",
        ),
        ({}, {"version": "12.4"}, "the toolkit in /usr/local/cuda is CUDA 12.2.140, and cuda_toolkit_version is 12.4"),
    ],
)
def test_the_machines_own_toolkit(change, more, said):
    result = plan("system", {"system": {} if change is None else dict(SYSTEM, **change)}, **more)
    assert said in problems(result) and bool(said) == bool(problems(result))


# -- NVIDIA's wheels


def test_wheels():
    result = plan("pip", drivers=[NEW], available=None)
    assert result["requirements"][0] == "cuda-toolkit[cublas,cccl,crt,cudart,nvcc,nvvm]==13.0.*" and result["prefix"] == f"{DIR}/pip-cuda13.0"
    assert "have a CUDA compiler from 13.0 on, and what is needed is 12.0 or newer, and no newer than 12.2" in problems(
        plan("pip", drivers=[OLD], available=None)
    )
    assert "have no CUDA compiler before 13.0, and cuda_toolkit_version is 12.4" in problems(plan("pip", version="12.4", available=None))


def test_machines_that_will_not_do():
    assert "its C library is glibc 2.27, and the packages of provider pip need glibc 2.28" in problems(plan("pip", {"libc": "glibc 2.27"}))
    assert "its C library is not the GNU one" in problems(plan(info={"libc": ""}))
    assert "no CUDA for the architecture riscv64" in problems(plan(info={"architecture": "riscv64"}))
    assert plan(info={"architecture": "aarch64"})["packages"][1] == "gcc_linux-aarch64=15"


@pytest.mark.parametrize("given", ["x", {}, {"provider": "apt", "machine": "a", "info": {}}])
def test_what_the_filter_refuses(given):
    with pytest.raises(AnsibleFilterError):
        cuda_toolkit_plan(given)
