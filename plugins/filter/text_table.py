# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: text_table
short_description: Align a list of mappings as lines of text
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns a heading, a rule and one line for each row, columns aligned for a terminal, numbers to the right.
  - A value that is missing, null or empty is shown as C(-), so that unknown never looks like zero.
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  columns:
    description: The columns from left to right, the rows' keys mapped to the headings.
    type: dict
    required: true
  decimals:
    description: How many decimals a number with a fraction is shown with.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: Show which machine holds how much of the model
  ansible.builtin.debug:
    msg: "{{ devices | herd.llama_cpp.text_table(columns) }}"
  vars:
    columns: {machine: machine, layers: layers, weights_mib: weights MiB}
    devices:
      - {machine: worker1, layers: 15, weights_mib: 33.82}
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
  sample:
    - "machine  layers  weights MiB"
    - "-------  ------  -----------"
    - "worker1      15        33.82"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text_table import TableError, table_lines


def text_table(rows: t.Any, columns: t.Any, decimals: int = 2) -> t.List[str]:
    """Return the rows as aligned lines of text."""
    if not isinstance(columns, t.Mapping):
        raise AnsibleFilterError(
            "The text_table filter needs its columns as a mapping of keys to headings, not a %s." % type(columns).__name__
        )
    try:
        return table_lines(rows, columns, int(decimals))
    except (TableError, TypeError, ValueError) as error:
        raise AnsibleFilterError("The text_table filter cannot make a table: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"text_table": text_table}
