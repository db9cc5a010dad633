#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_wheels
short_description: Install a CUDA toolkit that consists of NVIDIA's Python wheels
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Unpacks an archive of M(herd.llama_cpp.python_wheelhouse) with NVIDIA's wheels at O(prefix), and gives them the layout that nvcc and CMake expect,
    C(lib64) and library names without a version.
  - It changes and removes only what it made itself, which it knows by a file that it writes last, C(.herd.llama_cpp.json). What an
    interrupted run left does not count. It is made anew.
options:
  prefix:
    description: The toolkit's directory.
    type: path
    required: true
  archive:
    description: The archive, on the managed machine. Needed where the toolkit is not there yet.
    type: path
  requirements:
    description: What the archive was made of. Another list is another toolkit.
    type: list
    elements: str
    default: []
  state:
    description: Whether there is to be such a toolkit.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says whether something would be done.
    support: full
  diff_mode:
    description: Shows what it was made of before and after.
    support: full
  platform:
    description: Where it can run.
    support: full
    platforms: linux
seealso:
  - module: herd.llama_cpp.python_wheelhouse
"""

EXAMPLES = r"""
- name: Install the CUDA toolkit from its wheels
  herd.llama_cpp.cuda_wheels:
    prefix: ~/.local/share/herd.llama_cpp/toolchain/pip-cuda13.0
    archive: /var/tmp/cuda.tar.gz
    requirements: ["cuda-toolkit[cublas,cccl,crt,cudart,nvcc,nvvm]==13.0.*"]
"""

RETURN = r"""
prefix:
  description: The toolkit's directory.
  returned: success
  type: str
  sample: /home/me/.local/share/herd.llama_cpp/toolchain/pip-cuda13.0
nvcc:
  description: Its compiler. Empty in check mode where it is not there yet.
  returned: success
  type: str
  sample: /home/me/.local/share/herd.llama_cpp/toolchain/pip-cuda13.0/nvidia/cu13/bin/nvcc
cuda_version:
  description: The version it says.
  returned: success
  type: str
  sample: 13.0.88
"""

import os
import tarfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.toolkit_info import inspect
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.wheels import WheelsError, install


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "archive": {"type": "path"},
            "requirements": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    given = module.params
    prefix = os.path.normpath(given["prefix"])
    wanted = sorted(given["requirements"]) if given["state"] == "present" else []
    try:
        owned.refuse_foreign(prefix)
        state = owned.state_of(prefix)
        before = owned.read_marker(prefix).get("requirements", []) if state == owned.OURS else []
        if given["state"] == "absent":
            changed = state != owned.ABSENT
            if changed and not module.check_mode:
                owned.remove(prefix)
        else:
            changed = state != owned.OURS or before != wanted
            if changed and not module.check_mode:
                install(prefix, given["archive"] or "", wanted)
    except (WheelsError, owned.OwnedError) as error:
        text = str(error)
        module.fail_json(msg="%s%s." % (text[0].upper() if text.startswith("the ") else text[0], text[1:]))
    except (OSError, tarfile.TarError) as error:
        module.fail_json(msg="The toolkit cannot be installed in %s: %s." % (prefix, error))
    found = inspect(prefix)
    module.exit_json(
        changed=changed,
        prefix=prefix,
        nvcc=found["nvcc"],
        cuda_version=found["cuda_version"],
        diff={
            "before_header": prefix,
            "after_header": prefix,
            "before": "".join("%s\n" % item for item in before),
            "after": "".join("%s\n" % item for item in wanted),
        },
    )


if __name__ == "__main__":
    main()
