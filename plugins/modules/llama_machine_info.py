#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_machine_info
short_description: Report what matters for building and running llama.cpp on a machine
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Reports the processor's flags, the distribution, the C library, memory and free disk space of a machine, which
    commands it has, and which llama.cpp builds are installed under a prefix.
  - It reads files only and starts no other program, so one call is quick.
attributes:
  check_mode:
    description: Can run in check mode and changes nothing.
    support: full
  diff_mode:
    description: Has nothing to show in diff mode.
    support: none
  platform:
    description: Where it can run.
    support: full
    platforms: linux
options:
  prefix:
    description:
      - The directory under which the C(llama_cpp) role keeps builds. Nothing is looked for when it is empty.
    type: path
    default: ""
  paths:
    description:
      - Directories whose file systems' free space is wanted. They need not exist yet.
    type: list
    elements: path
    default: []
  commands:
    description:
      - Names of commands to look for.
    type: list
    elements: str
    default: []
seealso:
  - plugin: herd.llama_cpp.ggml_cpu_options
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the state of the machine's builds
  herd.llama_cpp.llama_machine_info:
    prefix: /opt/llama.cpp
    paths:
      - /opt/llama.cpp
    commands:
      - cmake
      - ninja
  register: machine

- name: Show the build in use
  ansible.builtin.debug:
    msg: "{{ machine.current }} on {{ machine.cpu_model }}"
"""

RETURN = r"""
architecture:
  description: The architecture as C(uname -m) says it.
  returned: always
  type: str
  sample: x86_64
builds:
  description:
    - What the stamp files of the installed builds say, the build that was installed last first.
    - A directory that an interrupted run left is not among them.
  returned: always
  type: list
  elements: dict
  sample:
    - id: 0123456789abcdef
      components: [worker]
      version: b11434
commands:
  description: The path of each command that was asked for, empty where it is missing.
  returned: always
  type: dict
  sample:
    cmake: /usr/bin/cmake
    ninja: ""
cpu_count:
  description: How many processors can be used.
  returned: always
  type: int
  sample: 16
cpu_flags:
  description: The flags of the first processor.
  returned: always
  type: list
  elements: str
  sample: [avx, avx2, fma]
cpu_model:
  description: The processor's name, empty where Linux does not tell it.
  returned: always
  type: str
  sample: AMD EPYC
current:
  description: The id of the build that C(current) points at, empty where there is none.
  returned: always
  type: str
  sample: 0123456789abcdef
distribution:
  description: The distribution's identifier from C(os-release).
  returned: always
  type: str
  sample: debian
distribution_release:
  description: The major part of the distribution's version.
  returned: always
  type: str
  sample: "12"
free_mib:
  description: For each path that was asked for, the free space of its file system in MiB.
  returned: always
  type: dict
  sample:
    /opt/llama.cpp: 81234
libc:
  description: Name and version of the C library, empty where it is not the GNU one.
  returned: always
  type: str
  sample: glibc 2.36
memory_available_mib:
  description: How much of it programs can have without swapping, in MiB.
  returned: always
  type: int
  sample: 61880
memory_mib:
  description: The machine's memory in MiB.
  returned: always
  type: int
  sample: 64216
previous:
  description: The id of the build that was in use before the current one, empty where there is none.
  returned: always
  type: str
  sample: fedcba9876543210
user_id:
  description: The number of the user the module ran as; 0 is root.
  returned: always
  type: int
  sample: 0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.machine import describe_machine


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "default": ""},
            "paths": {"type": "list", "elements": "path", "default": []},
            "commands": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    facts = describe_machine(module.params["prefix"], module.params["paths"], module.params["commands"])
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
