#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_server_ready
short_description: Wait until rpc-server units serve, or say why they do not
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Waits until each unit's own process listens on its address and port and has stayed the same process for a while.
  - An rpc-server that cannot bind its port exits with code 0, and one that just started writes nothing to its log. So neither the
    exit code nor the log is what readiness is judged by. A unit that systemd had to start again is a failure at once.
  - A worker behind TLS listens in a network of its own. Then its TLS unit's process must be in the same network and listen on the
    address and port for it.
  - No connection is made. An rpc-server serves one client at a time and can be ended by a probe.
  - On failure the message says which program has the port, or quotes the telling line of the unit's journal.
requirements:
  - systemd, C(ss) from iproute2, and C(nsenter) from util-linux for workers behind TLS
options:
  instances:
    description: The units to wait for.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: Name of the unit.
        type: str
        required: true
      address:
        description: IPv4 address it must listen on.
        type: str
        required: true
      port:
        description: Port it must listen on.
        type: int
        required: true
      tls_unit:
        description: Name of the unit that speaks TLS for it. Empty when it listens itself.
        type: str
        default: ""
      machine:
        description: Not used. Taken so that the list of the role P(herd.llama_cpp.rpc_server#role) can be passed as it is.
        type: str
        default: ""
      endpoint:
        description: Not used.
        type: str
        default: ""
      listens_on:
        description: Not used.
        type: str
        default: ""
      device:
        description: Not used.
        type: str
        default: ""
  timeout_s:
    description: Seconds to wait for all of them together. A worker may need minutes to see its GPU.
    type: float
    default: 120
  stable_s:
    description: Seconds for which a listening process must stay the same one.
    type: float
    default: 1
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.llama_server_ready
  - module: herd.llama_cpp.tcp_socket_info
  - module: herd.llama_cpp.llama_startup_log
"""

EXAMPLES = r"""
- name: Wait until both workers of the machine listen
  herd.llama_cpp.rpc_server_ready:
    instances:
      - unit: llama-rpc-server@0.service
        address: 192.168.1.101
        port: 50052
      - unit: llama-rpc-server@1.service
        address: 192.168.1.101
        port: 50053
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 1.1
instances:
  description: The units, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    unit:
      description: Name of the unit.
      type: str
      sample: llama-rpc-server@0.service
    pid:
      description: Id of the process that serves.
      type: int
      sample: 812
failure:
  description: What the journal says went wrong, null when it says nothing known.
  returned: failure
  type: dict
  contains:
    kind:
      description: What sort of failure it is.
      type: str
      sample: bind
    line:
      description: The line of the log that tells it.
      type: str
      sample: Failed to create server socket
    problem:
      description: The failure in words.
      type: str
      sample: the address and port could not be listened on
    remedy:
      description: What to do.
      type: str
      sample: choose another port
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.readiness import (
    Machine,
    ServiceError,
    StartFailed,
    explain,
    holder,
    listens,
    network_of,
    telling_failure,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.worker_log import parse_worker
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SocketsError
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError, UnitState, UnitWatch

_PAUSE_S = 0.2
# Where a worker listens in a network of its own.
_INSIDE = "127.0.0.1"


def failed(machine: Machine, instance: dict, what: str) -> StartFailed:
    """Why this instance did not come up."""
    unit, address, port = instance["unit"], instance["address"], instance["port"]
    other = "" if instance.get("tls_unit", "") else holder(machine.sockets(), address, port, unit)
    runs = machine.runs(unit)
    failure = telling_failure(runs, parse_worker)
    if other:
        line = failure["line"] if failure else ""
        failure = {
            "kind": "port_in_use",
            "line": line,
            "problem": "port %d on %s is taken by %s" % (port, address, other),
            "remedy": "Stop that program or give the worker another port",
        }
    return explain(unit, what, failure, runs)


def tls_failed(machine: Machine, instance: dict, what: str) -> StartFailed:
    """Why the unit that speaks TLS for this instance did not come up."""
    unit, address, port = instance.get("tls_unit", ""), instance["address"], instance["port"]
    other = holder(machine.sockets(), address, port, unit)
    failure = None
    if other and "(pid 1," not in other:
        failure = {
            "kind": "port_in_use",
            "line": "",
            "problem": "port %d on %s is taken by %s" % (port, address, other),
            "remedy": "Stop that program or give the worker another port",
        }
    return explain(unit, what, failure, machine.runs(unit))


def serves(machine: Machine, sockets: list, units: dict, instance: dict) -> bool:
    """Whether the worker listens, and with TLS whether its tunnel does and leads to it."""
    address, port = instance["address"], instance["port"]
    pid = units.get(instance["unit"], UnitState(unit="")).main_pid
    if not instance.get("tls_unit", ""):
        return listens(sockets, address, port, pid)
    tls_pid = units.get(instance.get("tls_unit", ""), UnitState(unit="")).main_pid
    return (
        pid > 0
        and listens(sockets, address, port, tls_pid)
        and network_of(pid) == network_of(tls_pid) != network_of(1)
        and listens(machine.sockets_around(pid), _INSIDE, port, pid)
    )


def wait(machine: Machine, instances: list, timeout_s: float, stable_s: float) -> list:
    """Return the pid of each instance once all are ready."""
    names = [instance["unit"] for instance in instances]
    tls_names = [instance.get("tls_unit", "") for instance in instances if instance.get("tls_unit", "")]
    watches = {name: UnitWatch() for name in names + tls_names}
    since = {}
    deadline = time.monotonic() + timeout_s
    while True:
        units = machine.units(names + tls_names)
        sockets = machine.sockets()
        now = time.monotonic()
        for instance in instances:
            name = instance["unit"]
            state = units.get(name, UnitState(unit=name))
            death = watches[name].death(state)
            if death:
                raise failed(machine, instance, death)
            tls_name = instance.get("tls_unit", "")
            death = watches[tls_name].death(units.get(tls_name, UnitState(unit=tls_name))) if tls_name else ""
            if death:
                raise tls_failed(machine, instance, death)
            if not serves(machine, sockets, units, instance):
                since.pop(name, None)
            else:
                since.setdefault(name, now)
        if all(name in since and now - since[name] >= stable_s for name in names):
            return [units[name].main_pid for name in names]
        if now > deadline:
            late = next((instance for instance in instances if instance["unit"] not in since), instances[0])
            what = "runs but does not listen on %s:%d after %d seconds" % (late["address"], late["port"], timeout_s)
            raise failed(machine, late, what)
        time.sleep(_PAUSE_S)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "instances": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "unit": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "tls_unit": {"type": "str", "default": ""},
                    "machine": {"type": "str", "default": ""},
                    "endpoint": {"type": "str", "default": ""},
                    "listens_on": {"type": "str", "default": ""},
                    "device": {"type": "str", "default": ""},
                },
            },
            "timeout_s": {"type": "float", "default": 120},
            "stable_s": {"type": "float", "default": 1},
        },
        supports_check_mode=True,
    )
    instances = module.params["instances"]
    begin = time.monotonic()
    try:
        pids = wait(Machine(module.run_command), instances, module.params["timeout_s"], module.params["stable_s"])
    except StartFailed as error:
        module.fail_json(msg=str(error), failure=error.failure)
    except (ServiceError, SocketsError, SystemdError) as error:
        module.fail_json(msg="The workers cannot be watched: %s." % error, failure=None)
    module.exit_json(
        changed=False,
        seconds=round(time.monotonic() - begin, 2),
        instances=[{"unit": instance["unit"], "pid": pid} for instance, pid in zip(instances, pids)],
    )


if __name__ == "__main__":
    main()
