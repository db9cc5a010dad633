# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why llama.cpp could not be configured or built, by the words of CMake, Make and Ninja, and of gcc, nvcc and ld."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure, Story, find, rule
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import cuda_of_architecture

_AROUND = 5
_LONGEST_LINE = 400

_NAME_ARCHITECTURES = "Set CMAKE_CUDA_ARCHITECTURES to those of the machines' GPUs: RTX 3090 86, RTX 4090 89, H100 90, RTX 5090 120"
_STUB = (
    "Link against the stub libcuda.so of the CUDA toolkit (lib64/stubs, conda's lib/stubs) or build with GGML_CUDA_NO_VMM=ON: the driver"
    " itself is needed only at run time"
)
_AGAIN = "Build again in an empty build directory; if it fails at the same place, take another version of the compiler"
_BY_HAND = "What it said is in 'context' and below it; give it a program of one line by hand to see it alone"


def _explain_architecture(match: "t.Match[str]", _story: Story) -> t.Tuple[str, str]:
    architecture = match.group(1) or match.group(2)
    return "this nvcc does not know the CUDA architecture %s" % architecture, "Take a CUDA toolkit that knows it: %s. %s" % (
        cuda_of_architecture(architecture), _NAME_ARCHITECTURES)


_CAUSES = (
    rule("no_space", r"No space left on device|Disk quota exceeded", "the disk, or its user's part of it, is full",
         "Free space and inodes (df -h, df -i, quota) where the build and the temporary files (TMPDIR) are; a CUDA build takes several GB"),
    rule("build_tool_missing", r"unable to find a build program corresponding to \"([^\"]*)\"", "CMake finds no {0}",
         "Install it (Debian: ninja-build for Ninja, make for Unix Makefiles)"),
    rule("cmake_missing", r"(?:^|[:\s])cmake: (?:command )?not found", "there is no cmake", "Install CMake"),
    rule("cmake_too_old", r"CMake (\S+) or higher is required\.\s+You are running version (\S+)", "CMake {1} is too old: {0} or newer is needed",
         "Install a newer CMake (conda and pip both have one)"),
    rule("no_source", r"The source directory\s+(?:\"([^\"]*)\"\s+)?does not (?:appear to contain CMakeLists\.txt|exist)",
         "there is no llama.cpp source in {0}", "Check that the source was unpacked whole and that the path is its top directory"),
    rule("stale_build_dir", r"is different than the directory .* where CMakeCache\.txt was created|does not match the (?:source|generator) \S+"
         r"|Does not match the generator used previously", "the build directory belongs to another source or generator",
         "Remove the build directory and configure again"),
    rule("cuda_toolkit_missing", r"CUDA Toolkit not found|Could NOT find CUDAToolkit", "CMake finds no whole CUDA toolkit",
         "Install one (cuda_toolkit_provider), or name the one there is with CUDAToolkit_ROOT; it needs nvcc, headers and libraries"),
    rule("nvcc_missing", r"No CMAKE_CUDA_COMPILER could be found|Failed to find nvcc|nvcc: (?:command )?not found"
         r"|The CMAKE_CUDA_COMPILER:\s+(\S+)\s+is not .*", "CMake finds no nvcc, the CUDA compiler[ ({0})]",
         "Install the compiler of the CUDA toolkit, not only its libraries, and set CMAKE_CUDA_COMPILER to the full path of nvcc"),
    rule("compiler_missing", r"No CMAKE_(C|CXX|ASM)_COMPILER could be found|The CMAKE_(C|CXX|ASM)_COMPILER:\s+\S+\s+is not .*",
         "CMake finds no {0}{1} compiler", "Install gcc and g++, or name one with CMAKE_C_COMPILER and CMAKE_CXX_COMPILER"),
    rule("compiler_missing", r"nvcc fatal\s*: Cannot find compiler '([^']*)'", "nvcc finds no host compiler {0}",
         "Install it, or name one with CMAKE_CUDA_HOST_COMPILER"),
    # gcc's drivers run the compiler proper, the assembler and the linker as programs of their own (gcc/gcc.cc, gcc/collect2.cc, libiberty/pex-unix.c)
    rule("compiler_missing", r"(?:^|[/\s])([\w.+-]{0,100}(?:gcc|cc|g\+\+|c\+\+)(-[\d.]+)?): (?:fatal error: cannot execute|error:? trying to exec) \W?(\w+)\W",
         "the compiler {0} is there in part only: its {2} is missing",
         "Install what has it, of the same version: g++{1} has cc1plus, gcc{1} has cc1, binutils has as and ld (conda: gxx_linux-64, gcc_linux-64)"),
    rule("host_compiler_unsupported", r"unsupported (?:GNU|clang) version! *(.*?)(?:! *The nvcc flag.*)?$", "nvcc does not take this host compiler: {0}",
         "Give nvcc one that it takes with CMAKE_CUDA_HOST_COMPILER (conda: gxx of that version), or take a newer CUDA toolkit"),
    # glibc 2.41 and 2.42 declare functions of C23 that CUDA's crt/math_functions.h declares in its own way
    rule("glibc_too_new", r"/bits/mathcalls\S*\(\d+\): error: exception specification is incompatible with that of previous function \"(\w+)\""
         r"|exception specification is incompatible with that of previous function \"((?:co|si)npif?|cospif?|rsqrtf?)\"",
         "this CUDA toolkit does not know this machine's C library, which is newer and has {0}{1}, too",
         "Take a newer CUDA toolkit or conda's gcc with its own C library (sysroot)"),
    rule("unknown_architecture", r"CUDA_ARCHITECTURES is set to \"native\", but no GPU was detected|compute_No CUDA devices found|^No CUDA devices found",
         "the CUDA architectures are to be those of this machine's GPUs, and CMake sees none", _NAME_ARCHITECTURES),
    rule("unknown_architecture", r"Unsupported gpu architecture '(?:compute|sm)_(\w+)'|Value '(?:compute|sm)_(\w+)' is not defined for option",
         _explain_architecture),
    rule("unknown_architecture", r"CMAKE_CUDA_ARCHITECTURES must be (?:non-empty|valid) if set",
         "CMAKE_CUDA_ARCHITECTURES is not a list of architectures", _NAME_ARCHITECTURES),
    rule("cuda_driver_stub_missing", r"cannot find -lcuda(?![\w.])|unable to find library -lcuda$"
         r"|links to:\s+CUDA::cuda_driver\s+but the target was not found.*", "there is no libcuda.so to link against", _STUB),
    rule("cuda_driver_stub_missing", r"undefined (?:reference to|symbol:) [`'\"]?cu[A-Z]\w*", "libcuda.so was not linked", _STUB),
    rule("cuda_library_missing", r"links to:\s+CUDA::(\w+)\s+but the target was not found.*", "the CUDA toolkit has no {0} library",
         "Install the toolkit's libraries and headers, too (cuBLAS above all), where CMake finds the toolkit"),
    rule("interrupted", r"died due to signal (?:1|2|15)\b|(?:Hangup|Interrupt|Terminated) signal terminated program|terminated with signal (?:1|2|15)\b"
         r"|build stopped: interrupted by user|^\S*make(?:\[\d+\])?: \*\*\* .*\] (?:Interrupt|Terminated|Hangup)$",
         "the build was interrupted", "Run it again: it goes on where it stopped"),
    # A kill by hand or by a batch system's limit looks the same; the kernel's log tells.
    rule("out_of_memory", r"died due to signal 9\b|Killed signal terminated program|internal compiler error: Killed|terminated with signal 9\b|^Killed$"
         r"|virtual memory exhausted|: out of memory allocating|LLVM ERROR: out of memory|std::bad_alloc|Cannot allocate memory",
         "a compiler was killed or got no memory: as a rule the machine, or the limit of its job, ran out of it (dmesg tells)",
         "Build with fewer jobs at once (llama_cpp_jobs), or on a machine with more memory"),
    rule("compiler_crashed", r"internal compiler error: (.*)|died due to signal (\d+)|signal terminated program (\S+)",
         "the compiler itself crashed ({0}{1}{2})", _AGAIN),
    rule("network", r"Failed to clone repository|Could(?: not|n't) resolve host|Failed to download",
         "the build wants to download something and cannot",
         "Build with LLAMA_BUILD_UI=OFF and LLAMA_USE_PREBUILT_UI=OFF, and give it the sources it fetches"),
    rule("ccache_failed", r"ccache: error: (.*)", "ccache failed: {0}", "Check its directory, or build with GGML_CCACHE=OFF"),
    rule("library_missing", r"(?:cannot find|unable to find library|library not found:) -l([\w.+-]+)", "the linker finds no lib{0}",
         "Install the package that has it"),
    rule("header_missing", r"fatal error: '?([^\s']+?)'?(?:: No such file or directory| file not found)|cannot open source file \"([^\"]*)\"",
         "the compiler finds no header {0}{1}",
         "Install the package that has it (for cublas_v2.h and the like: the CUDA toolkit's development packages)"),
    rule("c_library_mismatch", r"undefined (?:reference to|symbol:) [`'\"]?(\w+)@+((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+)",
         "the linker's C or C++ library is older than the one that something it links was made for: it has no {0} of {1}",
         "Let one compiler with one C library make all of it, in an empty build directory: the system's gcc, or conda's with a newer sysroot"
         " (sysroot_linux-64) and libstdcxx"),
    rule("undefined_reference", r"undefined (?:reference to|symbol:) (.*)", "the linker finds no {0}",
         "A library is not linked, or an object is of another version or compiler: build again in an empty build directory"),
    rule("compile_error", r"^\s*(\S[^:()\n]{0,300})(?::|\()(\d+)(?:(?::\d+)?:|\):) (?:fatal |catastrophic )?error(?: #?[\w-]+)?: (.*)",
         "{0}:{1} does not compile: {2}", "Check that compiler and source belong together; the lines around are in 'context'"),
    rule("compiler_broken", r"nvcc fatal\s*: Failed to preprocess host compiler properties", "nvcc cannot use its host compiler",
         "Try that compiler by hand (nvcc -ccbin names it), or name another with CMAKE_CUDA_HOST_COMPILER"),
    rule("compile_error", r"nvcc (?:fatal|error)\s*: (.*)", "nvcc refuses: {0}", "Check the CUDA flags and the version of the toolkit"),
    rule("unknown_target", r"(?:No rule to make target|ninja: error: unknown target) [`']((?:ggml-)?rpc-server)'(?!, needed)", "there is no target {0}",
         "The names changed: ggml-rpc-server was rpc-server before build 9824"),
    rule("unknown_target", r"No rule to make target [`']([^']*)'\. |ninja: error: unknown target '([^']*)'", "there is no target {0}{1}",
         "See the targets with cmake --build DIR --target help"),
    rule("file_missing", r"No rule to make target [`']([^']*)', needed by [`']([^']*)'"
         r"|ninja: error: '([^']*)', needed by '([^']*)', missing and no known rule to make it", "{0}{2} is missing, of which {1}{3} is made",
         "Where it is a library, install the package that has it (librt, libdl and libm: the C library's development package, Debian libc6-dev) and"
         " configure again in an empty build directory; where it is a source file, unpack the source again"),
    rule("not_configured", r"ninja: error: loading 'build\.ninja'|could not load cache|^Error: .* is not a directory"
         r"|No targets specified and no makefile found",
         "the build directory was not configured", "Run cmake first"),
    rule("no_permission", r"([^\s:]{1,300}): Permission denied", "the build may not read, write or run {0}",
         "Check its owner and mode, and whether its file system allows programs (noexec)"),
)  # fmt: skip

# What only says that something before it failed.
_LAST_RESORT = (
    rule("compiler_broken", r"The (\w+) compiler\s+\"([^\"]*)\"\s+is not able to compile a simple test program\.",
         "the {0} compiler {1} cannot compile a program of a few lines", _BY_HAND),
    rule("compiler_broken", r"Failed to detect a default CUDA architecture|Compiling the (\w+) compiler identification source file .* failed",
         "nvcc cannot compile a program of a few lines", _BY_HAND),
    rule("configure_failed", r"^CMake Error(?: at \S+ \(\w+\)| in \S+)?:\s+(\S.*)", "CMake gave up: {0}",
         "Correct the options given to cmake; its message is in 'context'"),
    rule("link_error", r"ld returned \d+ exit status|linker command failed", "linking failed", "Look at the lines around it"),
    rule("build_failed", r"^FAILED: (.*)", "{0} could not be built", "Look at the lines around it"),
    rule("build_failed", r"^\S*make(?:\[\d+\])?: \*\*\* (.*)", "Make gave up: {0}", "Look at the lines before it"),
    rule("build_failed", r"ninja: (?:error|build stopped): (.*)", "Ninja gave up: {0}", "Look at the lines before it"),
    rule("configure_failed", r"Configuring incomplete, errors occurred|Generate step failed", "CMake gave up", "Look at the lines before it"),
)  # fmt: skip

# CMake's own notes ("-- Performing Test X - Failed", "-- Could NOT find NCCL") and warnings are no failures.
_NOTES = re.compile(r"^(?:-- (?!Configuring incomplete)|CMake (?:Deprecation |Dev )?Warning\b)")


@dataclass(frozen=True)
class BuildFailure(Failure):
    """Why there is no build, with the lines around the one that tells."""

    context: t.List[str] = field(default_factory=list)


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


def find_failure(lines: t.Sequence[str]) -> t.Optional[BuildFailure]:
    """The first message that names a cause; one that only says that something failed counts when there is no other."""
    messages = [message for message in _messages(lines) if message.text and not _NOTES.match(message.text)]
    found = find(Story([message.text for message in messages]), (_CAUSES, _LAST_RESORT))
    if found is None:
        return None
    message, match = messages[found.index], found.match
    begin, end = message.text.rfind("\n", 0, match.start()) + 1, message.text.find("\n", match.end())
    said = " ".join(message.text[begin : end if end >= 0 else None].split("\n")).strip()
    place = max(index for offset, index in message.places if offset <= match.start())
    return BuildFailure(found.kind, _cut(said), found.problem, found.remedy, _around(lines, place))
