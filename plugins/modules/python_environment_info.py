#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_environment_info
short_description: Describe a machine's Python so that packages for it can be fetched elsewhere
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns version, platform tags and environment markers of the Python that Ansible's modules run with on the machine.
  - M(herd.llama_cpp.python_wheelhouse) takes the result as it is.
options: {}
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.python_wheelhouse
"""

EXAMPLES = r"""
- name: Read the machine's Python environment
  herd.llama_cpp.python_environment_info:
  register: target
"""

RETURN = r"""
environment:
  description: The Python and its machine.
  returned: success
  type: dict
  contains:
    executable:
      description: Path of the interpreter.
      type: str
      sample: /usr/bin/python3
    implementation:
      description: Name of the implementation.
      type: str
      sample: cpython
    version:
      description: Version that wheels are made for.
      type: str
      sample: "3.11"
    full_version:
      description: Full version.
      type: str
      sample: 3.11.2
    machine:
      description: The processor architecture.
      type: str
      sample: x86_64
    libc:
      description: The C library, V(glibc) or V(musl), empty when unknown.
      type: str
      sample: glibc
    libc_version:
      description: Its version.
      type: str
      sample: "2.36"
    platform_tags:
      description: Platform tags of wheels that run there, the most specific first.
      type: list
      elements: str
      sample: [manylinux_2_36_x86_64, manylinux2014_x86_64, linux_x86_64]
    markers:
      description: Environment markers.
      type: dict
      sample: {"python_version": "3.11", "sys_platform": "linux"}
    user_id:
      description: Number of the user the module ran as.
      type: int
      sample: 0
    home:
      description: That user's home directory.
      type: str
      sample: /root
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.wheelhouse import describe_environment


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, environment=describe_environment())


if __name__ == "__main__":
    main()
