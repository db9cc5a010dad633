# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_build_choice
short_description: The installed build that each machine goes back to
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what M(herd.llama_cpp.llama_machine_info) found on each machine and chooses for each the build that was in use before the
    current one, or the one that is wanted.
  - All machines get the same source. Their builds can differ, because their processors do.
options:
  _input:
    description: The machines, for each the RV(herd.llama_cpp.llama_machine_info#module:builds), C(current) and C(previous).
    type: dict
    required: true
  wanted:
    description: The id of a build that any of the machines has, or its version. Empty means the previous one, V(current) the one in use.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Choose the build to go back to
  ansible.builtin.set_fact:
    choice: "{{ {'head': head_info, 'worker1': worker_info} | herd.llama_cpp.llama_build_choice }}"
"""

RETURN = r"""
_value:
  description: What was chosen.
  type: dict
  contains:
    builds:
      description: For each machine the stamp of its build.
      type: dict
      sample:
        head:
          id: 0123456789abcdef
          version: b11434
          components: [head]
    problems:
      description: What is in the way, each with C(machine), C(problem) and C(remedy). Empty when every machine has its build.
      type: list
      elements: dict
      sample: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.installed import BuildsError, choose_builds, read_machines


def llama_build_choice(machines: t.Any, wanted: t.Any = "") -> t.Dict[str, t.Any]:
    """Return the build for each machine and what is in the way."""
    try:
        choice = choose_builds(read_machines(machines), str(wanted or "").strip())
    except BuildsError as error:
        raise AnsibleFilterError("llama_build_choice cannot answer: %s." % error) from error
    return {"builds": {name: dict(stamp) for name, stamp in choice.builds.items()}, "problems": choice.problems}


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_build_choice": llama_build_choice}
