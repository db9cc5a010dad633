# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chat_check_tables
short_description: The tables in the report of an answer
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns what each device did for an answer, and what it was planned to hold and holds, as lines of text.
options:
  _input:
    description: The C(devices) of P(herd.llama_cpp.chat_check_evidence#filter).
    type: list
    elements: dict
    required: true
  rows:
    description: The C(rows) of P(herd.llama_cpp.plan_deviations#filter). Empty where there is no plan to compare with.
    type: list
    elements: dict
    default: []
seealso:
  - plugin: herd.llama_cpp.text_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show who had a part in the answer
  ansible.builtin.debug:
    msg: "{{ (chat_check_result.devices | herd.llama_cpp.chat_check_tables).devices }}"
"""

RETURN = r"""
_value:
  description: The tables.
  type: dict
  contains:
    devices:
      description: The lines of the table of devices, empty where there are none.
      type: list
      elements: str
    comparison:
      description: The lines of the table that compares the plan with what is, empty where there are no rows.
      type: list
      elements: str
    asked:
      description: Whether llama.cpp itself was asked before the start, so that its figures stand there too.
      type: bool
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text_table import TableError
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.report import tables


def chat_check_tables(devices: t.Any, rows: t.Any = ()) -> t.Dict[str, t.Any]:
    """Return the tables of the report."""
    try:
        return tables(list(devices), list(rows))
    except (TableError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("chat_check_tables cannot read the devices or the rows: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"chat_check_tables": chat_check_tables}
