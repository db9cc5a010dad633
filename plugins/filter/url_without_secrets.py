# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: url_without_secrets
short_description: Take from a URL what may be secret
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns a URL without user, password, query and fragment, as it may be shown and kept. A token may stand for the user, and a signed
    link has its signature in the query.
  - What has none of them is returned as it is, also a path. A URL has something secret where it differs from what is returned.
options:
  _input:
    description: The URL.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the source of the model
  ansible.builtin.debug:
    msg: "{{ 'https://user:password@example.com/model.gguf?signature=1' | herd.llama_cpp.url_without_secrets }}"
  # https://example.com/model.gguf
"""

RETURN = r"""
_value:
  description: The URL as it may be shown.
  type: str
  sample: https://example.com/model.gguf
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets


def url_without_secrets(url: t.Any) -> str:
    """Return the URL as it may be shown."""
    if not isinstance(url, str):
        raise AnsibleFilterError("url_without_secrets takes a text, not a %s." % type(url).__name__)
    return without_secrets(url)


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"url_without_secrets": url_without_secrets}
