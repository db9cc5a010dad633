# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cuda_architectures
short_description: The CUDA architectures that the GPUs of a cluster need
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Turns the compute capabilities of all GPUs into what CMake's C(CMAKE_CUDA_ARCHITECTURES) takes.
  - Empty where a driver does not tell, which leaves the choice to llama.cpp.
options:
  _input:
    description:
      - For each machine C(gpus) as the M(herd.llama_cpp.gpu_info) module returns them, and C(built), the architectures of the build
        in use, separated by semicolons. A build in use that has all that is needed, and more, is kept.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the CUDA architectures of the build
  ansible.builtin.debug:
    msg: "{{ [{'gpus': gpus_of_this_machine.gpus}] | herd.llama_cpp.cuda_architectures }}"
"""

RETURN = r"""
_value:
  description: The architectures, the oldest first.
  type: list
  elements: str
  sample: ["86", "89"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.targets import cuda_architectures as _architectures


def cuda_architectures(machines: t.Any) -> t.List[str]:
    """Return the architectures that the machines' GPUs need."""
    if not isinstance(machines, (list, tuple)) or not all(isinstance(machine, dict) for machine in machines):
        raise AnsibleFilterError("The cuda_architectures filter needs a list of machines, each a mapping with gpus and built.")
    return _architectures(machines)


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cuda_architectures": cuda_architectures}
