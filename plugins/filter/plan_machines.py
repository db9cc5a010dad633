# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_machines
short_description: The machines of a plan, by their variables
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Puts together what the inventory says of each machine (C(llama_devices), C(llama_ram_free_mib), C(llama_cluster_address), the variables of the roles
    that run there) and what the role P(herd.llama_cpp.cluster_plan#role) has measured.
options:
  _input:
    description: The variables of each machine, as C(hostvars) has them.
    type: list
    elements: dict
    required: true
  head:
    description: The name of the machine that runs llama-server.
    type: str
    required: true
  worker_defaults:
    description: The defaults of the role P(herd.llama_cpp.rpc_server#role).
    type: dict
    default: {}
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what a plan is made of
  ansible.builtin.debug:
    msg: "{{ groups['llama_rpc'] | map('extract', hostvars) | herd.llama_cpp.plan_machines(head='head') }}"
"""

RETURN = r"""
_value:
  description:
    - The machines, in their order, as P(herd.llama_cpp.cluster_plan#filter) takes them. Each has its C(address) too, and as C(worker) the settings
      of its workers, without their prefix.
  type: list
  elements: dict
  sample: [{name: worker1, address: 192.168.1.101, devices: [{name: CUDA0, total_mib: 24564, free_mib: 24000}], worker: {port: 50052, tls: true}}]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.machines import machine_of


def plan_machines(machines: t.Any, head: str, worker_defaults: t.Any = None) -> t.List[t.Dict[str, t.Any]]:
    """Return the machines of a plan."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable):
        raise AnsibleFilterError("plan_machines takes the variables of each machine as a list.")
    try:
        return [machine_of(str(own["inventory_hostname"]), own, own["inventory_hostname"] == head, worker_defaults or {}) for own in machines]
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("plan_machines cannot read the variables of a machine: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_machines": plan_machines}
