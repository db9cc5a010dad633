#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_files
short_description: Write all files of a service at once, and say what of it runs
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Writes the units, settings and programs of a service in one call instead of one or two for each file, and says which of them were others
    before. Each file is replaced as a whole, so that nobody reads half of one. They belong to the user that the task runs as.
  - With O(units) it has systemd read its files again where they, or what systemd knows of them, changed, and returns what these units run.
options:
  directories:
    description: The directories to make, before the files. Those above them are made with the mode C(0755) where they are missing.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: path
        required: true
      mode:
        description: Its mode, as octal digits.
        type: str
        default: "0755"
      exclusive:
        description: Whether other files in it than those of O(files) are removed.
        type: bool
        default: false
  files:
    description: The files. Each has either O(files[].content) or O(files[].src).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - The file. With O(files[].each), its C(*) stands for a name.
          - One that ends in a slash is the directory of all of O(files[].src), which keep their names there without C(.j2).
        type: path
        required: true
      mode:
        description: Its mode, as octal digits.
        type: str
        default: "0644"
      content:
        description: What is in it.
        type: str
      src:
        description: The names of templates of the role, which end in C(.j2), or of files of the role.
        type: list
        elements: str
      each:
        description: A file for each of these names. Its value is C(item) in the template.
        type: dict
      force:
        description: Whether a file that is there is written anew where its content is another.
        type: bool
        default: true
      secret:
        description: Whether its content is shown nowhere, also not as a difference.
        type: bool
        default: false
      unit:
        description:
          - The unit that is started from this file. C(@HERD_CONFIG_ID@) in the file is replaced by an ID of all that its process is started from, which
            is returned as RV(config_ids). The ID is made of the file, of O(files[].parts) and of O(files[].identity).
          - With O(files[].each), a C(*) stands for the name, as in O(files[].parts).
        type: str
      parts:
        description: Other files of O(files) that the unit is started from. None of them may be secret.
        type: list
        elements: path
      identity:
        description: What else it is started from, such as the size of a file that it reads.
        type: str
  units:
    description:
      - Names and shell-style patterns of units that are looked at when the files are written, as O(herd.llama_cpp.unit_process_info#module:units) of
        M(herd.llama_cpp.unit_process_info).
    type: list
    elements: str
    default: []
  credentials:
    description: As O(herd.llama_cpp.unit_process_info#module:credentials) of M(herd.llama_cpp.unit_process_info).
    type: dict
    default: {}
  secrets:
    description: The contents of the files that are secret, by path. The plugin on the control node puts them here.
    type: dict
attributes:
  check_mode:
    description: In check mode nothing is written or removed.
    support: full
  diff_mode:
    description: Shows the difference of each file that is not secret.
    support: full
seealso:
  - module: herd.llama_cpp.service_snapshot
  - module: herd.llama_cpp.service_unit_info
  - module: herd.llama_cpp.unit_process_info
"""

EXAMPLES = r"""
- name: Write the workers' files
  herd.llama_cpp.service_files:
    directories:
      - {path: /etc/llama-rpc-server}
    files:
      - {src: [llama-rpc-server@.service.j2], path: /etc/systemd/system/}
      - {src: instance.env.j2, path: /etc/llama-rpc-server/*.env, each: {"0": {port: 50052}, "1": {port: 50053}}}
      - {content: "{{ key }}\n", path: /etc/llama-rpc-server/tls-key, mode: "0600", secret: true}
      - {src: proxy.conf.j2, path: /etc/proxy/, unit: proxy.service, parts: [/etc/systemd/system/proxy.service]}
    units: [llama-rpc-server@*.service, proxy.service]
  register: written

- name: Show which of them need nothing
  ansible.builtin.debug:
    msg: "{{ written.in_service }}"
"""

RETURN = r"""
changed_files:
  description: The files that were not there, or were others, or had other rights.
  returned: success
  type: list
  elements: str
  sample: [/etc/llama-rpc-server/0.env]
units_changed:
  description: Whether units, or drop-ins of units, are among them, so that systemd must read its files again.
  returned: success
  type: bool
  sample: true
removed_files:
  description: What was removed from the directories that are exclusive.
  returned: success
  type: list
  elements: str
  sample: []
files:
  description: The paths of all files.
  returned: success
  type: list
  elements: str
  sample: [/etc/llama-rpc-server/0.env]
config_ids:
  description: Of each O(files[].unit) the ID of what it is started from.
  returned: success
  type: dict
  sample: {proxy.service: 9b1c}
systemd:
  description: Whether systemd runs the machine. If not, RV(units) is empty.
  returned: O(units) is given
  type: bool
  sample: true
units:
  description: The units, as RV(herd.llama_cpp.unit_process_info#module:units) of M(herd.llama_cpp.unit_process_info), with C(HERD_CONFIG_ID).
  returned: O(units) is given
  type: list
  elements: dict
  sample: []
in_service:
  description: The names of the units that are active and start at boot.
  returned: O(units) is given
  type: list
  elements: str
  sample: [proxy.service]
ignored:
  description:
    - What C(systemd-analyze verify) says is ignored in these files, which is warned of. systemd starts a unit all the same when it does not know one
      of its directives, and a sandbox directive of a newer systemd is then silently not there. Empty where there is no C(systemd-analyze).
  returned: O(units) is given
  type: list
  elements: dict
  sample: [{file: /etc/systemd/system/proxy.service, line: 42, reason: "Unknown key 'ProtectMoon' in section [Service], ignoring."}]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import make_public, write_whole
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.manager import in_service, supervisor
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError

FILE = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "content": {"type": "str"},
    "src": {"type": "list", "elements": "str"},
    "each": {"type": "dict"},
    "force": {"type": "bool", "default": True},
    "secret": {"type": "bool", "default": False},
    "unit": {"type": "str"},
    "parts": {"type": "list", "elements": "path"},
    "identity": {"type": "str"},
}
DIRECTORY = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0755"},
    "exclusive": {"type": "bool", "default": False},
}


def read(path):
    """The content of a file as bytes; None where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def set_rights(module, path, mode):
    """Whether owner, group, mode or SELinux's context were others."""
    wanted = {"path": path, "mode": mode, "owner": str(os.geteuid()), "group": str(os.getegid()), "attributes": None,
              "secontext": module.selinux_default_context(path) if module.selinux_enabled() else []}
    return module.set_fs_attributes_if_different(wanted, False)


def make_directory(module, path, mode):
    """Whether it was not there or had other rights."""
    missing = not os.path.isdir(path)
    if missing and not module.check_mode:
        make_public(path)
    return missing | (not (missing and module.check_mode) and set_rights(module, path, mode))


def put(module, file, content):
    """Make one file what it shall be: whether it was another, and the difference to show."""
    path = file["path"]
    before = read(path)
    wanted = before if before is not None and not file["force"] else content.encode()
    changed = before != wanted
    if changed and not module.check_mode:
        write_whole(path, wanted)
    if not (module.check_mode and before is None):
        changed = set_rights(module, path, file["mode"]) or changed
    if before == wanted or file["secret"]:
        return changed, None
    return changed, {
        "before_header": path,
        "after_header": path,
        "before": to_text(before or b"", errors="replace"),
        "after": to_text(wanted, errors="replace"),
    }


def surplus(directory, files):
    """The files in a directory that are none of these."""
    wanted = {file["path"] for file in files}
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [os.path.join(directory, name) for name in names]
    return [path for path in paths if path not in wanted and (os.path.islink(path) or not os.path.isdir(path))]


def look(module, manager, files, reload):
    """Have the supervisor read its files again where it must, and say what it runs, and what it does not heed in these files."""
    asked = [module.params["units"], ["HERD_CONFIG_ID"], module.params["credentials"]]
    units = manager.look(*asked)
    if manager.runs() and not module.check_mode and (reload or any(unit["need_daemon_reload"] for unit in units)):
        manager.reload()
        units = manager.look(*asked)
    ignored = manager.ignored(path for path in files if manager.reads(path))
    return {
        "systemd": manager.runs(), "units": units, "in_service": in_service(units),
        "ignored": [{"file": one.file, "line": one.line, "reason": one.reason} for one in ignored],
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            # Files by name. What they hold is not returned.
            "credentials": {"type": "dict", "default": {}, "no_log": False},
            "directories": {"type": "list", "elements": "dict", "default": [], "options": DIRECTORY},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
            "secrets": {"type": "dict", "no_log": True},
        },
        supports_check_mode=True,
    )
    directories, files = module.params["directories"], module.params["files"]
    contents = {file["path"]: file["content"] for file in files}
    contents.update(module.params["secrets"] or {})
    changed, changed_files, removed_files, diff = False, [], [], []
    at = ""
    try:
        for directory in directories:
            at = directory["path"]
            changed = make_directory(module, at, directory["mode"]) or changed
        for file in files:
            at = file["path"]
            if contents[at] is None:
                module.fail_json(msg="%s has no content. This module is used through its plugin on the control node." % at)
            another, difference = put(module, file, str(contents[at]))
            changed_files += [at] if another else []
            diff += [difference] if difference else []
        for directory in directories:
            for at in surplus(directory["path"], files) if directory["exclusive"] else []:
                if not module.check_mode:
                    os.unlink(at)
                removed_files.append(at)
    except OSError as error:
        module.fail_json(msg="%s could not be written: %s." % (at, error.strerror))
    manager = supervisor(module.run_command, module.get_bin_path)
    units_changed = any(manager.reads(path) for path in changed_files)
    paths = [file["path"] for file in files]
    try:
        seen = look(module, manager, paths, units_changed) if module.params["units"] else {}
    except SystemdError as error:
        module.fail_json(msg="The files are written, and what runs is not known: %s." % error)
    module.exit_json(
        changed=bool(changed or changed_files or removed_files), changed_files=changed_files, removed_files=removed_files, files=paths,
        units_changed=units_changed, **seen, **({"diff": diff} if module._diff else {}),
    )


if __name__ == "__main__":
    main()
