# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: setup_problems
short_description: What is in the way of a build, a model or a check
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Judges the variables of one of the roles P(herd.llama_cpp.llama_cpp#role), P(herd.llama_cpp.gguf_model#role),
    P(herd.llama_cpp.cuda_toolkit#role), P(herd.llama_cpp.bundle#role) and P(herd.llama_cpp.chat_check#role), and what was seen on its machines, and
    returns what is wrong as a list for P(herd.llama_cpp.problem_report#filter). Those of the services are judged by P(herd.llama_cpp.service_problems#filter).
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
  of:
    description:
      - What is judged. V(llama_cpp) are the variables of that role, V(llama_cpp_machine) whether the build can be made and installed,
        V(llama_cpp_targets) whether the source has what is to be built, V(llama_cpp_executable) whether an executable runs on its machine.
      - V(gguf_model) are the variables of that role, V(gguf_model_room) whether the model can be put in its place, V(gguf_model_fetched) whether what was
        fetched before is the same model, V(gguf_model_url) what a server says of the files, V(gguf_model_download) why one did not come,
        V(gguf_model_header) whether it can be read and is of the kind that it is given as, V(gguf_model_beside) whether there is too much beside the model.
      - V(cuda_toolkit) are that role's variables and what the machine has, V(cuda_toolkit_installed) is what was installed there.
      - V(chat_check) are that role's variables, V(bundle) is whether the bundle has packages for what a machine runs.
    type: str
    choices:
      - llama_cpp
      - llama_cpp_machine
      - llama_cpp_targets
      - llama_cpp_executable
      - gguf_model
      - gguf_model_room
      - gguf_model_fetched
      - gguf_model_url
      - gguf_model_download
      - gguf_model_header
      - gguf_model_beside
      - cuda_toolkit
      - cuda_toolkit_installed
      - chat_check
      - bundle
    required: true
  look:
    description:
      - What was seen. Of V(llama_cpp) it is what P(herd.llama_cpp.llama_advisories#filter) returned of the source, of V(cuda_toolkit_installed) the
        toolkit that was C(decided) on and the C(toolkits) there are.
    type: dict
    default: {}
seealso:
  - plugin: herd.llama_cpp.service_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Stop when the variables of the role are wrong
  ansible.builtin.fail:
    msg: "{{ problems | herd.llama_cpp.problem_report }}"
  when: problems | length > 0
  vars:
    problems: "{{ settings | herd.llama_cpp.setup_problems('llama_cpp', exposure) }}"
"""

RETURN = r"""
_value:
  description: The problems, empty where nothing is in the way.
  type: list
  elements: dict
  sample:
    - machine: worker1
      problem: llama_cpp_backend is "gpu"
      remedy: Set it to cpu or cuda
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build import problems as build
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found, Judge, Problem, ProblemError, judged, problems_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import toolchain
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import beside, wanted
from ansible_collections.herd.llama_cpp.plugins.module_utils._offline import contents
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import report


def _of_model(judge: t.Callable[..., Found]) -> Judge:
    """A judge of the role gguf_model's variables, and of what was seen, where there is something to see."""
    def judged(given: t.Mapping[str, t.Any], look: t.Mapping[str, t.Any]) -> t.List[Problem]:
        return problems_of(given["machine"], judge(wanted.Model(**given), *([wanted.Look(**look)] if look else [])))
    return judged


def _of_machine(judge: t.Callable[..., Found]) -> Judge:
    """A judge of what was seen alone."""
    def judged(given: t.Mapping[str, t.Any], dummy: t.Mapping[str, t.Any]) -> t.List[Problem]:
        return problems_of(given["machine"], judge(**{key: value for key, value in given.items() if key != "machine"}))
    return judged


_JUDGES: t.Dict[str, Judge] = {
    "llama_cpp": lambda given, look: build.settings_problems(build.Settings(**given), look),
    "llama_cpp_machine": lambda given, look: build.machine_problems(build.Settings(**given), build.Look(**look)),
    "llama_cpp_targets": lambda given, look: build.target_problems(**given),
    "llama_cpp_executable": lambda given, look: build.trial_problems(build.Trial(**given)),
    "gguf_model": _of_model(wanted.variable_problems),
    "gguf_model_room": _of_model(wanted.room_problems),
    "gguf_model_fetched": _of_model(wanted.fetched_problems),
    "gguf_model_url": _of_machine(wanted.url_problems),
    "gguf_model_download": _of_machine(wanted.download_problems),
    "gguf_model_header": _of_machine(wanted.header_problems),
    "gguf_model_beside": _of_machine(beside.twice_problems),
    "bundle": _of_machine(contents.release_problems),
    "chat_check": lambda given, look: problems_of(given["machine"], report.problems(report.Question(**given))),
    "cuda_toolkit": lambda given, look: problems_of(given["machine"], toolchain.problems(toolchain.Toolchain(**given))),
    "cuda_toolkit_installed": lambda given, look: problems_of(given["machine"], toolchain.installed_problems(toolchain.Toolchain(**given), **look)),
}


def setup_problems(given: t.Any, of: str, look: t.Any = None) -> t.List[Problem]:
    """Return what is in the way."""
    try:
        return judged(_JUDGES, "setup_problems", of, given, {} if look is None else look)
    except ProblemError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"setup_problems": setup_problems}
