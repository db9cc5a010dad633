#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_wheelhouse
short_description: Fetch Python packages for another machine and pack them into one archive
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Runs pip on this machine (usually the control node) for the Python of another one and packs the result, a wheelhouse, into a C(tar.gz) that only
    has to be unpacked there and put on C(PYTHONPATH). The other machine needs neither pip nor a way to a package index.
  - Only wheels are used, so nothing is compiled and nothing out of the packages runs here.
  - The archive's name tells the packages and the kind of machine. One that exists is used as it is.
  - Its last member is a file C(.complete), by which one knows that all of it was unpacked.
options:
  requirements:
    description: The packages, as pip understands them.
    type: list
    elements: str
    required: true
  environment:
    description: The other machine's Python, RV(herd.llama_cpp.python_environment_info#module:environment).
    type: dict
    required: true
  directory:
    description: Where the archives are kept. It is made where it is missing.
    type: path
    required: true
  executable:
    description: The Python whose pip is used.
    type: path
    required: true
  pip_options:
    description: More options for C(pip install).
    type: list
    elements: str
attributes:
  check_mode:
    description: Says whether the archive would have to be made.
    support: full
  diff_mode:
    description: An archive of other people's packages is nothing to show.
    support: none
seealso:
  - module: herd.llama_cpp.python_environment_info
"""

EXAMPLES = r"""
- name: Fetch the OpenAI client for the machine
  herd.llama_cpp.python_wheelhouse:
    requirements:
      - openai>=1.60
    environment: "{{ target.environment }}"
    directory: ~/.cache/herd.llama_cpp/wheels
    executable: "{{ ansible_playbook_python }}"
  delegate_to: localhost
"""

RETURN = r"""
name:
  description: The archive's name without its ending.
  returned: success
  type: str
  sample: openai-py3.11-0123456789ab
path:
  description: The archive. In check mode it need not be there.
  returned: success
  type: str
  sample: /root/.cache/herd.llama_cpp/wheels/openai-py3.11-0123456789ab.tar.gz
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.wheelhouse import WheelhouseError, wheelhouse_name, make_wheelhouse

_NEEDED = ("implementation", "libc", "machine", "markers", "platform_tags", "version")


def main():
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "list", "elements": "str", "required": True},
            "environment": {"type": "dict", "required": True},
            "directory": {"type": "path", "required": True},
            "executable": {"type": "path", "required": True},
            "pip_options": {"type": "list", "elements": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    show_what_is_plain(module, "pip_options", otherwise=[])
    given = module.params
    missing = [key for key in _NEEDED if key not in given["environment"]]
    if missing:
        module.fail_json(msg="environment lacks %s; give it what python_environment_info returns." % ", ".join(missing))
    if not given["requirements"]:
        module.fail_json(msg="requirements is empty; name at least one package.")
    name = wheelhouse_name(given["requirements"], given["environment"])
    path = os.path.join(given["directory"], name + ".tar.gz")
    changed = not os.path.exists(path)
    if changed and not module.check_mode:
        try:
            make_wheelhouse(
                given["executable"], given["requirements"], given["environment"], given["directory"], given["pip_options"]
            )
        except WheelhouseError as exc:
            module.fail_json(msg="%s." % exc)
        except OSError as exc:
            module.fail_json(msg="The wheelhouse cannot be written to %s: %s." % (given["directory"], exc.strerror))
    module.exit_json(changed=changed, name=name, path=path)


if __name__ == "__main__":
    main()
