# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mistyped_groups
short_description: Find groups of the inventory that were meant to be others
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - A group counts where its name is nearly that of a wanted group which has no machine itself. Its machines would be left out without a word.
options:
  _input:
    description: The groups of the inventory with the names of their machines, as in RV(ignore:groups).
    type: dict
    required: true
  wanted:
    description: The groups that are used.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Check the group names
  ansible.builtin.assert:
    that: groups | herd.llama_cpp.mistyped_groups(['llama_host', 'llama_rpc']) | length == 0
"""

RETURN = r"""
_value:
  description: The groups with what they were meant to be.
  type: dict
  sample: {llama_rcp: llama_rpc}
"""

import difflib
import typing as t

from ansible.errors import AnsibleFilterError


def mistyped_groups(groups: t.Any, wanted: t.Any) -> t.Dict[str, str]:
    """Return the groups that were meant to be others, with those."""
    if not isinstance(groups, t.Mapping) or not isinstance(wanted, t.Sequence) or isinstance(wanted, str):
        raise AnsibleFilterError("mistyped_groups takes groups with their machines, and a list of names.")
    empty = [name for name in wanted if not groups.get(name)]
    near = {name: difflib.get_close_matches(name, empty, n=1, cutoff=0.8) for name, machines in groups.items() if machines and name not in wanted}
    return {name: found[0] for name, found in near.items() if found}


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"mistyped_groups": mistyped_groups}
