#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_snapshot
short_description: Keep the configuration of a machine's services, and put it back
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Keeps the units, settings and keys of this collection's services on a machine, with which of them ran, before they are changed, and puts all
    of it back where the change failed. Builds and models are no part of it.
options:
  path:
    description: The archive. It holds keys, and only root may read it.
    type: path
    default: /etc/llama.cpp/before.tar
  paths:
    description: Further files that V(present) keeps, as far as they are regular files or not there yet.
    type: list
    elements: path
    default: []
  recorded:
    description: When the record of what serves was written, C(written) of RV(herd.llama_cpp.cluster_record_info#module:record). Empty where nobody knows.
    type: str
    default: ""
  state:
    description:
      - V(present) keeps what there is, unless an archive is there already, which an interrupted run left and which is older and better. One that
        is of another record than O(recorded) was left by a run that has ended, on a machine that was away by then, and is replaced.
      - V(restored) stops the units that did not run, puts it back and restarts the units of O(units) that ran. Where there is no archive, nothing
        is done.
      - V(compared) only says whether the configuration is another than the archive's, or a unit does not run that ran.
      - V(absent) removes the archive.
    type: str
    choices: [present, compared, restored, absent]
    default: present
  units:
    description: Shell-style patterns of the units that V(restored) starts, so that workers run before their head.
    type: list
    elements: str
    default: ["llama-*"]
attributes:
  check_mode:
    description: In check mode nothing is written, removed or started.
    support: full
  diff_mode:
    description: There is nothing to show; what is kept are secrets.
    support: none
"""

EXAMPLES = r"""
- name: Save the configuration of the workers
  herd.llama_cpp.service_snapshot:
    recorded: "{{ hostvars['head'].cluster_record_seen.record.written }}"

- name: Restore the configuration of the workers and start them
  herd.llama_cpp.service_snapshot:
    state: restored
    units: ["llama-rpc-*"]
"""

RETURN = r"""
kept:
  description: Whether there was an archive already that is kept. Always false in check mode.
  returned: O(state=present)
  type: bool
  sample: false
differs:
  description: Whether the configuration is another than the one that is kept, or less of it runs than did.
  returned: O(state=compared)
  type: bool
  sample: false
started:
  description: The units that were restarted.
  returned: O(state=restored)
  type: list
  elements: str
  sample: [llama-rpc-server@0.service]
"""

import fnmatch
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.snapshot import (
    SnapshotError, differs, forget, is_of, put_back, take, units_of,
)

OURS = ("llama-rpc-*", "llama-server*", "llama-watchdog*")
KINDS = (".service", ".socket", ".path")


def running(module):
    """The units of this collection that are active."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=active,activating,reloading"]
    lines = module.run_command(command + list(OURS), check_rc=True)[1].splitlines()
    return [line.split()[0] for line in lines if line.split() and line.split()[0].endswith(KINDS)]


def by_sockets(units):
    """Those of these units that sockets start, which are among them too."""
    return [unit for unit in units if unit.endswith(".service") and unit.replace(".service", ".socket") in units]


def restore(module, path, patterns):
    """Put the files back, and have run what ran."""
    ran = units_of(path)
    # By their own units, which say how they are stopped, and which the archive may not have.
    surplus = set(running(module)) - set(ran)
    if surplus:
        module.run_command(["systemctl", "stop"] + sorted(surplus))
    put_back(path)
    module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    chosen = [unit for unit in ran if any(fnmatch.fnmatch(unit, pattern) for pattern in patterns)]
    waiting = by_sockets(chosen)
    wanted = [unit for unit in chosen if unit not in waiting]
    if waiting:
        module.run_command(["systemctl", "stop"] + waiting)
    if wanted:
        module.run_command(["systemctl", "restart"] + wanted, check_rc=True)
    return wanted


def changed(module, path):
    """Whether the configuration is another than the archive's, or less runs; what a socket starts need not run."""
    ran = units_of(path)
    return differs(path) or not set(ran) - set(by_sockets(ran)) <= set(running(module))


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/llama.cpp/before.tar"},
            "paths": {"type": "list", "elements": "path", "default": []},
            "recorded": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "compared", "restored", "absent"], "default": "present"},
            "units": {"type": "list", "elements": "str", "default": ["llama-*"]},
        },
        supports_check_mode=True,
    )
    path, state, recorded = module.params["path"], module.params["state"], module.params["recorded"]
    # A copy that is gone when the run has ended is no change of the machine.
    result = {"changed": state == "restored" and os.path.exists(path), **({"kept": False} if state == "present" else {})}
    if not module.check_mode:
        try:
            if state == "present":
                result["kept"] = os.path.exists(path) and is_of(path, recorded)
                if not result["kept"]:
                    take(path, running(module), paths=module.params["paths"], recorded=recorded)
            elif state == "restored":
                result["started"] = restore(module, path, module.params["units"]) if os.path.exists(path) else []
            elif state == "compared":
                result["differs"] = os.path.exists(path) and changed(module, path)
            elif state == "absent":
                forget(path)
        except SnapshotError as error:
            module.fail_json(msg="%s." % error)
        except OSError as error:
            module.fail_json(msg="%s: %s." % (error.filename or path, error.strerror))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
