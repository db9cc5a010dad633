# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_input_problems
short_description: What is missing before a cluster can be planned
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns what keeps the playbook C(plan.yml) from planning; a model, exactly one head, and the devices of every machine must be known.
options:
  _input:
    description: The variables of each machine, as C(hostvars) has them.
    type: list
    elements: dict
    required: true
  heads:
    description: The names of the machines in the group C(llama_host).
    type: list
    elements: str
    required: true
  given:
    description: The variables that say where the model is from, those of the role P(herd.llama_cpp.gguf_model#role).
    type: dict
    required: true
  model:
    description: The file or URL of another model.
    type: str
    default: ""
seealso:
  - plugin: herd.llama_cpp.plan_machines
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show that there is nothing to plan with
  ansible.builtin.debug:
    msg: "{{ [] | herd.llama_cpp.plan_input_problems([], {}) | herd.llama_cpp.problem_report }}"
"""

RETURN = r"""
_value:
  description: The problems, empty when all is there.
  type: list
  elements: dict
  sample:
    - machine: this machine
      problem: there is no model to plan for
      remedy: Give its path here or its URL, as in -e plan_model=/data/model.gguf, or say in the inventory where it is from (gguf_model_source)
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.machines import input_problems


def plan_input_problems(machines: t.Any, heads: t.Any, given: t.Any, model: t.Any = "") -> t.List[t.Dict[str, str]]:
    """Return what is missing for a plan."""
    try:
        return input_problems(list(machines), list(heads), given, str(model or ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("plan_input_problems cannot read what it was given: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_input_problems": plan_input_problems}
