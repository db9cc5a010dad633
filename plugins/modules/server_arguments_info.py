#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_arguments_info
short_description: See whether an installed llama-server or rpc-server takes a command line
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Lets the binary read its arguments and the variables of its environment, print its usage and end. No model is opened, no port is used, and
    no worker is spoken to, so that it can be asked while another one serves.
  - What names workers or their devices (C(--rpc), C(--device) and the like) is left out, because reading it connects to them.
options:
  binary:
    description: Path of the program.
    type: path
    required: true
  program:
    description: Which program it is, and so how it says what it does not take.
    type: str
    choices: [llama-server, rpc-server]
    default: llama-server
  arguments:
    description: Its arguments.
    type: list
    elements: str
    required: true
  environment:
    description: Variables that it is started with. Some of llama.cpp's are arguments too.
    type: dict
    default: {}
  user:
    description:
      - The user that it runs as, who must be able to read the files that arguments name. Where there is no such user on the machine, nothing runs as
        that user and nothing is asked.
    type: str
    required: true
  groups:
    description: Further groups of the service.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.cluster_plan_info
  - plugin: herd.llama_cpp.server_arguments_question
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Check that llama-server takes its arguments
  herd.llama_cpp.server_arguments_info:
    binary: /opt/llama.cpp/current/bin/llama-server
    arguments: [--model, /srv/models/model.gguf, --ctx-size, "8192", --temp, "0.2"]
    user: llama-server
  register: command_line
"""

RETURN = r"""
refused:
  description: Why it does not take them, in its own words; empty where it does.
  returned: success
  type: str
  sample: "invalid argument: --tempp"
asked:
  description: Whether it was asked. It was not where there is no such user.
  returned: success
  type: bool
  sample: true
question:
  description:
    - An ID of what it was asked, P(herd.llama_cpp.server_arguments_question#filter), by which who comes later sees that this needs no answer again.
      Empty where it was not asked.
  returned: success
  type: str
  sample: 9f2c51d07ab0e1f49a58e0f8b2a7e6c4d3f1908b7a6c5d4e3f2019a8b7c6d5e4
"""

import grp
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.argument_check import PROGRAMS, question, refused_arguments


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "binary": {"type": "path", "required": True},
            "program": {"type": "str", "choices": list(PROGRAMS), "default": "llama-server"},
            "arguments": {"type": "list", "elements": "str", "required": True},
            # Its values are for the service alone, and never shown.
            "environment": {"type": "dict", "default": {}},
            "user": {"type": "str", "required": True},
            "groups": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode and not os.path.exists(given["binary"]):
        module.exit_json(changed=False, refused="", asked=False, question="")
    try:
        user = pwd.getpwnam(given["user"])
    except KeyError:
        module.exit_json(changed=False, refused="", asked=False, question="")
    try:
        groups = [grp.getgrnam(name).gr_gid for name in given["groups"]]
    except KeyError as error:
        module.fail_json(msg="There is no group of this name on the machine: %s." % error.args[0])
    environment = {name: str(value) for name, value in given["environment"].items()}
    who = (user.pw_uid, user.pw_gid, groups) if os.geteuid() == 0 else ()
    try:
        refused = refused_arguments(given["binary"], given["arguments"], environment, *who, program=given["program"])
    except subprocess.TimeoutExpired as error:
        module.fail_json(msg="%s did not print its usage within %d s." % (given["binary"], error.timeout))
    except (OSError, subprocess.SubprocessError) as error:
        module.fail_json(msg="The user %s cannot run %s: %s." % (given["user"], given["binary"], getattr(error, "strerror", None) or error))
    asked = question(os.path.realpath(given["binary"]), given["arguments"], environment, given["user"], given["groups"])
    module.exit_json(changed=False, refused=printable(refused), asked=True, question=asked)


if __name__ == "__main__":
    main()
