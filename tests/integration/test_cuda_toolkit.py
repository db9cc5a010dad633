# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role cuda_toolkit's providers pip and system with a real nvcc on this machine, and what is built with it.

    pytest tests/integration/test_cuda_toolkit.py

pip fetches NVIDIA's wheels, 560 MB the first time; afterwards they come out of the cache. It needs gcc and g++, no root and no GPU.
The provider conda has a machine of its own in molecule's scenario toolchain.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).absolute().parents[2]

PLAY = """
- name: Provide a toolchain
  hosts: builder
  gather_facts: false
  tasks:
    - name: Run the role and write down what came of it
      block:
        - name: Run the role
          ansible.builtin.include_role:
            name: herd.llama_cpp.cuda_toolkit
            tasks_from: "{{ step | default('main') }}"

        - name: Write down the facts
          ansible.builtin.copy:
            content: "{{ {'toolkit': cuda_toolkit | default({}), 'problems': cuda_toolkit_problems | default([])} | to_json }}"
            dest: "{{ result_file }}"
            mode: "0644"
          check_mode: false
          changed_when: false
      rescue:
        - name: Write down the message
          ansible.builtin.copy:
            content: "{{ {'message': ansible_failed_result.msg} | to_json }}"
            dest: "{{ result_file }}"
            mode: "0644"
          check_mode: false
          changed_when: false
"""

PROGRAM = r"""
#include <cstdio>
#include <cuda.h>
#include <cublas_v2.h>
__global__ void twice(float *x) { x[threadIdx.x] *= 2; }
int main() {
    int devices = 0;
    CUresult driver = cuInit(0);
    cudaError_t error = cudaGetDeviceCount(&devices);
    cublasHandle_t handle;
    if (error == cudaSuccess) { twice<<<1, 1>>>(nullptr); cublasCreate(&handle); }
    printf("driver: %d devices: %d (%s)\n", driver, devices, cudaGetErrorName(error));
}
"""

PROJECT = """
cmake_minimum_required(VERSION 3.18)
project(twice LANGUAGES CXX CUDA)
find_package(CUDAToolkit REQUIRED)
add_library(work SHARED work.cu)
target_link_libraries(work PRIVATE CUDA::cublas CUDA::cudart CUDA::cuda_driver)
add_executable(twice main.cpp)
target_link_libraries(twice PRIVATE work)
"""


class Run:
    """What the role did, once."""

    def __init__(self, place: Path, **variables: Any) -> None:
        result = place / "result.json"
        result.unlink(missing_ok=True)
        (place / "play.yml").write_text(PLAY)
        hosts = {
            "all": {
                "hosts": {
                    "builder": {
                        "ansible_connection": "local",
                        "ansible_python_interpreter": "/usr/bin/python3",
                        "result_file": str(result),
                        **variables,
                    }
                }
            }
        }
        (place / "hosts.json").write_text(json.dumps(hosts))
        extra = variables.pop("arguments", [])
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), str(place / "play.yml"), "-i", str(place / "hosts.json"), *extra],
            cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert result.exists(), done.stdout[-3000:] + done.stderr[-2000:]
        self.result = json.loads(result.read_text())
        match = re.search(r"^builder\s+: ok=\d+\s+changed=(\d+)", done.stdout, flags=re.MULTILINE)
        assert match
        self.changed = int(match.group(1))

    @property
    def toolkit(self) -> dict[str, Any]:
        assert "toolkit" in self.result, self.result
        return self.result["toolkit"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    return tmp_path_factory.mktemp("toolkit")


@pytest.fixture(scope="module")
def pip(place: Path) -> dict[str, Any]:
    return {"cuda_toolkit_provider": "pip", "cuda_toolkit_version": "13.0", "cuda_toolkit_dir": str(place / "toolchain")}


@pytest.fixture(scope="module")
def toolkit(place: Path, pip: dict[str, Any]) -> dict[str, Any]:
    """The installed toolkit; on the way there, that check mode changes nothing and that a second run does not either."""
    before = Run(place, **pip, step="identity").toolkit
    would = Run(place, **pip, arguments=["--check"])
    assert would.changed and not (place / "toolchain").exists()
    first = Run(place, **pip)
    assert first.changed
    assert first.toolkit["identity"] == before["identity"] == would.toolkit["identity"]
    again = Run(place, **pip)
    assert again.changed == 0 and again.toolkit == first.toolkit
    return first.toolkit


@pytest.fixture(scope="module")
def program(place: Path, toolkit: dict[str, Any]) -> Path:
    """A shared library with CUDA and a program that needs it, as llama-server needs libggml-cuda; built as the role builds."""
    source = place / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(PROJECT)
    (source / "work.cu").write_text(PROGRAM.replace("int main", "int work"))
    (source / "main.cpp").write_text("int work();\nint main() { work(); }\n")
    stub = module(
        "cuda_driver_stub", directory=str(place / "stubs"), stub=toolkit["driver_stub"], header=toolkit["cuda_header"], compiler=toolkit["cc"]
    )
    assert stub["changed"]
    link = " ".join(f"-Wl,-rpath-link,{path}" for path in [place / "stubs", *toolkit["runtime_library_dirs"]])
    options = {
        "CMAKE_MAKE_PROGRAM": toolkit["ninja"], "CMAKE_CXX_COMPILER": toolkit["cxx"], "CMAKE_CUDA_COMPILER": toolkit["nvcc"],
        "CMAKE_CUDA_HOST_COMPILER": toolkit["cxx"], "CUDAToolkit_ROOT": toolkit["root"], "CUDA_cuda_driver_LIBRARY": stub["library"],
        "CMAKE_CUDA_ARCHITECTURES": "86", "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "$ORIGIN",
        "CMAKE_EXE_LINKER_FLAGS": f"-Wl,--disable-new-dtags {link}", "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--disable-new-dtags",
    }  # fmt: skip
    environment = {**os.environ, **toolkit["environment"]}
    command = [
        toolkit["cmake"],
        "-S",
        str(source),
        "-B",
        str(place / "build"),
        "-G",
        "Ninja",
        *(f"-D{name}={value}" for name, value in options.items()),
    ]
    configured = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert configured.returncode == 0, configured.stdout + configured.stderr
    built = subprocess.run([toolkit["cmake"], "--build", str(place / "build")], env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return place / "build" / "twice"


def module(name: str, **given: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.herd.llama_cpp.plugins.modules.{name}"], input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        env={**os.environ, "PYTHONPATH": str(ROOT / "playbooks" / "collections")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result.get("failed"), result
    return result


def missing(program: Path) -> list[str]:
    """What the loader does not find, in surroundings that know nothing of the toolkit."""
    said = subprocess.run(["ldd", str(program)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True).stdout
    return sorted(line.split()[0] for line in said.splitlines() if "not found" in line)


def test_the_toolkit_is_inside_its_prefix(place: Path, toolkit: dict[str, Any]) -> None:
    prefix = str(place / "toolchain" / "pip-cuda13.0")
    assert toolkit["prefix"] == prefix and toolkit["cuda_version"] == "13.0.88"
    for key in ("root", "nvcc", "cuda_header", "cmake", "ninja"):
        assert toolkit[key].startswith(prefix + "/"), key
    for name in ("libcudart.so", "libcublas.so", "libcublasLt.so"):
        assert (Path(toolkit["root"]) / "lib64" / name).exists(), name


def test_the_program_needs_the_driver_and_is_not_satisfied_by_the_stub(program: Path) -> None:
    assert "libcuda.so.1" in missing(program), "the stub is not in the program's run-time path"
    dynamic = subprocess.run(["readelf", "-d", str(program), str(program.parent / "libwork.so")], capture_output=True, text=True, check=True).stdout
    assert "stubs" not in dynamic and "toolchain" not in dynamic


def test_what_is_collected_runs_outside_the_toolkit(place: Path, toolkit: dict[str, Any], program: Path) -> None:
    out = place / "out"
    done = subprocess.run(
        [toolkit["cmake"], f"-DEXECUTABLES={program}", f"-DDESTINATION={out}", f"-DLIBRARY_DIRS={';'.join(toolkit['runtime_library_dirs'])}",
         "-P", str(ROOT / "roles" / "llama_cpp" / "files" / "collect.cmake")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"twice", "libwork.so", "libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libstdc++.so.6"} <= {
        path.name for path in out.iterdir()
    }
    assert not any(path.name.startswith("libcuda.so") for path in out.iterdir())
    hidden = place / "toolchain.away"
    (place / "toolchain").rename(hidden)
    try:
        assert missing(out / "twice") == ["libcuda.so.1"], "all but the driver's own library comes along"
        # With a driver it starts: here the stub stands for one, by the loader's own variable. It says that it is a stub (34).
        said = subprocess.run([out / "twice"], env={"LD_LIBRARY_PATH": str(place / "stubs")}, capture_output=True, text=True, check=True).stdout
        assert said.startswith("driver: 34 devices: 0 (cudaError")
    finally:
        hidden.rename(place / "toolchain")


def test_a_toolkit_that_is_installed_already(place: Path, toolkit: dict[str, Any]) -> None:
    given = {"cuda_toolkit_provider": "system", "cuda_toolkit_system_prefix": toolkit["root"], "cuda_toolkit_packages": {"gcc": "gcc", "g++": "g++"}}
    run = Run(place, **given)
    assert run.changed == 0
    assert run.toolkit["nvcc"] == toolkit["nvcc"] and run.toolkit["cxx"] == "/usr/bin/g++"
    assert run.toolkit["identity"].startswith("system-cuda13.0.88-gcc")
    elsewhere = Run(place, **given | {"cuda_toolkit_system_prefix": str(place / "nothing")})
    assert f"there is no CUDA toolkit: no bin/nvcc in {place}/nothing" in elsewhere.result["message"]


def test_a_compiler_that_leads_out_of_the_prefix(place: Path, toolkit: dict[str, Any]) -> None:
    other = place / "other" / "bin"
    other.mkdir(parents=True)
    (other / "nvcc").symlink_to(toolkit["nvcc"])
    run = Run(place, cuda_toolkit_provider="system", cuda_toolkit_system_prefix=str(place / "other"), step="preflight")
    assert any("is a link that leads out of" in problem["problem"] for problem in run.result["problems"])


def test_a_damaged_archive_is_not_installed(place: Path, toolkit: dict[str, Any]) -> None:
    (place / "broken.tar.gz").write_bytes(b"\x1f\x8b\x08" + b"\0" * 100)
    with pytest.raises(AssertionError, match="The toolkit cannot be installed in"):
        module("cuda_wheels", prefix=str(place / "broken"), archive=str(place / "broken.tar.gz"), requirements=["x"])
    assert module("cuda_toolkit_info", directory=str(place))["entries"]["broken"] == "unfinished"
    assert module("cuda_wheels", prefix=str(place / "broken"), state="absent")["changed"]
    assert not (place / "broken").exists()


def test_removal_takes_ours_and_nothing_else(place: Path, pip: dict[str, Any], program: Path) -> None:
    (place / "toolchain" / "pip-mine").mkdir()
    (place / "toolchain" / "pip-mine" / "notes.txt").write_text("mine\n")
    assert Run(place, **pip, step="remove").changed
    assert [str(path.relative_to(place)) for path in sorted((place / "toolchain").rglob("*"))] == [
        "toolchain/pip-mine",
        "toolchain/pip-mine/notes.txt",
    ]
    assert Run(place, **pip, step="remove").changed == 0
