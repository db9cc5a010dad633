# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: record_changes
short_description: Which machines are no longer what they were in a cluster
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares what is on each machine and what the records say with the groups of the inventory.
  - A machine in neither group is named only where a record says that it was one of this cluster's.
options:
  _input:
    description:
      - The variables of every machine of the inventory, as C(hostvars) has them, with what M(herd.llama_cpp.cluster_record_info) returned as
        C(cluster_record_seen).
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
  forget:
    description: Machines that left and are not to be named any more, separated by commas.
    type: str
    default: ""
  take_over:
    description: Machines of the groups that are this cluster's from now on although another one has them, separated by commas.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Record the changes of the cluster
  ansible.builtin.set_fact:
    changes: >-
      {{ groups['all'] | map('extract', hostvars) | list
         | herd.llama_cpp.record_changes(groups['llama_host'], groups['llama_rpc']) }}
"""

RETURN = r"""
_value:
  description: What is to be done before the machines serve as the inventory says.
  type: dict
  contains:
    remove:
      description: The parts that a machine has and should not have, by machine.
      type: dict
      sample: {worker2: [worker]}
    teardown:
      description: The same for a teardown, which leaves a machine none of its roles; none of one that was not looked at and is in neither group.
      type: dict
      sample: {head: [head], worker1: [worker], worker2: [worker]}
    words:
      description: What a teardown takes from each machine, in words.
      type: dict
      sample: {head: "head: llama-server"}
    left:
      description:
        - Machines that are no longer in the inventory, those of C(unseen), and those that another cluster has a record on, as the record has them
          and is to keep them.
      type: dict
      sample: {}
    former:
      description: Names and addresses of the machines whose llama-server goes.
      type: list
      elements: str
      sample: []
    unseen:
      description: Machines of the inventory that should be cleaned and were not looked at.
      type: list
      elements: str
      sample: []
    commands:
      description: For each of C(unseen) the command that cleans it.
      type: dict
      sample: {}
    cluster:
      description: What says of a worker whose it is, as RV(herd.llama_cpp.cluster_record_info#module:owner). A cluster without an ID gets one.
      type: dict
      sample: {id: 8f14e45fceea167a, head: head, host: 192.168.1.100, port: ""}
    taken:
      description: Machines of the groups that are another cluster's by what is on them, with the keys C(machine), C(problem) and C(remedy).
      type: list
      elements: dict
      sample: []
    renew:
      description: Whether another machine may know the workers' keys, because the head has no record, another one was the head, or a worker is taken over.
      type: bool
      sample: false
    problems:
      description: Machines of this cluster whose record this user may not read, with the keys C(machine), C(problem) and C(remedy).
      type: list
      elements: dict
      sample: []
    text:
      description: All of it as lines for a person, empty where nothing changes.
      type: str
      sample: "worker2 has rpc-server, which the inventory no longer says. playbooks/deploy.yml removes it."
"""

import dataclasses
import secrets
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.ansible_options import ansible_options
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import members
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import RecordError, owner_of, record_of


def _seen(machine: t.Mapping[str, t.Any]) -> members.Seen:
    looked = machine.get("cluster_record_seen")
    found = looked or {}
    record = found.get("record")
    away = "was left out of this run" if looked is None else "cannot be reached" if found.get("unreachable") else "cannot be looked at"
    return members.Seen(
        parts=list(found.get("parts") or []),
        record=record_of(record) if record else None,
        host=str(machine.get("ansible_host") or ""),
        port=str(machine.get("ansible_port") or ""),
        away=away if found.get("parts") is None else "",
        unread=str(found.get("unread") or ""),
        owner=owner_of(found.get("owner") or {}),
    )


def _names(text: t.Any) -> t.List[str]:
    return [name.strip() for name in str(text).split(",")]


def record_changes(machines: t.Any, heads: t.Any, workers: t.Any, forget: str = "", take_over: str = "") -> t.Dict[str, t.Any]:
    """Return what goes, who left, and what a teardown takes."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable):
        raise AnsibleFilterError("The record_changes filter takes a list of machines' variables.")
    try:
        seen = {machine["inventory_hostname"]: _seen(machine) for machine in machines}
    except RecordError as error:
        raise AnsibleFilterError("record_changes: %s." % error) from error
    found = members.changes(seen, list(heads), list(workers), _names(forget), _names(take_over))
    head = next((name for name in heads if name in seen), "")
    options = ansible_options([])
    commands = {name: members.cleaning_command(name, member, options) for name, member in found.unseen.items()}
    lines = [
        "%s: it was part of this cluster and %s, so that what it has stays there. The next deployment that reaches it removes it, or `%s`."
        % (name, seen[name].away, command)
        for name, command in commands.items()
    ]
    teardown = members.to_remove(seen, list(heads), list(workers), found)
    return {
        "remove": found.remove,
        "teardown": teardown,
        "words": members.teardown_words(teardown, seen, bool(heads or workers)),
        "left": {name: dataclasses.asdict(member) for name, member in {**found.left, **found.unseen, **found.others}.items()},
        "unseen": list(found.unseen),
        "commands": commands,
        "former": members.former_heads(seen, found.remove),
        "cluster": {"id": found.id or secrets.token_hex(8), "head": head, "host": (seen[head].host if head else "") or head,
                    "port": seen[head].port if head else ""},
        "taken": members.taken_problems(found),
        "renew": found.renew,
        "problems": found.problems,
        "text": "\n".join(
            ["%s, which the inventory no longer says. playbooks/deploy.yml removes it." % line for line in members.removal_lines(found.remove, " has ")]
            + lines
            + members.other_lines(found, options)
            + ["%s: %s, so that nothing is taken from it." % (one["machine"], one["problem"]) for one in members.taken_problems(found)]
            + members.left_lines(found.left, options)
        ),
    }


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"record_changes": record_changes}
