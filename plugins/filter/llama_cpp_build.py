# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_cpp_build
short_description: What the llama_cpp role decides of a source and its builds
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - The role P(herd.llama_cpp.llama_cpp#role) hands over its variables and what it has seen, and is told what follows. Nothing is changed.
options:
  _input:
    description: What the role's C(vars/main.yml) hands over for this question, its variables without their prefix.
    type: dict
    required: true
  question:
    description:
      - V(source) is by what a source is known and fetched.
      - V(candidates) are the two builds that would serve a machine, one for its own processor and one for all.
      - V(cached) are the components whose archives in the control node's cache are whole.
      - V(targets) are what CMake is asked for, for each component, V(commands) the command line and the environment of CMake.
      - V(stamp) is what is written into a build that is installed, V(target) the fact C(llama_cpp_target), V(surplus) the builds that go.
    type: str
    choices: [source, candidates, cached, targets, commands, stamp, target, surplus]
    required: true
seealso:
  - plugin: herd.llama_cpp.build_variants
    plugin_type: filter
  - plugin: herd.llama_cpp.setup_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show which builds are removed when two are kept
  ansible.builtin.debug:
    msg: "{{ {'seen': machine_info, 'keep': 2} | herd.llama_cpp.llama_cpp_build('surplus') }}"
"""

RETURN = r"""
_value:
  description: The answer; what it is made of depends on the question.
  type: raw
  sample:
    - 0123456789abcdef
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build import commands, installed, wanted
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import CpuError


def _source(builds: t.Sequence[t.Mapping[str, t.Any]] = (), **given: t.Any) -> t.Dict[str, t.Any]:
    source = wanted.Source(**given)
    return {
        "identity": wanted.source_identity(source), "id": wanted.source_id(source), "name": wanted.source_name(source),
        "build_number": wanted.build_number(source), "commit": wanted.known_commit(source, builds), "fetch": wanted.fetch_arguments(source),
    }


def _commands(**given: t.Any) -> t.Dict[str, t.Any]:
    build = commands.Build(**given)
    return {"configure": commands.configure_command(build), "environment": commands.environment(build)}


_QUESTIONS: t.Dict[str, t.Callable[..., t.Any]] = {
    "source": _source,
    "candidates": lambda **given: wanted.builds(wanted.Wanted(**given)),
    "cached": wanted.whole_components,
    "targets": commands.targets,
    "commands": _commands,
    "stamp": installed.new_stamp,
    "target": installed.target_of,
    "surplus": installed.surplus_builds,
}


def llama_cpp_build(given: t.Any, question: str) -> t.Any:
    """Return what follows for a source or a build."""
    if question not in _QUESTIONS or not isinstance(given, t.Mapping):
        raise AnsibleFilterError("llama_cpp_build takes a mapping and one of %s, not %s." % (", ".join(_QUESTIONS), question))
    try:
        return _QUESTIONS[question](**given)
    except (KeyError, TypeError, AttributeError, CpuError) as error:
        raise AnsibleFilterError("llama_cpp_build cannot read what it was given for %s: %s." % (question, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_cpp_build": llama_cpp_build}
