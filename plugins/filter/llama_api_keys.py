# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_api_keys
short_description: The API keys in a file for llama-server
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Finds the keys in a file as llama-server does, one a line, without empty lines and those that begin with a hash.
options:
  _input:
    description: The file's content in Base64, as P(ansible.builtin.slurp#module) returns it. An empty text has no key.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Read the API keys
  ansible.builtin.slurp:
    src: /etc/llama-server/api-key
  no_log: true
  register: api_key_file

- name: Ask a question with the first key
  herd.llama_cpp.llama_chat:
    url: http://192.168.1.100:8080
    api_key: "{{ api_key_file.content | herd.llama_cpp.llama_api_keys | first }}"
    question: What is the capital of France?
"""

RETURN = r"""
_value:
  description: The keys, in the order of the file.
  type: list
  elements: str
  sample: [n0tARealKey]
"""

import base64
import binascii
from typing import Any, Callable, Dict, List

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.api_keys import api_keys


def llama_api_keys(content: Any) -> List[str]:
    """The keys in a file's content in Base64."""
    try:
        return api_keys(base64.b64decode(content, validate=True))
    except (TypeError, ValueError, binascii.Error) as error:
        # What was given may be a secret.
        raise AnsibleFilterError("llama_api_keys needs the content of a file in Base64, as ansible.builtin.slurp returns it") from error


class FilterModule:
    """The filter."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"llama_api_keys": llama_api_keys}
