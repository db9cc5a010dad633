# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gguf_hub_files
short_description: Find the files of one model in a Hugging Face repository's description
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what the hub's API answers at C(/api/models/REPOSITORY/revision/REVISION?blobs=true) and a file name or pattern, and returns
    the files of the one model that is meant, with their sizes and checksums.
  - Nothing that matches, more than one model, or a part missing from a split model is no error of the filter but a C(problem) in what it
    returns, so that it can be reported together with others.
options:
  _input:
    description: The API's answer.
    type: dict
    required: true
  pattern:
    description: Name of a GGUF file, of any part of a split one, or a pattern with the wildcards of a shell.
    type: str
    required: true
  place:
    description: How to call the repository in a problem.
    type: str
    default: the repository
seealso:
  - plugin: herd.llama_cpp.gguf_shards
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what would be downloaded
  ansible.builtin.debug:
    msg: "{{ answer.json | herd.llama_cpp.gguf_hub_files('*Q4_K_M*.gguf') }}"
"""

RETURN = r"""
_value:
  description: C(files), each with C(name), C(size_bytes) and C(sha256) (empty where the hub has none), and C(problem), empty when there is
    none.
  type: dict
  sample:
    files:
      - name: model.Q4_K_M.gguf
        size_bytes: 4920734272
        sha256: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
    problem: ""
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf_select import SelectError, hub_files


def gguf_hub_files(description: t.Any, pattern: str, place: str = "the repository") -> t.Dict[str, t.Any]:
    """Return the files, or what is wrong."""
    if not isinstance(description, t.Mapping):
        raise AnsibleFilterError("gguf_hub_files takes the answer of the hub's API, not a %s." % type(description).__name__)
    try:
        return {"files": hub_files(description, pattern, place), "problem": ""}
    except SelectError as exc:
        return {"files": [], "problem": str(exc)}


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"gguf_hub_files": gguf_hub_files}
