# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's wheels as a toolkit, and a library to link with where there is no driver."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import tarfile
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.wheelhouse import COMPLETE_MARK
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.toolkit_info import inspect
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import driver_functions, stub_source


class WheelsError(Exception):
    """One sentence without the final full stop."""


def missing_links(names: t.Iterable[str]) -> t.Dict[str, str]:
    """For each ``libX.so.N`` in a directory with these names the link ``libX.so`` that a linker looks for."""
    there = set(names)
    found: t.Dict[str, str] = {}
    for name in sorted(there):
        match = re.match(r"^(lib.+\.so)\.[\d.]+$", name)
        if match and match.group(1) not in there:
            found.setdefault(match.group(1), name)
    return found


def lay_out(root: str) -> None:
    """What the wheels lack: nvcc looks for libraries in lib64, a linker for names without a version."""
    library_dir = os.path.join(root, "lib")
    if not os.path.lexists(os.path.join(root, "lib64")):
        os.symlink("lib", os.path.join(root, "lib64"))
    for link, target in missing_links(os.listdir(library_dir)).items():
        os.symlink(target, os.path.join(library_dir, link))


def install(prefix: str, archive: str, requirements: t.Sequence[str]) -> None:
    """Unpack, lay out, try nvcc, and only then write the marker."""
    if not archive or not os.path.isfile(archive):
        raise WheelsError("there is no archive %s to install the toolkit from; make one with python_wheelhouse" % archive)
    with owned.being_made(prefix):
        # A changed list is another toolkit: nothing of the old one may stay in it.
        if os.path.isdir(prefix):
            shutil.rmtree(prefix)
        os.makedirs(prefix)
        with tarfile.open(archive) as tar:
            _extract(tar, prefix)
        if not os.path.exists(os.path.join(prefix, COMPLETE_MARK)):
            raise WheelsError("the archive %s is not whole; remove it, so that it is made anew" % archive)
        roots = sorted(glob.glob(os.path.join(glob.escape(prefix), "nvidia", "cu*", "bin", "nvcc")))
        if not roots:
            raise WheelsError("%s brings no nvcc; NVIDIA's wheels have one from CUDA 13.0 on" % ", ".join(requirements))
        lay_out(os.path.dirname(os.path.dirname(roots[-1])))
        found = inspect(prefix)
        if not found["cuda_version"]:
            raise WheelsError("%s does not run on this machine" % found["nvcc"])
        owned.write_marker(prefix, {"kind": "cuda wheels", "requirements": sorted(requirements), "cuda_version": found["cuda_version"]})


def _extract(tar: tarfile.TarFile, prefix: str) -> None:
    """With what Pythons of different age offer against archives that reach out of the directory."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(prefix, filter="data")
        return
    for member in tar.getmembers():
        if member.name.startswith("/") or ".." in member.name.split("/") or not (member.isfile() or member.isdir()):
            raise WheelsError("the archive has the member %s, which has no place in it" % member.name)
    tar.extractall(prefix)


def make_stub(directory: str, header: str, compiler: str) -> int:
    """A libcuda.so.1 with the functions of this ``cuda.h``, and the name a linker looks for. Returns how many there are."""
    preprocessed = _run([compiler, "-E", "-P", "-x", "c", "-I", os.path.dirname(header), header], "read %s" % header)
    functions = driver_functions(preprocessed)
    if not functions:
        raise WheelsError("%s declares no function of the driver, so no library can be made to link with" % header)
    os.makedirs(directory, exist_ok=True)
    source, target = os.path.join(directory, "stub.c"), os.path.join(directory, "libcuda.so.1")
    with open(source, "w", encoding="utf-8") as stream:
        stream.write(stub_source(functions))
    _run([compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", target + ".new", source], "make %s" % target)
    os.replace(target + ".new", target)
    return len(functions)


def _run(command: t.Sequence[str], what: str) -> str:
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise WheelsError("%s cannot be run: %s" % (command[0], error.strerror)) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no message"]
        raise WheelsError("%s cannot %s: %s" % (command[0], what, said[0].strip()))
    return done.stdout
