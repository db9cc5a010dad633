# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_endpoints
short_description: The workers of a plan in the order of llama-server's --rpc
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Picks from the worker services of all machines those that a plan uses, in the order in which the plan numbers them. C(RPC0) is the
    first of them, C(RPC1) the second, and so on.
options:
  _input:
    description: The plan, as P(herd.llama_cpp.cluster_plan#filter) returned it.
    type: dict
    required: true
  instances:
    description: The services of all machines, as P(herd.llama_cpp.rpc_server_instances#filter) returns those of one.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the value of --rpc
  ansible.builtin.debug:
    msg: "{{ plan | herd.llama_cpp.plan_endpoints(instances) | map(attribute='endpoint') | join(',') }}"
"""

RETURN = r"""
_value:
  description: The services.
  type: list
  elements: dict
  sample:
    - {machine: worker1, unit: llama-rpc-server@0.service, address: 192.168.1.101, port: 50052, endpoint: "192.168.1.101:50052", device: CUDA0}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import CommandsError, plan_endpoints as endpoints_of


def plan_endpoints(plan: t.Any, instances: t.Any) -> t.List[t.Dict[str, t.Any]]:
    """Return the services that a plan uses."""
    if not isinstance(plan, t.Mapping) or isinstance(instances, (str, bytes)) or not isinstance(instances, t.Sequence):
        raise AnsibleFilterError("The plan_endpoints filter takes a plan of cluster_plan and a list of services.")
    try:
        return endpoints_of(plan, instances)
    except CommandsError as error:
        raise AnsibleFilterError("plan_endpoints: %s" % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_endpoints": plan_endpoints}
