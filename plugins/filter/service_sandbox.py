# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_sandbox
short_description: What systemd lets a service do
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns the sandbox directives of the units of one of the roles P(herd.llama_cpp.llama_server#role) and P(herd.llama_cpp.rpc_server#role), in the
    order in which they are written.
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
  service:
    description: Whose units these are.
    type: str
    choices: [llama_server, rpc_server]
    required: true
seealso:
  - plugin: herd.llama_cpp.service_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the sandbox of the workers
  ansible.builtin.debug:
    msg: "{{ (settings | herd.llama_cpp.service_sandbox('rpc_server')).worker }}"
"""

RETURN = r"""
_value:
  description:
    - Directives and their values by unit. Of C(llama_server) these are C(server), C(tunnel) and C(proxy), of C(rpc_server) C(worker), C(tls) and
      C(tls_socket).
  type: dict
  contains:
    profile:
      description: V(cpu), or V(gpu) where the service needs device files.
      type: str
      sample: gpu
  sample: {profile: cpu, worker: {NoNewPrivileges: "yes"}, tls: {NoNewPrivileges: "yes"}, tls_socket: {IPAddressDeny: any}}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service import sandbox
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import started
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.rpc_server import Worker

_SERVICES: t.Dict[str, t.Tuple[t.Any, t.Callable[[t.Any], t.Dict[str, t.Any]]]] = {
    "llama_server": (started, sandbox.llama_server_sandbox),
    "rpc_server": (lambda settings: Worker(**settings), sandbox.rpc_server_sandbox),
}


def service_sandbox(settings: t.Any, service: str) -> t.Dict[str, t.Any]:
    """Return the directives of a service's units."""
    if service not in _SERVICES:
        raise AnsibleFilterError("service_sandbox knows %s, not %s." % (", ".join(_SERVICES), service))
    if not isinstance(settings, t.Mapping):
        raise AnsibleFilterError("service_sandbox takes a mapping of settings, not a %s." % type(settings).__name__)
    of_settings, decide = _SERVICES[service]
    try:
        return decide(of_settings(settings))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("service_sandbox cannot read the settings of %s: %s." % (service, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"service_sandbox": service_sandbox}
