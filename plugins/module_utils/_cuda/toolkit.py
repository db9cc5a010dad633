# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CUDA toolkit a build is made with, from what was asked for and what was seen: decided before anything is changed.

The identity that comes out is the same before the toolkit is installed and after, so that a build's id is known beforehand.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import (
    cuda_of_capability,
    cuda_of_driver,
    driver_of_cuda,
    known_versions,
    major_minor,
    newest_gcc,
    version_tuple,
)

Problem = t.Dict[str, str]
Seen = t.Mapping[str, t.Any]

PROVIDERS = ("conda", "pip", "system")
# NVIDIA's wheels of CUDA 12 have ptxas, but no nvcc.
_FIRST_PIP = "13.0"
# The oldest glibc for conda-forge's packages (its default sysroot) and for NVIDIA's wheels (their platform tags).
_OLDEST_GLIBC = {"conda": (2, 17), "pip": (2, 28)}
_CONDA_SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}


# The first branch of drivers without Kepler; 470 was the last with it.
_AFTER_KEPLER = (495,)


class _Limit(t.NamedTuple):
    """The first or last CUDA for a machine: why, in a clause that begins with "its", and who it is, in words after "because of"."""

    version: str
    machine: str
    reason: str
    kind: str
    who: str

    def of(self, machine: str) -> str:
        return "" if machine == self.machine else "%s: " % self.machine

    def remedy_for(self, version: str) -> str:
        """What to do where this is the last CUDA and ``version`` is wanted."""
        other = "ake CUDA %s for the build (cuda_toolkit_version)" % self.version
        if self.kind != "driver":
            return "T" + other
        return "Update the driver to %s or newer, or t%s" % (driver_of_cuda(version) or "one that serves CUDA " + major_minor(version), other)


class _Plan:
    def __init__(self, given: Seen) -> None:
        self.given = given
        self.provider = str(given["provider"])
        self.machine = str(given["machine"])
        self.info: Seen = given["info"]
        self.problems: t.List[Problem] = []
        self.wanted = major_minor(str(given.get("version") or "")) or str(given.get("version") or "")
        self.minimum = str(given.get("min_version") or "12.0")
        # The first and the last CUDA that all machines of the build can use, and why.
        self.least: t.Optional[_Limit] = None
        self.most: t.Optional[_Limit] = None

    def wrong(self, problem: str, remedy: str, machine: str = "") -> None:
        self.problems.append({"machine": machine or self.machine, "problem": problem, "remedy": remedy})

    # -- what limits the choice

    def look_at_machines(self) -> None:
        """Driver and GPUs of all machines that will run the build set the limits."""
        for seen in self.given.get("drivers") or []:
            if seen.get("error"):
                self.wrong(
                    "its NVIDIA driver does not answer (%s)" % str(seen["error"]).rstrip("."),
                    "Mend the driver before a build is made for it", seen["machine"],
                )  # fmt: skip
            elif self.look_at_gpus(seen):
                self.look_at_driver(seen)
        if self.least and self.most and version_tuple(self.most.version) < version_tuple(self.least.version):
            self.wrong(
                "%s, and %s%s" % (self.least.reason, self.most.of(self.least.machine), self.most.reason),
                "%s, or leave one of the two out of the cluster" % self.most.remedy_for(self.least.version), self.least.machine,
            )  # fmt: skip

    def look_at_gpus(self, seen: Seen) -> bool:
        """Whether the machine has GPUs that can be compiled for, or none that it tells of."""
        usable = True
        named = [str(name) for name in self.given.get("architectures") or []]
        for capability in dict.fromkeys(str(item) for item in seen.get("compute_capabilities") or [] if item):
            if named and capability.replace(".", "") not in [re.sub(r"\D.*$", "", name) for name in named]:
                continue
            first, last = cuda_of_capability(capability)
            gpu = "its GPU of compute capability %s" % capability
            if last and version_tuple(last) < version_tuple(self.minimum):
                self.wrong(
                    "%s cannot be used: CUDA %s was the last to know it, and llama.cpp is built with %s or newer" % (gpu, last, self.minimum),
                    "Leave the machine out of the cluster, or name the architectures of the GPUs that shall work in llama_cpp_cuda_architectures",
                    seen["machine"],
                )  # fmt: skip
                usable = False
            elif last:
                self.limit_most(_Limit(last, str(seen["machine"]), "%s is known to CUDA up to %s" % (gpu, last), "", "its GPU (%s)" % capability))
            if first and (not self.least or version_tuple(first) > version_tuple(self.least.version)):
                self.least = _Limit(first, str(seen["machine"]), "%s is known to CUDA from %s on" % (gpu, first), "", "its GPU (%s)" % capability)
        return usable

    def look_at_driver(self, seen: Seen) -> None:
        version, reported = str(seen.get("driver_version") or ""), str(seen.get("cuda_version") or "")
        if not version and not reported:
            if seen.get("compute_capabilities"):
                self.wrong("it has GPUs, and its NVIDIA driver does not say its version", "See what nvidia-smi -q says there", seen["machine"])
            return
        cuda = cuda_of_driver(version, reported)
        driver = "NVIDIA driver %s" % version if version else "NVIDIA driver"
        if not cuda or version_tuple(cuda) < version_tuple(self.minimum):
            needed = driver_of_cuda(self.minimum)
            remedy = "Update the driver to %s or newer" % needed if needed else "Update the driver to one that serves CUDA %s" % self.minimum
            if version_tuple(version) < _AFTER_KEPLER:
                remedy += (", where there is one for its GPU: 470 is the last for Kepler (Tesla K80, GeForce 600 and 700), 390 for Fermi;"
                           " such a GPU cannot be used")
            self.wrong(
                "its %s serves CUDA%s, and llama.cpp is built with %s or newer" % (driver, " up to %s" % cuda if cuda else " older than 11.8", self.minimum),
                remedy, seen["machine"],
            )  # fmt: skip
        else:
            self.limit_most(_Limit(cuda, str(seen["machine"]), "its %s serves CUDA up to %s" % (driver, cuda), "driver", "the %s" % driver))

    def limit_most(self, limit: _Limit) -> None:
        if not self.most or version_tuple(limit.version) < version_tuple(self.most.version):
            self.most = limit

    def allowed(self, version: str) -> bool:
        number = version_tuple(version)[:2]
        least = max([version_tuple(self.minimum)[:2]] + ([version_tuple(self.least.version)] if self.least else []))
        return least <= number and (not self.most or number <= version_tuple(self.most.version))

    def check_version(self, version: str, whose: str) -> bool:
        """Say what is wrong with a version that is not ours to choose."""
        number, problems = version_tuple(version)[:2], len(self.problems)
        if number < version_tuple(self.minimum)[:2]:
            self.wrong("%s is CUDA %s, and llama.cpp is built with %s or newer" % (whose, version, self.minimum), "Take a newer one")
        elif self.least and number < version_tuple(self.least.version):
            self.wrong(
                "%s, and %s is CUDA %s" % (self.least.reason, whose, version),
                "Take CUDA %s or newer for the build (cuda_toolkit_version)" % self.least.version, self.least.machine,
            )  # fmt: skip
        elif self.most and number > version_tuple(self.most.version):
            self.wrong("%s, and %s is CUDA %s" % (self.most.reason, whose, version), self.most.remedy_for(version), self.most.machine)
        return len(self.problems) == problems

    # -- the choice

    def installed(self, version: str) -> Seen:
        toolkits: t.Sequence[Seen] = self.info.get("toolkits") or []
        for toolkit in toolkits:
            if toolkit.get("name") == self.name_of(version) and toolkit.get("nvcc"):
                return toolkit
        return {}

    def name_of(self, version: str) -> str:
        return "conda-cuda%s-gcc%s" % (version, self.gcc_of(version)) if self.provider == "conda" else "pip-cuda%s" % version

    def gcc_of(self, version: str) -> int:
        """For conda: the compiler that is installed beside the toolkit."""
        return int(self.given.get("gcc_version") or 0) or newest_gcc(version)

    def choose(self) -> str:
        if self.wanted:
            return self.wanted if self.check_wanted() else ""
        ours = {
            major_minor(str(toolkit.get("marker", {}).get("cuda_version") or toolkit["cuda_version"])) for toolkit in self.info.get("toolkits") or []
        }
        ours = {version for version in ours if version and self.allowed(version) and self.installed(version)}
        if ours:
            return max(ours, key=version_tuple)
        available = self.given.get("available")
        there = [major_minor(str(version)) for version in (known_versions() if available is None else available)]
        if self.provider == "pip":
            there = [version for version in there if version_tuple(version) >= version_tuple(_FIRST_PIP)]
        fitting = [version for version in there if version and self.allowed(version)]
        if fitting:
            return max(fitting, key=version_tuple)
        limits = "%s or newer%s%s" % (
            max(self.minimum, self.least.version if self.least else "", key=version_tuple),
            " because of %s of %s" % (self.least.who, self.least.machine) if self.least else "",
            ", and no newer than %s because of %s of %s" % (self.most.version, self.most.who, self.most.machine) if self.most else "",
        )
        if self.provider == "pip":
            self.wrong(
                "NVIDIA's wheels have a CUDA compiler from %s on, and what is needed is %s" % (_FIRST_PIP, limits),
                "%s, or set cuda_toolkit_provider to conda" % (
                    "Update the driver to %s or newer" % driver_of_cuda(_FIRST_PIP) if self.most and self.most.kind == "driver"
                    else "Leave out the machine whose GPU that is"),
            )
        else:
            self.wrong(
                "the channels %s have cuda-toolkit %s, and what is needed is %s"
                % (", ".join(self.given.get("channels") or []), ", ".join(dict.fromkeys(there)) or "in no version", limits),
                "Add a channel that has it to cuda_toolkit_conda_channels%s" % (", or update the driver" if self.most and self.most.kind == "driver" else ""),
            )
        return ""

    def check_wanted(self) -> bool:
        if not re.match(r"^\d+\.\d+$", self.wanted):
            self.wrong("cuda_toolkit_version is %s" % self.wanted, "Give major and minor version, such as 12.4, or leave it empty")
            return False
        if not self.check_version(self.wanted, "cuda_toolkit_version"):
            return False
        if self.provider == "pip" and version_tuple(self.wanted) < version_tuple(_FIRST_PIP):
            self.wrong(
                "NVIDIA's wheels have no CUDA compiler before %s, and cuda_toolkit_version is %s" % (_FIRST_PIP, self.wanted),
                "Ask for a newer one, or set cuda_toolkit_provider to conda",
            )
            return False
        available = self.given.get("available")
        if self.provider == "conda" and available is not None and not self.installed(self.wanted):
            there = list(dict.fromkeys(major_minor(str(version)) for version in available))
            if self.wanted not in there:
                self.wrong(
                    "the channels %s have no cuda-toolkit %s, but %s"
                    % (", ".join(self.given.get("channels") or []), self.wanted, ", ".join(there) or "none at all"),
                    "Set cuda_toolkit_version to one of these, or add a channel to cuda_toolkit_conda_channels",
                )
                return False
        return True

    def check_machine(self) -> None:
        architecture = str(self.info["architecture"])
        if architecture not in _CONDA_SUBDIRS:
            self.wrong("there is no CUDA for the architecture %s" % architecture, "Build on an x86_64 or aarch64 machine")
        oldest = _OLDEST_GLIBC.get(self.provider)
        libc = str(self.info.get("libc") or "")
        if oldest and (not libc.startswith("glibc ") or version_tuple(libc) < oldest):
            self.wrong(
                "its C library is %s, and the packages of provider %s need glibc %d.%d or newer"
                % (libc or "not the GNU one", self.provider, *oldest),
                "Build on a newer machine (llama_cpp_builder), or set cuda_toolkit_provider to system",
            )

    def check_place(self, name: str) -> None:
        """Whether what is to be installed has room, and a place of its own."""
        directory = str(self.info["directory"])
        if (self.info.get("entries") or {}).get(name) == "foreign":
            self.wrong("%s is there, and this collection did not make it" % os.path.join(directory, name), "Move it away, or set cuda_toolkit_dir")
        if not self.info.get("writable"):
            self.wrong("its user cannot write to %s" % directory, "Set cuda_toolkit_dir to a directory that is the user's own")
        need, free = int(self.given.get("space_mib") or 0), int(self.info.get("free_mib") or 0)
        if free < need:
            self.wrong(
                "%s has %d MiB free, and the toolkit takes %d MiB" % (directory, free, need),
                "Free some, or set cuda_toolkit_dir to another file system",
            )

    def choose_compiler(self, limit: int, version: str) -> Seen:
        """The machine's own compiler: its default where nvcc takes it, else the newest that it takes."""
        compilers: t.Sequence[Seen] = self.info.get("compilers") or []
        wanted = int(self.given.get("gcc_version") or 0)
        for compiler in compilers:
            major = version_tuple(compiler["version"])[0]
            if (not limit or major <= limit) and (not wanted or major == wanted):
                return compiler
        newest = min(limit, wanted) if limit and wanted else limit or wanted
        if not compilers:
            self.wrong("there is no gcc with its g++", "Install them, for example with apt-get install gcc g++")
        elif wanted and limit and wanted > limit:
            self.wrong(
                "nvcc %s takes gcc up to %d, and cuda_toolkit_gcc_version is %d" % (version, limit, wanted), "Ask for an older gcc, or a newer CUDA"
            )
        else:
            self.wrong(
                "nvcc %s takes gcc up to %s, and the machine has gcc %s"
                % (version, newest, ", ".join(compiler["version"] for compiler in compilers)),
                "Install an older one beside it (apt-get install g++-%s), or set cuda_toolkit_provider to conda, which brings its own" % newest,
            )
        return {}

    # -- the result

    def result(self, version: str, gcc: str, toolkit: Seen, compiler: Seen, prefix: str, **more: t.Any) -> t.Dict[str, t.Any]:
        parts = [self.provider, "cuda" + version if version else "", "gcc" + gcc if gcc else ""]
        parts += [] if self.provider == "conda" else [str(self.given.get("distribution") or "")]
        parts += [str(self.info["architecture"]), str(self.info.get("libc") or "").replace(" ", "-")]
        return {
            "version": version,
            "gcc": gcc,
            "prefix": prefix,
            "installed": bool(toolkit),
            "identity": "-".join(part for part in parts if part),
            "toolkit": dict(toolkit),
            "compiler": dict(compiler),
            "problems": self.problems,
            "packages": [],
            "requirements": [],
            **more,
        }


def plan_toolkit(given: Seen) -> t.Dict[str, t.Any]:
    """What the role goes by. ``problems`` is empty where it can be done."""
    plan = _Plan(given)
    plan.look_at_machines()
    plan.check_machine()
    return {"conda": _conda, "pip": _pip, "system": _system}[plan.provider](plan)


def _conda(plan: _Plan) -> t.Dict[str, t.Any]:
    version = plan.choose()
    name = plan.name_of(version) if version else ""
    toolkit = plan.installed(version) if version else {}
    gcc = plan.gcc_of(version) if version else 0
    limit = int(toolkit.get("newest_gcc") or 0) or newest_gcc(version)
    if version and limit and gcc > limit:
        plan.wrong("nvcc %s takes gcc up to %d, and cuda_toolkit_gcc_version is %d" % (version, limit, gcc), "Ask for an older gcc, or a newer CUDA")
    if version and not toolkit:
        plan.check_place(name)
        if not plan.given.get("conda"):
            _check_installer(plan)
    subdir = _CONDA_SUBDIRS.get(str(plan.info["architecture"]), "")
    packages = ["cuda-toolkit=%s" % version, "gcc_%s=%d" % (subdir, gcc), "gxx_%s=%d" % (subdir, gcc)] if version else []
    return plan.result(
        version, str(gcc or ""), toolkit, {key: toolkit.get(source, "") for key, source in (("cc", "cc"), ("cxx", "cxx"), ("version", "gcc_version"))},
        os.path.join(str(plan.info["directory"]), name) if name else "", packages=packages + list(plan.given.get("extra_packages") or []) if packages else [],
    )  # fmt: skip


def _check_installer(plan: _Plan) -> None:
    """There is no conda: can one be installed?"""
    if plan.given.get("modules"):
        plan.wrong(
            "the environment modules %s bring no conda, mamba or micromamba" % ", ".join(plan.given["modules"]), "Correct cuda_toolkit_modules"
        )
    elif plan.given.get("conda_wanted"):
        plan.wrong("there is no conda at %s (cuda_toolkit_conda)" % plan.given["conda_wanted"], "Correct it, or leave it empty")
    elif not plan.given.get("installer"):
        plan.wrong(
            "there is no conda, mamba or micromamba, and no installer is named",
            "Set cuda_toolkit_conda, cuda_toolkit_modules or cuda_toolkit_conda_installer",
        )
    elif not re.match(r"^[0-9a-fA-F]{64}$", str(plan.given.get("installer_sha256") or "")):
        plan.wrong(
            "there is no conda, mamba or micromamba, and cuda_toolkit_conda_installer_sha256 is not a SHA-256 of 64 hexadecimal digits",
            "Take it from where the installer is published, so that it can be installed; or set cuda_toolkit_conda or cuda_toolkit_modules",
        )
    elif (plan.info.get("entries") or {}).get("miniforge") == "foreign":
        plan.wrong(
            "%s is there, and this collection did not make it" % os.path.join(str(plan.info["directory"]), "miniforge"),
            "Set cuda_toolkit_conda to it",
        )


def _pip(plan: _Plan) -> t.Dict[str, t.Any]:
    version = plan.choose()
    toolkit = plan.installed(version) if version else {}
    compiler: Seen = {}
    if version:
        compiler = plan.choose_compiler(int(toolkit.get("newest_gcc") or 0) or newest_gcc(version), version)
        if not toolkit:
            plan.check_place(plan.name_of(version))
    requirements = ["cuda-toolkit[cublas,cccl,crt,cudart,nvcc,nvvm]==%s.*" % version] if version else []
    return plan.result(
        version, _major(compiler), toolkit, compiler, os.path.join(str(plan.info["directory"]), plan.name_of(version)) if version else "",
        requirements=requirements + list(plan.given.get("extra_packages") or []) if version else [],
    )  # fmt: skip


def _system(plan: _Plan) -> t.Dict[str, t.Any]:
    toolkit: Seen = plan.info.get("system") or {}
    compiler: Seen = {}
    version = str(toolkit.get("cuda_version") or "")
    if not toolkit:
        plan.wrong(
            "there is no CUDA toolkit: no bin/nvcc in %s" % ", ".join(plan.info.get("looked_at") or ["any place"]),
            "Install one, set cuda_toolkit_system_prefix to where it is, or set cuda_toolkit_provider to conda",
        )
    elif toolkit.get("nvcc_leads_outside"):
        plan.wrong(
            "%s is a link that leads out of %s, so compiler and libraries may be of two versions" % (toolkit["nvcc"], toolkit["prefix"]),
            "Set cuda_toolkit_system_prefix to the directory that nvcc is really in",
        )
    elif not version:
        plan.wrong("%s does not say its version" % toolkit["nvcc"], "See with %s --version what is wrong with it" % toolkit["nvcc"])
    else:
        wanted = plan.wanted
        if wanted and major_minor(version) != wanted:
            plan.wrong(
                "the toolkit in %s is CUDA %s, and cuda_toolkit_version is %s" % (toolkit["prefix"], version, wanted),
                "Set cuda_toolkit_system_prefix to the other one, or leave cuda_toolkit_version empty",
            )
        else:
            plan.check_version(version, "the toolkit in %s" % toolkit["prefix"])
        if not toolkit.get("has_cublas"):
            plan.wrong("the toolkit in %s has no cuBLAS" % toolkit["prefix"], "Install libcublas-dev, too")
        compiler = plan.choose_compiler(int(toolkit.get("newest_gcc") or 0) or newest_gcc(version), version)
    return plan.result(version, _major(compiler), toolkit, compiler, str(toolkit.get("prefix") or ""))


def _major(compiler: Seen) -> str:
    return str(version_tuple(compiler["version"])[0]) if compiler else ""
