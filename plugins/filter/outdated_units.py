# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: outdated_units
short_description: The units whose running process is not what is configured
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares what M(herd.llama_cpp.unit_process_info) found with what should run and returns the units that must be started or
    restarted. These are the units that do not run, that run with another C(HERD_CONFIG_ID) or other credentials than those in their
    files, whose executable is another file by now, or whose own files were just changed.
  - The decision rests on the running process and not on what a play changed, so an interrupted play is completed by the next.
options:
  _input:
    description: The RV(herd.llama_cpp.unit_process_info#module:units) of the module.
    type: list
    elements: dict
    required: true
  wanted:
    description: The units that should run, each with the C(HERD_CONFIG_ID) its process must have. It is empty for one without.
    type: dict
    required: true
  executable:
    description: The file they must have been started from, links resolved. Empty for any.
    type: str
    default: ""
  changed_files:
    description:
      - The RV(herd.llama_cpp.service_files#module:changed_files) of M(herd.llama_cpp.service_files). A unit is outdated where it is among them, or its
        template, or its settings, which for C(NAME@INSTANCE.service) are C(INSTANCE.env).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the units that must be restarted
  ansible.builtin.debug:
    msg: >-
      {{ processes.units | herd.llama_cpp.outdated_units(
           wanted={'llama-server.service': '9b1c'}, executable='/opt/llama.cpp/builds/4f2a9c/bin/llama-server') }}
"""

RETURN = r"""
_value:
  description: Names of the units, in the order of O(wanted).
  type: list
  elements: str
  sample: [llama-server.service]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import outdated_units as _outdated_units


def outdated_units(units: t.Any, wanted: t.Any, executable: str = "", changed_files: t.Sequence[str] = ()) -> t.List[str]:
    """Return the wanted units that do not run what they should."""
    if isinstance(units, (str, bytes)) or not isinstance(units, t.Iterable) or not isinstance(wanted, t.Mapping):
        raise AnsibleFilterError("The outdated_units filter takes a list of units and a mapping of units to ids.")
    try:
        return _outdated_units(units, wanted, str(executable), changed_files)
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(
            "The outdated_units filter takes the units that unit_process_info returned: %r is missing or wrong." % error
        ) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"outdated_units": outdated_units}
