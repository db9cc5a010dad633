# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_cluster_problems
short_description: Judge the shape of a cluster and its machines beside each other
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns what is wrong with the inventory as a whole. There must be exactly one head, no machine twice under two names, no
    address on two machines and no endpoint twice.
  - It is the judging half of the role C(herd.llama_cpp.preflight), which collects the input.
options:
  _input:
    description:
      - The machines, each a mapping with C(machine) and C(finished) and, where known, C(shell_stdout), C(cluster_address) and
        C(endpoints).
    type: list
    elements: dict
    required: true
  heads:
    description: The names of the machines in the group C(llama_host).
    type: list
    elements: str
    required: true
  former:
    description: Names and addresses of machines whose llama-server a deployment takes away.
    type: list
    elements: str
    default: []
  expected:
    description: The names of the machines that were to be looked at. One that is not among the machines was not looked at to the end.
    type: list
    elements: str
    default: []
seealso:
  - plugin: herd.llama_cpp.preflight_machine_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Check an inventory without a head
  ansible.builtin.set_fact:
    problems: "{{ [] | herd.llama_cpp.preflight_cluster_problems([]) }}"
"""

RETURN = r"""
_value:
  description: The problems, empty when all is well.
  type: list
  elements: dict
  sample:
    - machine: inventory
      problem: no machine is in the group llama_host
      remedy: put exactly one there, the machine that loads the model and serves the API
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.preflight import cluster_problems


def preflight_cluster_problems(machines: t.Any, heads: t.Any, former: t.Any = (), expected: t.Any = ()) -> t.List[t.Dict[str, str]]:
    """Return what is wrong with the cluster as a whole."""
    try:
        names = [machine["machine"] for machine in machines]
        lost = [{"machine": name, "finished": False} for name in expected if name not in names]
        return cluster_problems(list(heads), list(machines) + lost, list(former))
    except KeyError as error:
        raise AnsibleFilterError("The preflight_cluster_problems filter misses %s in its input." % error) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("The preflight_cluster_problems filter cannot read its input: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"preflight_cluster_problems": preflight_cluster_problems}
