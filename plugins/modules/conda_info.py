#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_info
short_description: Find conda on a machine and what its channels have
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Finds C(conda), C(mamba) or C(micromamba) and asks it which versions of a package there are.
  - It looks at O(executable), or else at O(prefix), at the user's C(PATH) and where installers put it in a home directory, in C(/opt) and in
    C(/usr/local). With O(environment_modules) it looks at the C(PATH) that these set.
  - A machine without conda is no error. RV(executable) is empty then.
options:
  executable:
    description: Path or name of the command, or the directory it was installed to.
    type: str
    default: ""
  environment_modules:
    description: Environment modules to load first, such as V(anaconda3/2023.09). Tcl modules and Lmod will do.
    type: list
    elements: str
    default: []
  prefix:
    description: An installation that is looked at before C(PATH).
    type: path
  search:
    description: A package to look for in the channels, such as V(cuda-toolkit) or V(cuda-toolkit=12.*).
    type: str
    default: ""
  channels:
    description: The channels. No others are asked, whatever the machine's own settings say. C(conda-forge) when not given.
    type: list
    elements: str
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.conda_environment
"""

EXAMPLES = r"""
- name: List the CUDA toolkits of the channel
  herd.llama_cpp.conda_info:
    environment_modules: [anaconda3/2023.09]
    search: cuda-toolkit
  register: conda

- name: Show the CUDA toolkits
  ansible.builtin.debug:
    msg: "{{ conda.kind }} {{ conda.version }} has {{ conda.versions | join(', ') }}"
"""

RETURN = r"""
executable:
  description: The command's path, empty where there is none.
  returned: success
  type: str
  sample: /opt/miniforge3/bin/conda
kind:
  description: V(conda), V(mamba) or V(micromamba), empty where there is none.
  returned: success
  type: str
  sample: conda
version:
  description: Its version.
  returned: success
  type: str
  sample: 24.7.1
environment:
  description: What the environment modules set. The command needs it whenever it is run.
  returned: success
  type: dict
  sample: {"PATH": "/apps/anaconda3/bin:/usr/bin:/bin"}
versions:
  description: The versions that were found, each once, the oldest first.
  returned: success
  type: list
  elements: str
  sample: [12.0.0, 12.4.1]
packages:
  description: The packages that were found.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: cuda-toolkit
    version:
      description: The version.
      type: str
      sample: 12.4.1
    build:
      description: The build.
      type: str
      sample: h0_0
    channel:
      description: Where it is.
      type: str
      sample: conda-forge
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.conda import CondaError, find_conda, search, shown_channel


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "executable": {"type": "str", "default": ""},
            "environment_modules": {"type": "list", "elements": "str", "default": []},
            "prefix": {"type": "path"},
            "search": {"type": "str", "default": ""},
            "channels": {"type": "list", "elements": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    show_what_is_plain(module, "channels", shown_channel, otherwise=["conda-forge"])
    given = module.params
    try:
        conda = find_conda(given["executable"], given["environment_modules"], given["prefix"] or "")
        packages = search(conda, given["search"], given["channels"]) if conda and given["search"] else []
    except CondaError as error:
        text = str(error)
        module.fail_json(msg="%s%s." % (text[0].upper() if text.startswith("the ") else text[0], text[1:]))
    module.exit_json(
        changed=False,
        executable=conda.executable if conda else "",
        kind=conda.kind if conda else "",
        version=conda.version if conda else "",
        environment=conda.environment if conda else {},
        versions=list(dict.fromkeys(package.version for package in packages)),
        packages=[asdict(package) for package in packages],
    )


if __name__ == "__main__":
    main()
