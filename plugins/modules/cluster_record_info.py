#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_record_info
short_description: What a machine is in a cluster, and what its record says
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Reads the record that a deployment leaves on the head when an answer has proved it, and looks which parts of a cluster are installed on
    the machine. Needs no special rights.
  - For a head that was deployed before there were records it works out the same from the service unit and the plan.
options:
  path:
    description: Where the record is.
    type: path
    default: /etc/llama.cpp/cluster.json
  machine:
    description: The machine's name in the inventory, for the record of a head that has none.
    type: str
    required: true
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.cluster_record
"""

EXAMPLES = r"""
- name: Read the record of what the cluster serves
  herd.llama_cpp.cluster_record_info:
    machine: "{{ inventory_hostname }}"
  register: known

- name: Show the model that the cluster serves
  ansible.builtin.debug:
    msg: "{{ known.record.model.path }}"
  when: known.record
"""

RETURN = r"""
record:
  description: The record, empty where there is none that can be read.
  returned: always
  type: dict
  sample:
    schema: 1
    head: head
    machines:
      head: {roles: [head], connection: {host: 192.168.1.100}, build: 0123456789abcdef, version: b11434, instances: []}
    model: {path: /var/lib/llama.cpp/models/model.gguf, files: [], beside: {}}
    plan: {}
    settings: {url: "http://192.168.1.100:8080"}
    left: {}
    written: "2026-11-29T22:10:00Z"
    id: 8f14e45fceea167a
deduced:
  description: Whether it was worked out from other files, because the deployment is older than records are.
  returned: always
  type: bool
  sample: false
problem:
  description: Why a record that is there cannot be read, as one sentence with what to do. Empty when nothing is wrong.
  returned: always
  type: str
  sample: ""
unread:
  description: Why nobody knows whether there is a record, where this user may not look, without what to do. Empty where that is known.
  returned: always
  type: str
  sample: ""
owner:
  description:
    - Of which cluster the machine is a worker - the C(id) of its record, and its C(head) with the C(host) and C(port) at which the control node reached
      that. Empty where nothing says so, as on a worker that was set up before this was written.
  returned: always
  type: dict
  sample: {id: 8f14e45fceea167a, head: head, host: 192.168.1.100, port: ""}
parts:
  description: What is installed on the machine, C(head), C(worker) or both.
  returned: always
  type: list
  elements: str
  sample: [head]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import PATH
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record_look import seen


def main():
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": PATH}, "machine": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **seen(module.params["path"], module.params["machine"]))


if __name__ == "__main__":
    main()
