#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: unit_directive_info
short_description: What a machine's systemd ignores in unit files
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - systemd starts a unit all the same when it does not know one of its directives or cannot read its value. A sandbox directive of a newer
    systemd, or one that is misspelled, is then silently not there.
  - Returns what C(systemd-analyze verify) says is ignored in unit files, and warns of each.
options:
  files:
    description: Paths of unit files. Template units are fine. A file that is not there is left out.
    type: list
    elements: path
    required: true
attributes:
  check_mode:
    description: The module changes nothing, so check mode makes no difference. It looks at the files that are there now.
    support: full
  diff_mode:
    description: The module changes nothing, so there is nothing to show.
    support: none
seealso:
  - module: herd.llama_cpp.unit_process_info
"""

EXAMPLES = r"""
- name: Find directives that this machine's systemd does not know
  herd.llama_cpp.unit_directive_info:
    files: [/etc/systemd/system/llama-rpc-server@.service]
  register: verified

- name: Fail when systemd does not know a directive
  ansible.builtin.assert:
    that: verified.ignored | length == 0
"""

RETURN = r"""
ignored:
  description: What is ignored, in the order of the lines. Empty where there is no C(systemd-analyze).
  returned: success
  type: list
  elements: dict
  contains:
    file:
      description: The unit file, or a drop-in of it.
      type: str
      sample: /etc/systemd/system/llama-rpc-server@.service
    line:
      description: Number of the line, from 1.
      type: int
      sample: 42
    reason:
      description: What systemd says about the line.
      type: str
      sample: Unknown key 'ProtectMoon' in section [Service], ignoring.
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import parse_verify


def main() -> None:
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "path", "required": True}},
        supports_check_mode=True,
    )
    analyze = module.get_bin_path("systemd-analyze")
    files = [path for path in module.params["files"] if os.path.isfile(path)]
    if analyze is None or not files:
        module.exit_json(changed=False, ignored=[])
    # Its exit code says whether all would start, which is another question.
    _rc, _out, err = module.run_command([analyze, "verify", "--man=no", *files], environ_update={"SYSTEMD_COLORS": "0"})
    ignored = parse_verify(err, files)
    for one in ignored:
        module.warn("%s line %d: %s What it should do is not done on this machine." % (one.file, one.line, one.reason))
    module.exit_json(changed=False, ignored=[{"file": one.file, "line": one.line, "reason": one.reason} for one in ignored])


if __name__ == "__main__":
    main()
