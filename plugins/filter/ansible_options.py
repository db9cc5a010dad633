# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ansible_options
short_description: The options with which a command of Ansible reaches the same machines again
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Names the inventories, and what this run was told of how to log in and to become root, for a command that is shown to the operator.
  - Where this run asked for a password, the command will ask too. No password is in the result.
options:
  _input:
    description: The inventories, as C(ansible_inventory_sources) has them.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the command that reports the status
  ansible.builtin.debug:
    msg: "ansible-playbook status.yml {{ ansible_inventory_sources | herd.llama_cpp.ansible_options | map('quote') | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The options, each word for itself and not quoted.
  type: list
  elements: str
  sample: [-i, inventories/mine, -u, admin, --ask-become-pass]
"""

import typing as t

from ansible import context
from ansible.errors import AnsibleFilterError

# By ansible.cli.arguments.option_helpers: what the run was told, and how a command is told the same.
_SWITCHES = (("ask_pass", "--ask-pass"), ("become_ask_pass", "--ask-become-pass"), ("ask_vault_pass", "--ask-vault-password"))
_VALUES = (
    ("remote_user", "--user"), ("private_key_file", "--private-key"), ("connection_password_file", "--connection-password-file"),
    ("become_password_file", "--become-password-file"), ("vault_password_files", "--vault-password-file"), ("vault_ids", "--vault-id"),
)


def ansible_options(inventories: t.Any) -> t.List[str]:
    """Return the options for these inventories and for how this run reaches machines."""
    if isinstance(inventories, str) or not isinstance(inventories, t.Iterable):
        raise AnsibleFilterError("The ansible_options filter needs a list of inventories.")
    told = context.CLIARGS
    options = [word for inventory in inventories for word in ("-i", str(inventory))]
    for key, option in _VALUES:
        value = told.get(key)
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each:
                options += [option, str(each)]
    return options + [option for key, option in _SWITCHES if told.get(key)]


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"ansible_options": ansible_options}
