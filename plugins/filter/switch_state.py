# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: switch_state
short_description: How a switch of a cluster stands, and what is said of it
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Works out of the facts of all machines whether a switch is needed, what it goes to and back to, why it failed and what became of it.
options:
  _input:
    description:
      - The machines' variables, the head first, as C(hostvars) has them. C(llama_cpp_target), C(switch_failures), C(switch_lost),
        C(switch_saved), C(switch_compared), C(switch_restored), C(rpc_server_restart_needed), C(llama_server_restart_needed), C(rpc_server_files_changed),
        C(llama_server_files_changed), C(service_unit_written) and C(verify_answered) are read of them, each where it is set.
    type: list
    elements: dict
    required: true
  recorded:
    description: RV(herd.llama_cpp.cluster_record_info#module:record) of the head, empty where there is none.
    type: dict
    required: true
  leaving:
    description: The machines that have been taken out of the cluster by the same run.
    type: dict
    default: {}
  rotates:
    description: Whether new keys are what it is about.
    type: bool
    default: false
  check:
    description: Whether the run only says what it would do, so that there is nothing to put back.
    type: bool
    default: false
seealso:
  - plugin: herd.llama_cpp.switch_targets
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Fail with the reason why the new version was rejected
  ansible.builtin.fail:
    msg: "{{ switch.rejected }}"
  when: switch.returns
  vars:
    switch: "{{ groups['all'] | map('extract', hostvars) | list | herd.llama_cpp.switch_state(cluster_record_seen.record) }}"
"""

RETURN = r"""
_value:
  description:
    - C(needed) - whether a machine is to run another build than it does; C(can_return) - whether all of them have one to go back to.
    - C(renews) - whether something was changed since the record was written that the record may not name.
    - C(known) - whether what served before is known by its record, and all of its machines are there.
    - C(new) and C(old) - what it goes to and back to, in words.
    - C(failed) - whether the way forward failed, and C(reason) why; C(returns) - whether something is to be put back then.
    - C(back_failed) - whether that failed too; C(is_back) - whether what served before has answered again; C(rejected) - all of this in words.
  type: dict
  sample:
    needed: true
    can_return: true
    renews: true
    known: true
    new: b12405
    old: b11434
    failed: true
    reason: "head: llama-server ended during its start."
    returns: true
    back_failed: false
    is_back: true
    rejected: >-
      b12405 was rejected: head: llama-server ended during its start. The cluster is back on b11434, which answers again.
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.switch import BACK, Machine, Switch, is_known

_TOLD = ("needed", "can_return", "renews", "known", "new", "old", "failed", "reason", "returns", "back_failed", "is_back", "rejected")

# What the roles say of their services' files and processes, but for the watchdog's, which writes last: its files are those of service_unit_written.
_CHANGES = ("rpc_server_restart_needed", "llama_server_restart_needed", "rpc_server_files_changed", "llama_server_files_changed")


def _machine(seen: t.Mapping[str, t.Any]) -> Machine:
    return Machine(
        name=seen["inventory_hostname"],
        target=seen.get("llama_cpp_target") or {},
        failures=seen.get("switch_failures") or {},
        restarts=any(seen.get(fact) for fact in _CHANGES) or bool((seen.get("service_unit_written") or {}).get("changed")),
        kept=bool((seen.get("switch_saved") or {}).get("kept")),
        differs=bool((seen.get("switch_compared") or {}).get("differs")),
        restored=bool(seen.get("switch_restored")))


def switch_state(machines: t.Any, recorded: t.Any, leaving: t.Any = None, rotates: bool = False, check: bool = False) -> t.Mapping[str, t.Any]:
    """Return how the switch stands."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable) or not isinstance(recorded, t.Mapping):
        raise AnsibleFilterError("The switch_state filter takes a list of machines' variables and a record.")
    seen = list(machines)
    found = [_machine(one) for one in seen]
    switch = Switch(
        found,
        lost=next((one["switch_lost"] for one in seen if one.get("switch_lost")), ()),
        known=is_known(found, recorded.get("machines") or {}, leaving or {}),
        rotates=rotates,
        answers_again=any(one.get("verify_answered") == BACK for one in seen),
        check=check)
    return {word: getattr(switch, word) for word in _TOLD}


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"switch_state": switch_state}
