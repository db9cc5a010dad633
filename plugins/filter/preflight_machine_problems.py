# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_machine_problems
short_description: Judge what the preflight role saw on one machine
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns the reasons why a machine cannot have a part in the cluster, as a list for
    P(herd.llama_cpp.problem_report#filter).
  - It is the judging half of the role C(herd.llama_cpp.preflight), which collects the input.
options:
  _input:
    description:
      - What was seen on the machine. C(machine), C(reached), C(serves) and C(now) are always needed.
      - C(shell_stdout) has the C(name=value) lines of the role's shell commands, C(facts) what M(ansible.builtin.setup) returned.
    type: dict
    required: true
  limits:
    description:
      - What to ask for, the keys C(architectures), C(distributions), C(allow_other_distributions), C(python_min),
        C(memory_mib_min), C(disk_free_mib_min) and C(clock_tolerance_s).
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.preflight_cluster_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Check a machine that did not answer
  ansible.builtin.set_fact:
    problems: "{{ seen | herd.llama_cpp.preflight_machine_problems({}) }}"
  vars:
    seen: {machine: worker1, reached: false, reach_message: No route to host, serves: true, now: 0}
"""

RETURN = r"""
_value:
  description: The problems, empty when the machine is fit.
  type: list
  elements: dict
  sample:
    - machine: worker1
      problem: "it is out of reach: No route to host"
      remedy: switch it on, or correct its address, user or SSH key in the inventory
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.preflight import machine_problems


def preflight_machine_problems(seen: t.Any, limits: t.Any) -> t.List[t.Dict[str, str]]:
    """Return what is wrong with one machine."""
    if not isinstance(seen, t.Mapping) or not isinstance(limits, t.Mapping):
        raise AnsibleFilterError("The preflight_machine_problems filter needs two mappings, what was seen and the limits.")
    try:
        return machine_problems(seen, limits)
    except KeyError as error:
        raise AnsibleFilterError("The preflight_machine_problems filter misses %s in its input." % error) from error
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError("The preflight_machine_problems filter cannot read its input: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"preflight_machine_problems": preflight_machine_problems}
