# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of llama.cpp is made of, and with which command and surroundings."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

# What serves, under the first of its names that the source has; the RPC server was renamed at about b9824.
EXECUTABLES = {"head": ("llama-server",), "worker": ("ggml-rpc-server", "rpc-server")}
# What comes along where the source has it: stand-ins for the workers, which llama-server is asked with, and what tests compare plans with.
_TOOLS: t.Dict[str, t.Tuple[str, ...]] = {"head": ("llama-fit-params", "ggml-rpc-server", "rpc-server"), "worker": ()}


@dataclass(frozen=True)
class Build:
    """A build on the machine that makes it.

    ``toolkit`` is the fact cuda_toolkit, ``options`` what identifies the build to CMake, ``commit`` that of the source, where it has one, and
    ``source`` the source's identity.
    """

    backend: str
    options: t.Mapping[str, t.Any]
    toolkit: t.Mapping[str, t.Any]
    source: t.Mapping[str, t.Any]
    commit: str
    source_dir: str
    build_dir: str
    work_dir: str
    ccache_dir: str


def stub_dir(build_dir: str) -> str:
    """Where the NVIDIA driver's library stands that is linked with and never run with."""
    return os.path.join(build_dir, "stubs")


def configure_command(given: Build) -> t.List[str]:
    """CMake's command line, for the directory of the build."""
    toolkit = given.toolkit
    cuda = given.backend == "cuda"
    # A tree without history is told apart by the beginning of its checksum.
    commit = (given.commit or str(given.source.get("sha256", "unknown")))[:8]
    options = {
        "CMAKE_MAKE_PROGRAM": toolkit["ninja"], "CMAKE_C_COMPILER": toolkit["cc"], "CMAKE_CXX_COMPILER": toolkit["cxx"],
        "CMAKE_PROJECT_INCLUDE": os.path.join(given.build_dir, "cpu_flags.cmake"), "LLAMA_BUILD_COMMIT": commit,
    }
    if cuda:
        # Where the toolchain is on this machine is no part of what identifies the build.
        options.update(
            CMAKE_CUDA_COMPILER=toolkit["nvcc"], CMAKE_CUDA_HOST_COMPILER=toolkit["cxx"], CUDAToolkit_ROOT=toolkit.get("root", ""),
            CUDA_cuda_driver_LIBRARY=os.path.join(stub_dir(given.build_dir), "libcuda.so"))
    if toolkit["ccache"]:
        for language in ("C", "CXX") + (("CUDA",) if cuda else ()):
            options["CMAKE_%s_COMPILER_LAUNCHER" % language] = toolkit["ccache"]
    options.update(given.options)
    if cuda:
        # An executable is linked to libraries that need the driver's and the toolkit's: the linker looks for them there, and nobody does at run time.
        links = ["-Wl,-rpath-link," + path for path in [stub_dir(given.build_dir), *toolkit["runtime_library_dirs"]]]
        options["CMAKE_EXE_LINKER_FLAGS"] = " ".join([str(options["CMAKE_EXE_LINKER_FLAGS"]), *links])
    return [toolkit["cmake"], "-S", given.source_dir, "-B", "build", "-G", "Ninja", *("-D%s=%s" % option for option in options.items())]


def environment(given: Build) -> t.Dict[str, str]:
    """The surroundings of CMake and the compiler, so that ccache takes the same source in another build for the same."""
    return {
        "LC_ALL": "C.UTF-8", "CCACHE_DIR": given.ccache_dir, "CCACHE_BASEDIR": given.work_dir, "CCACHE_NOHASHDIR": "true",
        "GIT_CEILING_DIRECTORIES": os.path.join(given.work_dir, "src"), **given.toolkit["environment"],
    }


def targets(components: t.Iterable[str], listed: t.Iterable[str]) -> t.Dict[str, t.List[str]]:
    """What to build for each component, its server first, of what CMake lists as ``TARGET: RULE``. Empty where the source has no such server."""
    known = {line.split(":", 1)[0] for line in listed}
    found = {}
    for component in components:
        server = [name for name in EXECUTABLES[component] if name in known][:1]
        found[component] = server + [name for name in _TOOLS[component] if name in known] if server else []
    return found
