# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role cuda_toolkit says of a toolchain, and every reason why it cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.cuda_toolchain import cuda_toolchain
from ansible_collections.herd.llama_cpp.plugins.filter.setup_problems import setup_problems

COMMANDS = {"gcc": "/usr/bin/gcc", "g++": "/usr/bin/g++", "cmake": "/usr/bin/cmake", "ninja": "/usr/bin/ninja", "ccache": "", "apt-get": "/usr/bin/apt-get"}
INFO: dict[str, Any] = {"commands": COMMANDS, "distribution": "debian", "distribution_release": "12", "architecture": "x86_64", "libc": "glibc 2.36",
                        "user_id": 0}
TOOLKIT = {"prefix": "/p", "root": "/p/cuda", "nvcc": "/p/bin/nvcc", "cmake": "/p/bin/cmake", "ninja": "", "ccache": "/p/bin/ccache", "cuda_version": "12.4.1",
           "header": "/p/cuda.h", "stub": "/p/libcuda.so", "library_dirs": ["/p/lib"], "nvcc_leads_outside": False, "has_cublas": True, "newest_gcc": 13}
PLAN: dict[str, Any] = {"identity": "conda-cuda12.4-gcc13", "prefix": "/p", "version": "12.4", "toolkit": TOOLKIT, "installed": True, "problems": [],
                        "compiler": {"cc": "/p/bin/gcc", "cxx": "/p/bin/g++", "version": "13.3.0"}}
NOTHING = {**PLAN, "toolkit": {}, "compiler": {}, "installed": False}
GIVEN = {"machine": "m1", "provider": "none", "packages": {"gcc": "gcc", "g++": "g++", "cmake": "cmake", "ninja": "ninja-build"}, "become": True,
         "modules": [], "conda_installer": "https://h/conda.sh", "info": INFO, "plan": {}, "conda": {}}
CONDA = {"provider": "conda", "plan": PLAN}


def without(*commands: str, **info: Any) -> dict[str, Any]:
    return {"info": {**INFO, "commands": {**COMMANDS, **dict.fromkeys(commands, "")}, **info}}


def test_a_toolchain_of_the_distribution_s_packages():
    found = cuda_toolchain(GIVEN, "fact")
    assert found["identity"] == "none-debian-12-x86_64-glibc-2.36"
    assert (found["cc"], found["cxx"], found["nvcc"], found["ccache"], found["environment"]) == ("/usr/bin/gcc", "/usr/bin/g++", "", "", {})
    assert cuda_toolchain({**GIVEN, **without(libc="", distribution="")}, "fact")["identity"] == "none-12-x86_64"
    assert cuda_toolchain({"info": INFO}, "packages_identity") == found["identity"], "before anybody has looked for the packages"


def test_a_toolchain_with_cuda():
    found = cuda_toolchain({**GIVEN, **CONDA}, "fact")
    assert found == {
        "provider": "conda", "machine": "m1", "identity": "conda-cuda12.4-gcc13", "prefix": "/p", "root": "/p/cuda", "nvcc": "/p/bin/nvcc",
        "cc": "/p/bin/gcc", "cxx": "/p/bin/g++", "cmake": "/p/bin/cmake", "ninja": "/usr/bin/ninja", "ccache": "/p/bin/ccache", "cuda_version": "12.4.1",
        "cuda_header": "/p/cuda.h", "driver_stub": "/p/libcuda.so", "runtime_library_dirs": ["/p/lib"],
        "environment": {"PATH": "/p/cuda/bin:/p/bin:/usr/local/bin:/usr/bin:/bin"}}
    usr = {**PLAN, "prefix": "/usr", "toolkit": {**TOOLKIT, "root": "/usr"}}
    assert cuda_toolchain({**GIVEN, "provider": "system", "plan": usr}, "fact")["environment"] == {"PATH": "/usr/bin:/usr/local/bin:/bin"}


def test_it_is_known_before_it_is_installed():
    found = cuda_toolchain({**GIVEN, **CONDA, "plan": NOTHING}, "fact")
    assert found["identity"] == PLAN["identity"]
    assert (found["cuda_version"], found["nvcc"], found["cmake"], found["environment"]) == ("12.4", "", "/usr/bin/cmake", {})


def test_drivers_as_the_plan_takes_them():
    results = [{"__cuda_toolkit_driver_machine": "away", "unreachable": True}, {"__cuda_toolkit_driver_machine": "broken", "msg": "nvidia-smi hangs"},
               {"__cuda_toolkit_driver_machine": "gpu1", "gpus": [{"compute_capability": "8.6"}], "driver_version": "550.1", "cuda_version": "12.4"}]
    assert cuda_toolchain({"results": results}, "drivers") == [
        {"machine": "broken", "driver_version": "", "cuda_version": "", "compute_capabilities": [], "error": "nvidia-smi hangs"},
        {"machine": "gpu1", "driver_version": "550.1", "cuda_version": "12.4", "compute_capabilities": ["8.6"], "error": ""}]


def test_missing_commands():
    assert cuda_toolchain(GIVEN, "missing") == []
    assert cuda_toolchain({**GIVEN, **without("cmake", "ninja")}, "missing") == ["cmake", "ninja"]


@pytest.mark.parametrize("given", [
    {}, without("cmake"), without("cmake", "apt-get") | {"provider": "pip", "plan": NOTHING}, without("cmake", user_id=1000), CONDA,
    {**CONDA, "plan": NOTHING}, {**CONDA, "plan": NOTHING, "conda_installer": __file__}, {**CONDA, "plan": NOTHING, "conda_installer": ""},
    {**CONDA, "conda_installer": "/nowhere"}, {**CONDA, "plan": NOTHING, "conda_installer": "/nowhere", "modules": ["anaconda3"]},
    {**CONDA, "plan": NOTHING, "conda_installer": "/nowhere", "conda": {"executable": "/opt/conda/bin/conda"}},
])
def test_nothing_is_in_the_way(given):
    assert setup_problems({**GIVEN, **given}, "cuda_toolkit") == []


@pytest.mark.parametrize(("given", "problem", "remedy"), [
    ({"provider": "cuda"}, 'cuda_toolkit_provider is "cuda"', "Set it to one of conda, pip, system, none"),
    (without("cmake", "apt-get"), "cmake missing, and there is no apt-get to install from", "Install them with"),
    ({**without("cmake", "ninja", user_id=1000), "become": False}, "cmake, ninja missing, and installing packages needs root",
     "Run apt-get install cmake ninja-build there as root, or set cuda_toolkit_become to true"),
    ({**CONDA, "conda": {"msg": "conda cannot be asked; load it; or name it"}}, "conda cannot be asked", "load it; or name it"),
    ({**CONDA, "plan": NOTHING, "conda_installer": "/nowhere"}, "names the file /nowhere, which does not exist on the control node", "Correct the path"),
])
def test_what_is_in_the_way_is_said(given, problem, remedy):
    (found,) = setup_problems({**GIVEN, **given}, "cuda_toolkit")
    assert found["machine"] == "m1" and problem in found["problem"] and remedy in found["remedy"]


@pytest.mark.parametrize(("toolkit", "plan", "problem"), [
    ({}, {}, None), ({"newest_gcc": 0}, {}, None), ({"cuda_version": "12.4"}, {}, None),
    ({"nvcc": ""}, {}, "what was installed in /p brings no nvcc of its own"), ({"nvcc_leads_outside": True}, {}, "brings no nvcc of its own"),
    ({"cuda_version": "12.40"}, {}, "/p/bin/nvcc is of CUDA 12.40, and 12.4 was meant"),
    ({"cuda_version": ""}, {}, "/p/bin/nvcc is of CUDA (unknown), and 12.4 was meant"),
    ({"has_cublas": False}, {}, "what was installed in /p brings no cuBLAS"),
    ({"newest_gcc": 12}, {}, "nvcc 12.4.1 takes gcc up to 12, and /p/bin/g++ is 13.3.0"),
    ({}, {"compiler": {}}, "a C++ compiler, CMake or Ninja is missing after the toolkit was installed in /p"),
])
def test_what_was_installed_has_to_be_what_was_decided(toolkit, plan, problem):
    look = {"decided": PLAN, "toolkits": [{**TOOLKIT, "prefix": "/other", "nvcc": ""}, {**TOOLKIT, **toolkit}]}
    found = setup_problems({**GIVEN, **CONDA, "plan": {**PLAN, **plan}}, "cuda_toolkit_installed", look)
    assert len(found) == (1 if problem else 0) and all(problem in one["problem"] for one in found)


def test_nothing_was_installed():
    found = setup_problems({**GIVEN, **CONDA}, "cuda_toolkit_installed", {"decided": PLAN, "toolkits": []})
    assert [one["problem"] for one in found] == [
        "what was installed in /p brings no nvcc of its own", "nvcc is of CUDA (unknown), and 12.4 was meant", "what was installed in /p brings no cuBLAS"]


@pytest.mark.parametrize(("given", "question"), [(GIVEN, "colour"), ([], "fact"), ({"machine": "m1"}, "fact")])
def test_what_cannot_be_answered(given, question):
    with pytest.raises(AnsibleFilterError, match="cuda_toolchain"):
        cuda_toolchain(given, question)
