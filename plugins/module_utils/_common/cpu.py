# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of ggml's instruction-set options fit a processor.

ggml's own way is ``GGML_NATIVE``: compile for the machine that compiles. A build that is made once and
copied has to be made for the machine that *runs* it, so the options are derived from that machine's
processor flags instead. Machines with the same options can then share one build.

Sources, llama.cpp b11434: the options are declared in ``ggml/CMakeLists.txt`` ("instruction set specific"),
what each of them does to the compiler's flags is in ``ggml/src/ggml-cpu/CMakeLists.txt``, and the names of the
processor flags are those of ``/proc/cpuinfo`` (Linux, ``arch/x86/include/asm/cpufeatures.h`` and
``arch/arm64/kernel/cpuinfo.c``).
"""

from __future__ import annotations

import typing as t

# GGML option -> the processor flags that all have to be there. ggml-cpu/CMakeLists.txt, branch "x86":
# GGML_AVX512 adds -mavx512f, -mavx512cd, -mavx512vl, -mavx512dq and -mavx512bw together.
_X86_OPTIONS: t.Tuple[t.Tuple[str, t.Tuple[str, ...]], ...] = (
    ("GGML_SSE42", ("sse4_2",)),
    ("GGML_AVX", ("avx",)),
    ("GGML_AVX_VNNI", ("avx_vnni",)),
    ("GGML_AVX2", ("avx2",)),
    ("GGML_BMI2", ("bmi2",)),
    ("GGML_FMA", ("fma",)),
    ("GGML_F16C", ("f16c",)),
    ("GGML_AVX512", ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw")),
    ("GGML_AVX512_VBMI", ("avx512vbmi",)),
    ("GGML_AVX512_VNNI", ("avx512_vnni",)),
    ("GGML_AVX512_BF16", ("avx512_bf16",)),
    ("GGML_AMX_TILE", ("amx_tile",)),
    ("GGML_AMX_INT8", ("amx_int8",)),
    ("GGML_AMX_BF16", ("amx_bf16",)),
)

# These mean nothing without the base set (the code tests them inside "#if defined(__AVX512F__)").
_X86_NEED_AVX512 = ("GGML_AVX512_VBMI", "GGML_AVX512_VNNI", "GGML_AVX512_BF16")

# Instruction sets that ggml-cpu's code tests for by the compiler's macro but has no option for:
# __GFNI__ (tiled/tiled-kernel.h), __AVX512FP16__ (simd-mappings.h), __AVXVNNIINT8__ (arch/x86/quants.c).
# -march=native turns them on, so leaving them out would make our build the slower one.
_X86_EXTRA: t.Tuple[t.Tuple[str, str], ...] = (
    ("gfni", "-mgfni"),
    ("avx512_fp16", "-mavx512fp16"),
    ("avx_vnni_int8", "-mavxvnniint8"),
)

# Extension of -march -> processor flag. ggml-cpu/CMakeLists.txt, branch "ARM", passes GGML_CPU_ARM_ARCH on as
# -march and then looks which __ARM_FEATURE_* macros the compiler defines.
_ARM_EXTENSIONS: t.Tuple[t.Tuple[str, str], ...] = (
    ("dotprod", "asimddp"),
    ("fp16", "asimdhp"),
    ("i8mm", "i8mm"),
    ("bf16", "bf16"),
    ("sve", "sve"),
    ("sve2", "sve2"),
)

ARCHITECTURES = ("x86_64", "aarch64")


class CpuError(ValueError):
    """The processor cannot be described; the message is one sentence."""


def flags_from_cpuinfo(text: str) -> t.List[str]:
    """Return the flags of the first processor in the text of ``/proc/cpuinfo``, in its order."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        # "flags" is what x86 calls the line, "Features" what arm64 does.
        if colon and name.strip() in ("flags", "Features"):
            return value.split()
    return []


def model_from_cpuinfo(text: str) -> str:
    """Return the processor's name as ``/proc/cpuinfo`` has it, or nothing."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == "model name":
            return value.strip()
    return ""


def _x86_options(flags: t.AbstractSet[str]) -> t.Dict[str, str]:
    enabled = {name: all(flag in flags for flag in needed) for name, needed in _X86_OPTIONS}
    if not enabled["GGML_AVX512"]:
        for name in _X86_NEED_AVX512:
            enabled[name] = False
    # Each one is said, also the ones that are off: with GGML_NATIVE off some are on by default.
    options = {name: "ON" if value else "OFF" for name, value in enabled.items()}
    extra = [compiler_flag for flag, compiler_flag in _X86_EXTRA if flag in flags]
    if not enabled["GGML_AVX512"] and "-mavx512fp16" in extra:
        extra.remove("-mavx512fp16")
    if extra:
        options["HERD_CPU_FLAGS"] = " ".join(extra)
    return options


def _arm_options(flags: t.AbstractSet[str]) -> t.Dict[str, str]:
    extensions = [name for name, flag in _ARM_EXTENSIONS if flag in flags]
    if not extensions:
        return {"GGML_CPU_ARM_ARCH": "armv8-a"}
    # The extensions are optional parts of Armv8.2, which every processor that has one of them implements.
    return {"GGML_CPU_ARM_ARCH": "+".join(["armv8.2-a"] + extensions)}


def cpu_options(flags: t.Iterable[str], architecture: str) -> t.Dict[str, str]:
    """Return the CMake variables that make ggml's CPU code fit a processor.

    ``HERD_CPU_FLAGS`` is read by the llama_cpp role's own CMake file, the others by ggml.
    """
    present = frozenset(flags)
    if not present:
        raise CpuError("the processor has no flags")
    options = {"GGML_NATIVE": "OFF"}
    if architecture == "x86_64":
        options.update(_x86_options(present))
    elif architecture == "aarch64":
        options.update(_arm_options(present))
    else:
        raise CpuError("%s is not one of the architectures %s" % (architecture, " and ".join(ARCHITECTURES)))
    return options
