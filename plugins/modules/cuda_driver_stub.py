#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_driver_stub
short_description: Provide a libcuda.so to link with where there is no NVIDIA driver
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Makes a directory with C(libcuda.so) and C(libcuda.so.1) for the linker. They are links to the toolkit's own stub where it has one, and else a
    library with every function that the toolkit's C(cuda.h) declares.
  - Programs must never find it when they run. Do not put the directory into an C(RPATH).
options:
  directory:
    description: The directory. It should be the build's own.
    type: path
    required: true
  stub:
    description: The toolkit's own stub, empty where it has none.
    type: path
    default: ""
  header:
    description: The toolkit's C(cuda.h).
    type: path
    required: true
  compiler:
    description: A C compiler.
    type: path
    required: true
attributes:
  check_mode:
    description: Says whether something would be made.
    support: full
  diff_mode:
    description: A library is nothing to show.
    support: none
  platform:
    description: Where it can run.
    support: full
    platforms: linux
seealso:
  - module: herd.llama_cpp.cuda_toolkit_info
"""

EXAMPLES = r"""
- name: Create a stub of the CUDA driver to link against
  herd.llama_cpp.cuda_driver_stub:
    directory: /var/tmp/build/stubs
    header: /opt/toolkit/include/cuda.h
    compiler: /usr/bin/gcc
"""

RETURN = r"""
library:
  description: The library to name to the linker.
  returned: success
  type: str
  sample: /var/tmp/build/stubs/libcuda.so
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.wheels import WheelsError, make_stub


def _link(target: str, path: str) -> None:
    os.symlink(target, path + ".new")
    os.replace(path + ".new", path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "stub": {"type": "path", "default": ""},
            "header": {"type": "path", "required": True},
            "compiler": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    directory, stub = given["directory"], given["stub"]
    library, versioned = os.path.join(directory, "libcuda.so"), os.path.join(directory, "libcuda.so.1")
    if stub and not os.path.exists(stub):
        module.fail_json(msg="There is no stub %s; leave it empty, and one is made from cuda.h." % stub)
    try:
        made = os.path.exists(library) and (os.readlink(versioned) == stub if stub else not os.path.islink(versioned))
        if not made and not module.check_mode:
            os.makedirs(directory, exist_ok=True)
            if stub:
                _link(stub, versioned)
            else:
                make_stub(directory, given["header"], given["compiler"])
            _link("libcuda.so.1", library)
    except WheelsError as error:
        module.fail_json(msg="%s." % error)
    except OSError as error:
        module.fail_json(msg="%s cannot be written: %s." % (error.filename or directory, error.strerror))
    module.exit_json(changed=not made, library=library)


if __name__ == "__main__":
    main()
