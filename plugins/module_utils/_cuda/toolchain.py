# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a toolchain is called and where its parts are, and what is in the way of having it: what the role cuda_toolkit says of its machine."""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.toolkit import PROVIDERS
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import version_tuple

Seen = t.Mapping[str, t.Any]

NO_CUDA = "none"
_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True)
class Toolchain:
    """What is asked for on a machine and what was seen there.

    ``packages`` are the distribution's by the commands they bring, ``info`` the result of llama_machine_info, ``plan`` that of the filter
    cuda_toolkit_plan, where the provider brings CUDA, ``conda`` that of conda_info, where conda was asked.
    """

    machine: str
    provider: str
    packages: t.Mapping[str, str]
    become: bool
    modules: t.Sequence[str]
    conda_installer: str
    info: Seen
    plan: Seen
    conda: Seen


def drivers_of(results: t.Iterable[Seen]) -> t.List[t.Dict[str, t.Any]]:
    """What gpu_info said of each machine's driver and GPUs, as the plan takes it; a machine that is out of reach sets no limit."""
    return [{
        "machine": result["__cuda_toolkit_driver_machine"], "driver_version": result.get("driver_version", ""),
        "cuda_version": result.get("cuda_version", ""), "compute_capabilities": [gpu["compute_capability"] for gpu in result.get("gpus", [])],
        "error": "" if "gpus" in result else result.get("msg", ""),
    } for result in results if not result.get("unreachable")]


def missing_commands(given: Toolchain) -> t.List[str]:
    """The commands that a build needs and that the machine has not."""
    return [command for command in given.packages if not given.info["commands"].get(command)]


def packages_identity(info: Seen) -> str:
    """The ``identity`` of the toolchain that the distribution's packages are, by llama_machine_info of the machine that builds."""
    words = [NO_CUDA, info["distribution"], info["distribution_release"], info["architecture"], info["libc"].replace(" ", "-")]
    return "-".join(word for word in words if word)


def fact(given: Toolchain) -> t.Dict[str, t.Any]:
    """The fact cuda_toolkit. Binaries can be swapped between two machines whose ``identity`` is equal: same toolkit or packages, same C library."""
    info, commands = given.info, given.info["commands"]
    said: t.Dict[str, t.Any] = {"provider": given.provider, "machine": given.machine}
    if given.provider not in PROVIDERS:
        return {
            **said, "identity": packages_identity(info), "prefix": "/usr", "nvcc": "", "cc": commands["gcc"], "cxx": commands["g++"],
            "cmake": commands["cmake"], "ninja": commands["ninja"], "ccache": commands.get("ccache", ""), "cuda_version": "",
            "runtime_library_dirs": [], "environment": {},
        }
    plan, toolkit, compiler = given.plan, given.plan["toolkit"], given.plan["compiler"]
    path = dict.fromkeys([toolkit["root"] + "/bin", plan["prefix"] + "/bin", *_PATH]) if toolkit else {}
    return {
        **said, "identity": plan["identity"], "prefix": plan["prefix"], "root": toolkit.get("root", ""), "nvcc": toolkit.get("nvcc", ""),
        "cc": compiler.get("cc", ""), "cxx": compiler.get("cxx", ""),
        **{tool: toolkit.get(tool) or commands.get(tool, "") for tool in ("cmake", "ninja", "ccache")},
        "cuda_version": toolkit.get("cuda_version") or plan["version"], "cuda_header": toolkit.get("header", ""), "driver_stub": toolkit.get("stub", ""),
        "runtime_library_dirs": toolkit.get("library_dirs", []), "environment": {"PATH": ":".join(path)} if path else {},
    }


def problems(given: Toolchain) -> Found:
    """What is in the way besides the plan's own problems."""
    if given.provider not in (*PROVIDERS, NO_CUDA):
        yield "cuda_toolkit_provider is %s" % json.dumps(given.provider), "Set it to one of %s" % ", ".join((*PROVIDERS, NO_CUDA))
    if given.provider == "conda":
        yield from _conda_problems(given)
    if given.provider not in ("conda", "pip"):
        yield from _package_problems(given)


def _conda_problems(given: Toolchain) -> Found:
    if "msg" in given.conda:
        problem, _separator, remedy = str(given.conda["msg"]).partition("; ")
        yield problem, remedy
    installs = not (given.plan["installed"] or given.conda.get("executable") or given.modules)
    installer = given.conda_installer
    if installs and installer and not re.match("[a-z]+://", installer) and not os.path.isfile(os.path.expanduser(installer)):
        yield ("cuda_toolkit_conda_installer names the file %s, which does not exist on the control node" % installer,
               "Correct the path, or give a URL")


def _package_problems(given: Toolchain) -> Found:
    missing = missing_commands(given)
    if missing and not given.info["commands"]["apt-get"]:
        yield "%s missing, and there is no apt-get to install from" % ", ".join(missing), "Install them with the distribution's own package manager"
    elif missing and given.info["user_id"] != 0 and not given.become:
        yield ("%s missing, and installing packages needs root" % ", ".join(missing),
               "Run apt-get install %s there as root, or set cuda_toolkit_become to true" % " ".join(given.packages[command] for command in missing))


def installed_problems(given: Toolchain, decided: Seen, toolkits: t.Iterable[Seen]) -> Found:
    """Where what was installed is not what was ``decided``, the plan before it. ``toolkits`` are those that cuda_toolkit_info finds afterwards."""
    prefix = decided["prefix"]
    there = next((toolkit for toolkit in toolkits if toolkit["prefix"] == prefix), {})
    found, compiler = fact(given), given.plan["compiler"]
    version = there.get("cuda_version") or ""
    if not there.get("nvcc") or there["nvcc_leads_outside"]:
        yield "what was installed in %s brings no nvcc of its own" % prefix, "See to the packages that were asked for"
    if not re.match(re.escape(decided["version"]) + "([.]|$)", version):
        yield ("%s is of CUDA %s, and %s was meant" % (there.get("nvcc", "nvcc"), version or "(unknown)", decided["version"]),
               "Run nvcc --version there to see what is wrong with it")
    if not there.get("has_cublas"):
        yield "what was installed in %s brings no cuBLAS" % prefix, "Add the package that has it"
    if not (found["cxx"] and found["cmake"] and found["ninja"]):
        yield ("a C++ compiler, CMake or Ninja is missing after the toolkit was installed in %s" % prefix,
               "Add cmake and ninja to the extra packages of the provider")
    limit = int(there.get("newest_gcc") or 0)
    if limit and version_tuple(compiler.get("version", "0")) >= (limit + 1,):
        yield ("nvcc %s takes gcc up to %d, and %s is %s" % (version, limit, found["cxx"], compiler.get("version", "")), "Set cuda_toolkit_gcc_version")
