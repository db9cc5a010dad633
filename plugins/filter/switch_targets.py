# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: switch_targets
short_description: What each machine is to run, with one common version to go back to
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what each machine is to run and what it would go back to, and replaces the latter by what the record of the cluster says served last.
    After a switch that was interrupted the machines point at different versions, and the record has one for all.
options:
  _input:
    description: The machines' variables, as C(hostvars) has them. Those without C(llama_cpp_target) are left out.
    type: list
    elements: dict
    required: true
  recorded:
    description: RV(herd.llama_cpp.cluster_record_info#module:record) of the head, empty where there is none.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Choose the version to go back to
  ansible.builtin.set_fact:
    llama_cpp_target: >-
      {{ (groups['llama_rpc'] | map('extract', hostvars) | list | herd.llama_cpp.switch_targets(cluster_record))[inventory_hostname] }}
"""

RETURN = r"""
_value:
  description: The fact C(llama_cpp_target) of each machine.
  type: dict
  sample:
    worker1: {id: 0123456789abcdef, version: b12405, replaces: fedcba9876543210, replaces_version: b11434, previous: ""}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.installed import agreed_targets


def switch_targets(machines: t.Any, recorded: t.Any) -> t.Mapping[str, t.Any]:
    """Return what each machine is to run and what it goes back to."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable) or not isinstance(recorded, t.Mapping):
        raise AnsibleFilterError("The switch_targets filter takes a list of machines' variables and a record.")
    targets = {seen["inventory_hostname"]: seen["llama_cpp_target"] for seen in machines if seen.get("llama_cpp_target")}
    return agreed_targets(targets, recorded.get("machines") or {})


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"switch_targets": switch_targets}
