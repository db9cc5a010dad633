#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_manifest
short_description: Write what a bundle for a site without the internet holds
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Writes C(bundle.json), which says of each file what it is, how large it is and its SHA-256, and C(SHA256SUMS), which
    C(sha256sum --check) understands.
  - Where neither the files nor O(about) differ from what is written there already, nothing is changed.
attributes:
  check_mode:
    description: Says whether it would write.
    support: full
  diff_mode:
    description: Has nothing to show in diff mode.
    support: none
options:
  directory:
    description: The bundle's directory.
    type: path
    required: true
  files:
    description: The files that belong to it.
    type: list
    elements: dict
    required: true
    suboptions:
      what:
        description: What it is, for people.
        type: str
        required: true
      file:
        description: Its path below O(directory).
        type: str
        required: true
  about:
    description: What else there is to say, such as what it was made for.
    type: dict
    default: {}
seealso:
  - module: herd.llama_cpp.bundle_info
"""

EXAMPLES = r"""
- name: Write the bundle's manifest
  herd.llama_cpp.bundle_manifest:
    directory: /srv/bundle
    files:
      - what: model
        file: models/model.gguf
    about:
      machines: [head, worker1]
"""

RETURN = r"""
manifest:
  description: What is written in C(bundle.json).
  returned: success
  type: dict
size_bytes:
  description: The size of all files together.
  returned: success
  type: int
  sample: 254120448
"""

import datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.bundle import BundleProblem, make_manifest, read_manifest, verify, write_manifest


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"what": {"type": "str", "required": True}, "file": {"type": "str", "required": True}},
            },
            "about": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    directory = given["directory"]
    try:
        before = read_manifest(directory)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        manifest = make_manifest(directory, given["files"], given["about"], now)
        changed = {**manifest, "made": ""} != {**before, "made": ""}
        if not changed:
            manifest = before
            try:
                verify(directory)
            except BundleProblem:
                changed = True
        if changed and not module.check_mode:
            write_manifest(directory, manifest)
    except BundleProblem as exc:
        module.fail_json(msg="The bundle is not to be had: %s." % exc)
    except OSError as exc:
        module.fail_json(msg="The bundle in %s cannot be written: %s." % (directory, exc.strerror))
    module.exit_json(changed=changed, manifest=manifest, size_bytes=sum(item["size_bytes"] for item in manifest["files"]))


if __name__ == "__main__":
    main()
