# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: record_members
short_description: The machines of a cluster as its record has them
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Picks out of the variables and facts of each machine what the record of M(herd.llama_cpp.cluster_record) says of it.
options:
  _input:
    description: The variables of each machine, as C(hostvars) has them. One whose C(cluster_plan_serves) is false is left out.
    type: list
    elements: dict
    required: true
  heads:
    description: The machines of the group C(llama_host).
    type: list
    elements: str
    required: true
  workers:
    description: The machines of the group C(llama_rpc).
    type: list
    elements: str
    required: true
  before:
    description: Whether the builds are those that are replaced, and not those that are put into use.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Record the members of the cluster
  ansible.builtin.set_fact:
    members: >-
      {{ groups['all'] | map('extract', hostvars) | list
         | herd.llama_cpp.record_members(groups['llama_host'], groups['llama_rpc']) }}
"""

RETURN = r"""
_value:
  description: The machines by name.
  type: dict
  sample:
    worker1:
      roles: [worker]
      connection: {host: 192.168.1.101, user: ubuntu}
      build: 0123456789abcdef
      version: b11434
      instances: [{machine: worker1, unit: llama-rpc-server@0.service, endpoint: "127.168.1.101:50052"}]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import HEAD, WORKER

_CONNECTION = {"host": "ansible_host", "port": "ansible_port", "user": "ansible_user", "key_file": "ansible_ssh_private_key_file"}


def _member(seen: t.Mapping[str, t.Any], name: str, heads: t.Sequence[str], workers: t.Sequence[str], before: bool) -> t.Dict[str, t.Any]:
    known = {word: str(seen[key]) for word, key in _CONNECTION.items() if seen.get(key)}
    target = seen.get("llama_cpp_target") or {}
    return {
        "roles": ([HEAD] if name in heads else []) + ([WORKER] if name in workers else []),
        "connection": dict({"host": name}, **known),
        "build": str(target.get("replaces" if before else "id") or ""),
        "version": str(target.get("replaces_version" if before else "version") or ""),
        "instances": list(seen.get("rpc_server_instances") or []) if name in workers else [],
    }


def record_members(machines: t.Any, heads: t.Any, workers: t.Any, before: bool = False) -> t.Dict[str, t.Any]:
    """Return what the record says of each machine that serves."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable):
        raise AnsibleFilterError("The record_members filter takes a list of machines' variables.")
    return {
        seen["inventory_hostname"]: _member(seen, seen["inventory_hostname"], heads, workers, before)
        for seen in machines
        if seen["inventory_hostname"] in list(heads) + list(workers) and seen.get("cluster_plan_serves", True)
    }


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"record_members": record_members}
