# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_commands
short_description: The command lines that carry out a plan
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what P(herd.llama_cpp.cluster_plan#filter) returns and says which C(llama-server) and which C(ggml-rpc-server) must run where.
  - A worker machine runs one C(ggml-rpc-server) for each planned device, on consecutive ports in the plan's order.
  - A plan that does not fit has no commands.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  addresses:
    description: The address of each machine, by its name.
    type: dict
    required: true
  model_path:
    description: The model file on the head.
    type: str
    required: true
  server_port:
    description: Port of the API.
    type: int
    default: 8080
  workers:
    description:
      - The settings of each worker machine, by its name, each by the name that the role P(herd.llama_cpp.rpc_server#role) has for it without
        its prefix, C(port) (50052 when not given), C(tls), C(threads), C(cache), C(extra_args) and C(bin_dir).
      - The workers of a machine with C(tls) are reached through a tunnel, whose end llama-server connects to.
    type: dict
    default: {}
  bin_dir:
    description: Where llama.cpp's programs are.
    type: str
    default: /opt/llama.cpp/current/bin
  extra_arguments:
    description: More arguments for C(llama-server).
    type: list
    elements: str
    default: []
  server_arguments:
    description:
      - All arguments that the service is started with, the fact C(llama_server_arguments) of the role llama_server. The plan's own take the place of
        those that it decides. Without it the API listens on the head's address.
    type: list
    elements: str
    default: []
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
  - plugin: herd.llama_cpp.plan_page
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what will run
  ansible.builtin.debug:
    msg: "{{ plan | herd.llama_cpp.plan_commands(addresses, '/var/lib/llama.cpp/models/model.gguf') | map(attribute='text') }}"
  vars:
    addresses: {head: 192.168.1.100, worker1: 192.168.1.101}
"""

RETURN = r"""
_value:
  description: The commands, C(llama-server)'s first and then the workers' in the order of C(--rpc).
  type: list
  elements: dict
  sample:
    - machine: worker1
      unit: llama-rpc-server@0.service
      device: CUDA0
      endpoint: 192.168.1.101:50052
      argv: [/usr/bin/stdbuf, -oL, /opt/llama.cpp/current/bin/ggml-rpc-server, -H, 192.168.1.101, -p, "50052", -d, CUDA0]
      text: /usr/bin/stdbuf -oL /opt/llama.cpp/current/bin/ggml-rpc-server -H 192.168.1.101 -p 50052 -d CUDA0
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import commands as _plan_commands


def plan_commands(
    plan: t.Any,
    addresses: t.Any,
    model_path: t.Any,
    server_port: t.Any = 8080,
    workers: t.Any = None,
    bin_dir: str = _plan_commands.BIN_DIR,
    extra_arguments: t.Any = (),
    server_arguments: t.Any = (),
) -> t.List[t.Dict[str, t.Any]]:
    """Return the commands of a plan."""
    if not isinstance(plan, t.Mapping) or not isinstance(addresses, t.Mapping):
        raise AnsibleFilterError("The plan_commands filter takes a plan of cluster_plan and the addresses as a mapping.")
    try:
        return _plan_commands.plan_commands(
            plan, {str(k): str(v) for k, v in addresses.items()}, str(model_path), int(server_port),
            {str(k): dict(v) for k, v in (workers or {}).items()}, str(bin_dir), [str(word) for word in extra_arguments],
            [str(word) for word in server_arguments],
        )
    except (ValueError, TypeError) as error:
        raise AnsibleFilterError("The plan_commands filter cannot name the commands: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_commands": plan_commands}
