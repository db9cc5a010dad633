# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA's versions: which driver and which host compiler go with which toolkit, and what nvcc, gcc and headers say of themselves.

Sources: the drivers are those of the table "CUDA Toolkit and Corresponding Driver Versions" in NVIDIA's CUDA Toolkit Release Notes
(https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/), the first release of each version. The host compilers are what
``crt/host_config.h`` of each toolkit itself refuses above, read from the last nvcc of each version. The GPUs are those of the lists of
``nvcc --list-gpu-code`` and of "Deprecated and removed architectures" in the same release notes: 12.0 dropped Kepler, 13.0 Maxwell, Pascal and Volta.
"""

from __future__ import annotations

import re
import typing as t

Version = t.Tuple[int, ...]

# Toolkit: the oldest Linux driver that comes with it.
_DRIVERS: t.Dict[Version, str] = {
    (11, 8): "520.61.05",
    (12, 0): "525.60.13",
    (12, 1): "530.30.02",
    (12, 2): "535.54.03",
    (12, 3): "545.23.06",
    (12, 4): "550.54.14",
    (12, 5): "555.42.02",
    (12, 6): "560.28.03",
    (12, 8): "570.26",
    (12, 9): "575.51.03",
    (13, 0): "580.65.06",
    (13, 1): "590.44.01",
}

# Toolkit: the newest gcc its nvcc takes.
_NEWEST_GCC: t.Dict[Version, int] = {
    (12, 0): 12,
    (12, 1): 12,
    (12, 2): 12,
    (12, 3): 12,
    (12, 4): 13,
    (12, 5): 13,
    (12, 6): 13,
    (12, 8): 14,
    (12, 9): 14,
    (13, 0): 15,
    (13, 1): 15,
    (13, 2): 15,
    (13, 3): 15,
    (13, 4): 16,
    (13, 5): 16,
}

# Compute capability: the first and the last toolkit that compile for it; none as the last where none has dropped it.
_CAPABILITIES: t.Dict[Version, t.Tuple[str, str]] = {
    (3, 0): ("", "10.2"),
    (3, 5): ("", "11.8"),
    (3, 7): ("", "11.8"),
    (5, 0): ("", "12.9"),
    (5, 2): ("", "12.9"),
    (5, 3): ("", "12.9"),
    (6, 0): ("", "12.9"),
    (6, 1): ("", "12.9"),
    (6, 2): ("", "12.9"),
    (7, 0): ("", "12.9"),
    (7, 2): ("", "12.9"),
    (7, 5): ("10.0", ""),
    (8, 0): ("11.0", ""),
    (8, 6): ("11.1", ""),
    (8, 7): ("11.4", ""),
    (8, 8): ("13.0", ""),
    (8, 9): ("11.8", ""),
    (9, 0): ("11.8", ""),
    (10, 0): ("12.8", ""),
    (10, 1): ("12.8", "12.9"),
    (10, 3): ("12.9", ""),
    (11, 0): ("13.0", ""),
    (12, 0): ("12.8", ""),
    (12, 1): ("12.9", ""),
}

_NVCC_RELEASE = re.compile(r"release (\d+\.\d+), V(\d+(?:\.\d+)*)")
_GCC_LIMIT = re.compile(r"^#\s*if\s+__GNUC__\s*>\s*(\d+)\s*$", re.MULTILINE)
_DRIVER_FUNCTION = re.compile(r"\bCUresult\s+(?:__attribute__\s*\(\([^)]*\)\)\s*)?(cu[A-Z]\w*)\s*\(")

# CUDA_ERROR_STUB_LIBRARY of cuda.h: what every function of NVIDIA's own stub returns, too.
_STUB_RESULT = 34


def version_tuple(text: str) -> Version:
    """The numbers of a version, to compare by."""
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text)[:4])


def major_minor(text: str) -> str:
    """``12.4`` of ``12.4.131``; empty where there are no two numbers."""
    numbers = version_tuple(text)
    return "%d.%d" % numbers[:2] if len(numbers) >= 2 else ""


def known_versions() -> t.List[str]:
    """Every CUDA version that this collection knows a host compiler for, the oldest first."""
    return ["%d.%d" % version[:2] for version in sorted(_NEWEST_GCC)]


def driver_of_cuda(cuda: str) -> str:
    """The oldest driver that serves this toolkit; empty where the table does not have it."""
    return _DRIVERS.get(version_tuple(cuda)[:2], "")


def cuda_of_capability(capability: str) -> t.Tuple[str, str]:
    """The first and the last CUDA that compile for a GPU such as ``8.6``, each empty where there is no such limit.

    One that is older than all in the table had its last CUDA before them; one that is newer has its first after them.
    """
    numbers = version_tuple(capability)[:2]
    if numbers in _CAPABILITIES or not numbers:
        return _CAPABILITIES.get(numbers, ("", ""))
    older = [known for known in _CAPABILITIES if known < numbers]
    if not older:
        return _CAPABILITIES[min(_CAPABILITIES)]
    return (max((first for first, _last in _CAPABILITIES.values()), key=version_tuple), "") if len(older) == len(_CAPABILITIES) else ("", "")


def cuda_of_architecture(name: str) -> str:
    """Which CUDA knows an architecture as nvcc names it (``61``, ``120a``), in words."""
    digits = re.match(r"\d+", name)
    number = int(digits.group()) if digits else 0
    first, last = cuda_of_capability("%d.%d" % (number // 10, number % 10)) if number else ("", "")
    limits = [first + " or newer" if first else "", last + " or older" if last else ""]
    return "CUDA " + ", ".join(limit for limit in limits if limit) if first or last else "a newer one for a newer GPU, an older one for an older GPU"


def cuda_of_driver(driver: str, reported: str = "") -> str:
    """The newest CUDA that a driver serves: what nvidia-smi says, or else the table. Empty where there is no driver or it is too old.

    A driver newer than the table serves at least what the newest in it does.
    """
    if major_minor(reported):
        return major_minor(reported)
    numbers = version_tuple(driver)
    fitting = [cuda for cuda, oldest in _DRIVERS.items() if numbers and version_tuple(oldest) <= numbers]
    return "%d.%d" % max(fitting)[:2] if fitting else ""


def newest_gcc(cuda: str) -> int:
    """The newest gcc for this toolkit by the table; one that is newer than the table takes what the newest in it takes, 0 where unknown."""
    wanted = version_tuple(cuda)[:2]
    older = [version for version in _NEWEST_GCC if version <= wanted]
    return _NEWEST_GCC[max(older)] if older else 0


def newest_gcc_of_header(text: str) -> int:
    """The newest gcc that a toolkit's ``crt/host_config.h`` lets pass, 0 where it does not say."""
    match = _GCC_LIMIT.search(text)
    return int(match.group(1)) if match else 0


def cuda_of_nvcc(text: str) -> str:
    """The full version in the output of ``nvcc --version``, such as ``12.4.131``; empty where there is none."""
    match = _NVCC_RELEASE.search(text)
    return match.group(2) if match else ""


def driver_functions(preprocessed: str) -> t.List[str]:
    """The names of the functions that a preprocessed ``cuda.h`` declares, as the driver's library exports them."""
    return sorted(set(_DRIVER_FUNCTION.findall(preprocessed)))


def stub_source(functions: t.Iterable[str]) -> str:
    """C code of a library that has these functions, none of which does anything but say that it is a stub."""
    return "".join("int %s(void) { return %d; }\n" % (name, _STUB_RESULT) for name in functions)
