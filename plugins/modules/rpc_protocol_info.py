#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_protocol_info
short_description: Which RPC protocol an rpc-server speaks, and whether a llama-server accepts it
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Runs an executable of llama.cpp for a moment and finds out from itself which RPC protocol it speaks. An rpc-server is started on a
    free port of the loopback address and greeted. A llama-server is given a worker, played by this module on the loopback address, that
    says it speaks O(accepts), and either goes on or hangs up.
  - So it is known whether the parts of a cluster fit together before any of them is put into use. No worker that serves is spoken to.
  - The executable runs without a GPU and, where the module runs as root, with a user ID that nothing else has, so that everybody must be
    allowed to read it.
options:
  server:
    description: The path of an rpc-server.
    type: path
  client:
    description: The path of a llama-server.
    type: path
  accepts:
    description: The protocol version of a worker that O(client) is to be tried with, such as V(7.0.0).
    type: str
  timeout_s:
    description: Seconds that each executable gets, from above 0 to 600.
    type: float
    default: 30.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
"""

EXAMPLES = r"""
- name: Read the RPC protocol of the new rpc-server
  herd.llama_cpp.rpc_protocol_info:
    server: /opt/llama.cpp/builds/0123456789abcdef/bin/ggml-rpc-server
  register: worker

- name: Check whether the new llama-server speaks the same RPC protocol
  herd.llama_cpp.rpc_protocol_info:
    client: /opt/llama.cpp/builds/0123456789abcdef/bin/llama-server
    accepts: "{{ worker.protocol_version }}"
  register: head
  failed_when: not head.accepted
"""

RETURN = r"""
protocol_version:
  description: The protocol that O(server) speaks, an empty string where none was given.
  returned: success
  type: str
  sample: 7.0.0
accepted:
  description: Whether O(client) goes on with a worker that speaks O(accepts), V(null) where none was given.
  returned: success
  type: bool
  sample: true
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.hello import HelloError, ask_client, ask_server


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "path"},
            "client": {"type": "path"},
            "accepts": {"type": "str"},
            "timeout_s": {"type": "float", "default": 30.0},
        },
        required_one_of=[("server", "client")],
        required_by={"client": ("accepts",)},
        supports_check_mode=True,
    )
    server, client, timeout_s = module.params["server"], module.params["client"], module.params["timeout_s"]
    if not 0 < timeout_s <= 600:
        module.fail_json(msg="timeout_s is %s; give it a value above 0 and up to 600." % timeout_s)
    version, accepted = "", None
    asked = server or client
    try:
        if server:
            version = ask_server(server, timeout_s)
        if client:
            asked = client
            accepted = ask_client(client, module.params["accepts"], timeout_s)
    except HelloError as error:
        module.fail_json(msg="%s %s." % (os.path.basename(asked), str(error).rstrip(".")))
    module.exit_json(changed=False, protocol_version=version, accepted=accepted)


if __name__ == "__main__":
    main()
