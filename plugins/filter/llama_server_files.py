# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_server_files
short_description: The files of llama-server, its tunnels and its proxy
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the settings of the role P(herd.llama_cpp.llama_server#role) and returns what it writes on the machine, as M(herd.llama_cpp.service_files)
    takes it. What it returns has secrets in it.
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
  places:
    description: Names of the units and paths of the files, C(__llama_server_places) there.
    type: dict
    required: true
  contents:
    description:
      - What the files are made of besides, C(__llama_server_contents) there. C(api_key) is the one that is given, C(new_api_key) the one for a machine
        without one, C(rpc_keys) are the lines with the workers' keys, C(model_files) is the text of what the model's files must be, C(reads) are
        the files that are read, and C(seen) is RV(herd.llama_cpp.service_unit_info#module:files).
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.llama_server_steps
    plugin_type: filter
  - module: herd.llama_cpp.service_files
"""

EXAMPLES = r"""
- name: Show what systemd hands to each unit
  ansible.builtin.debug:
    msg: "{{ (settings | herd.llama_cpp.llama_server_files(places, contents)).credentials }}"
"""

RETURN = r"""
_value:
  description: What is written.
  type: dict
  contains:
    directories:
      description: The directories, O(herd.llama_cpp.service_files#module:directories).
      type: list
      elements: dict
      sample: [{path: /etc/llama-server, mode: "0700"}]
    files:
      description: The files, O(herd.llama_cpp.service_files#module:files).
      type: list
      elements: dict
      sample: [{src: llama-server.service.j2, path: /etc/systemd/system/, unit: llama-server.service, identity: "397811712.1796060000"}]
    credentials:
      description: What systemd hands to each unit, O(herd.llama_cpp.service_files#module:credentials).
      type: dict
      sample: {llama-server.service: {api-key: /etc/llama-server/api-key}}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server_files import Contents, Parts, Places, service_files
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError


def llama_server_files(settings: t.Any, places: t.Any, contents: t.Any) -> t.Dict[str, t.Any]:
    """Return the files of llama-server, its tunnels and its proxy."""
    if not all(isinstance(value, t.Mapping) for value in (settings, places, contents)):
        raise AnsibleFilterError("llama_server_files takes three mappings, the settings, the places and the contents.")
    try:
        return dict(vars(service_files(Parts.of(settings), Places(**places), Contents(**contents))))
    except (KeyError, TypeError, AttributeError, SystemdError) as error:
        raise AnsibleFilterError("llama_server_files cannot read what it was given: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_server_files": llama_server_files}
