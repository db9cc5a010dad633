# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_deviations
short_description: Compare what a running cluster holds on each device with its plan
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Puts the figures of a plan beside those of C(llama-server)'s own log, device by device. Other layers, weights or KV cache than planned, by
    more than the plan's stated tolerance, a layer on the head's CPU, a context that became smaller, and a device that holds more than
    its reserve allows, are problems.
  - A compute buffer that is larger than planned and still leaves the device its reserve, or that is much smaller, is a warning.
  - A figure that the log does not tell is no problem but listed as unknown, because log lines can get lost.
options:
  _input:
    description: What P(herd.llama_cpp.cluster_plan#filter) returned.
    type: dict
    required: true
  log:
    description: What M(herd.llama_cpp.llama_startup_log) returned for the head.
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
  - module: herd.llama_cpp.llama_startup_log
"""

EXAMPLES = r"""
- name: Read llama-server's log
  herd.llama_cpp.llama_startup_log:
    unit: llama-server.service
    kind: head
    fail_on_problem: false
  register: log

- name: Fail when llama-server deviates from the plan
  ansible.builtin.assert:
    that: (plan | herd.llama_cpp.plan_deviations(log)).problems | length == 0
"""

RETURN = r"""
_value:
  description: The comparison.
  type: dict
  contains:
    rows:
      description: One mapping for each planned device, and one for the head's CPU. C(planned_) stands before what was planned, C(word_) before
        what llama.cpp itself said of it before the start, V(null) where it was not asked. What stands alone is real.
      type: list
      elements: dict
      sample:
        - {machine: worker1, device: CUDA0, llama_device: RPC0, planned_layers: 40, layers: 40, planned_weights_mib: 18821, weights_mib: 18820.31,
           word_weights_mib: 18820.31, planned_kv_mib: 1280, kv_mib: 1280.0, word_kv_mib: 1280.0, planned_compute_mib: 306, compute_mib: 305.02,
           word_compute_mib: 305.02, planned_beside_mib: 0, beside_mib: null}
    problems:
      description: What differs, each with C(machine), C(problem) and C(remedy).
      type: list
      elements: dict
      sample: []
    warnings:
      description: Compute buffers that differ and do no harm, and what stands beside the model where it takes more than its bound, the same.
      type: list
      elements: dict
      sample: []
    unknown:
      description: What the log does not tell.
      type: list
      elements: str
      sample: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.check import PlanCheckError, deviations


def plan_deviations(plan: t.Any, log: t.Any) -> t.Dict[str, t.Any]:
    """Compare a plan with a head's log."""
    if not isinstance(plan, t.Mapping) or not isinstance(log, t.Mapping):
        raise AnsibleFilterError("The plan_deviations filter takes a plan of cluster_plan and a log of llama_startup_log.")
    try:
        return deviations(plan, log)
    except PlanCheckError as error:
        raise AnsibleFilterError("The plan_deviations filter cannot compare the plan and the log: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_deviations": plan_deviations}
