# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cuda_toolkit_plan
short_description: Decide which CUDA toolkit a build is made with
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what was asked for and what was seen on the machines, and returns the toolkit's version, the host compiler that goes with it, where it will be and
    what identifies it, together with everything that stands in the way.
  - The version is the one asked for; or else that of a toolkit which is installed already; or else the newest that there is, that the oldest
    driver of all machines serves, and that knows the GPUs of all machines.
  - The result is the same before the toolkit is installed and after. Nothing is changed.
options:
  _input:
    description:
      - A mapping. C(provider) is V(conda), V(pip) or V(system), C(machine) the name of the machine that builds, C(info) what
        M(herd.llama_cpp.cuda_toolkit_info) returned for it.
      - C(version), C(min_version) and C(gcc_version) are what was asked for. C(drivers) is a list of C(machine), C(driver_version), C(cuda_version),
        C(compute_capabilities) (such as V(8.6), empty for a GPU that does not tell) and C(error) of the machines that will run the build.
      - C(architectures) are those that the build is made for, such as V(86), where not for all GPUs; the others then set no limit.
      - C(available) are the versions in the channels, V(null) where nobody could be asked; C(conda) is the command, C(installer) and C(installer_sha256)
        what it would be installed with, C(channels) and C(extra_packages) what the environment is made of, C(space_mib) what it takes.
      - C(distribution) is name and release of the machine's distribution.
    type: dict
    required: true
seealso:
  - module: herd.llama_cpp.cuda_toolkit_info
"""

EXAMPLES = r"""
- name: Show the toolkit that would be installed
  ansible.builtin.debug:
    msg: "{{ {'provider': 'system', 'machine': 'gpu0', 'info': cuda} | herd.llama_cpp.cuda_toolkit_plan }}"
"""

RETURN = r"""
_value:
  description:
    - A mapping of C(version), C(gcc) (the compiler's major version), C(prefix), C(installed), C(identity), C(toolkit) (what is installed),
      C(compiler) (C(cc), C(cxx), C(version)), C(packages) for conda, C(requirements) for pip, and C(problems), each a mapping of C(machine),
      C(problem) and C(remedy).
  type: dict
  sample:
    version: "12.4"
    gcc: "13"
    prefix: /home/me/.local/share/herd.llama_cpp/toolchain/conda-cuda12.4-gcc13
    installed: false
    identity: conda-cuda12.4-gcc13-x86_64-glibc-2.36
    packages: [cuda-toolkit=12.4, gcc_linux-64=13, gxx_linux-64=13, cmake, ninja, ccache]
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.toolkit import PROVIDERS, plan_toolkit


def cuda_toolkit_plan(given: t.Any) -> t.Dict[str, t.Any]:
    """Return the plan for what was asked for and seen."""
    if not isinstance(given, t.Mapping) or not {"provider", "machine", "info"} <= set(given):
        raise AnsibleFilterError("The cuda_toolkit_plan filter needs a mapping with provider, machine and info.")
    if given["provider"] not in PROVIDERS:
        raise AnsibleFilterError("The cuda_toolkit_plan filter knows the providers %s, not %s." % (", ".join(PROVIDERS), given["provider"]))
    return plan_toolkit(given)


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cuda_toolkit_plan": cuda_toolkit_plan}
