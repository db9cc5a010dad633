# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_page
short_description: What the page of a plan shows
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what P(herd.llama_cpp.cluster_plan#filter) returns and says what the template C(plan.html.j2) of the role
    P(herd.llama_cpp.cluster_plan#role) prints; the machines and their devices to scale in memory, with what each holds, the layers, the links from
    the head to its workers, and the commands that the units of the roles will have.
  - The same input gives the same page, so writing it again changes nothing.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  machines:
    description: The machines the plan was made of, as P(herd.llama_cpp.plan_machines#filter) returns them. Those that are not needed are drawn, too.
    type: list
    elements: dict
    required: true
  server:
    description: The fact C(llama_server_settings) of the role P(herd.llama_cpp.llama_server#role). Without it, endpoints and commands are left out.
    type: dict
    default: {}
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
  - plugin: herd.llama_cpp.plan_text
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show which devices are drawn
  ansible.builtin.debug:
    msg: "{{ (plan | herd.llama_cpp.plan_page(machines)).picture.description }}"
"""

RETURN = r"""
_value:
  description: What the template prints. Nothing in it is escaped.
  type: dict
  sample: {title: Plan for A 70B, facts: "llama \u00b7 80 layers \u00b7 a context of 8192 tokens"}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import page as _plan_page
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import CommandsError, plan_commands


def plan_page(plan: t.Any, machines: t.Any, server: t.Any = None, model: t.Any = None, source: str = "") -> t.Dict[str, t.Any]:
    """Return what a page has of a plan."""
    if not isinstance(plan, t.Mapping) or "devices" not in plan:
        raise AnsibleFilterError("The plan_page filter takes what cluster_plan returns.")
    if isinstance(machines, (str, bytes)) or not isinstance(machines, t.Sequence):
        raise AnsibleFilterError("The plan_page filter takes the machines as a list, not a %s." % type(machines).__name__)
    try:
        return _plan_page.plan_page(plan, machines, plan_commands(plan, server, machines) if server else (), model or {}, str(source))
    except CommandsError as error:
        raise AnsibleFilterError("The plan_page filter cannot name the commands: %s." % error) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("The plan_page filter cannot draw this plan: %s %s." % (type(error).__name__, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_page": plan_page}
