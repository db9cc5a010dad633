# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_steps
short_description: What is to be stopped, started, restarted and reloaded so that services run
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns the steps after which units run and start at boot, in the order in which they are done. It is empty where nothing is to be done.
options:
  _input:
    description: The units that should run, in the order in which they are started.
    type: list
    elements: str
    required: true
  in_service:
    description: Those for which nothing is to be done, RV(herd.llama_cpp.service_files#module:in_service) of M(herd.llama_cpp.service_files).
    type: list
    elements: str
    default: []
  restart:
    description: Those of them that do not run what they should.
    type: list
    elements: str
    default: []
  reload:
    description: Those of them that are to read their files again.
    type: list
    elements: str
    default: []
  stop:
    description: Units that are stopped before any is started.
    type: list
    elements: str
    default: []
  disable:
    description: Units that are stopped first of all, and no longer start at boot.
    type: list
    elements: str
    default: []
  check:
    description: Whether this is check mode, in which what is to be restarted may not be on the machine yet and is left out.
    type: bool
    default: false
seealso:
  - plugin: herd.llama_cpp.outdated_units
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Bring the units to their wanted state
  ansible.builtin.systemd_service:
    name: "{{ item.unit }}"
    state: "{{ item.state }}"
    enabled: "{{ item.enabled | default(omit, true) }}"
  loop: "{{ ['llama-server.service'] | herd.llama_cpp.service_steps(in_service=[], restart=['llama-server.service']) }}"
"""

RETURN = r"""
_value:
  description: The steps.
  type: list
  elements: dict
  contains:
    unit:
      description: Name of the unit.
      type: str
      sample: llama-server.service
    state:
      description: What is done, in the words of M(ansible.builtin.systemd_service).
      type: str
      sample: restarted
    enabled:
      description: Whether it starts at boot from then on. Null where that is left as it is.
      type: bool
      sample: true
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.steps import service_steps as _service_steps


def service_steps(units: t.Any, check: t.Any = False, **lists: t.Any) -> t.List[t.Dict[str, t.Any]]:
    """Return what is to be done so that the units run."""
    if any(isinstance(value, (str, t.Mapping)) or not isinstance(value, t.Iterable) for value in (units, *lists.values())):
        raise AnsibleFilterError("The service_steps filter takes lists of units.")
    try:
        return _service_steps([str(unit) for unit in units], check=bool(check), **{name: [str(unit) for unit in value] for name, value in lists.items()})
    except TypeError as error:
        raise AnsibleFilterError("The service_steps filter cannot read what it was given: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"service_steps": service_steps}
