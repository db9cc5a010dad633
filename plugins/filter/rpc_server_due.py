# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rpc_server_due
short_description: What has to be done so that a machine's workers run what is configured
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares what M(herd.llama_cpp.unit_process_info) found on a machine with the workers that it should have, and names the units that must be
    started, stopped or removed.
options:
  _input:
    description: The RV(herd.llama_cpp.unit_process_info#module:units) of the module, workers and their TLS.
    type: list
    elements: dict
    required: true
  wanted:
    description: The workers that should run, each with its C(HERD_CONFIG_ID).
    type: dict
    required: true
  executable:
    description: The file that they are started from, links resolved.
    type: str
    required: true
  tls_wanted:
    description: The TLS services that should run, each with its C(HERD_CONFIG_ID).
    type: dict
    required: true
  tls_executable:
    description: The file that those are started from.
    type: str
    required: true
  changed_files:
    description: The RV(herd.llama_cpp.service_files#module:changed_files) of M(herd.llama_cpp.service_files).
    type: list
    elements: str
    required: true
  files:
    description: Paths of the workers' settings and TLS sockets that are on the machine.
    type: list
    elements: path
    required: true
seealso:
  - plugin: herd.llama_cpp.outdated_units
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the workers that must be restarted
  ansible.builtin.debug:
    msg: >-
      {{ (processes.units | herd.llama_cpp.rpc_server_due(
           wanted={'llama-rpc-server@0.service': '9b1c'}, executable='/opt/llama.cpp/builds/4f2a9c/bin/ggml-rpc-server',
           tls_wanted={}, tls_executable='/usr/bin/stunnel4', changed_files=[], files=['/etc/llama-rpc-server/0.env'])).start }}
"""

RETURN = r"""
_value:
  description: Names of units.
  type: dict
  contains:
    start:
      description: Workers that do not run, run something else, or whose own files were just changed.
      type: list
      elements: str
      sample: [llama-rpc-server@0.service]
    stop:
      description: Those of RV(_value.start) that run, which are stopped first because one may have another one's port.
      type: list
      elements: str
      sample: []
    remove:
      description: Workers left over from more devices.
      type: list
      elements: str
      sample: [llama-rpc-server@1.service]
    tls_restart:
      description: TLS services that do not run, or run something else.
      type: list
      elements: str
      sample: []
    tls_remove:
      description: TLS services that are no longer wanted.
      type: list
      elements: str
      sample: []
    in_service:
      description: Units for which nothing is to be done.
      type: list
      elements: str
      sample: [llama-rpc-tls@0.service]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import Runs, due_units


def rpc_server_due(
    units: t.Any, wanted: t.Any, executable: str, tls_wanted: t.Any, tls_executable: str, changed_files: t.Any, files: t.Any
) -> t.Dict[str, t.List[str]]:
    """Return what has to be done on a worker's machine."""
    try:
        return due_units(list(units), Runs(dict(wanted), str(executable)), Runs(dict(tls_wanted), str(tls_executable)), list(changed_files), list(files))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(
            "The rpc_server_due filter takes the units that unit_process_info returned and what should run: %s." % error
        ) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"rpc_server_due": rpc_server_due}
