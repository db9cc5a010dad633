#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_machine_info
short_description: Look at a machine of which nothing is known yet
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Connects to a machine, runs a shell script there, becomes root where the task's C(become) asks for it, and gathers facts as its own user. Whatever
    of that fails is returned and is no failure of the task, so that all that is wrong with a machine can be said at once.
  - The facts are set as M(ansible.builtin.setup) sets them, with those about hardware and network. They are gathered where the script printed
    C(kernel=Linux), and root is tried where it printed C(epoch=).
options:
  script:
    description: What the machine's shell runs, without root. It needs no Python.
    type: str
    required: true
attributes:
  action:
    description: It is an action plugin.
    support: full
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - plugin: herd.llama_cpp.preflight_machine_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the machine
  herd.llama_cpp.preflight_machine_info:
    script: |
      echo "epoch=$(date +%s)"
      echo "kernel=$(uname -s)"
  become: true
  register: seen

- name: Show why nobody can become root
  ansible.builtin.debug:
    msg: "{{ seen.become_message or seen.become_stderr }}"
  when: seen.reached and not seen.is_root
"""

RETURN = r"""
reached:
  description: Whether the machine could be reached.
  returned: always
  type: bool
  sample: true
reach_message:
  description: Why it could not.
  returned: always
  type: str
  sample: ""
shell_stdout:
  description: What the script printed.
  returned: always
  type: str
  sample: "epoch=1796060000\nkernel=Linux\n"
shell_stderr:
  description: What it printed to standard error.
  returned: always
  type: str
  sample: ""
now:
  description: The control node's clock when the script had answered, in seconds since 1970.
  returned: always
  type: int
  sample: 1796060000
is_root:
  description: Whether C(become) makes the user root.
  returned: always
  type: bool
  sample: true
become_message:
  description: Why becoming root ended without an answer.
  returned: always
  type: str
  sample: ""
become_stdout:
  description: The number of the user that it became, or what was said instead.
  returned: always
  type: str
  sample: "0\n"
become_stderr:
  description: What was said to standard error.
  returned: always
  type: str
  sample: ""
facts_message:
  description: Why facts could not be gathered.
  returned: always
  type: str
  sample: ""
facts_stderr:
  description: What gathering them printed to standard error.
  returned: always
  type: str
  sample: ""
"""
