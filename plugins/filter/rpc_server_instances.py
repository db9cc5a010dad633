# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rpc_server_instances
short_description: The rpc-server services of a machine, one for each device
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the devices of a machine and returns its worker services with their units, ports and endpoints.
  - This is what the role P(herd.llama_cpp.rpc_server#role) sets up for the same values.
options:
  _input:
    description: llama.cpp's names of the devices. An empty list is one service with whatever llama.cpp finds.
    type: list
    elements: str
    required: true
  machine:
    description: Inventory name of the machine.
    type: str
    required: true
  address:
    description: IPv4 address the workers listen on.
    type: str
    required: true
  port:
    description: Port of the first worker. The next has the next port.
    type: int
    required: true
  tls:
    description:
      - Whether the workers speak TLS. C(endpoint) is then the head's own end of the tunnel, an address of its loopback interface in
        which the first number of the worker's address is 127.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the workers of a machine with two GPUs
  ansible.builtin.debug:
    msg: "{{ ['CUDA0', 'CUDA1'] | herd.llama_cpp.rpc_server_instances(machine='node1', address='192.168.1.101', port=50052) }}"
"""

RETURN = r"""
_value:
  description: The services, in the order of the devices.
  type: list
  elements: dict
  sample:
    - machine: node1
      unit: llama-rpc-server@0.service
      tls_unit: ""
      address: 192.168.1.101
      port: 50052
      listens_on: 192.168.1.101:50052
      endpoint: 192.168.1.101:50052
      device: CUDA0
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import worker_instances


def rpc_server_instances(devices: t.Any, machine: str, address: str, port: t.Any, tls: bool = False) -> t.List[t.Dict[str, t.Any]]:
    """Return one instance for each device."""
    if isinstance(devices, (str, bytes)) or not isinstance(devices, t.Sequence):
        raise AnsibleFilterError(
            "The rpc_server_instances filter takes a list of device names, not a %s." % type(devices).__name__
        )
    try:
        number = int(port)
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError("The rpc_server_instances filter's port is %r, not a number." % (port,)) from error
    return worker_instances([str(device) for device in devices], str(machine), str(address), number, bool(tls))


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"rpc_server_instances": rpc_server_instances}
