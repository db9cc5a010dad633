# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_server_steps
short_description: What is to be started, restarted and stopped of llama-server, its tunnels and its proxy
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the settings of the role P(herd.llama_cpp.llama_server#role) and what was seen of its machine, and returns what is to be done so that what is
    configured runs. Without O(look) and O(written), all that is wanted is started.
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
  places:
    description: Names of the units and paths of the files, as for P(herd.llama_cpp.llama_server_files#filter).
    type: dict
    required: true
  look:
    description:
      - What M(herd.llama_cpp.service_unit_info) saw before anything was written. C(executable) is the file that llama-server's path leads to,
        C(tunnel_executable) that of its tunnels, C(rules) what C(nft) says of the tunnels' table, and C(found) and C(abandoned) are as it returns them.
    type: dict
  written:
    description: The result of M(herd.llama_cpp.service_files).
    type: dict
  check:
    description: Whether this is check mode, in which what is to be restarted may not be on the machine yet and is left out.
    type: bool
    default: false
seealso:
  - plugin: herd.llama_cpp.llama_server_files
    plugin_type: filter
  - plugin: herd.llama_cpp.service_steps
    plugin_type: filter
  - plugin: herd.llama_cpp.rpc_server_due
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show whether llama-server must be restarted
  ansible.builtin.debug:
    msg: "{{ (settings | herd.llama_cpp.llama_server_steps(places, look, written)).restart }}"
"""

RETURN = r"""
_value:
  description: What is to be done. Steps are those of P(herd.llama_cpp.service_steps#filter).
  type: dict
  contains:
    restart:
      description: Whether llama-server does not run what it should.
      type: bool
      sample: true
    tunnels:
      description: The steps for the tunnels, when their files are there and before llama-server is started.
      type: list
      elements: dict
      sample: []
    discard:
      description: The steps for the proxy or tunnels that are wanted no more, before those of RV(ignore:services).
      type: list
      elements: dict
      sample: []
    surplus_files:
      description: Files that are there and wanted no more.
      type: list
      elements: str
      sample: []
    surplus_table:
      description: The table of nftables that is wanted no more, empty where it is wanted.
      type: str
      sample: ""
    services:
      description: The steps for llama-server and its proxy.
      type: list
      elements: dict
      sample: [{unit: llama-server.service, state: restarted, enabled: true}]
"""

import typing as t
from dataclasses import fields

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server_files import Parts, Places
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server_steps import Look, Written, due


def llama_server_steps(settings: t.Any, places: t.Any, look: t.Any = None, written: t.Any = None, check: t.Any = False) -> t.Dict[str, t.Any]:
    """Return what is to be done so that what is configured runs."""
    if not all(isinstance(value, t.Mapping) for value in (settings, places, look or {}, written or {})):
        raise AnsibleFilterError("llama_server_steps takes mappings, the settings, the places, what was seen and what was written.")
    try:
        seen = Look(**look) if look else None
        # a result of a task has more in it
        result = Written(**{field.name: written[field.name] for field in fields(Written)}) if written else None
        return dict(vars(due(Parts.of(settings), Places(**places), seen, result, bool(check))))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("llama_server_steps cannot read what it was given: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_server_steps": llama_server_steps}
