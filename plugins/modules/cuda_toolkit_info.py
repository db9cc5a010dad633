#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_toolkit_info
short_description: The CUDA toolkits and host compilers on a machine
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Looks at the toolkits that this collection installed in O(directory), at the machine's own toolkit and at its compilers.
  - What nvcc takes for a host compiler is read from the toolkit's own header C(crt/host_config.h).
  - A machine without a toolkit is no error.
options:
  directory:
    description: The directory that the C(cuda_toolkit) role keeps toolkits in.
    type: path
    required: true
  system:
    description: Whether to look for a toolkit of the machine's own, too.
    type: bool
    default: false
  system_prefix:
    description: Where that one is. Otherwise C(CUDA_HOME), C(CUDA_PATH), C(/usr/local/cuda*), C(/opt/cuda) and nvcc on C(PATH) are looked at.
    type: path
    default: ""
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - plugin: herd.llama_cpp.cuda_toolkit_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Find the installed CUDA toolkits
  herd.llama_cpp.cuda_toolkit_info:
    directory: ~/.local/share/herd.llama_cpp/toolchain
    system: true
  register: cuda

- name: Show the version of nvcc
  ansible.builtin.debug:
    msg: "{{ cuda.system.nvcc | default('none') }}"
"""

RETURN = r"""
architecture:
  description: The architecture as C(uname -m) says it.
  returned: success
  type: str
  sample: x86_64
libc:
  description: Name and version of the C library, empty where it is not the GNU one.
  returned: success
  type: str
  sample: glibc 2.36
directory:
  description: The directory, C(~) resolved.
  returned: success
  type: str
  sample: /home/me/.local/share/herd.llama_cpp/toolchain
writable:
  description: Whether the user can write there, or make it.
  returned: success
  type: bool
  sample: true
free_mib:
  description: The free space of its file system in MiB.
  returned: success
  type: int
  sample: 81234
entries:
  description: For each name in the directory whose it is, V(ours), V(unfinished), V(foreign) or V(absent) when it is empty.
  returned: success
  type: dict
  sample: {"conda-cuda12.4-gcc13": "ours"}
toolkits:
  description: The toolkits in it that are ours and whole. Each has the keys of RV(system), and C(name) and C(marker).
  returned: success
  type: list
  elements: dict
  sample: []
system:
  description: The machine's own toolkit, empty where there is none or it was not looked for.
  returned: success
  type: dict
  contains:
    prefix:
      description: Its directory.
      type: str
      sample: /usr/local/cuda
    root:
      description: Where its C(bin) and C(include) are.
      type: str
      sample: /usr/local/cuda
    nvcc:
      description: Its compiler, empty where there is none.
      type: str
      sample: /usr/local/cuda/bin/nvcc
    nvcc_leads_outside:
      description: Whether that is a link to somewhere else.
      type: bool
      sample: false
    cuda_version:
      description: The version nvcc says.
      type: str
      sample: 12.4.131
    newest_gcc:
      description: The newest gcc it takes, 0 where it does not say.
      type: int
      sample: 13
    header:
      description: Its C(cuda.h).
      type: str
      sample: /usr/local/cuda/include/cuda.h
    has_cublas:
      description: Whether it has cuBLAS.
      type: bool
      sample: true
    stub:
      description: Its stand-in for the driver's library to link with, empty where it has none.
      type: str
      sample: /usr/local/cuda/lib64/stubs/libcuda.so
    library_dirs:
      description: Where its libraries are.
      type: list
      elements: str
      sample: [/usr/local/cuda/lib64]
    cc:
      description: The C compiler in it, as conda environments have one. C(cxx) and C(gcc_version) go with it.
      type: str
      sample: ""
    cmake:
      description: The CMake in it. C(ninja) and C(ccache) likewise.
      type: str
      sample: ""
looked_at:
  description: Where a toolkit of the machine's own was looked for.
  returned: success
  type: list
  elements: str
  sample: [/usr/local/cuda, /opt/cuda]
compilers:
  description: Every gcc that has its g++, the default first, then the newest.
  returned: success
  type: list
  elements: dict
  sample: [{"cc": /usr/bin/gcc, "cxx": /usr/bin/g++, "version": 12.2.0}]
has_driver_library:
  description: Whether a program that needs the driver's library C(libcuda.so.1) would find it.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.toolkit_info import describe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "system": {"type": "bool", "default": False},
            "system_prefix": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    module.exit_json(changed=False, **describe(given["directory"], given["system_prefix"], given["system"]))


if __name__ == "__main__":
    main()
