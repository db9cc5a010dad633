#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_info
short_description: Read what a bundle holds, and make sure that all of it is whole
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares every file with its SHA-256, and fails with the names of those that are missing or damaged.
  - Reads all of it, so a bundle with a large model takes its time.
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
options:
  directory:
    description: The bundle's directory.
    type: path
    required: true
seealso:
  - module: herd.llama_cpp.bundle_manifest
"""

EXAMPLES = r"""
- name: Verify the bundle
  herd.llama_cpp.bundle_info:
    directory: /media/usb/bundle
  delegate_to: localhost
"""

RETURN = r"""
manifest:
  description: What the bundle says of itself.
  returned: success
  type: dict
  sample:
    format: 1
    made: "2026-11-27T02:00:00Z"
    about: {}
    files:
      - what: model
        file: models/model.gguf
        size_bytes: 98362432
        sha256: 0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.bundle import BundleProblem, verify


def main():
    module = AnsibleModule(argument_spec={"directory": {"type": "path", "required": True}}, supports_check_mode=True)
    try:
        manifest = verify(module.params["directory"])
    except BundleProblem as exc:
        module.fail_json(msg="The bundle cannot be used: %s. Copy it again from where it was made." % exc)
    module.exit_json(changed=False, manifest=manifest)


if __name__ == "__main__":
    main()
