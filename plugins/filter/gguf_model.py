# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gguf_model
short_description: What the gguf_model role decides of a model's files
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - The role P(herd.llama_cpp.gguf_model#role) hands over its variables and what it has seen, and is told what follows. Nothing is changed.
options:
  _input:
    description: What the role hands over for this question, its variables without their prefix.
    type: dict
    required: true
  question:
    description:
      - V(file) is what tells one model or file beside it from others, where its header can be read, where it is or will be, and
        whether the directory of models is the role's to make.
      - V(files) are the files to fetch, V(url_files) the same by a server's answers, V(limit) how many bytes a file may take.
      - V(beside_problems) are the problems of a file beside the model, V(beside_files) the paths of all of them by what they are for,
        V(beside_place) where the header of one can be read without the machine, V(beside_headers) what was read there.
    type: str
    choices: [file, files, url_files, limit, beside_problems, beside_files, beside_place, beside_headers]
    required: true
seealso:
  - plugin: herd.llama_cpp.setup_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show where the header of a draft model can be read
  ansible.builtin.debug:
    msg: "{{ {'entry': gguf_model_beside[0], 'endpoint': 'https://huggingface.co'} | herd.llama_cpp.gguf_model('beside_place') }}"
"""

RETURN = r"""
_value:
  description: The answer; what it is made of depends on the question.
  type: raw
  sample:
    path: ""
    url: https://huggingface.co/owner/repo/resolve/main/model.gguf
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import beside, wanted


def _file(look: t.Mapping[str, t.Any], **given: t.Any) -> t.Dict[str, t.Any]:
    model, seen = wanted.Model(**given), wanted.Look(**look)
    return {
        "identity": wanted.identity(model, seen.local_looks), "source": wanted.source(model),
        "header": wanted.header_place(model, seen), "planned": wanted.planned_file(model, seen), "own_directory": wanted.owns_directory(model),
    }


_QUESTIONS: t.Dict[str, t.Callable[..., t.Any]] = {
    "file": _file,
    "files": wanted.files_to_fetch,
    "url_files": wanted.url_files,
    "limit": wanted.file_limit_bytes,
    "beside_problems": beside.entry_problems,
    "beside_files": beside.files_by_use,
    "beside_place": beside.header_place,
    "beside_headers": beside.headers_from_here,
}


def gguf_model(given: t.Any, question: str) -> t.Any:
    """Return what follows for a model's files."""
    if question not in _QUESTIONS or not isinstance(given, t.Mapping):
        raise AnsibleFilterError("gguf_model takes a mapping and one of %s, not %s." % (", ".join(_QUESTIONS), question))
    try:
        return _QUESTIONS[question](**given)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AnsibleFilterError("gguf_model cannot read what it was given for %s: %s." % (question, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"gguf_model": gguf_model}
