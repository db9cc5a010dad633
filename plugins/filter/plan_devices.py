# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_devices
short_description: What a machine can give to a plan, from what was seen on it
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Turns what M(herd.llama_cpp.llama_machine_info), M(herd.llama_cpp.gpu_info) and M(herd.llama_cpp.unit_process_info) returned
    for one machine into the devices and the free RAM that P(herd.llama_cpp.cluster_plan#filter) wants to know.
  - Memory that the given units hold counts as free, since a plan for a running cluster replaces what runs.
options:
  _input:
    description: What M(herd.llama_cpp.llama_machine_info) returned.
    type: dict
    required: true
  backend:
    description: V(cuda) for the GPUs, V(cpu) for the CPU as one device.
    type: str
    choices: [cuda, cpu]
    required: true
  gpus:
    description: What M(herd.llama_cpp.gpu_info) returned as RV(herd.llama_cpp.gpu_info#module:gpus), for V(cuda).
    type: list
    elements: dict
    default: []
  units:
    description: What M(herd.llama_cpp.unit_process_info) returned as RV(herd.llama_cpp.unit_process_info#module:units) for the services
      of this collection.
    type: list
    elements: dict
    default: []
  names:
    description: The devices that may be used. All of them when empty.
    type: list
    elements: str
    default: []
  head:
    description: Whether the machine runs C(llama-server). The CPU of such a machine is no device that a model can be split over.
    type: bool
    default: false
notes:
  - GPUs are numbered as CUDA does under C(CUDA_DEVICE_ORDER=PCI_BUS_ID).
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Record the devices of the machine
  ansible.builtin.set_fact:
    mine: "{{ machine | herd.llama_cpp.plan_devices('cuda', gpus=seen.gpus, units=services.units) }}"
"""

RETURN = r"""
_value:
  description: The devices and the free RAM.
  type: dict
  contains:
    devices:
      description:
        - The devices, each with name, kind, total_mib, free_mib and description, and with C(shared_memory) where it is a GPU that has no
          memory but the machine's RAM.
      type: list
      elements: dict
      sample: [{name: CUDA0, kind: cuda, total_mib: 24564, free_mib: 24111, description: NVIDIA GeForce RTX 4090}]
    ram_free_mib:
      description: The machine's RAM that is or would become free, in MiB.
      type: int
      sample: 60123
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import devices as _plan_devices


def plan_devices(
    machine: t.Mapping[str, t.Any],
    backend: str,
    gpus: t.Sequence[t.Mapping[str, t.Any]] = (),
    units: t.Sequence[t.Mapping[str, t.Any]] = (),
    names: t.Sequence[str] = (),
    head: bool = False,
) -> t.Dict[str, t.Any]:
    """Return the devices and the free RAM of a machine."""
    if backend not in ("cuda", "cpu"):
        raise AnsibleFilterError("The plan_devices filter knows the backends cuda and cpu, not %r." % (backend,))
    try:
        if backend == "cuda":
            devices = _plan_devices.gpu_devices(gpus, units)
        else:
            devices = [] if head else [_plan_devices.cpu_device(machine, units)]
        return {
            "devices": _plan_devices.chosen(devices, [str(name) for name in names]),
            "ram_free_mib": _plan_devices.ram_free_mib(machine, units, devices),
        }
    except _plan_devices.PlanDevicesError as error:
        raise AnsibleFilterError("plan_devices: %s" % error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError("The plan_devices filter lacks something of what was seen on the machine: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_devices": plan_devices}
