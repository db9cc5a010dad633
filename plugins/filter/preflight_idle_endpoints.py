# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_idle_endpoints
short_description: Tell which workers the head may connect to for a try
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - A worker takes one connection at a time. Returns the endpoints of those that nobody is connected to.
options:
  _input:
    description: The variables of the workers' machines, with C(rpc_server_instances) and C(rpc_server_connected) as the role's preflight sets them.
    type: list
    elements: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.preflight_cluster_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Try the way to every worker that is idle
  herd.llama_cpp.tcp_probe_info:
    endpoints: "{{ groups['llama_rpc'] | map('extract', hostvars) | herd.llama_cpp.preflight_idle_endpoints }}"
"""

RETURN = r"""
_value:
  description: The endpoints, each once.
  type: list
  elements: str
  sample: ["192.168.1.101:50052"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.preflight import idle_endpoints


def preflight_idle_endpoints(workers: t.Any) -> t.List[str]:
    """Return where nobody is connected."""
    try:
        return idle_endpoints(workers)
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("The preflight_idle_endpoints filter cannot read its input: %r." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"preflight_idle_endpoints": preflight_idle_endpoints}
