# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_text
short_description: A plan as text for a terminal
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Writes a table of what each device holds, names the machines that are not needed and the commands that will run, or says why the
    model does not fit and what would make it fit.
options:
  _input:
    description: What P(herd.llama_cpp.cluster_plan#filter) returned.
    type: dict
    required: true
  model:
    description: What M(herd.llama_cpp.gguf_info) returned as RV(herd.llama_cpp.gguf_info#module:gguf).
    type: dict
    required: true
  machines:
    description: The machines the plan was made of, as P(herd.llama_cpp.plan_machines#filter) returns them.
    type: list
    elements: dict
    default: []
  server:
    description: The fact C(llama_server_settings) of the role P(herd.llama_cpp.llama_server#role). Without it, endpoints and commands are left out.
    type: dict
    default: {}
  notes:
    description: Lines for the end.
    type: list
    elements: str
    default: []
seealso:
  - plugin: herd.llama_cpp.plan_page
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the plan
  herd.llama_cpp.show_text:
    text: "{{ plan | herd.llama_cpp.plan_text(model.gguf) }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
  sample: "Llama 3.1 70B (llama, 80 layers, 40.3 GB, context 8192). MiB on each device: ..."
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import text as _plan_text
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import CommandsError, plan_commands


def plan_text(plan: t.Any, model: t.Any, machines: t.Any = (), server: t.Any = None, notes: t.Any = ()) -> str:
    """Return a plan as text."""
    if not isinstance(plan, t.Mapping) or not isinstance(model, t.Mapping):
        raise AnsibleFilterError("The plan_text filter takes a plan of cluster_plan and the model's facts of gguf_info.")
    try:
        return _plan_text.plan_text(plan, model, plan_commands(plan, server, machines) if server else (), [str(note) for note in notes])
    except CommandsError as error:
        raise AnsibleFilterError("The plan_text filter cannot name the commands: %s." % error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError("The plan_text filter cannot write this plan: %s %s." % (type(error).__name__, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_text": plan_text}
