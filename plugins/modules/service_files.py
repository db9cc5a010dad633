#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_files
short_description: Write all files of a service at once
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Writes the units, settings and programs of a service in one call instead of one or two for each file, and says which of them were others
    before. Each file is replaced as a whole, so that nobody reads half of one. They belong to the user that the task runs as.
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
"""

EXAMPLES = r"""
- name: Write the workers' files
  herd.llama_cpp.service_files:
    directories:
      - {path: /etc/llama-rpc-server}
    files:
      - {src: [llama-rpc-server@.service.j2, llama-rpc-gpu.service.j2], path: /etc/systemd/system/}
      - {src: instance.env.j2, path: /etc/llama-rpc-server/*.env, each: {"0": {port: 50052}, "1": {port: 50053}}}
      - {content: "{{ key }}\n", path: /etc/llama-rpc-server/tls-key, mode: "0600", secret: true}
  register: written

- name: Reload systemd's unit files
  ansible.builtin.systemd_service:
    daemon_reload: true
  when: written.units_changed
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
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import is_unit_file

FILE = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "content": {"type": "str"},
    "src": {"type": "list", "elements": "str"},
    "each": {"type": "dict"},
    "force": {"type": "bool", "default": True},
    "secret": {"type": "bool", "default": False},
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


def write(path, content):
    """Put a file in its place in one step. Until its rights are set, nobody else may read it."""
    new = "%s.%d.new" % (path, os.getpid())
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, path)
    except OSError:
        if os.path.lexists(new):
            os.unlink(new)
        raise


def set_rights(module, path, mode):
    """Whether owner, group, mode or SELinux's context were others."""
    wanted = {"path": path, "mode": mode, "owner": str(os.geteuid()), "group": str(os.getegid()), "attributes": None,
              "secontext": module.selinux_default_context(path) if module.selinux_enabled() else []}
    return module.set_fs_attributes_if_different(wanted, False)


def make_directory(module, path, mode):
    """Whether it was not there or had other rights."""
    missing = not os.path.isdir(path)
    if missing and not module.check_mode:
        os.makedirs(path, mode=0o755, exist_ok=True)
    return missing | (not (missing and module.check_mode) and set_rights(module, path, mode))


def put(module, file, content):
    """Make one file what it shall be: whether it was another, and the difference to show."""
    path = file["path"]
    before = read(path)
    wanted = before if before is not None and not file["force"] else content.encode()
    changed = before != wanted
    if changed and not module.check_mode:
        write(path, wanted)
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


def main():
    module = AnsibleModule(
        argument_spec={
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
    module.exit_json(
        changed=bool(changed or changed_files or removed_files), changed_files=changed_files, removed_files=removed_files,
        units_changed=any(is_unit_file(path) for path in changed_files), **({"diff": diff} if module._diff else {}),
    )


if __name__ == "__main__":
    main()
