# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: build_variants
short_description: Whether the machines of a cluster get a build each or one for all
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares the steps of compiling llama.cpp for each kind of processor with those of one build that has all variants of ggml's CPU backend
    (C(GGML_BACKEND_DL), C(GGML_CPU_ALL_VARIANTS)).
  - What a machine or the control node's cache has already costs nothing, so a cluster stays with what it has.
options:
  _input:
    description:
      - For each machine C(own) and C(all), the two builds that would serve it, each with C(id) and C(missing), the components that are still to
        be compiled; and C(cuda), whether they are made with CUDA.
    type: list
    elements: dict
    required: true
  ccache:
    description: Whether a compiler cache keeps what two builds share from being compiled twice.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Report whether one build for all machines is cheaper
  ansible.builtin.debug:
    msg: "{{ (machines | herd.llama_cpp.build_variants(ccache=true)).reason }}"
"""

RETURN = r"""
_value:
  description: What was chosen.
  type: dict
  contains:
    variants:
      description: V(own) or V(all).
      type: str
      sample: own
    reason:
      description: Why, as a part of a sentence.
      type: str
      sample: "2 kinds of machines, one build for each: about 244 steps with ccache, one for all of them would take 470"
    own_steps:
      description: The steps that builds for each kind would still take.
      type: int
      sample: 244
    all_steps:
      description: The steps that one for all would still take.
      type: int
      sample: 470
"""

import typing as t
from dataclasses import asdict

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.targets import TargetsError, choose_variants


def build_variants(machines: t.Any, ccache: t.Any = False) -> t.Dict[str, t.Any]:
    """Return which builds take fewer steps."""
    if not isinstance(machines, (list, tuple)) or not all(isinstance(machine, dict) for machine in machines):
        raise AnsibleFilterError("The build_variants filter needs a list of machines, each a mapping with own and all.")
    try:
        return asdict(choose_variants(machines, bool(ccache)))
    except TargetsError as error:
        raise AnsibleFilterError("The build_variants filter cannot choose: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"build_variants": build_variants}
