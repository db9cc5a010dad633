# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rpc_server_arguments
short_description: What a worker's rpc-server is started with
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes one worker service and the settings of its machine, and returns the arguments of C(ggml-rpc-server), for its unit and for the page of
    a plan alike.
options:
  _input:
    description: An entry of what P(herd.llama_cpp.rpc_server_instances#filter) returns.
    type: dict
    required: true
  threads:
    description: Threads of a CPU device; 0 is llama.cpp's own choice.
    type: int
    default: 0
  cache:
    description: Whether tensors are kept on the worker's disk.
    type: bool
    default: false
  extra_arguments:
    description: More arguments.
    type: list
    elements: str
    default: []
seealso:
  - plugin: herd.llama_cpp.plan_page
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the arguments of the first worker
  ansible.builtin.debug:
    msg: "{{ rpc_server_instances[0] | herd.llama_cpp.rpc_server_arguments(cache=true) | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The arguments.
  type: list
  elements: str
  sample: [-H, 127.0.0.1, -p, "50052", -d, CUDA0, -c]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import worker_arguments


def rpc_server_arguments(instance: t.Any, threads: t.Any = 0, cache: bool = False, extra_arguments: t.Sequence[str] = ()) -> t.List[str]:
    """Return the arguments of one worker."""
    try:
        return worker_arguments(instance, int(threads), bool(cache), extra_arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError("rpc_server_arguments takes an entry of rpc_server_instances and its machine's settings: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"rpc_server_arguments": rpc_server_arguments}
