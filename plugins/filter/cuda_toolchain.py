# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cuda_toolchain
short_description: What the cuda_toolkit role says of a toolchain
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - The role P(herd.llama_cpp.cuda_toolkit#role) hands over its variables and what it has seen, and is told what follows. Nothing is changed.
options:
  _input:
    description: What the role hands over for this question, its variables without their prefix.
    type: dict
    required: true
  question:
    description:
      - V(drivers) is what M(herd.llama_cpp.gpu_info) said of each machine, as P(herd.llama_cpp.cuda_toolkit_plan#filter) takes it, V(missing) are the
        commands that the machine has not, V(fact) is the fact C(cuda_toolkit).
      - V(packages_identity) is what its C(identity) is where the compiler comes with the distribution's packages, by what
        M(herd.llama_cpp.llama_machine_info) said of the machine that builds (C(info)).
    type: str
    choices: [drivers, missing, fact, packages_identity]
    required: true
seealso:
  - plugin: herd.llama_cpp.cuda_toolkit_plan
    plugin_type: filter
  - plugin: herd.llama_cpp.setup_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show which commands are missing
  ansible.builtin.debug:
    msg: "{{ seen | herd.llama_cpp.cuda_toolchain('missing') }}"
"""

RETURN = r"""
_value:
  description: The answer; what it is made of depends on the question.
  type: raw
  sample: [cmake, ninja]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import toolchain

_QUESTIONS: t.Dict[str, t.Callable[..., t.Any]] = {
    "drivers": toolchain.drivers_of,
    "missing": lambda **given: toolchain.missing_commands(toolchain.Toolchain(**given)),
    "fact": lambda **given: toolchain.fact(toolchain.Toolchain(**given)),
    "packages_identity": toolchain.packages_identity,
}


def cuda_toolchain(given: t.Any, question: str) -> t.Any:
    """Return what follows for a toolchain."""
    if question not in _QUESTIONS or not isinstance(given, t.Mapping):
        raise AnsibleFilterError("cuda_toolchain takes a mapping and one of %s, not %s." % (", ".join(_QUESTIONS), question))
    try:
        return _QUESTIONS[question](**given)
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("cuda_toolchain cannot read what it was given for %s: %s." % (question, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cuda_toolchain": cuda_toolchain}
