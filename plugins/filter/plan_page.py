# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_page
short_description: A plan as one HTML page with a picture
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what P(herd.llama_cpp.cluster_plan#filter) returns and draws the machines and their devices to scale in memory, with what
    each holds, the layers, the links from the head to its workers, and the commands.
  - The page is one file that loads nothing and runs no script. It follows the browser's light or dark setting and can be printed.
  - The same input gives the same page, so writing it again changes nothing.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  machines:
    description: The machines the plan was made of. Those that are not needed are drawn, too.
    type: list
    elements: dict
    required: true
  commands:
    description: What P(herd.llama_cpp.plan_commands#filter) returned.
    type: list
    elements: dict
    default: []
  model:
    description: What M(herd.llama_cpp.gguf_info) returned as RV(herd.llama_cpp.gguf_info#module:gguf).
    type: dict
    default: {}
  source:
    description: Where the model was read.
    type: str
    default: ""
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
  - plugin: herd.llama_cpp.plan_commands
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: "{{ plan | herd.llama_cpp.plan_page(machines, commands=commands, model=model.gguf) }}"
    dest: plan.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
  sample: <!DOCTYPE html>...
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import page as _plan_page


def plan_page(plan: t.Any, machines: t.Any, commands: t.Any = (), model: t.Any = None, source: str = "") -> str:
    """Return a plan as HTML."""
    if not isinstance(plan, t.Mapping) or "devices" not in plan:
        raise AnsibleFilterError("The plan_page filter takes what cluster_plan returns.")
    for what, value in (("machines", machines), ("commands", commands)):
        if isinstance(value, (str, bytes)) or not isinstance(value, t.Sequence):
            raise AnsibleFilterError("The plan_page filter takes the %s as a list, not a %s." % (what, type(value).__name__))
    try:
        return _plan_page.plan_page(plan, machines, commands, model or {}, str(source))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("The plan_page filter cannot draw this plan: %s %s." % (type(error).__name__, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_page": plan_page}
