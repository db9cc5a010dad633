# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rpc_tunnel_keys
short_description: The workers' keys as the head's stunnel reads them
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes the key files that were read on the workers' machines and the keys that are given instead, and returns the line for each machine whose key is
    known. What it returns is secret.
options:
  _input:
    description: The results of M(ansible.builtin.slurp) in a loop over machines. One without content, or with something else than a key in it, is left out.
    type: list
    elements: dict
    required: true
  given:
    description: Keys in hexadecimal digits, by machine. They are taken instead of what was read.
    type: dict
    required: true
  machines:
    description: The machines to which there are tunnels. Of O(given), only theirs are returned.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Report the workers whose key is not known
  ansible.builtin.debug:
    msg: "{{ machines | difference(read.results | herd.llama_cpp.rpc_tunnel_keys({}, machines) | list) }}"
"""

RETURN = r"""
_value:
  description: The lines by machine.
  type: dict
  sample: {worker1: "llama-rpc:KEY"}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.tunnel_keys import tunnel_keys


def rpc_tunnel_keys(read: t.Any, given: t.Any, machines: t.Any) -> t.Dict[str, str]:
    """Return the line with the key of each machine whose key is known."""
    try:
        return tunnel_keys(list(read), dict(given), [str(machine) for machine in machines])
    except (KeyError, TypeError, ValueError, AttributeError):
        # Without the reason, which may hold a key.
        raise AnsibleFilterError("rpc_tunnel_keys takes results of slurp, keys by machine, and machines.") from None


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"rpc_tunnel_keys": rpc_tunnel_keys}
