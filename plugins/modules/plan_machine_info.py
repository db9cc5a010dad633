#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_machine_info
short_description: What a machine has for a plan, its memory and its GPUs, and what this collection's services hold of them
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Looks once at all that P(herd.llama_cpp.plan_devices#filter) is told of a machine.
options:
  units:
    description: Names and shell-style patterns of the services whose memory becomes free when they are started anew.
    type: list
    elements: str
    default: []
  gpus:
    description: Whether to ask C(nvidia-smi) for the GPUs.
    type: bool
    default: false
  timeout_s:
    description: Seconds to wait for C(nvidia-smi), above 0 and up to 600.
    type: float
    default: 60.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.gpu_info
  - plugin: herd.llama_cpp.plan_devices
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the machine
  herd.llama_cpp.plan_machine_info:
    units: [llama-server.service, llama-rpc-server@*.service]
    gpus: true
  register: machine

- name: Show what there is to plan with
  ansible.builtin.debug:
    msg: "{{ machine | herd.llama_cpp.plan_devices('cuda', gpus=machine.gpus, units=machine.units) }}"
"""

RETURN = r"""
memory_mib:
  description: The machine's memory in MiB.
  returned: always
  type: int
  sample: 64216
memory_available_mib:
  description: How much of it programs can have without swapping, in MiB.
  returned: always
  type: int
  sample: 61880
units:
  description: The services whose main process runs.
  returned: always
  type: list
  elements: dict
  contains:
    unit:
      description: Name of the unit.
      type: str
      sample: llama-server.service
    running:
      description: That it runs.
      type: bool
      sample: true
    main_pid:
      description: Id of its main process.
      type: int
      sample: 812
    anonymous_mib:
      description: Memory in MiB that becomes free when the main process ends. Files that it has mapped, such as a model, are not in it.
      type: int
      sample: 18211
gpus:
  description: The GPUs as RV(herd.llama_cpp.gpu_info#module:gpus) of M(herd.llama_cpp.gpu_info). Empty where they were not asked for or not told.
  returned: always
  type: list
  elements: dict
  sample: []
gpu_problem:
  description: Why the GPUs cannot be looked at, empty where nothing is wrong.
  returned: always
  type: str
  sample: ""
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.machine import describe_machine
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.nvidia_smi import DIRECTORIES, NvidiaSmiError, seen_gpus, sentence
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.manager import supervisor
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError


def running_units(module: AnsibleModule, names: t.Sequence[str]) -> t.List[t.Dict[str, t.Any]]:
    """The services that run. Raises SystemdError."""
    return [
        {name: unit[name] for name in ("unit", "running", "main_pid", "anonymous_mib")}
        for unit in supervisor(module.run_command, module.get_bin_path).look(names) if unit["running"]
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "gpus": {"type": "bool", "default": False},
            "timeout_s": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    if not 0 < module.params["timeout_s"] <= 600:
        module.fail_json(msg="timeout_s is %s; give it a value above 0 and up to 600." % module.params["timeout_s"])
    machine = describe_machine("", [], [])
    result: t.Dict[str, t.Any] = {name: machine[name] for name in ("memory_mib", "memory_available_mib")}
    try:
        result["units"] = running_units(module, module.params["units"])
    except SystemdError as error:
        module.fail_json(msg="%s." % error)
    result.update(gpus=[], gpu_problem="")
    if module.params["gpus"]:
        try:
            result["gpus"] = seen_gpus(module.get_bin_path("nvidia-smi", opt_dirs=DIRECTORIES), module.params["timeout_s"])[1]
        except NvidiaSmiError as error:
            result["gpu_problem"] = sentence(error)
        except (OSError, ValueError) as error:
            result["gpu_problem"] = str(error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
