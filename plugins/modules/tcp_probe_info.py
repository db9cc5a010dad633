#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tcp_probe_info
short_description: Try TCP connections from a machine to others
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Opens a TCP connection from the managed machine to each endpoint, closes it at once without sending a byte, and returns what
    happened. All endpoints are tried at the same time, so any number of dead ones cost one timeout.
  - An endpoint that refuses is reachable. Its machine answered; nothing listens on the port yet.
  - Do not point it at the port of an rpc-server that serves a client. Such a server handles one connection at a time. Look at
    its established sockets with M(herd.llama_cpp.tcp_socket_info) instead.
options:
  endpoints:
    description: What to connect to, each C(ADDRESS:PORT) with an IPv4 address.
    type: list
    elements: str
    required: true
  timeout_s:
    description: Seconds after which an endpoint that gave no sign counts as V(timeout).
    type: float
    default: 5.0
  source_address:
    description: The machine's own IPv4 address to connect from. Empty lets the machine choose.
    type: str
    default: ""
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.tcp_socket_info
"""

EXAMPLES = r"""
- name: Check whether the head reaches its workers
  herd.llama_cpp.tcp_probe_info:
    endpoints:
      - 192.168.1.101:50052
      - 192.168.1.102:50052
  register: probe

- name: Fail when a worker is out of reach
  ansible.builtin.assert:
    that: probe.unreachable_endpoints | length == 0
"""

RETURN = r"""
results:
  description: What happened, one entry for each endpoint in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    endpoint:
      description: The endpoint.
      type: str
      sample: 192.168.1.101:50052
    address:
      description: Its address.
      type: str
      sample: 192.168.1.101
    port:
      description: Its port.
      type: int
      sample: 50052
    state:
      description:
        - V(connected) when something accepted the connection.
        - V(refused) when the machine answered that nothing listens.
        - V(timeout) when no sign came in time, V(no_route) when the network says it leads nowhere, V(error) for anything else.
      type: str
      sample: refused
    reachable:
      description: Whether the state is V(connected) or V(refused).
      type: bool
      sample: true
    seconds:
      description: How long it took.
      type: float
      sample: 0.001
    detail:
      description: The operating system's words for what went wrong, empty when connected.
      type: str
      sample: Connection refused
unreachable_endpoints:
  description: The endpoints that are neither V(connected) nor V(refused).
  returned: success
  type: list
  elements: str
  sample: ["192.168.1.102:50052"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.tcp_probe import EndpointError, probe


def main():
    module = AnsibleModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "str", "required": True},
            "timeout_s": {"type": "float", "default": 5.0},
            "source_address": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if not 0 < module.params["timeout_s"] <= 600:
        module.fail_json(msg="timeout_s is %(timeout_s)s; give it a value above 0 and up to 600." % module.params)
    try:
        results = probe(
            module.params["endpoints"],
            timeout_s=module.params["timeout_s"],
            source_address=module.params["source_address"],
        )
    except EndpointError as error:
        module.fail_json(msg="An endpoint cannot be tried: %s." % error)
    module.exit_json(
        changed=False,
        results=[result.as_dict() for result in results],
        unreachable_endpoints=[result.endpoint for result in results if not result.reachable],
    )


if __name__ == "__main__":
    main()
