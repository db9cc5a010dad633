# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to compile CUDA with on a machine: toolkits of ours, a toolkit of the machine's, host compilers."""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import re
import shutil
import subprocess
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.machine import free_mib, libc_version, read_text
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import cuda_of_nvcc, newest_gcc_of_header, version_tuple

# A session that is no login can have a PATH without these.
_PATH_TOO = ("/usr/local/bin", "/usr/bin", "/bin")
_SYSTEM_PREFIXES = ("/usr/local/cuda", "/opt/cuda")


def _path(environment: t.Mapping[str, str]) -> t.List[str]:
    return [directory for directory in environment.get("PATH", "").split(os.pathsep) if directory] + list(_PATH_TOO)


def _says(command: t.Sequence[str]) -> str:
    """What a program prints, nothing where it fails."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=60,
            env=dict(os.environ, LC_ALL="C"), encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gcc_version(compiler: str) -> str:
    """The full version of a gcc; empty for anything else."""
    said = _says([compiler, "-dumpfullversion"]).strip()
    return said if re.match(r"^\d+(\.\d+)+$", said) else ""


def host_compilers(directories: t.Sequence[str]) -> t.List[t.Dict[str, str]]:
    """Every gcc that has its g++ beside it: the machine's default first, then the others, the newest first."""
    found: t.Dict[str, t.Dict[str, str]] = {}
    for directory in dict.fromkeys(directories):
        for cxx in sorted(glob.glob(os.path.join(glob.escape(directory), "g++*"))):
            suffix = os.path.basename(cxx)[len("g++") :]
            cc = os.path.join(directory, "gcc" + suffix)
            if not re.match(r"^(-\d+)?$", suffix) or not os.access(cc, os.X_OK) or os.path.basename(cxx) in found:
                continue
            version = gcc_version(cxx)
            if version:
                found[os.path.basename(cxx)] = {"cc": cc, "cxx": cxx, "version": version}
    ordered = sorted(found.items(), key=lambda item: (item[0] != "g++", [-number for number in version_tuple(item[1]["version"])]))
    return [compiler for dummy_name, compiler in ordered]


def _first(*patterns: str) -> str:
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            if os.path.exists(path):
                return path
    return ""


def _inside(path: str, prefix: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(prefix).rstrip("/") + "/")


def inspect(prefix: str) -> t.Dict[str, t.Any]:
    """A toolkit below a prefix, as conda, NVIDIA's wheels and NVIDIA's installers lay it out. ``nvcc`` is empty where there is none."""
    quoted = glob.escape(prefix)
    nvcc = _first("%s/bin/nvcc" % quoted, "%s/nvidia/cu*/bin/nvcc" % quoted)
    root = os.path.dirname(os.path.dirname(nvcc)) if nvcc else prefix
    inside = glob.escape(root)
    libraries = [
        os.path.dirname(path)
        for pattern in ("lib64", "lib", "targets/*/lib", "lib/*-linux-gnu")
        for path in sorted(glob.glob("%s/%s/libcudart.so*" % (inside, pattern)))[:1]
    ]
    # Where conda keeps its libstdc++.
    libraries += [os.path.dirname(path) for path in glob.glob("%s/lib/libstdc++.so.6" % quoted)]
    header = _first(*("%s/%s/crt/host_config.h" % (inside, place) for place in ("include", "targets/*/include")))
    cxx = _first("%s/bin/*-conda-linux-gnu-g++" % quoted, "%s/bin/*-conda-linux-gnu-c++" % quoted)
    cc = re.sub(r"g\+\+$", "gcc", cxx) if cxx.endswith("g++") else re.sub(r"c\+\+$", "cc", cxx)
    commands = {}
    for name in ("cmake", "ninja", "ccache"):
        commands[name] = _first("%s/bin/%s" % (quoted, name), "%s/%s/data/bin/%s" % (quoted, name, name))
    return {
        "prefix": prefix,
        "root": root,
        "nvcc": nvcc,
        "nvcc_leads_outside": bool(nvcc) and not _inside(nvcc, prefix),
        "cuda_version": cuda_of_nvcc(_says([nvcc, "--version"])) if nvcc else "",
        "newest_gcc": newest_gcc_of_header(read_text(header)) if header else 0,
        "header": _first(*("%s/%s/cuda.h" % (inside, place) for place in ("include", "targets/*/include"))),
        "has_cublas": bool(_first(*("%s/%s/libcublas.so*" % (inside, place) for place in ("lib64", "lib", "targets/*/lib", "lib/*-linux-gnu")))),
        "stub": _first(*("%s/%s/stubs/libcuda.so" % (inside, place) for place in ("lib64", "lib", "targets/*/lib"))),
        "library_dirs": list(dict.fromkeys(libraries)),
        "cc": cc if os.path.exists(cc) else "",
        "cxx": cxx,
        "gcc_version": gcc_version(cxx) if cxx else "",
        **commands,
    }


def find_system(named: str, environment: t.Optional[t.Mapping[str, str]] = None) -> t.Tuple[t.Optional[t.Dict[str, t.Any]], t.List[str]]:
    """The machine's own toolkit, and where was looked: the prefix that is named and no other, or else the usual ones."""
    environment = os.environ if environment is None else environment
    if named:
        places = [os.path.expanduser(named)]
    else:
        places = [environment[name] for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
        places += _SYSTEM_PREFIXES
        places += sorted(glob.glob("/usr/local/cuda-*"), key=version_tuple, reverse=True)
        on_path = shutil.which("nvcc", path=os.pathsep.join(_path(environment)))
        if on_path:
            places.append(os.path.dirname(os.path.dirname(os.path.realpath(on_path))))
    for place in dict.fromkeys(os.path.normpath(place) for place in places):
        if os.path.exists(os.path.join(place, "bin", "nvcc")):
            return inspect(place), places
    return None, places


def has_driver_library() -> bool:
    """Whether a program that is linked to the driver's library would find it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def describe(directory: str, system_prefix: str = "", look_for_system: bool = False) -> t.Dict[str, t.Any]:
    """Everything above. ``directory`` is the one our toolkits are in."""
    directory = os.path.expanduser(directory)
    entries: t.Dict[str, str] = {}
    toolkits = []
    notes = [name[1 : -len(".herd-unfinished")] for name in _names(directory) if name.startswith(".") and name.endswith(".herd-unfinished")]
    for name in sorted(set(_names(directory) + notes)):
        if name.startswith("."):
            continue
        prefix = os.path.join(directory, name)
        entries[name] = owned.state_of(prefix)
        if entries[name] == owned.OURS:
            toolkits.append(dict(inspect(prefix), name=name, marker=owned.read_marker(prefix)))
    system, looked_at = find_system(system_prefix) if look_for_system else (None, [])
    return {
        "architecture": platform.machine(),
        "libc": libc_version(),
        "directory": directory,
        "writable": _writable(directory),
        "free_mib": free_mib(directory),
        "entries": entries,
        "toolkits": toolkits,
        "system": system or {},
        "looked_at": looked_at,
        "compilers": host_compilers(_path(os.environ)),
        "has_driver_library": has_driver_library(),
    }


def _names(directory: str) -> t.List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _writable(directory: str) -> bool:
    current = os.path.abspath(directory)
    while not os.path.exists(current):
        current = os.path.dirname(current)
    return os.path.isdir(current) and os.access(current, os.W_OK | os.X_OK)
