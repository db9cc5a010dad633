#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: unit_process_info
short_description: What a systemd service is really running
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Returns the state of service units and, for each that runs, what its main process really is. That is the executable it was started
    from, whether that file still exists, and chosen variables of its environment.
  - A unit file says what the next start will run. Comparing it with the process tells whether a restart is due, also after a
    play that was interrupted between writing the file and restarting.
options:
  units:
    description:
      - Names of the units. One with a wildcard, such as C(llama-rpc-server@*.service), stands for those that systemd has loaded.
      - A unit that does not exist is returned with RV(units[].load_state=not-found).
    type: list
    elements: str
    required: true
  environment:
    description:
      - Names of the environment variables to return. Others are not read out, because they may be secret.
    type: list
    elements: str
    default: []
  credentials:
    description:
      - For units, the files that their credentials were loaded from at their start (C(LoadCredential)), by the name of the credential. What they
        hold is compared on the machine, and returned nowhere.
    type: dict
    default: {}
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.tcp_socket_info
"""

EXAMPLES = r"""
- name: Read the state of llama-server's unit
  herd.llama_cpp.unit_process_info:
    units: [llama-server.service]
    environment: [HERD_CONFIG_ID]
  register: head

- name: Show the build that llama-server was started from
  ansible.builtin.debug:
    msg: "{{ head.units[0].executable }}"
"""

RETURN = r"""
systemd:
  description: Whether the machine runs systemd. If not, RV(units) is empty.
  returned: success
  type: bool
  sample: true
in_service:
  description: The names of the units that are active and start at boot.
  returned: success
  type: list
  elements: str
  sample: [llama-server.service]
units:
  description: The units, each once.
  returned: success
  type: list
  elements: dict
  contains:
    unit:
      description: Name of the unit.
      type: str
      sample: llama-server.service
    load_state:
      description: systemd's load state.
      type: str
      sample: loaded
    active_state:
      description: systemd's active state.
      type: str
      sample: active
    sub_state:
      description: systemd's state within the active state.
      type: str
      sample: running
    enabled:
      description: Whether it starts at boot.
      type: bool
      sample: true
    in_service:
      description: Whether it is active and starts at boot, so that nothing is to be done for it as long as it runs what it should.
      type: bool
      sample: true
    need_daemon_reload:
      description: Whether its file changed since systemd read it.
      type: bool
      sample: false
    restarts:
      description: How often systemd started it again by itself.
      type: int
      sample: 0
    running:
      description: Whether its main process runs.
      type: bool
      sample: true
    main_pid:
      description: Id of its main process, V(0) when there is none.
      type: int
      sample: 812
    process:
      description: Name of the main process.
      type: str
      sample: llama-server
    executable:
      description: The file the process was started from, with links resolved at that time.
      type: str
      sample: /opt/llama.cpp/builds/4f2a9c/bin/llama-server
    executable_deleted:
      description: Whether that file has been removed or replaced since.
      type: bool
      sample: false
    anonymous_mib:
      description: Memory in MiB that becomes free when the main process ends. Files that it has mapped, such as a model, are not in it.
      type: int
      sample: 18211
    environment:
      description: The variables named in O(environment) that the process has.
      type: dict
      sample:
        HERD_CONFIG_ID: 9b1c
    stale_credentials:
      description: The names in O(credentials) whose file holds something else than what the unit has loaded, or that it has not loaded.
      type: list
      elements: str
      sample: [api-key]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.manager import in_service, supervisor
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            "environment": {"type": "list", "elements": "str", "default": []},
            # Files by name. What they hold is not returned.
            "credentials": {"type": "dict", "default": {}, "no_log": False},
        },
        supports_check_mode=True,
    )
    manager = supervisor(module.run_command, module.get_bin_path)
    try:
        units = manager.look(module.params["units"], module.params["environment"], module.params["credentials"])
    except SystemdError as error:
        module.fail_json(msg="The units' state cannot be read: %s." % error)
    module.exit_json(changed=False, systemd=manager.runs(), units=units, in_service=in_service(units))


if __name__ == "__main__":
    main()
