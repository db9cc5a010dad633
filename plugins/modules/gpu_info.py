#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: The NVIDIA GPUs of a machine, their memory, and who holds it
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns a machine's NVIDIA GPUs as C(nvidia-smi) reports them, with their free memory and the processes that hold some of it.
  - A machine without an NVIDIA GPU is no error, it has an empty list. It is an error when there is such a GPU and no
    C(nvidia-smi), or C(nvidia-smi) fails. The message quotes what it said.
notes:
  - CUDA programs, llama.cpp among them, number the GPUs on their own. By default CUDA makes the GPU that it takes for the fastest number 0
    and does not specify the order of the others. With C(CUDA_DEVICE_ORDER=PCI_BUS_ID) in its environment a program numbers them
    as in RV(gpus[].cuda_index.pci_bus_id). Set it where a GPU is named by number, for instance as C(CUDA0).
  - C(CUDA_VISIBLE_DEVICES) leaves GPUs out and changes their numbers. It is not considered here.
options:
  timeout_s:
    description: How long one run of C(nvidia-smi) may take, in seconds, from above 0 to 600. It hangs where the driver does.
    type: float
    default: 60.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
"""

EXAMPLES = r"""
- name: Read the state of the GPUs
  herd.llama_cpp.gpu_info:
  register: machine

- name: Fail when another process holds more than 500 MiB of a GPU
  ansible.builtin.assert:
    that: machine.gpus | selectattr('used_mib', 'gt', 500) | length == 0
    fail_msg: "{{ machine.gpus | map(attribute='processes') | flatten | map(attribute='name') | join(', ') }}"
"""

RETURN = r"""
driver_version:
  description: Version of NVIDIA's driver. Empty without a GPU.
  returned: success
  type: str
  sample: 535.183.01
cuda_version:
  description: The newest CUDA version the driver can serve. Empty where it does not say, as drivers before 410 do not.
  returned: success
  type: str
  sample: "12.2"
warning:
  description: What C(nvidia-smi) said beside its report, for instance of a damaged infoROM. Mostly empty.
  returned: success
  type: str
  sample: ""
gpus:
  description: The GPUs in C(nvidia-smi)'s order.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: Its number for C(nvidia-smi), which goes by the PCI bus.
      type: int
      sample: 0
    cuda_index:
      description: Its number for CUDA programs. A GPU in MIG mode has none, since CUDA sees its instances.
      type: dict
      contains:
        pci_bus_id:
          description: With C(CUDA_DEVICE_ORDER=PCI_BUS_ID). V(null) where a GPU of the machine is in MIG mode.
          type: int
          sample: 0
        fastest_first:
          description: By CUDA's default, C(CUDA_DEVICE_ORDER=FASTEST_FIRST). V(null) where the machine has several GPUs, since it is not
            specified then.
          type: int
          sample: 0
    pci_bus_id:
      description: Its place on the PCI bus.
      type: str
      sample: "00000000:01:00.0"
    name:
      description: Its name.
      type: str
      sample: NVIDIA GeForce RTX 3090
    uuid:
      description: The name that stays the same when cards are moved. CUDA takes it in C(CUDA_VISIBLE_DEVICES).
      type: str
      sample: GPU-5d1c6a52-8f1e-4b7c-9a34-0c2f6e1b7d90
    compute_capability:
      description: What code it runs. Empty where the driver does not say, as drivers before 510 do not.
      type: str
      sample: "8.6"
    total_mib:
      description: All of its memory in MiB; the machine's RAM where it shares that. V(null) where the driver does not say.
      type: int
      sample: 24576
    reserved_mib:
      description: What the driver keeps for itself in MiB. V(null) from drivers before 510, which count it as used.
      type: int
      sample: 317
    used_mib:
      description: What is in use in MiB.
      type: int
      sample: 5
    free_mib:
      description: What is free in MiB; what is available of the RAM where it shares that.
      type: int
      sample: 24253
    shared_memory:
      description: Whether it has no memory of its own but shares the machine's RAM, as a GB10, Thor, Orin or Xavier does. Known by its name.
      type: bool
      sample: false
    mig_enabled:
      description: Whether it is divided into instances (MIG).
      type: bool
      sample: false
    processes:
      description: Processes that hold memory of it. Without root and from inside a container the driver may hide some.
      type: list
      elements: dict
      contains:
        pid:
          description: Its id.
          type: int
          sample: 2214
        name:
          description: Its program as C(nvidia-smi) names it, empty when unknown.
          type: str
          sample: /usr/lib/xorg/Xorg
        kind:
          description: V(C) computes, V(G) draws, V(C+G) does both.
          type: str
          sample: G
        used_mib:
          description: What it holds in MiB. V(null) when the driver does not tell.
          type: int
          sample: 4
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.nvidia_smi import DIRECTORIES, NvidiaSmiError, seen_gpus, sentence


def main() -> None:
    module = AnsibleModule(
        argument_spec={"timeout_s": {"type": "float", "default": 60.0}},
        supports_check_mode=True,
    )
    timeout_s = module.params["timeout_s"]
    if not 0 < timeout_s <= 600:
        module.fail_json(msg="timeout_s is %s; give it a value above 0 and up to 600." % timeout_s)
    try:
        report, gpus = seen_gpus(module.get_bin_path("nvidia-smi", opt_dirs=DIRECTORIES), timeout_s)
    except NvidiaSmiError as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=False,
        driver_version=report.driver_version,
        cuda_version=report.cuda_version,
        warning=report.warning,
        gpus=gpus,
    )


if __name__ == "__main__":
    main()
