# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_taken_arguments
short_description: The arguments of llama-server that a variable of the role llama_server says
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Finds in a list of more arguments for C(llama-server), or of names of its environment, those that have a variable of their own, and names
    both in words for a sentence. What they decide is planned for only when the variable says it.
options:
  _input:
    description: The arguments, or the names.
    type: list
    elements: str
    required: true
  planned:
    description: Whether to name also what would change a plan and has no variable.
    type: bool
    default: false
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Report the arguments that llama-server does not take
  ansible.builtin.debug:
    msg: "{{ ['--mmproj', '/srv/mmproj.gguf', '--no-mmap'] | herd.llama_cpp.llama_taken_arguments }}"
"""

RETURN = r"""
_value:
  description: The arguments with their variables, empty where there are none.
  type: str
  sample: --mmproj (set llama_server_mmproj)
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import taken_arguments, taken_text


def llama_taken_arguments(arguments: t.Any, planned: bool = False) -> str:
    """Return the arguments that a variable says, with the variable."""
    if isinstance(arguments, (str, bytes, t.Mapping)) or not isinstance(arguments, t.Iterable):
        raise AnsibleFilterError("llama_taken_arguments takes a list of arguments, not a %s." % type(arguments).__name__)
    return taken_text(taken_arguments(list(arguments), bool(planned)))


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_taken_arguments": llama_taken_arguments}
