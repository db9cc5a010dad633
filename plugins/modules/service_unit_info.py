#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit_info
short_description: All that is to be known of a machine before a service is set up there
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Looks once at everything that a role decides by, instead of a task for each thing. Everything that was not asked for comes back empty.
  - A user's and a group's own files, a machine's sockets and what other programs say need root to be seen in full.
options:
  user:
    description: The user of the service.
    type: str
    default: ""
  executables:
    description: Names of programs, each with the paths at which it may be. The first path that is there counts.
    type: dict
    default: {}
  files:
    description: Paths of files that O(user) is to read.
    type: list
    elements: str
    default: []
  packages:
    description: Packages of the distribution, by Debian's names. Those that the role system_packages knows.
    type: list
    elements: str
    default: []
  units:
    description: Names and shell-style patterns of units, as O(herd.llama_cpp.unit_process_info#module:units) of M(herd.llama_cpp.unit_process_info).
    type: list
    elements: str
    default: []
  listening_ports:
    description: Return the sockets that listen on these TCP ports.
    type: list
    elements: int
    default: []
  abandoned_ports:
    description: Return the connections to these TCP ports of other machines whose other end is gone, which the program here has not noticed yet.
    type: list
    elements: int
    default: []
  patterns:
    description: Shell-style patterns of paths.
    type: list
    elements: str
    default: []
  commands:
    description: Names of commands that change nothing, each with its program and arguments.
    type: dict
    default: {}
  network_facts:
    description: Whether the facts about the network are gathered where there are none yet, as M(ansible.builtin.setup) does. Its plugin does that.
    type: bool
    default: false
attributes:
  action:
    description: It has an action plugin, for O(network_facts).
    support: full
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.unit_process_info
  - module: herd.llama_cpp.tcp_socket_info
  - module: herd.llama_cpp.service_files
"""

EXAMPLES = r"""
- name: Look at the machine
  herd.llama_cpp.service_unit_info:
    user: llama-server
    executables: {llama-server: [/opt/llama.cpp/current/bin/llama-server]}
    files: [/srv/models/model.gguf]
    units: [llama-server.service]
    listening_ports: [8080]
    commands:
      rules: [/usr/sbin/nft, list, ruleset]
  register: seen

- name: Stop where the service could not read its model
  ansible.builtin.assert:
    that: seen.files['/srv/models/model.gguf'].readable
"""

RETURN = r"""
user:
  description: The user of the service.
  returned: success
  type: dict
  contains:
    exists:
      description: Whether the machine knows it.
      type: bool
      sample: true
    comment:
      description: Its comment.
      type: str
      sample: llama.cpp server (herd.llama_cpp)
executables:
  description: The path of each program with links resolved, empty where it is not there.
  returned: success
  type: dict
  sample: {llama-server: /opt/llama.cpp/builds/4f2a9c/bin/llama-server}
files:
  description: What was found at each path, links followed.
  returned: success
  type: dict
  sample: {/srv/models/model.gguf: {regular: true, size_bytes: 397811712, changed_s: 1796060000, readable: true}}
missing_packages:
  description: Those of O(packages) that the machine lacks.
  returned: success
  type: list
  elements: str
  sample: [nftables]
systemd:
  description: Whether systemd runs the machine. If not, RV(units) is empty.
  returned: success
  type: bool
  sample: true
units:
  description: The units, as RV(herd.llama_cpp.unit_process_info#module:units) of M(herd.llama_cpp.unit_process_info).
  returned: success
  type: list
  elements: dict
  sample: []
units_problem:
  description: Why the units could not be read, RV(units) is empty then. Empty where nothing is wrong.
  returned: success
  type: str
  sample: ""
sockets:
  description: What listens on O(listening_ports), as RV(herd.llama_cpp.tcp_socket_info#module:sockets) of M(herd.llama_cpp.tcp_socket_info).
  returned: where the sockets could be read
  type: list
  elements: dict
  sample: []
connected:
  description: The connections to O(listening_ports), in the same form.
  returned: where the sockets could be read
  type: list
  elements: dict
  sample: []
abandoned:
  description: The connections to O(abandoned_ports) whose other end is gone, in the same form.
  returned: where the sockets could be read
  type: list
  elements: dict
  sample: []
msg:
  description: Why the sockets could not be read.
  returned: where the sockets could not be read
  type: str
  sample: The command ss is not on this machine; install iproute2.
found:
  description: The paths that fit O(patterns).
  returned: success
  type: list
  elements: str
  sample: [/etc/llama-rpc-server/0.env]
commands:
  description: Of each of O(commands) its exit code RV(ignore:rc), its output RV(ignore:stdout) and its messages RV(ignore:stderr), both also by lines.
  returned: success
  type: dict
  sample: {rules: {rc: 0, stdout: "", stdout_lines: [], stderr: "", stderr_lines: []}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.unprivileged import NoUserError
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import sockets, unit_look
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.manager import Supervisor, supervisor
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError


def said(module: AnsibleModule, argv: list) -> dict:
    """What a command says; one that is not there is one that fails."""
    try:
        rc, out, err = module.run_command([str(word) for word in argv], handle_exceptions=False, environ_update={"LC_ALL": "C"})
    except OSError as error:
        rc, out, err = 127, "", "%s: %s" % (argv[0], error.strerror)
    return {"rc": rc, "stdout": out, "stderr": err, "stdout_lines": out.splitlines(), "stderr_lines": err.splitlines()}


def wanted_units(manager: Supervisor, names: list) -> dict:
    """The units that were asked for, or why nobody can say."""
    try:
        return {"units": manager.look(names), "units_problem": ""}
    except SystemdError as error:
        return {"units": [], "units_problem": str(error)}


def wanted_sockets(module: AnsibleModule) -> dict:
    """The sockets that were asked for, or why nobody can say."""
    listening, abandoned = module.params["listening_ports"], module.params["abandoned_ports"]
    if not listening and not abandoned:
        return {"sockets": [], "connected": [], "abandoned": []}
    try:
        every = sockets.read_sockets(module.run_command, module.get_bin_path("ss", opt_dirs=["/usr/sbin", "/sbin"]))
    except sockets.SocketsError as error:
        return {"msg": "%s." % error}
    found = {
        "sockets": sockets.select_sockets(every, listening, "local", ["listening"]) if listening else [],
        "connected": sockets.select_sockets(every, listening, "local", ["established"]) if listening else [],
        "abandoned": sockets.select_sockets(every, abandoned, "remote", ["abandoned"]) if abandoned else [],
    }
    return {name: [sockets.as_result(socket) for socket in some] for name, some in found.items()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "executables": {"type": "dict", "default": {}},
            "files": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "listening_ports": {"type": "list", "elements": "int", "default": []},
            "abandoned_ports": {"type": "list", "elements": "int", "default": []},
            "patterns": {"type": "list", "elements": "str", "default": []},
            "commands": {"type": "dict", "default": {}},
            "network_facts": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    manager = supervisor(module.run_command, module.get_bin_path)
    try:
        module.exit_json(
            changed=False,
            user=unit_look.user(given["user"]),
            executables={name: unit_look.executable(paths) for name, paths in given["executables"].items()},
            files=unit_look.files(given["files"], given["user"]),
            missing_packages=unit_look.missing_packages(given["packages"]),
            systemd=manager.runs(),
            found=unit_look.found(given["patterns"]),
            commands={name: said(module, argv) for name, argv in given["commands"].items()},
            **wanted_units(manager, given["units"]),
            **wanted_sockets(module),
        )
    except (unit_look.LookError, NoUserError) as error:
        module.fail_json(msg="%s." % error)


if __name__ == "__main__":
    main()
