#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_installation
short_description: Install conda into a directory of its own with Miniforge's installer
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Runs an installer such as Miniforge's without questions and without changing the user's shell, and makes sure that the conda it brings runs.
  - It changes and removes only what it made itself, which it knows by a file that it writes last, C(.herd.llama_cpp.json). What an
    interrupted run left does not count. It is made anew.
options:
  prefix:
    description: The directory.
    type: path
    required: true
  installer:
    description: The installer, on the managed machine. Needed where conda is not there yet.
    type: path
  sha256:
    description: Its SHA-256. A file that is another is not run.
    type: str
    default: ""
  state:
    description: Whether there is to be such an installation.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says whether something would be done.
    support: full
  diff_mode:
    description: Shows the installed version.
    support: full
  platform:
    description: Where it can run.
    support: full
    platforms: linux
seealso:
  - module: herd.llama_cpp.conda_environment
"""

EXAMPLES = r"""
- name: Install conda
  herd.llama_cpp.conda_installation:
    prefix: ~/.local/share/herd.llama_cpp/toolchain/miniforge
    installer: /var/tmp/Miniforge3-Linux-x86_64.sh
    sha256: "{{ sha256_of_the_installer }}"
"""

RETURN = r"""
executable:
  description: The command.
  returned: success
  type: str
  sample: /home/me/.local/share/herd.llama_cpp/toolchain/miniforge/bin/conda
version:
  description: Its version. Empty in check mode where it is not there yet.
  returned: success
  type: str
  sample: 24.7.1
"""

import os
import subprocess

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.checksum import file_sha256
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.conda import find_conda


class InstallationError(Exception):
    """One sentence without the final full stop."""


def install(prefix: str, installer: str, sha256: str) -> None:
    """Run the installer, try what it brought, and only then write the marker."""
    if not installer or not os.path.isfile(installer):
        raise InstallationError("there is no installer %s" % installer)
    found = file_sha256(installer)
    if found != sha256.lower():
        raise InstallationError("%s has the SHA-256 %s, not %s, and was not run; correct one of the two" % (installer, found, sha256))
    with owned.being_made(prefix):
        if os.path.isdir(prefix):
            os.rmdir(prefix)
        done = subprocess.run(
            ["bash", installer, "-b", "-p", prefix], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        if done.returncode:
            words = [line for line in done.stdout.splitlines() if line.strip()] or ["no message"]
            raise InstallationError("the installer %s ended with %d: %s" % (installer, done.returncode, words[-1].strip().rstrip(".")))
        conda = find_conda(prefix)
        if conda is None:
            raise InstallationError("the installer %s brought no conda that runs" % installer)
        owned.write_marker(prefix, {"kind": "conda", "sha256": found, "version": conda.version})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "installer": {"type": "path"},
            "sha256": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    given = module.params
    prefix = os.path.normpath(given["prefix"])
    try:
        owned.refuse_foreign(prefix)
        state = owned.state_of(prefix)
        before = owned.read_marker(prefix).get("version", "") if state == owned.OURS else ""
        changed = state != (owned.OURS if given["state"] == "present" else owned.ABSENT)
        if changed and not module.check_mode:
            if given["state"] == "present":
                install(prefix, given["installer"] or "", given["sha256"])
            else:
                owned.remove(prefix)
    except (InstallationError, owned.OwnedError) as error:
        text = str(error)
        module.fail_json(msg="%s%s." % (text[0].upper() if text.startswith(("the ", "there ")) else text[0], text[1:]))
    except OSError as error:
        module.fail_json(msg="%s cannot be written: %s." % (error.filename or prefix, error.strerror))
    conda = find_conda(prefix) if given["state"] == "present" and os.path.isdir(prefix) else None
    after = conda.version if conda else ""
    module.exit_json(
        changed=changed,
        executable=conda.executable if conda else os.path.join(prefix, "bin", "conda") if given["state"] == "present" else "",
        version=after,
        diff={
            "before_header": prefix,
            "after_header": prefix,
            "before": "conda %s\n" % before if before else "",
            "after": "conda %s\n" % after if after else "",
        },
    )


if __name__ == "__main__":
    main()
