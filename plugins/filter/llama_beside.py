# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_beside
short_description: How llama-server is told what it loads beside its model
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Turns settings for drafting (a draft model, layers of the model's own), for a multimodal projector and for LoRA adapters into the
    arguments of C(llama-server), the files it reads, and all that is wrong with them.
options:
  _input:
    description:
      - The variables of the role P(herd.llama_cpp.llama_server#role) without their prefix, C(spec_type), C(draft_model), C(draft_devices),
        C(draft_max), C(draft_min), C(draft_cache_type_k), C(draft_cache_type_v), C(mmproj), C(mmproj_device) and C(lora). Each may be missing.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show llama-server's arguments for a draft model
  ansible.builtin.debug:
    msg: "{{ ({'draft_model': '/srv/small.gguf', 'draft_max': 5} | herd.llama_cpp.llama_beside).arguments }}"
"""

RETURN = r"""
_value:
  description: What becomes of the settings.
  type: dict
  contains:
    arguments:
      description: The arguments, each with its value; empty where there are problems that say why.
      type: list
      elements: list
      sample: [[--spec-type, draft-simple], [--model-draft, /srv/small.gguf], [--spec-draft-n-max, '5']]
    files:
      description: The files, each with C(what) it is, the C(variable) that names it and its C(path).
      type: list
      elements: dict
      sample: [{what: draft model, variable: llama_server_draft_model, path: /srv/small.gguf}]
    problems:
      description: What is wrong, each a C(problem) with its C(remedy).
      type: list
      elements: dict
      sample: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service import beside as plan_beside


def llama_beside(settings: t.Any) -> t.Dict[str, t.Any]:
    """Return arguments, files and problems."""
    if not isinstance(settings, t.Mapping):
        raise AnsibleFilterError("llama_beside takes a mapping of settings, not a %s." % type(settings).__name__)
    try:
        found = plan_beside.problems(settings)
        return {"arguments": [] if found else plan_beside.arguments(settings), "files": [] if found else plan_beside.files(settings), "problems": found}
    except plan_beside.BesideError as error:
        raise AnsibleFilterError("llama_beside: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_beside": llama_beside}
