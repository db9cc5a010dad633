# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ggml_cpu_options
short_description: Turn a processor's flags into ggml's instruction-set options
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the flags that C(/proc/cpuinfo) lists for a processor and returns the CMake variables that make ggml's CPU
    code use exactly what that processor has.
  - It stands in for C(GGML_NATIVE), which compiles for the machine that compiles. Machines for which the result is equal
    can run the same build, wherever it was made.
  - The key C(HERD_CPU_FLAGS) holds compiler flags for instruction sets that ggml uses but has no option for. The
    M(herd.llama_cpp.llama_machine_info) module reports the flags, the C(llama_cpp) role uses the result.
options:
  _input:
    description: The processor's flags, as a list or as one string with spaces.
    type: raw
    required: true
  architecture:
    description: The machine's architecture as C(uname -m) says it.
    type: str
    choices:
      - x86_64
      - aarch64
    default: x86_64
seealso:
  - module: herd.llama_cpp.llama_machine_info
"""

EXAMPLES = r"""
- name: Show the CMake options of a build for this machine
  ansible.builtin.debug:
    msg: "{{ machine.cpu_flags | herd.llama_cpp.ggml_cpu_options(architecture=machine.architecture) }}"
"""

RETURN = r"""
_value:
  description: CMake variables and their values, each of ggml's options named whether it is on or off.
  type: dict
  sample:
    GGML_NATIVE: "OFF"
    GGML_AVX2: "ON"
    GGML_AVX512: "OFF"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import CpuError, cpu_options


def ggml_cpu_options(flags: t.Any, architecture: t.Any = "x86_64") -> t.Dict[str, str]:
    """Return the CMake variables for a processor with these flags."""
    if isinstance(flags, str):
        flags = flags.split()
    if not isinstance(flags, (list, tuple)) or not all(isinstance(flag, str) for flag in flags):
        raise AnsibleFilterError("The ggml_cpu_options filter needs a list of processor flags or one string of them.")
    try:
        return cpu_options(flags, str(architecture))
    except CpuError as error:
        raise AnsibleFilterError("The ggml_cpu_options filter cannot help: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"ggml_cpu_options": ggml_cpu_options}
