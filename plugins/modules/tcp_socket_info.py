#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tcp_socket_info
short_description: Who listens on a port, who is connected, and how much went through
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns a machine's TCP sockets with the process and the systemd unit that hold them and, for
    connections, the bytes sent and received so far.
  - It opens no connection. An rpc-server serves one client at a time and can be ended by a probe that gives up, so its state is
    judged from here.
  - The kernel tells only root which process holds another user's socket. Without root such a socket comes without a process.
requirements:
  - C(ss) from iproute2 on the managed machine
options:
  ports:
    description: Return only the sockets on these ports. Empty returns all.
    type: list
    elements: int
    default: []
  match:
    description: Which end of a socket must be on one of O(ports).
    type: str
    choices: [local, remote, either]
    default: local
  states:
    description:
      - Return only the sockets in these states. V(abandoned) is a connection whose other end is gone, which the program here has
        not noticed yet.
    type: list
    elements: str
    choices: [listening, established, abandoned]
    default: [listening, established]
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.tcp_probe_info
  - module: herd.llama_cpp.unit_process_info
"""

EXAMPLES = r"""
- name: Find what listens on the RPC port and what is connected to it
  herd.llama_cpp.tcp_socket_info:
    ports: [50052]
  register: rpc_sockets

- name: Fail when another program has the port
  ansible.builtin.assert:
    that: rpc_sockets.sockets | selectattr('state', 'equalto', 'listening')
      | rejectattr('unit', 'equalto', 'llama-rpc-server@0.service') | length == 0
"""

RETURN = r"""
sockets:
  description: The sockets, in the order in which the kernel lists them.
  returned: success
  type: list
  elements: dict
  contains:
    state:
      description: V(listening), V(established) or V(abandoned).
      type: str
      sample: established
    local_address:
      description:
        - The machine's own address. V(0.0.0.0) is every IPv4 address, V(::) every IPv6 address, and V(*) every address of both.
      type: str
      sample: 192.168.1.101
    local_port:
      description: The machine's own port.
      type: int
      sample: 50052
    remote_address:
      description: The other end's address. V(0.0.0.0), V(::) or V(*) for a listening socket.
      type: str
      sample: 192.168.1.100
    remote_port:
      description: The other end's port, V(0) for a listening socket.
      type: int
      sample: 39390
    process:
      description:
        - Name of the process that holds the socket, the one with the lowest id when there are several. Empty when unknown.
        - systemd, which keeps the sockets that it opens for a service, counts only when no other process holds the socket.
      type: str
      sample: ggml-rpc-server
    pid:
      description: Id of that process, V(0) when unknown.
      type: int
      sample: 812
    unit:
      description: The systemd unit that process belongs to. Empty when there is none or it is unknown.
      type: str
      sample: llama-rpc-server@0.service
    held_by:
      description: All that in words, for a message. Where the process is unknown it says why.
      type: str
      sample: ggml-rpc-server (pid 812, llama-rpc-server@0.service)
    processes:
      description: Every process that holds the socket.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the process.
          type: str
          sample: ggml-rpc-server
        pid:
          description: Id of the process.
          type: int
          sample: 812
    bytes_sent:
      description: Bytes sent since the connection was made. Null for a listening socket.
      type: int
      sample: 3489
    bytes_received:
      description: Bytes received since the connection was made. Null for a listening socket.
      type: int
      sample: 35443221
    receive_queue:
      description:
        - Bytes that the program has not read yet. For a listening socket, connections it has not accepted yet.
      type: int
      sample: 0
    send_queue:
      description:
        - Bytes that the other end has not acknowledged yet. For a listening socket, how many connections may wait.
      type: int
      sample: 0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SocketsError, as_result, read_sockets, select_sockets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int", "default": []},
            "match": {"type": "str", "choices": ["local", "remote", "either"], "default": "local"},
            "states": {
                "type": "list",
                "elements": "str",
                "choices": ["listening", "established", "abandoned"],
                "default": ["listening", "established"],
            },
        },
        supports_check_mode=True,
    )
    try:
        every = read_sockets(module.run_command, module.get_bin_path("ss", opt_dirs=["/usr/sbin", "/sbin"]))
    except SocketsError as error:
        module.fail_json(msg="%s." % error)
    sockets = select_sockets(every, module.params["ports"], module.params["match"], module.params["states"])
    module.exit_json(changed=False, sockets=[as_result(socket) for socket in sockets])


if __name__ == "__main__":
    main()
