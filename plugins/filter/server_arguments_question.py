# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: server_arguments_question
short_description: By what it is known that a program was asked about its arguments before
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns what M(herd.llama_cpp.server_arguments_info) returns as RV(herd.llama_cpp.server_arguments_info#module:question) where it is asked this. Who
    has that answer already need not ask again in the same run.
options:
  _input:
    description: The arguments. What the module leaves out, such as the endpoints of workers, makes no difference.
    type: list
    elements: str
    required: true
  executable:
    description: The program, links resolved.
    type: str
    required: true
  environment:
    description: As O(herd.llama_cpp.server_arguments_info#module:environment). Only the names count, for a value may be secret and the ID is shown.
    type: dict
    default: {}
  user:
    description: As O(herd.llama_cpp.server_arguments_info#module:user).
    type: str
    required: true
  groups:
    description: As O(herd.llama_cpp.server_arguments_info#module:groups).
    type: list
    elements: str
    default: []
seealso:
  - module: herd.llama_cpp.server_arguments_info
"""

EXAMPLES = r"""
- name: Show whether this was asked before
  ansible.builtin.debug:
    msg: "{{ command_line.question == arguments | herd.llama_cpp.server_arguments_question(executable, user='llama-server') }}"
"""

RETURN = r"""
_value:
  description: The ID.
  type: str
  sample: 9f2c51d07ab0e1f49a58e0f8b2a7e6c4d3f1908b7a6c5d4e3f2019a8b7c6d5e4
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.argument_check import question


def server_arguments_question(arguments: t.Any, executable: t.Any, environment: t.Any = None, user: t.Any = "", groups: t.Any = ()) -> str:
    """Return the ID of what a program is asked about its arguments."""
    if isinstance(arguments, (str, t.Mapping)) or isinstance(groups, (str, t.Mapping)) or not isinstance(environment or {}, t.Mapping):
        raise AnsibleFilterError("server_arguments_question takes a list of arguments, a mapping of variables and a list of groups.")
    try:
        variables = {str(name): str(value) for name, value in (environment or {}).items()}
        return question(str(executable), [str(word) for word in arguments], variables, str(user), [str(group) for group in groups])
    except TypeError as error:
        raise AnsibleFilterError("server_arguments_question cannot read what it was given: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"server_arguments_question": server_arguments_question}
