# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CMake, Make and Ninja say while llama.cpp is configured and built.

The lines are those of llama.cpp's own CMake files (0.5.0 and build 9095): ``ggml/src/CMakeLists.txt`` (``Including X backend``,
ccache, OpenMP), ``ggml/src/ggml-cuda/CMakeLists.txt`` (``CUDA Toolkit found``, ``Using CMAKE_CUDA_ARCHITECTURES=``),
``ggml/src/ggml-rpc/CMakeLists.txt`` (RDMA); of CMake's own modules (``Found CUDAToolkit:``, ``Check for working CUDA compiler:``); of
GNU Make (``[  8%]``) and Ninja (``[27/230]``). What goes wrong is in ``failures.py``.
"""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.failures import BuildFailure, find_failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import plain


@dataclass
class BuildLog:
    """The facts in a configure log, a build log, or both in one."""

    generator: t.Optional[str] = None
    configure_ok: t.Optional[bool] = None
    build_ok: t.Optional[bool] = None
    llama_cpp_version: t.Optional[str] = None
    ggml_version: t.Optional[str] = None
    commit: t.Optional[str] = None
    build_number: t.Optional[int] = None
    build_dir: t.Optional[str] = None
    build_type: t.Optional[str] = None
    compilers: t.Dict[str, str] = field(default_factory=dict)
    compiler_paths: t.Dict[str, str] = field(default_factory=dict)
    backends: t.List[str] = field(default_factory=list)
    cpu_variants: t.List[str] = field(default_factory=list)
    cuda_found: t.Optional[bool] = None
    cuda_version: t.Optional[str] = None
    cuda_include_dir: t.Optional[str] = None
    cuda_compiler: t.Optional[str] = None
    cuda_host_compiler: t.Optional[str] = None
    cuda_architectures: t.List[str] = field(default_factory=list)
    rdma: t.Optional[bool] = None
    openmp: t.Optional[bool] = None
    ccache: t.Optional[bool] = None
    steps_done: int = 0
    steps_total: t.Optional[int] = None
    percent_done: t.Optional[int] = None
    last_step: t.Optional[str] = None
    n_objects: int = 0
    n_cuda_objects: int = 0
    warnings: int = 0
    cmake_warnings: int = 0
    evidence: t.Dict[str, str] = field(default_factory=dict)
    failure: t.Optional[BuildFailure] = None

    def to_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


# ---------------------------------------------------------------------------------------------------------------------
# facts

_CMAKE_ERROR = re.compile(r"^CMake Error\b")
# A line that says that the run as a whole failed.
_GAVE_UP = re.compile(
    r"^\S*make(?:\[\d+\])?: \*\*\* |^ninja: build stopped|^ninja: error|^FAILED: |Configuring incomplete, errors|Generate step failed"
)

_MAKE_STEP = re.compile(r"^\[\s*(\d{1,3})%\] (.*)$")
_NINJA_STEP = re.compile(r"^\[(\d{1,6})/(\d{1,6})\] (.*)$")
_OBJECT = re.compile(r"^Building (\w+) object (\S+)")
_COMPILER = re.compile(r"^-- The (\w+) compiler identification is (.+?)\s*$")
_COMPILER_PATH = re.compile(r"^-- Check for working (\w+) compiler: (.*?)(?: - \w+)?\s*$")
_TOOLKIT = re.compile(r"^-- Found CUDAToolkit: (.*?)(?: \(found (?:suitable )?version \"?([\d.]+)\"?.*\))?\s*$")
_ARCHITECTURES = re.compile(r"^-- Using CMAKE_CUDA_ARCHITECTURES=(\S*)(?: CMAKE_CUDA_ARCHITECTURES_NATIVE=(\S*))?")
_BACKEND = re.compile(r"^-- Including (\S+) backend")
_VARIANT = re.compile(r"^-- Adding CPU backend variant (\S+):")
_WARNING = re.compile(r"^\s*\S[^:\n]{0,300}(?::\d+(?::\d+)?|\(\d+\)): warning\b")
# Of build 9095, and since 0.5.0.
_VERSION = re.compile(r"^version: (?:(?P<number>\d+) \((?P<commit>\w+)\)|\S+ \(build (?P<numbered>\d+), commit (?P<committed>\w+)\))")

_SIMPLE = (
    ("llama_cpp_version", re.compile(r"^-- llama\.cpp version: (\S+)")),
    ("ggml_version", re.compile(r"^-- ggml version: (\S+)")),
    ("commit", re.compile(r"^-- ggml commit:\s+(\S+)")),
    ("build_dir", re.compile(r"^-- Build files have been written to: (.*?)\s*$")),
    ("build_type", re.compile(r"^CMAKE_BUILD_TYPE=(\S+)")),
    ("cuda_host_compiler", re.compile(r"^-- CUDA host compiler is (.+?)\s*$")),
)

_SWITCHES = (
    ("rdma", re.compile(r"RDMA transport (enabled|disabled)"), "enabled"),
    ("openmp", re.compile(r"^-- (Found OpenMP: TRUE)|OpenMP not found|^-- Could NOT find OpenMP"), "Found OpenMP: TRUE"),
    ("ccache", re.compile(r"^-- ((?:s?ccache) found), compilation results will be cached|ccache not found"), None),
)


class _Reader:
    def __init__(self, lines: t.Sequence[str]) -> None:
        self.lines = lines
        self.log = BuildLog()
        self.objects: t.Set[t.Tuple[str, str]] = set()
        self.make_steps: t.Set[str] = set()
        self.gave_up_at = -1
        self.configured_at = -1
        self.unconfigured_at = -1
        self.built_at = -1
        self.compiling = False

    def read(self) -> BuildLog:
        for index, line in enumerate(self.lines):
            if _GAVE_UP.search(line):
                self.gave_up_at = index
            if line.startswith(("-- ", "CMake", "CMAKE")):
                self._read_cmake(index, line)
            elif line.startswith("["):
                self._read_step(index, line)
            elif line.startswith(("ninja: no work to do", "ninja: Entering directory")):
                self.log.generator = "Ninja"
                if "no work" in line:
                    self.built_at, self.compiling = index, True
            elif _WARNING.match(line):
                self.log.warnings += 1
            else:
                version = _VERSION.match(line)
                if version:
                    self.log.build_number, self.log.commit = int(version["number"] or version["numbered"]), version["commit"] or version["committed"]
        return self._conclude()

    def _read_cmake(self, index: int, line: str) -> None:
        log = self.log
        for name, pattern in _SIMPLE:
            match = pattern.match(line)
            if match:
                setattr(log, name, match.group(1))
        for name, pattern, wanted in _SWITCHES:
            match = pattern.search(line)
            if match:
                setattr(log, name, bool(match.group(1)) if wanted is None else match.group(1) == wanted)
        if line.startswith("-- Build files have been written to"):
            self.configured_at = index
            log.evidence["configure_ok"] = line
        elif re.search(r"Configuring incomplete|Generate step failed", line):
            self.unconfigured_at = index
        if line.startswith("CMake Warning"):
            log.cmake_warnings += 1
        compiler = _COMPILER.match(line)
        if compiler:
            log.compilers[compiler.group(1)] = compiler.group(2)
        path = _COMPILER_PATH.match(line)
        if path:
            log.compiler_paths[path.group(1)] = path.group(2)
            if path.group(1) == "CUDA":
                log.cuda_compiler = path.group(2)
                log.evidence["cuda_compiler"] = line
        toolkit = _TOOLKIT.match(line)
        if toolkit:
            log.cuda_found, log.cuda_include_dir, log.cuda_version = True, toolkit.group(1), toolkit.group(2)
            log.evidence["cuda_found"] = line
        elif line.startswith("-- CUDA Toolkit found"):
            log.cuda_found = True
            log.evidence.setdefault("cuda_found", line)
        elif "Could not find nvcc" in line or "Could NOT find CUDAToolkit" in line:
            log.cuda_found = False
            log.evidence["cuda_found"] = line
        architectures = _ARCHITECTURES.match(line)
        if architectures:
            named, native = architectures.group(1), architectures.group(2) or ""
            log.cuda_architectures = [item for item in (native if named == "native" and native else named).split(";") if item]
            log.evidence["cuda_architectures"] = line
        backend = _BACKEND.match(line)
        if backend and backend.group(1) not in log.backends:
            log.backends.append(backend.group(1))
            log.evidence["backend_" + backend.group(1)] = line
        variant = _VARIANT.match(line)
        if variant and variant.group(1) not in log.cpu_variants:
            log.cpu_variants.append(variant.group(1))

    def _read_step(self, index: int, line: str) -> None:
        log = self.log
        ninja = _NINJA_STEP.match(line)
        if ninja:
            done, total, what = int(ninja.group(1)), int(ninja.group(2)), ninja.group(3)
            log.generator, log.steps_done, log.steps_total = "Ninja", done, total
            log.percent_done = min(done * 100 // total, 100) if total else None
            if done == total:
                self.built_at = index
        else:
            make = _MAKE_STEP.match(line)
            if not make:
                return
            what = make.group(2)
            log.generator, log.percent_done = "Unix Makefiles", min(int(make.group(1)), 100)
            if what.startswith("Built target"):
                if make.group(1) == "100":
                    self.built_at = index
            else:
                self.make_steps.add(what)
        self.compiling = True
        log.last_step = what
        compiled = _OBJECT.match(what)
        if compiled:
            self.objects.add((compiled.group(1), compiled.group(2)))
            if compiled.group(1) == "CUDA":
                log.evidence["cuda_objects"] = line

    def _conclude(self) -> BuildLog:
        log = self.log
        log.n_objects = len(self.objects)
        log.n_cuda_objects = sum(1 for language, _path in self.objects if language == "CUDA")
        if self.configured_at > self.unconfigured_at:
            log.configure_ok = True
        elif self.unconfigured_at >= 0:
            log.configure_ok = False
        if self.compiling:
            log.build_ok = self.built_at > self.gave_up_at
        elif self.gave_up_at > self.configured_at >= 0:
            log.build_ok = False
        if log.generator == "Unix Makefiles":
            # Make counts in percent only; the steps are the lines that are no "Built target".
            log.steps_done = len(self.make_steps)
            log.steps_total = log.steps_done if log.build_ok else None
        # A log that ends well got over what an earlier run in it died of.
        well = log.build_ok if self.compiling else log.configure_ok and self.gave_up_at < self.configured_at
        if not well:
            log.failure = find_failure(self.lines)
        if log.failure and log.failure.kind == "cuda_toolkit_missing":
            log.cuda_found = False
        if log.configure_ok is None and not self.compiling and any(_CMAKE_ERROR.match(line) for line in self.lines):
            log.configure_ok = False
        return log


def parse_build(text: str) -> BuildLog:
    """The facts and, unless the log ends well, the cause of the failure. Never raises."""
    return _Reader([plain(line) for line in text.split("\n")]).read()


# ---------------------------------------------------------------------------------------------------------------------
# what was asked for


def _version(text: str) -> t.Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text)[:4])


def _within(path: str, prefixes: t.Sequence[str]) -> bool:
    path = posixpath.normpath(path)
    for prefix in prefixes:
        prefix = posixpath.normpath(prefix)
        if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
            return True
    return False


def check_build(
    log: BuildLog,
    expect_backends: t.Sequence[str] = (),
    expect_cuda_prefix: t.Sequence[str] = (),
    min_cuda_version: t.Optional[str] = None,
    finished: bool = True,
    min_cuda_objects: int = 0,
) -> t.Optional[BuildFailure]:
    """Why this is not the build that was asked for, or None.

    ``expect_cuda_prefix`` are the ways to write the one prefix that toolkit and compiler must lie in (the path and where it really
    leads). With ``finished`` false the log may still grow, so that its end is no sign of anything.
    """
    if log.failure:
        return log.failure
    if finished and log.configure_ok is None and (expect_backends or expect_cuda_prefix or min_cuda_version):
        return BuildFailure(
            "no_configure_log",
            "",
            "the log does not say what was configured",
            "Give it the output of cmake, too, of a run in an empty build directory",
        )
    wants_cuda = bool(expect_cuda_prefix or min_cuda_version or min_cuda_objects) or "CUDA" in [name.upper() for name in expect_backends]
    if log.configure_ok:
        if wants_cuda and log.cuda_found is not True:
            return BuildFailure(
                "cuda_toolkit_missing",
                log.evidence.get("cuda_found", ""),
                "this build is without CUDA: CMake did not look for a CUDA toolkit",
                "Configure with GGML_CUDA=ON",
            )
        included = [name.upper() for name in log.backends]
        missing = [name for name in expect_backends if name.upper() not in included]
        if missing:
            return BuildFailure(
                "backend_missing",
                "-- Including %s backend" % " backend, ".join(log.backends) if log.backends else "",
                "this build is without the %s backend%s" % (" and ".join(missing), "s" if len(missing) > 1 else ""),
                "Configure with %s in an empty build directory" % " ".join("GGML_%s=ON" % name.upper() for name in missing),
            )
        outside = _outside_prefix(log, expect_cuda_prefix)
        if outside:
            return outside
        if (min_cuda_version and not log.cuda_version) or (expect_cuda_prefix and not log.cuda_compiler):
            return BuildFailure(
                "cuda_unknown",
                log.evidence.get("cuda_found", ""),
                "the log does not say which CUDA this is: CMake names version and compiler only when it finds them first",
                "Configure in an empty build directory",
            )
        if min_cuda_version and log.cuda_version and _version(log.cuda_version) < _version(min_cuda_version):
            return BuildFailure(
                "cuda_too_old",
                log.evidence.get("cuda_found", ""),
                "CUDA %s is older than the %s asked for" % (log.cuda_version, min_cuda_version),
                "Install a newer CUDA toolkit",
            )
    if finished and log.build_ok is False:
        return BuildFailure(
            "interrupted",
            log.last_step or "",
            "the build log ends in the middle%s" % (" (%d %%)" % log.percent_done if log.percent_done is not None else ""),
            "Run the build again: it goes on where it stopped",
        )
    if finished and log.build_ok and wants_cuda and log.n_cuda_objects == 0 and log.n_objects:
        return BuildFailure(
            "no_cuda_objects",
            log.last_step or "",
            "the build compiled no CUDA object",
            "Configure with GGML_CUDA=ON in an empty build directory and build again",
        )
    if finished and log.n_cuda_objects < min_cuda_objects:
        return BuildFailure(
            "too_few_cuda_objects",
            log.evidence.get("cuda_objects", log.last_step or ""),
            "the build compiled %d CUDA objects, and at least %d were expected" % (log.n_cuda_objects, min_cuda_objects),
            "Build in an empty build directory: what was compiled before is not in the log, and what ccache had still is",
        )
    if finished and log.configure_ok is None and log.build_ok is None:
        return BuildFailure(
            "not_configured",
            "",
            "the log has neither the end of a configuration nor a step of a build",
            "Give it the output of cmake and of cmake --build, standard error included",
        )
    return None


def _outside_prefix(log: BuildLog, prefixes: t.Sequence[str]) -> t.Optional[BuildFailure]:
    if not prefixes:
        return None
    for path, what, key in (
        (log.cuda_compiler, "the CUDA compiler", "cuda_compiler"),
        (log.cuda_include_dir, "the CUDA toolkit", "cuda_found"),
    ):
        if path and not _within(path, prefixes):
            return BuildFailure(
                "cuda_elsewhere",
                log.evidence.get(key, ""),
                "%s is %s and not within %s" % (what, path, prefixes[0]),
                "Another CUDA is on PATH: set CMAKE_CUDA_COMPILER and CUDAToolkit_ROOT to the one that is meant",
            )
    return None
