# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_server_arguments
short_description: What llama-server is started with
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the settings of the role P(herd.llama_cpp.llama_server#role) and returns the arguments of C(llama-server), but for the file of its API key.
options:
  _input:
    description:
      - What the role's C(vars/main.yml) hands over, its variables without their prefix, which is the fact C(llama_server_settings) too. What C(plan)
        among them decides takes the place of the others.
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.rpc_server_arguments
    plugin_type: filter
  - module: herd.llama_cpp.server_arguments_info
"""

EXAMPLES = r"""
- name: Show llama-server's arguments
  ansible.builtin.debug:
    msg: "{{ settings | herd.llama_cpp.llama_server_arguments | flatten | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The arguments, each with its value.
  type: list
  elements: list
  sample: [[--model, /srv/models/model.gguf], [--ctx-size, "8192"], [--no-webui]]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import arguments, started


def llama_server_arguments(settings: t.Any) -> t.List[t.List[str]]:
    """Return the arguments of llama-server."""
    if not isinstance(settings, t.Mapping):
        raise AnsibleFilterError("llama_server_arguments takes a mapping of settings, not a %s." % type(settings).__name__)
    try:
        return arguments(started(settings))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError("llama_server_arguments cannot read the settings: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_server_arguments": llama_server_arguments}
