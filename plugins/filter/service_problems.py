# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_problems
short_description: What is in the way of a service on a machine
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Judges the settings of one of the roles P(herd.llama_cpp.llama_server#role), P(herd.llama_cpp.rpc_server#role) and
    P(herd.llama_cpp.watchdog#role) by what was seen on its machine, and returns the reasons why the service cannot be set up there, as a list for
    P(herd.llama_cpp.problem_report#filter).
options:
  _input:
    description: What the role's C(vars/main.yml) hands over, its variables without their prefix.
    type: dict
    required: true
  service:
    description: Whose settings these are. V(llama_server_files) is what llama-server cannot be started without, its program and the files it reads.
    type: str
    choices: [llama_server, llama_server_files, rpc_server, watchdog]
    required: true
  machine:
    description: Inventory name of the machine.
    type: str
    required: true
  look:
    description:
      - What was seen there. C(units) and C(sockets) are the result of M(herd.llama_cpp.service_unit_info), C(addresses)
        are the machine's IPv4 addresses.
      - Of C(llama_server) also C(certificate), C(certificate_ended) and C(certificate_key), the results of openssl, and C(beside), problems of
        P(herd.llama_cpp.llama_beside#filter); of C(watchdog) also C(python) and C(python_version). Of C(llama_server_files) only C(files),
        RV(herd.llama_cpp.service_unit_info#module:files).
    type: dict
    required: true
seealso:
  - plugin: herd.llama_cpp.preflight_machine_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Fail when a problem with the workers was found
  ansible.builtin.fail:
    msg: "{{ problems | herd.llama_cpp.problem_report }}"
  when: problems | length > 0
  vars:
    problems: "{{ settings | herd.llama_cpp.service_problems('rpc_server', inventory_hostname, {'units': units, 'sockets': sockets}) }}"
"""

RETURN = r"""
_value:
  description: The problems, empty where nothing is in the way.
  type: list
  elements: dict
  sample:
    - machine: worker1
      problem: port 50052 on 192.168.1.101 is taken by nginx (pid 812, nginx.service)
      remedy: Stop that program or set rpc_server_port
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Judge, Problem, ProblemError, judged, problems_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import checks, llama_server, rpc_server, watchdog

_SERVICES: t.Dict[str, t.Tuple[t.Any, t.Any, t.Any]] = {
    "llama_server": (llama_server.LlamaServer, llama_server.Look, llama_server.problems),
    "llama_server_files": (llama_server.Installed, llama_server.FilesLook, llama_server.missing),
    "rpc_server": (rpc_server.RpcServer, checks.Look, rpc_server.problems),
    "watchdog": (watchdog.Watchdog, watchdog.Look, watchdog.problems),
}


def service_problems(settings: t.Any, service: str, machine: str, look: t.Any) -> t.List[Problem]:
    """Return what is in the way of one service on one machine."""
    def of(name: str) -> Judge:
        of_settings, of_look, judge = _SERVICES[name]
        return lambda given, seen: problems_of(str(machine), judge(of_settings(**given), of_look(**seen)))

    try:
        return judged({name: of(name) for name in _SERVICES}, "service_problems", service, settings, look)
    except ProblemError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"service_problems": service_problems}
