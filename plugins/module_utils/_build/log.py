# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CMake, Make and Ninja say while llama.cpp is configured and built.

The lines are those of llama.cpp's own CMake files (0.5.0 and build 9095): ``ggml/src/CMakeLists.txt`` (``Including X backend``,
ccache, OpenMP), ``ggml/src/ggml-cuda/CMakeLists.txt`` (``CUDA Toolkit found``, ``Using CMAKE_CUDA_ARCHITECTURES=``),
``ggml/src/ggml-rpc/CMakeLists.txt`` (RDMA); of CMake's own modules (``Found CUDAToolkit:``, ``Check for working CUDA compiler:``); of
GNU Make (``[  8%]``) and Ninja (``[27/230]``); and of gcc, nvcc and ld for what goes wrong.

A failed build ends in a cascade of lines that only say that something before them failed. The first line that names a cause is
the one reported.
"""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import cuda_of_architecture

_AROUND = 5
_LONGEST_LINE = 400
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class BuildFailure:
    """Why there is no build: the line that tells, what it means, what to do, and the lines around it."""

    kind: str
    line: str
    problem: str
    remedy: str
    context: t.List[str] = field(default_factory=list)


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
# what goes wrong


class _Rule(t.NamedTuple):
    """What a line says. Problem and remedy take the pattern's groups, as {0}, {1} ...; ``^`` and ``$`` are those of a line."""

    kind: str
    pattern: "t.Pattern[str]"
    problem: str
    remedy: str


def _rule(kind: str, pattern: str, problem: str, remedy: str) -> _Rule:
    return _Rule(kind, re.compile(pattern, re.MULTILINE), problem, remedy)


_NAME_ARCHITECTURES = "Set CMAKE_CUDA_ARCHITECTURES to those of the machines' GPUs: RTX 3090 86, RTX 4090 89, H100 90, RTX 5090 120"
_STUB = (
    "Link against the stub libcuda.so of the CUDA toolkit (lib64/stubs, conda's lib/stubs) or build with GGML_CUDA_NO_VMM=ON: the driver"
    " itself is needed only at run time"
)
_AGAIN = "Build again in an empty build directory; if it fails at the same place, take another version of the compiler"
_BY_HAND = "What it said is in 'context' and below it; give it a program of one line by hand to see it alone"

# The first rule of the first line counts, so what is special stands before what is general.
_RULES = (
    _rule("no_space", r"No space left on device|Disk quota exceeded", "the disk, or its user's part of it, is full",
          "Free space and inodes (df -h, df -i, quota) where the build and the temporary files (TMPDIR) are; a CUDA build takes several GB"),
    _rule("build_tool_missing", r"unable to find a build program corresponding to \"([^\"]*)\"", "CMake finds no {0}",
          "Install it (Debian: ninja-build for Ninja, make for Unix Makefiles)"),
    _rule("cmake_missing", r"(?:^|[:\s])cmake: (?:command )?not found", "there is no cmake", "Install CMake"),
    _rule("cmake_too_old", r"CMake (\S+) or higher is required\.\s+You are running version (\S+)", "CMake {1} is too old: {0} or newer is needed",
          "Install a newer CMake (conda and pip both have one)"),
    _rule("no_source", r"The source directory\s+(?:\"([^\"]*)\"\s+)?does not (?:appear to contain CMakeLists\.txt|exist)",
          "there is no llama.cpp source in {0}", "Check that the source was unpacked whole and that the path is its top directory"),
    _rule("stale_build_dir", r"is different than the directory .* where CMakeCache\.txt was created|does not match the (?:source|generator) \S+"
          r"|Does not match the generator used previously", "the build directory belongs to another source or generator",
          "Remove the build directory and configure again"),
    _rule("cuda_toolkit_missing", r"CUDA Toolkit not found|Could NOT find CUDAToolkit", "CMake finds no whole CUDA toolkit",
          "Install one (cuda_toolkit_provider), or name the one there is with CUDAToolkit_ROOT; it needs nvcc, headers and libraries"),
    _rule("nvcc_missing", r"No CMAKE_CUDA_COMPILER could be found|Failed to find nvcc|nvcc: (?:command )?not found"
          r"|The CMAKE_CUDA_COMPILER:\s+(\S+)\s+is not .*", "CMake finds no nvcc, the CUDA compiler ({0})",
          "Install the compiler of the CUDA toolkit, not only its libraries, and set CMAKE_CUDA_COMPILER to the full path of nvcc"),
    _rule("compiler_missing", r"No CMAKE_(C|CXX|ASM)_COMPILER could be found|The CMAKE_(C|CXX|ASM)_COMPILER:\s+\S+\s+is not .*",
          "CMake finds no {0}{1} compiler", "Install gcc and g++, or name one with CMAKE_C_COMPILER and CMAKE_CXX_COMPILER"),
    _rule("compiler_missing", r"nvcc fatal\s*: Cannot find compiler '([^']*)'", "nvcc finds no host compiler {0}",
          "Install it, or name one with CMAKE_CUDA_HOST_COMPILER"),
    # gcc's drivers run the compiler proper, the assembler and the linker as programs of their own (gcc/gcc.cc, gcc/collect2.cc, libiberty/pex-unix.c)
    _rule("compiler_missing", r"(?:^|[/\s])([\w.+-]{0,100}(?:gcc|cc|g\+\+|c\+\+)(-[\d.]+)?): (?:fatal error: cannot execute|error:? trying to exec) \W?(\w+)\W",
          "the compiler {0} is there in part only: its {2} is missing",
          "Install what has it, of the same version: g++{1} has cc1plus, gcc{1} has cc1, binutils has as and ld (conda: gxx_linux-64, gcc_linux-64)"),
    _rule("host_compiler_unsupported", r"unsupported (?:GNU|clang) version! *(.*?)(?:! *The nvcc flag.*)?$", "nvcc does not take this host compiler: {0}",
          "Give nvcc one that it takes with CMAKE_CUDA_HOST_COMPILER (conda: gxx of that version), or take a newer CUDA toolkit"),
    # glibc 2.41 and 2.42 declare functions of C23 that CUDA's crt/math_functions.h declares in its own way
    _rule("glibc_too_new", r"/bits/mathcalls\S*\(\d+\): error: exception specification is incompatible with that of previous function \"(\w+)\""
          r"|exception specification is incompatible with that of previous function \"((?:co|si)npif?|cospif?|rsqrtf?)\"",
          "this CUDA toolkit does not know this machine's C library, which is newer and has {0}{1}, too",
          "Take a newer CUDA toolkit or conda's gcc with its own C library (sysroot)"),
    _rule("unknown_architecture", r"CUDA_ARCHITECTURES is set to \"native\", but no GPU was detected|compute_No CUDA devices found|^No CUDA devices found",
          "the CUDA architectures are to be those of this machine's GPUs, and CMake sees none", _NAME_ARCHITECTURES),
    _rule("unknown_architecture", r"Unsupported gpu architecture '(?:compute|sm)_(\w+)'|Value '(?:compute|sm)_(\w+)' is not defined for option",
          "this nvcc does not know the CUDA architecture {0}{1}", "Take a CUDA toolkit that knows it: {cuda}. " + _NAME_ARCHITECTURES),
    _rule("unknown_architecture", r"CMAKE_CUDA_ARCHITECTURES must be (?:non-empty|valid) if set",
          "CMAKE_CUDA_ARCHITECTURES is not a list of architectures", _NAME_ARCHITECTURES),
    _rule("cuda_driver_stub_missing", r"cannot find -lcuda(?![\w.])|unable to find library -lcuda$"
          r"|links to:\s+CUDA::cuda_driver\s+but the target was not found.*", "there is no libcuda.so to link against", _STUB),
    _rule("cuda_driver_stub_missing", r"undefined (?:reference to|symbol:) [`'\"]?cu[A-Z]\w*", "libcuda.so was not linked", _STUB),
    _rule("cuda_library_missing", r"links to:\s+CUDA::(\w+)\s+but the target was not found.*", "the CUDA toolkit has no {0} library",
          "Install the toolkit's libraries and headers, too (cuBLAS above all), where CMake finds the toolkit"),
    _rule("interrupted", r"died due to signal (?:1|2|15)\b|(?:Hangup|Interrupt|Terminated) signal terminated program|terminated with signal (?:1|2|15)\b"
          r"|build stopped: interrupted by user|^\S*make(?:\[\d+\])?: \*\*\* .*\] (?:Interrupt|Terminated|Hangup)$",
          "the build was interrupted", "Run it again: it goes on where it stopped"),
    # A kill by hand or by a batch system's limit looks the same; the kernel's log tells.
    _rule("out_of_memory", r"died due to signal 9\b|Killed signal terminated program|internal compiler error: Killed|terminated with signal 9\b|^Killed$"
          r"|virtual memory exhausted|: out of memory allocating|LLVM ERROR: out of memory|std::bad_alloc|Cannot allocate memory",
          "a compiler was killed or got no memory: as a rule the machine, or the limit of its job, ran out of it (dmesg tells)",
          "Build with fewer jobs at once (llama_cpp_jobs), or on a machine with more memory"),
    _rule("compiler_crashed", r"internal compiler error: (.*)|died due to signal (\d+)|signal terminated program (\S+)",
          "the compiler itself crashed ({0}{1}{2})", _AGAIN),
    _rule("network", r"Failed to clone repository|Could(?: not|n't) resolve host|Failed to download",
          "the build wants to download something and cannot",
          "Build with LLAMA_BUILD_UI=OFF and LLAMA_USE_PREBUILT_UI=OFF, and give it the sources it fetches"),
    _rule("ccache_failed", r"ccache: error: (.*)", "ccache failed: {0}", "Check its directory, or build with GGML_CCACHE=OFF"),
    _rule("library_missing", r"(?:cannot find|unable to find library|library not found:) -l([\w.+-]+)", "the linker finds no lib{0}",
          "Install the package that has it"),
    _rule("header_missing", r"fatal error: '?([^\s']+?)'?(?:: No such file or directory| file not found)|cannot open source file \"([^\"]*)\"",
          "the compiler finds no header {0}{1}",
          "Install the package that has it (for cublas_v2.h and the like: the CUDA toolkit's development packages)"),
    _rule("c_library_mismatch", r"undefined (?:reference to|symbol:) [`'\"]?(\w+)@+((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+)",
          "the linker's C or C++ library is older than the one that something it links was made for: it has no {0} of {1}",
          "Let one compiler with one C library make all of it, in an empty build directory: the system's gcc, or conda's with a newer sysroot"
          " (sysroot_linux-64) and libstdcxx"),
    _rule("undefined_reference", r"undefined (?:reference to|symbol:) (.*)", "the linker finds no {0}",
          "A library is not linked, or an object is of another version or compiler: build again in an empty build directory"),
    _rule("compile_error", r"^\s*(\S[^:()\n]{0,300})(?::|\()(\d+)(?:(?::\d+)?:|\):) (?:fatal |catastrophic )?error(?: #?[\w-]+)?: (.*)",
          "{0}:{1} does not compile: {2}", "Check that compiler and source belong together; the lines around are in 'context'"),
    _rule("compiler_broken", r"nvcc fatal\s*: Failed to preprocess host compiler properties", "nvcc cannot use its host compiler",
          "Try that compiler by hand (nvcc -ccbin names it), or name another with CMAKE_CUDA_HOST_COMPILER"),
    _rule("compile_error", r"nvcc (?:fatal|error)\s*: (.*)", "nvcc refuses: {0}", "Check the CUDA flags and the version of the toolkit"),
    _rule("unknown_target", r"(?:No rule to make target|ninja: error: unknown target) [`']((?:ggml-)?rpc-server)'(?!, needed)", "there is no target {0}",
          "The names changed: ggml-rpc-server was rpc-server before build 9824"),
    _rule("unknown_target", r"No rule to make target [`']([^']*)'\. |ninja: error: unknown target '([^']*)'", "there is no target {0}{1}",
          "See the targets with cmake --build DIR --target help"),
    _rule("file_missing", r"No rule to make target [`']([^']*)', needed by [`']([^']*)'"
          r"|ninja: error: '([^']*)', needed by '([^']*)', missing and no known rule to make it", "{0}{2} is missing, of which {1}{3} is made",
          "Where it is a library, install the package that has it (librt, libdl and libm: the C library's development package, Debian libc6-dev) and"
          " configure again in an empty build directory; where it is a source file, unpack the source again"),
    _rule("not_configured", r"ninja: error: loading 'build\.ninja'|could not load cache|^Error: .* is not a directory"
          r"|No targets specified and no makefile found",
          "the build directory was not configured", "Run cmake first"),
    _rule("no_permission", r"([^\s:]{1,300}): Permission denied", "the build may not read, write or run {0}",
          "Check its owner and mode, and whether its file system allows programs (noexec)"),
)  # fmt: skip

# What only says that something before it failed.
_LATER_RULES = (
    _rule("compiler_broken", r"The (\w+) compiler\s+\"([^\"]*)\"\s+is not able to compile a simple test program\.",
          "the {0} compiler {1} cannot compile a program of a few lines", _BY_HAND),
    _rule("compiler_broken", r"Failed to detect a default CUDA architecture|Compiling the (\w+) compiler identification source file .* failed",
          "nvcc cannot compile a program of a few lines", _BY_HAND),
    _rule("configure_failed", r"^CMake Error(?: at \S+ \(\w+\)| in \S+)?:\s+(\S.*)", "CMake gave up: {0}",
          "Correct the options given to cmake; its message is in 'context'"),
    _rule("link_error", r"ld returned \d+ exit status|linker command failed", "linking failed", "Look at the lines around it"),
    _rule("build_failed", r"^FAILED: (.*)", "{0} could not be built", "Look at the lines around it"),
    _rule("build_failed", r"^\S*make(?:\[\d+\])?: \*\*\* (.*)", "Make gave up: {0}", "Look at the lines before it"),
    _rule("build_failed", r"ninja: (?:error|build stopped): (.*)", "Ninja gave up: {0}", "Look at the lines before it"),
    _rule("configure_failed", r"Configuring incomplete, errors occurred|Generate step failed", "CMake gave up", "Look at the lines before it"),
)  # fmt: skip

_CMAKE_ERROR = re.compile(r"^CMake Error\b")
# CMake's own notes ("-- Performing Test X - Failed", "-- Could NOT find NCCL") and warnings are no failures.
_NOTES = re.compile(r"^(?:-- (?!Configuring incomplete)|CMake (?:Deprecation |Dev )?Warning\b)")

# A line that says that the run as a whole failed.
_GAVE_UP = re.compile(
    r"^\S*make(?:\[\d+\])?: \*\*\* |^ninja: build stopped|^ninja: error|^FAILED: |Configuring incomplete, errors|Generate step failed"
)


def _around(lines: t.Sequence[str], index: int) -> t.List[str]:
    return [_cut(line) for line in lines[max(index - _AROUND, 0) : index + _AROUND + 1]]


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " ..."


class _Message(t.NamedTuple):
    """A line, or a message of CMake's with each of its paragraphs as one line; ``places`` are where each begins, in the text and in the log."""

    text: str
    places: t.List[t.Tuple[int, int]]


def _messages(lines: t.Sequence[str]) -> t.Iterator[_Message]:
    """The log as it was said. CMake breaks its messages at 77 characters, indents them, and leaves lines empty between paragraphs
    (Source/cmDocumentationFormatter.cxx); what has a greater indentation it does not break."""
    index = 0
    while index < len(lines):
        begin, index = index, index + 1
        if not lines[begin].startswith("CMake "):
            yield _Message(lines[begin], [(0, begin)])
            continue
        paragraphs: t.List[t.Tuple[int, str]] = [(begin, lines[begin])]
        goes_on = False
        while index < len(lines) and (not lines[index] or lines[index][0] in " \t"):
            wrapped = re.match(r"  \S", lines[index]) is not None
            if wrapped and goes_on:
                paragraphs[-1] = (paragraphs[-1][0], paragraphs[-1][1] + " " + lines[index].strip())
            elif lines[index].strip():
                paragraphs.append((index, lines[index].strip()))
            goes_on = wrapped
            index += 1
        places, length = [], 0
        for place, paragraph in paragraphs:
            places.append((length, place))
            length += len(paragraph) + 1
        yield _Message("\n".join(paragraph for _place, paragraph in paragraphs), places)


def _by_rules(messages: t.Sequence[_Message], lines: t.Sequence[str], rules: t.Sequence[_Rule]) -> t.Optional[BuildFailure]:
    for message in messages:
        for rule in rules:
            match = rule.pattern.search(message.text)
            if match:
                groups = [group or "" for group in match.groups()]
                begin, end = message.text.rfind("\n", 0, match.start()) + 1, message.text.find("\n", match.end())
                said = " ".join(message.text[begin : end if end >= 0 else None].split("\n")).strip()
                place = max(index for offset, index in message.places if offset <= match.start())
                problem, remedy = (text.format(*groups, cuda=cuda_of_architecture("".join(groups))) for text in (rule.problem, rule.remedy))
                return BuildFailure(rule.kind, _cut(said), problem.replace(" ()", ""), remedy, _around(lines, place))
    return None


def _find_failure(lines: t.Sequence[str]) -> t.Optional[BuildFailure]:
    messages = [message for message in _messages(lines) if message.text and not _NOTES.match(message.text)]
    return _by_rules(messages, lines, _RULES) or _by_rules(messages, lines, _LATER_RULES)


# ---------------------------------------------------------------------------------------------------------------------
# facts

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
            log.failure = _find_failure(self.lines)
        if log.failure and log.failure.kind == "cuda_toolkit_missing":
            log.cuda_found = False
        if log.configure_ok is None and not self.compiling and any(_CMAKE_ERROR.match(line) for line in self.lines):
            log.configure_ok = False
        return log


def parse_build(text: str) -> BuildLog:
    """The facts and, unless the log ends well, the cause of the failure. Never raises."""
    return _Reader([_COLOUR.sub("", line).rstrip() for line in text.split("\n")]).read()


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
