# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gguf_shards
short_description: All file names of a split model, from one of them
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the name, path or URL of a GGUF file and returns those of all parts of the model it belongs to, the first part first, by the
    naming that llama.cpp uses (C(NAME-00001-of-00003.gguf)).
  - A name that is none of a part is returned alone.
options:
  _input:
    description: The name, path or URL. The query of a URL is kept.
    type: str
    required: true
seealso:
  - module: herd.llama_cpp.gguf_info
"""

EXAMPLES = r"""
- name: List the files that have to be downloaded
  ansible.builtin.debug:
    msg: "{{ 'https://example.com/big-00001-of-00003.gguf' | herd.llama_cpp.gguf_shards }}"
"""

RETURN = r"""
_value:
  description: The names.
  type: list
  elements: str
  sample: [big-00001-of-00002.gguf, big-00002-of-00002.gguf]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import url_shards


def gguf_shards(name: t.Any) -> t.List[str]:
    """Return the names of all parts."""
    if not isinstance(name, str):
        raise AnsibleFilterError("gguf_shards takes a file name, path or URL, not a %s." % type(name).__name__)
    return url_shards(name)


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"gguf_shards": gguf_shards}
