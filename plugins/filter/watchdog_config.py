# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: watchdog_config
short_description: What the watchdog of a machine is told
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the settings of the role P(herd.llama_cpp.watchdog#role) and returns what its program reads at its start, which services it watches, who asks
    it, and how often it looks.
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.service_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the configuration of the watchdog
  ansible.builtin.debug:
    msg: "{{ settings | herd.llama_cpp.watchdog_config }}"
"""

RETURN = r"""
_value:
  description: The settings of the program, for its file.
  type: dict
  sample: {address: 192.168.1.101, port: 8079, head: null, workers: [{unit: llama-rpc-server@0.service, port: 50052}]}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.watchdog import Start, config


def watchdog_config(settings: t.Any) -> t.Dict[str, t.Any]:
    """Return what the watchdog's program reads."""
    if not isinstance(settings, t.Mapping):
        raise AnsibleFilterError("watchdog_config takes a mapping of settings, not a %s." % type(settings).__name__)
    try:
        return config(Start(**settings))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("watchdog_config cannot read the settings: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"watchdog_config": watchdog_config}
