# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_addresses
short_description: By which addresses machines reach each other
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - C(llama_cluster_address) of each machine, or the address of its default route. One of which neither is known is left out.
options:
  _input:
    description: The variables of each machine, as C(hostvars) has them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the address of the head
  ansible.builtin.debug:
    msg: "{{ groups['llama_host'] | map('extract', hostvars) | herd.llama_cpp.cluster_addresses }}"
"""

RETURN = r"""
_value:
  description: The addresses, in the order of the machines.
  type: list
  elements: str
  sample: [192.168.1.100]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.addresses import cluster_address


def cluster_addresses(machines: t.Any) -> t.List[str]:
    """Return the addresses of machines."""
    if isinstance(machines, (str, bytes, t.Mapping)) or not isinstance(machines, t.Iterable):
        raise AnsibleFilterError("cluster_addresses takes the variables of each machine as a list.")
    try:
        return [address for address in map(cluster_address, machines) if address]
    except AttributeError as error:
        raise AnsibleFilterError("cluster_addresses cannot read the variables of a machine: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cluster_addresses": cluster_addresses}
