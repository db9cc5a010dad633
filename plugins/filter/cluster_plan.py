# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_plan
short_description: Choose machines, layers and llama-server's arguments so that a model fits, to the MiB
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Computes from a GGUF header what llama.cpp allocates on every device for weights, KV cache and compute buffers, and finds the
    split of the layers over the machines' devices that a policy asks for.
  - The formulas follow llama.cpp b11434 and are compared with it in this collection's tests. Of architectures that were not compared,
    weights are exact and caches and compute buffers upper bounds; O(unknown=refuse) refuses them.
  - When the model does not fit, the result says how many MiB are missing on which device of the best split, and up to three changes
    that would make it fit, cheapest first.
  - Nothing is asked of any machine; what is planned is what the arguments say.
options:
  _input:
    description: What M(herd.llama_cpp.gguf_info) returns as RV(herd.llama_cpp.gguf_info#module:gguf) with its metadata and tensors
      included.
    type: dict
    required: true
  machines:
    description:
      - The machines that may be used, each with V(name), V(devices) and, for the head, V(ram_free_mib).
      - A device has V(name) as llama.cpp calls it on its machine, V(kind) (V(cuda) or V(cpu), by its name when not given), V(total_mib),
        V(free_mib) and optionally V(reserve_mib). A machine with several GPUs runs one worker for each.
      - V(shared_memory=true) says that a device's memory is the machine's RAM, as of a GB10, a Jetson or any integrated GPU. What
        C(llama-server) itself needs on the head is taken from the same memory then. Beside such a device, another one of the same RAM is not used.
        Where it is not given, a GPU with exactly as much free as V(ram_free_mib) counts as one.
      - The head's own CPU is not a device.
    type: list
    elements: dict
    required: true
  host:
    description: The name of the machine that runs llama-server.
    type: str
    required: true
  server:
    description:
      - The fact C(llama_server_settings) of the role P(herd.llama_cpp.llama_server#role). It takes the place of O(context_size), O(parallel),
        O(kv_unified), O(type_k), O(type_v), O(batch), O(ubatch), O(flash_attention), O(cache_ram_mib), O(ctx_checkpoints) and of C(words) in
        O(beside).
    type: dict
  context_size:
    description: Tokens of context, over all slots.
    type: int
    default: 8192
  parallel:
    description: Slots.
    type: int
    default: 4
  kv_unified:
    description: Whether the slots share one KV cache.
    type: bool
    default: true
  type_k:
    description: Type of the K cache, such as V(f16) or V(q8_0).
    type: str
    default: f16
  type_v:
    description: Type of the V cache.
    type: str
    default: f16
  batch:
    description: Logical batch size, in tokens.
    type: int
    default: 2048
  ubatch:
    description: Physical batch size, in tokens. Compute buffers grow with it.
    type: int
    default: 512
  flash_attention:
    description: Whether flash attention is on. Compute buffers without it are an upper bound.
    type: bool
    default: true
  cache_ram_mib:
    description: MiB of the head's RAM that llama-server may keep of earlier prompts (C(--cache-ram)).
    type: int
    default: 2048
  ctx_checkpoints:
    description:
      - Context checkpoints of each slot (C(--ctx-checkpoints)). They take RAM of the head where the model has a sliding window or a recurrent state.
    type: int
    default: 4
  policy:
    description:
      - V(fewest_machines) uses as few machines as possible, the head included, and among those splits the one that leaves most headroom
        on the fullest device.
      - V(most_headroom) leaves as much as possible on the fullest device, on however many machines.
      - V(all_machines) uses every device of every machine.
      - V(named_machines) uses every device of the machines in O(named) and no other.
    type: str
    choices: [fewest_machines, most_headroom, all_machines, named_machines]
    default: fewest_machines
  named:
    description: The machines of V(named_machines).
    type: list
    elements: str
    default: []
  reserve_mib:
    description: MiB kept back on a device that does not say its own, 1024 on V(cuda) and 512 on V(cpu) when not given.
    type: int
  headroom_mib:
    description: MiB that must stay free on every device besides the reserve.
    type: int
    default: 0
  beside:
    description:
      - What stands beside the model. C(words) are the variables of the role P(herd.llama_cpp.llama_server#role) for it without their prefix
        (C(spec_type), C(draft_model), C(draft_max), C(mmproj), C(lora) ...), C(headers) a list of what each file is C(for) (V(draft), V(mmproj)
        or V(lora)) with its C(header), C(draft_device) and C(mmproj_device) devices as V(machine/device), V(none) for the head's RAM.
      - A draft model and a projector lie on the head's first device when none is named, in its RAM where it has none.
    type: dict
  unknown:
    description:
      - What to do with a model or a setting whose memory was never compared with llama.cpp.
      - V(bound) plans by an upper bound, made of the header's numbers and the tensors' shapes, and says so. V(refuse) is an error.
    type: str
    choices: [bound, refuse]
    default: bound
  build_number:
    description:
      - The build number of the llama.cpp that will run, V(0) where it is not known.
      - Formulas are of one build. Where another one will run, a model that does not fit by them may fit (RV(_value.may_fit)).
    type: raw
    default: 0
  keep:
    description:
      - An earlier plan of the same cluster. Its split stays when the same was asked for, it still fits, and it is no worse in what the
        policy promises, so that a running cluster is not restarted because free memory moved by a few MiB.
    type: dict
  stay:
    description: Whether the split of O(keep) stays wherever it still fits, though another would be better.
    type: bool
    default: false
  head_cpu:
    description:
      - Whether the head's own CPU may run the whole model where no machine has a device. All layers are then in the head's RAM, which
        is judged by its V(ram_free_mib), and RV(_value.devices), RV(_value.rpc) and RV(_value.device_option) are empty.
      - It changes nothing where any machine has a device. With V(false) machines without any device are an error.
    type: bool
    default: false
seealso:
  - module: herd.llama_cpp.gguf_info
  - plugin: herd.llama_cpp.gguf_node_count
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the model's header
  herd.llama_cpp.gguf_info:
    path: /var/lib/llama.cpp/models/model.gguf
    include_metadata: true
    include_tensors: true
  register: model

- name: Plan two machines with a 24 GB GPU each
  ansible.builtin.debug:
    msg: "{{ model.gguf | herd.llama_cpp.cluster_plan(machines, host='head', context_size=16384) }}"
  vars:
    machines:
      - name: head
        ram_free_mib: 60000
        devices:
          - {name: CUDA0, kind: cuda, total_mib: 24564, free_mib: 24100}
      - name: worker1
        devices:
          - {name: CUDA0, kind: cuda, total_mib: 24564, free_mib: 24100}

- name: Plan a single machine without a GPU
  ansible.builtin.debug:
    msg: "{{ model.gguf | herd.llama_cpp.cluster_plan([{'name': 'head', 'ram_free_mib': 60000}], host='head', head_cpu=true) }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    fits:
      description: Whether the model fits as asked, the head's RAM included where it is known.
      type: bool
      sample: true
    may_fit:
      description:
        - Whether the model does not fit by an upper bound (its own, or of what stands beside it), or by formulas of another llama.cpp than that of
          O(build_number), and its weights, which are known exactly, do. Then only a llama.cpp that is asked can tell, or the proof after the start.
      type: bool
      sample: false
    basis:
      description: A digest of what was asked for. Plans with the same one differ only by the machines and their memory.
      type: str
      sample: 5b8f0c1d2e3a4f67
    kept:
      description: Whether the split is that of O(keep).
      type: bool
      sample: false
    settings:
      description: What C(llama-server) must be started with for the figures to hold.
      type: dict
      sample: {context_size: 8192, parallel: 4, kv_unified: true, batch: 2048, ubatch: 512, flash_attention: true, type_k: f16, type_v: f16}
    search:
      description: V(exact) when all sets of devices were considered, V(beam) when there were too many different ones.
      type: str
      sample: exact
    machines:
      description: Machines that serve, the head included.
      type: list
      elements: str
      sample: [head, worker1]
    unused_machines:
      description: Machines that are not needed.
      type: list
      elements: str
      sample: [worker2]
    devices:
      description:
        - The devices in the order of C(--device) and C(--tensor-split), each with its layers and its MiB (C(weights_mib), C(kv_mib), C(compute_mib),
          C(beside_mib) for what stands beside the model, C(reserve_mib), C(headroom_mib)).
      type: list
      elements: dict
      sample:
        - {machine: head, device: CUDA0, llama_device: CUDA0, n_layers: 41, first_layer: 0, last_layer: 40, output: false, tensor_split: 41,
           weights_mib: 18821, kv_mib: 1312, compute_mib: 312, reserve_mib: 1024, free_mib: 24100, headroom_mib: 2630}
    beside:
      description:
        - What stands beside the model. C(parts) with their C(mib), which are bounds, C(least_mib) of it in any case, llama.cpp's name of their device,
          and the values that the variables C(llama_server_draft_devices) and C(llama_server_mmproj_device) then have.
      type: dict
    rpc:
      description: The workers' devices in the order in which their endpoints belong in C(--rpc).
      type: list
      elements: dict
      sample: [{machine: worker1, device: CUDA0}]
    device_option:
      description: The value of C(--device).
      type: str
      sample: CUDA0,RPC0
    tensor_split:
      description: The values of C(--tensor-split), layer counts that sum to the number of layers plus one for the output.
      type: list
      elements: int
      sample: [41, 40]
    n_gpu_layers:
      description: The value of C(--n-gpu-layers).
      type: str
      sample: all
    host:
      description: The head's own RAM in MiB, by part. C(weights_mib) and C(kv_mib) are those of the whole model with O(head_cpu=true).
      type: dict
      sample: {machine: head, weights_mib: 564, kv_mib: 0, compute_mib: 113, output_mib: 2, process_mib: 300, prompt_cache_mib: 2048, checkpoints_mib: 0,
               extra_mib: 0, total_mib: 3027}
    headroom_mib:
      description:
        - What the fullest device has left; negative when the model does not fit. Without devices, what the head's RAM has left,
          V(null) where its size is not known.
      type: int
      sample: 2070
    largest_context:
      description: The largest context that fits on the machines that serve, 0 when not even this one does.
      type: int
      sample: 20736
    shortfall:
      description: Where memory is missing in the best split, empty when it fits.
      type: dict
      sample: {machine: worker1, device: CUDA0, missing_mib: 812, total_missing_mib: 812}
    ways_out:
      description: Up to three changes, each of which alone makes the model fit.
      type: list
      elements: dict
      sample: [{change: context_size, context_size: 4096, text: a context of 4096 instead of 8192}]
    problems:
      description: Why C(fits) is false, one sentence each.
      type: list
      elements: str
      sample: []
    failure:
      description: Why C(fits) is false and what would make it fit, for people. Empty when it fits.
      type: str
      sample: ""
    confidence:
      description:
        - How each figure was checked and the tolerance for comparing it with a running server. C(bound) says whether caches and compute
          buffers are upper bounds, and C(unknown) why.
      type: dict
      sample: {weights: exact, kv: exact, compute: compared with llama.cpp b11434, tolerance_mib: 1, compute_tolerance_factor: 1.25, bound: false,
               unknown: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import plan_from_facts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError


def cluster_plan(facts: t.Mapping[str, t.Any], machines: t.Sequence[t.Mapping[str, t.Any]], **options: t.Any) -> t.Dict[str, t.Any]:
    """Plan a cluster for a model."""
    if "host" not in options:
        raise AnsibleFilterError("cluster_plan: host, the machine that runs llama-server, must be given")
    try:
        return plan_from_facts(facts, machines, **options)
    except PlanError as exc:
        raise AnsibleFilterError("cluster_plan: %s" % exc) from exc
    except TypeError as exc:
        raise AnsibleFilterError("cluster_plan: %s" % str(exc).replace("plan_from_facts() ", "")) from exc


class FilterModule:
    """Filters about where a model fits."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cluster_plan": cluster_plan}
