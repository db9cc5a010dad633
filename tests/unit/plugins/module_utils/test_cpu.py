# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processor flags to ggml's options. The flags are those of real processors' /proc/cpuinfo, shortened."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import (
    CpuError,
    cpu_options,
    flags_from_cpuinfo,
    model_from_cpuinfo,
)

SANDY_BRIDGE = "fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt aes xsave avx"
HASWELL = SANDY_BRIDGE + " f16c fma avx2 bmi1 bmi2"
ZEN4 = (
    HASWELL + " avx512f avx512dq avx512cd avx512bw avx512vl avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni"
    " avx512_bitalg avx512_vpopcntdq avx512_bf16 gfni vaes vpclmulqdq"
)
SAPPHIRE_RAPIDS = ZEN4 + " avx_vnni avx512_fp16 amx_bf16 amx_tile amx_int8"


def on(flags: str, architecture: str = "x86_64") -> set[str]:
    return {name for name, value in cpu_options(flags.split(), architecture).items() if value == "ON"}


def test_old_processor() -> None:
    assert on(SANDY_BRIDGE) == {"GGML_SSE42", "GGML_AVX"}


def test_desktop_processor() -> None:
    assert on(HASWELL) == {"GGML_SSE42", "GGML_AVX", "GGML_F16C", "GGML_FMA", "GGML_AVX2", "GGML_BMI2"}


def test_avx512_with_its_extensions() -> None:
    assert on(ZEN4) - on(HASWELL) == {"GGML_AVX512", "GGML_AVX512_VBMI", "GGML_AVX512_VNNI", "GGML_AVX512_BF16"}
    assert cpu_options(ZEN4.split(), "x86_64")["HERD_CPU_FLAGS"] == "-mgfni"


def test_amx() -> None:
    assert on(SAPPHIRE_RAPIDS) - on(ZEN4) == {"GGML_AVX_VNNI", "GGML_AMX_TILE", "GGML_AMX_INT8", "GGML_AMX_BF16"}
    assert cpu_options(SAPPHIRE_RAPIDS.split(), "x86_64")["HERD_CPU_FLAGS"] == "-mgfni -mavx512fp16"


def test_every_option_is_said_because_some_are_on_by_default() -> None:
    assert set(cpu_options(["fpu"], "x86_64")) == set(cpu_options(SANDY_BRIDGE.split(), "x86_64"))
    assert set(cpu_options(["fpu"], "x86_64").values()) == {"OFF"}


@pytest.mark.parametrize("missing", ["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"])
def test_part_of_avx512_is_no_avx512(missing: str) -> None:
    flags = " ".join(flag for flag in SAPPHIRE_RAPIDS.split() if flag != missing)
    assert not any("AVX512" in name for name in on(flags))
    assert cpu_options(flags.split(), "x86_64")["HERD_CPU_FLAGS"] == "-mgfni"


def test_native_is_always_off() -> None:
    assert cpu_options(["fpu"], "x86_64")["GGML_NATIVE"] == "OFF"
    assert cpu_options(["fp"], "aarch64")["GGML_NATIVE"] == "OFF"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fp asimd evtstrm crc32 cpuid", "armv8-a"),
        ("fp asimd aes crc32 atomics fphp asimdhp asimddp", "armv8.2-a+dotprod+fp16"),
        ("fp asimd asimdhp asimddp sve i8mm bf16", "armv8.2-a+dotprod+fp16+i8mm+bf16+sve"),
    ],
)
def test_arm(flags: str, expected: str) -> None:
    assert cpu_options(flags.split(), "aarch64") == {"GGML_NATIVE": "OFF", "GGML_CPU_ARM_ARCH": expected}


def test_order_of_the_flags_does_not_matter() -> None:
    assert cpu_options(ZEN4.split(), "x86_64") == cpu_options(reversed(ZEN4.split()), "x86_64")


def test_refused() -> None:
    with pytest.raises(CpuError, match="riscv64 is not one of the architectures x86_64 and aarch64"):
        cpu_options(["rv64"], "riscv64")
    with pytest.raises(CpuError, match="no flags"):
        cpu_options([], "x86_64")


def test_cpuinfo_of_both_architectures() -> None:
    x86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx\nbugs\t\t: x\n\nprocessor\t: 1\nflags\t\t: none\n"
    assert flags_from_cpuinfo(x86) == ["fpu", "avx"]
    assert model_from_cpuinfo(x86) == "AMD EPYC"
    arm = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n"
    assert flags_from_cpuinfo(arm) == ["fp", "asimd"]
    assert model_from_cpuinfo(arm) == ""
    assert flags_from_cpuinfo("") == []
