#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_device_info
short_description: Which devices an idle rpc-server offers, and how much memory they have free
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Asks an rpc-server for its protocol version and for the free and total memory of its devices, over its own protocol.
  - An rpc-server serves one client at a time, and one that greets it while it is busy and gives up can end it. So the module runs on
    the worker's own machine and looks at the kernel's socket table first. While anybody else is connected it asks nothing and
    returns RV(busy) V(true) with RV(busy_reason).
  - It looks a second time after it has connected, before it sends the first byte, and sends nothing unless the worker has accepted this
    connection and there is no other. A connection that closes without a byte does a worker no harm.
  - The free memory of an idle worker is what a model can use there. What a worker reports for the processor (C(CPU) device) is
    the machine's whole memory, of which nothing is subtracted.
requirements:
  - C(ss) from iproute2 on the managed machine
options:
  address:
    description: The IPv4 address on which the worker listens. V(127.0.0.1) serves for one that listens on every address.
    type: str
    default: 127.0.0.1
  port:
    description: The port on which it listens.
    type: int
    default: 50052
  timeout_s:
    description: How long the whole conversation may take, in seconds, from above 0 to 600.
    type: float
    default: 10.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.tcp_socket_info
  - module: herd.llama_cpp.gpu_info
"""

EXAMPLES = r"""
- name: Ask the worker for its devices
  herd.llama_cpp.rpc_device_info:
    address: 192.168.1.101
  register: worker

- name: Say what it has to offer
  ansible.builtin.debug:
    msg: >-
      {{ worker.busy_reason if worker.busy else worker.devices | map(attribute='free_mib') | join(', ') ~ ' MiB free' }}
"""

RETURN = r"""
endpoint:
  description: The worker that was asked.
  returned: success
  type: str
  sample: 192.168.1.101:50052
busy:
  description: Whether it was left alone because it serves somebody, or hangs.
  returned: success
  type: bool
  sample: false
busy_reason:
  description: How that was seen, a sentence. Empty when it was asked.
  returned: success
  type: str
  sample: "192.168.1.101:50052 serves a client: ss shows a connection from 192.168.1.100:39390."
protocol_version:
  description: The RPC protocol it speaks. Empty when it was left alone.
  returned: success
  type: str
  sample: 7.0.0
devices:
  description: Its devices in its own order. Empty when it was left alone.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: Number of the device within this worker.
      type: int
      sample: 0
    free_mib:
      description: Free memory in MiB, rounded down.
      type: int
      sample: 23854
    total_mib:
      description: All of its memory in MiB, rounded down.
      type: int
      sample: 24124
process:
  description: Name of the process that listens. Empty when unknown, as it is without root for another user's process.
  returned: success
  type: str
  sample: ggml-rpc-server
pid:
  description: Id of that process, V(0) when unknown.
  returned: success
  type: int
  sample: 812
unit:
  description: The systemd unit that process belongs to. Empty when there is none or it is unknown.
  returned: success
  type: str
  sample: llama-rpc-server@0.service
"""

import ipaddress
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.client import RpcError, WorkerBusy, ask_idle_worker
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SS_ARGUMENTS, SocketsError, TcpSocket, parse_ss
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import read_unit_of_process


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 50052},
            "timeout_s": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    address, port, timeout_s = module.params["address"], module.params["port"], module.params["timeout_s"]
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        module.fail_json(msg="address is %r; give the IPv4 address on which the worker listens." % address)
    if not 0 < port < 65536:
        module.fail_json(msg="port is %d; give a value from 1 to 65535." % port)
    if not 0 < timeout_s <= 600:
        module.fail_json(msg="timeout_s is %s; give it a value above 0 and up to 600." % timeout_s)
    ss = module.get_bin_path("ss", opt_dirs=["/usr/sbin", "/sbin"])
    if ss is None:
        module.fail_json(msg="The command ss is not on this machine; install iproute2.")

    def look() -> t.List[TcpSocket]:
        rc, out, err = module.run_command([ss, *SS_ARGUMENTS])
        if rc != 0:
            raise SocketsError(err.strip() or "ss ended with code %d" % rc)
        return parse_ss(out)

    endpoint = "%s:%d" % (address, port)
    version, devices, reason = "", [], ""
    try:
        report = ask_idle_worker(address, port, look, timeout_s)
    except SocketsError as error:
        module.fail_json(msg="The machine's sockets cannot be read: %s." % error)
    except RpcError as error:
        module.fail_json(msg="%s %s." % (endpoint, error))
    except WorkerBusy as busy:
        listener = busy.listener
        reason = "%s %s." % (endpoint, busy)
    else:
        listener = report.listener
        version = report.protocol_version
        devices = [
            {"index": device.index, "free_mib": device.free_bytes >> 20, "total_mib": device.total_bytes >> 20}
            for device in report.devices
        ]
    first = listener.processes[0] if listener.processes else None
    module.exit_json(
        changed=False,
        endpoint=endpoint,
        busy=bool(reason),
        busy_reason=reason,
        protocol_version=version,
        devices=devices,
        process=first.name if first else "",
        pid=first.pid if first else 0,
        unit=read_unit_of_process(first.pid) if first else "",
    )


if __name__ == "__main__":
    main()
