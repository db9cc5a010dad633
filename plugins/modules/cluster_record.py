#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_record
short_description: Keep the record of what a cluster serves
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Writes the record that M(herd.llama_cpp.cluster_record_info) reads, in one step, or removes it.
  - A record that says the same as the one that is there, but for the time and for the memory that was free while a plan was kept, is not
    written again.
options:
  path:
    description:
      - Where the record is. Everyone may read it, and its directory is made so that everyone may look into it.
      - A directory that is there keeps its mode, unless it is this collection's own, C(/etc/llama.cpp).
    type: path
    default: /etc/llama.cpp/cluster.json
  record:
    description: What it says, as RV(herd.llama_cpp.cluster_record_info#module:record). Required with O(state=present).
    type: dict
  renew:
    description: Whether it is written again all the same, because something else than what it says was changed and proved with it, such as keys.
    type: bool
    default: false
  state:
    description: V(absent) removes it, its directory too where nothing else is in it.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: In check mode nothing is written or removed.
    support: full
  diff_mode:
    description: Shows the text of the record before and after.
    support: full
seealso:
  - module: herd.llama_cpp.cluster_record_info
"""

EXAMPLES = r"""
- name: Write the record of what the cluster serves
  herd.llama_cpp.cluster_record:
    record:
      head: head
      machines:
        head: {roles: [head], connection: {host: 192.168.1.100}}
      model: {path: /var/lib/llama.cpp/models/model.gguf}
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /etc/llama.cpp/cluster.json
"""

import dataclasses
import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import make_public, write_whole
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import PATH, RecordError, read, record_of, renewed, write


def text_of(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def wanted(given, before, renew):
    """The text that is to be there."""
    try:
        old = read(before) if before else None
    except RecordError:
        old = None
    new = dataclasses.replace(record_of(given), written=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return write(renewed(new, old, renew))


def put(path, text):
    """In one step, so that who reads it never sees half of it."""
    make_public(os.path.dirname(path))
    write_whole(path, text.encode("utf-8", "surrogateescape"), 0o644)


def show(module, path):
    """Whether it was hidden from others, by its own mode or by that of the directory that is ours: the next run looks as whoever logs in there."""
    hidden = module.set_mode_if_different(path, "0644", False)
    directory = os.path.dirname(path)
    return module.set_mode_if_different(directory, "0755", hidden) if directory == os.path.dirname(PATH) else hidden


def take_away(path):
    for one in (path, os.path.join(os.path.dirname(path), "plan.json")):
        if os.path.lexists(one):
            os.unlink(one)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:
        # Something else is in it, or it is not there.
        pass


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": PATH},
            "record": {"type": "dict"},
            "renew": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("record",))],
        supports_check_mode=True,
    )
    path, state = module.params["path"], module.params["state"]
    try:
        before = text_of(path)
        after = wanted(module.params["record"], before, module.params["renew"]) if state == "present" else ""
        old_plan = os.path.join(os.path.dirname(path), "plan.json")
        changed = before != after or (os.path.lexists(old_plan) if state == "absent" else False)
        if changed and not module.check_mode:
            if state == "present":
                put(path, after)
            else:
                take_away(path)
        if state == "present":
            changed = show(module, path) or changed
    except RecordError as error:
        module.fail_json(msg="The record cannot be written: %s." % error)
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename or path, error.strerror))
    module.exit_json(changed=changed, path=path, diff={"before": before, "after": after, "before_header": path, "after_header": path})


if __name__ == "__main__":
    main()
