#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_lock
short_description: Let one run of a playbook at a time change a cluster
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Notes on the machine which run of a playbook changes its cluster, and fails where another one does, with who started it and when.
  - The playbooks note it on every machine of the groups C(llama_host) and C(llama_rpc), the head first, and on each other that they take something
    from, because another inventory may have another one as its head.
  - A run that has died is noticed at once where it was started on the same computer as this one, in the same space of process numbers. Any
    other one counts until it has said that it has ended, the machine was rebooted, or O(force) is given.
options:
  path:
    description: Where it is noted, in a directory that others cannot write and that a reboot empties.
    type: path
    default: /run/herd.llama_cpp.lock
  state:
    description: V(absent) says that this run has done its changes.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: Take it from whatever run is noted.
    type: bool
    default: false
  record:
    description: The file of the cluster's record, which is read as soon as the cluster is locked. Nothing is read when it is empty.
    type: path
    default: ""
  machine:
    description: The machine's name in the inventory, for O(record) as M(herd.llama_cpp.cluster_record_info) takes it.
    type: str
    default: ""
  prefix:
    description: Where llama.cpp is installed. Which build is in use is read as soon as the cluster is locked; nothing is when this is empty.
    type: path
    default: ""
  run:
    description: Set by the plugin itself on the control node.
    type: dict
  instead_of:
    description: Set by the plugin itself on the control node.
    type: dict
attributes:
  check_mode:
    description: In check mode nothing is noted, and nobody is stopped.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Lock the cluster
  herd.llama_cpp.cluster_lock:

- name: Unlock the cluster
  herd.llama_cpp.cluster_lock:
    state: absent
"""

RETURN = r"""
taken_from:
  description: The run that was noted and has ended without saying so, in whose place this one is noted now.
  returned: when there was one
  type: dict
  sample: {who: anna@control, what: deploy.yml, since: "2026-11-29 22:10:00 UTC", computer: "...", process: 4711, started: "123456"}
record:
  description: The record as M(herd.llama_cpp.cluster_record_info) returns it.
  returned: where O(record) was given and the cluster is locked
  type: dict
  sample: {schema: 1, head: head}
current:
  description: The id of the build that C(current) points at, empty where there is none.
  returned: where O(prefix) was given and the cluster is locked
  type: str
  sample: 4f2a9c0b1d3e
held_by:
  description: The run that changes the cluster, where it is not this one.
  returned: when there is one
  type: dict
  sample: {who: anna@control, what: deploy.yml, since: "2026-11-29 22:10:00 UTC", computer: "...", process: 4711, started: "123456"}
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.machine import linked_build
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.lock import PATH, release, run_of, take
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record_look import seen


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": PATH},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force": {"type": "bool", "default": False},
            "record": {"type": "path", "default": ""},
            "machine": {"type": "str", "default": ""},
            "prefix": {"type": "path", "default": ""},
            "run": {"type": "dict"},
            "instead_of": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    given = module.params
    own = run_of(given["run"])
    if own is None:
        module.fail_json(msg="The run is not described. This module is used through its plugin on the control node.")
    held = None
    try:
        if not module.check_mode and given["state"] == "present":
            held = take(given["path"], own, run_of(given["instead_of"]), given["force"])
        elif not module.check_mode:
            release(given["path"], own)
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename or given["path"], error.strerror))
    if held:
        module.exit_json(changed=False, held_by=dataclasses.asdict(held))
    found = {"record": seen(given["record"], given["machine"])["record"]} if given["record"] else {}
    if given["prefix"]:
        found["current"] = linked_build(given["prefix"], "current")
    # A note that goes with the run is no change of the machine.
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
