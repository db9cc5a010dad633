#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_closure
short_description: Fetch packages of a distribution with all they depend on
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Lets apt on this machine (usually the control node) fetch packages with everything they depend on, as for a machine on which
    nothing is installed, and makes the directory a source that apt on another machine can install from.
  - Nothing of this machine's own packages, lists or caches is used or changed, and root is not needed. Signatures are verified.
  - A package that is there already is not fetched again; one that is not needed any more is removed.
attributes:
  check_mode:
    description: Says whether it would fetch or remove anything.
    support: full
  diff_mode:
    description: Has nothing to show in diff mode.
    support: none
  platform:
    description: Where it can run.
    support: full
    platforms: debian
requirements:
  - apt-get and dpkg-deb on the machine it runs on
options:
  packages:
    description: Names of the packages.
    type: list
    elements: str
    required: true
  release:
    description: Which distribution, release and architecture they are for, such as V(debian-12-amd64).
    type: str
    required: true
  directory:
    description: The directory to keep them in, with an index C(Packages). Only packages of this module belong there.
    type: path
    required: true
  sources:
    description:
      - The release's sources, each a line as in C(/etc/apt/sources.list).
      - Empty means the sources of the machine that the module runs on, which then must have the same release.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Download a compiler with its dependencies for this machine's own distribution
  herd.llama_cpp.apt_closure:
    packages: [gcc, g++]
    release: debian-12-amd64
    directory: /srv/bundle/packages/debian-12-amd64
  delegate_to: localhost

- name: Download a compiler with its dependencies for another distribution
  herd.llama_cpp.apt_closure:
    packages: [gcc, g++]
    release: ubuntu-24.04-amd64
    directory: /srv/bundle/packages/ubuntu-24.04-amd64
    sources:
      - deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://archive.ubuntu.com/ubuntu noble main universe
      - deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://archive.ubuntu.com/ubuntu noble-updates main universe
  delegate_to: localhost
"""

RETURN = r"""
files:
  description: The names of the packages' files in the directory.
  returned: success
  type: list
  elements: str
  sample: [gcc_4%3a12.2.0-3_amd64.deb]
"""

import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.apt_closure import (
    INDEX,
    apt_options,
    apt_reason,
    index_entry,
    release_architecture,
    uri_files,
)


def own_release(module, dpkg):
    """This machine's own release, in the same form."""
    told = {}
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            for line in file:
                key, equals, value = line.strip().partition("=")
                told[key] = value.strip("\"'")
    except OSError:
        return ""
    code, architecture, errors = module.run_command([dpkg, "--print-architecture"])
    return "%s-%s-%s" % (told.get("ID", ""), told.get("VERSION_ID", ""), architecture.strip())


def fetch(module, work, apt, tools):
    """Bring the directory up to date; returns the files' names and whether anything changed."""
    given = module.params
    directory = given["directory"]
    environment = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    archives = os.path.join(work, "cache", "archives")
    for path in (archives, os.path.join(work, "state", "lists")):
        os.makedirs(os.path.join(path, "partial"))
    with open(os.path.join(work, "status"), "w", encoding="utf-8"):
        pass
    sources = ""
    if given["sources"]:
        sources = os.path.join(work, "sources.list")
        with open(sources, "w", encoding="utf-8") as file:
            file.write("\n".join(given["sources"]) + "\n")
    command = [apt] + apt_options(work, release_architecture(given["release"]), sources)
    code, output, errors = module.run_command(command + ["--quiet=2", "--error-on=any", "update"], environ_update=environment)
    if code != 0:
        module.fail_json(msg="The package lists of %s cannot be fetched: %s." % (given["release"], apt_reason(errors + output)))
    install = ["--quiet=2", "--yes", "--no-install-recommends"]
    code, output, errors = module.run_command(command + install + ["--print-uris", "install"] + given["packages"], environ_update=environment)
    if code != 0:
        module.fail_json(msg="%s has no %s: %s." % (given["release"], ", ".join(given["packages"]), apt_reason(errors + output)))
    wanted = sorted(uri_files(output))
    there = sorted(name for name in (os.listdir(directory) if os.path.isdir(directory) else []) if name.endswith(".deb"))
    index = os.path.join(directory, INDEX)
    changed = wanted != there or not os.path.exists(index)
    if module.check_mode or not changed:
        return wanted, changed
    os.makedirs(directory, exist_ok=True)
    for name in set(there) & set(wanted):
        # apt verifies what it finds and fetches what is not as its lists say.
        shutil.copy2(os.path.join(directory, name), archives)
    code, output, errors = module.run_command(command + install + ["--download-only", "install"] + given["packages"], environ_update=environment)
    if code != 0:
        module.fail_json(msg="The packages for %s cannot be fetched: %s." % (given["release"], apt_reason(errors + output)))
    entries = []
    for name in wanted:
        path = os.path.join(archives, name)
        code, control, errors = module.run_command([tools["dpkg-deb"], "--field", path])
        if code != 0:
            module.fail_json(msg="%s is no whole package: %s." % (name, errors.strip()))
        entries.append(index_entry(control, path))
    for name in wanted:
        # Another file system, perhaps: only a file that is whole gets its name.
        target = os.path.join(directory, name)
        shutil.copyfile(os.path.join(archives, name), target + ".new")
        os.replace(target + ".new", target)
    for name in set(there) - set(wanted):
        os.unlink(os.path.join(directory, name))
    with open(index + ".new", "w", encoding="utf-8") as file:
        file.write("\n".join(entries))
    os.replace(index + ".new", index)
    return wanted, changed


def main():
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "release": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "sources": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not release_architecture(given["release"]):
        module.fail_json(msg="The release %s has another form than debian-12-amd64." % given["release"])
    tools = {name: module.get_bin_path(name) for name in ("apt-get", "dpkg", "dpkg-deb")}
    missing = sorted(name for name, path in tools.items() if path is None)
    if missing:
        module.fail_json(
            msg="%s is not on this machine, and fetches the packages for %s. Make the bundle on Debian or Ubuntu." % (missing[0], given["release"])
        )
    own = own_release(module, tools["dpkg"])
    if not given["sources"] and own != given["release"]:
        module.fail_json(
            msg="This machine has %s, so where packages for %s come from has to be said. Give that release's lines of sources.list." % (own, given["release"])
        )
    work = tempfile.mkdtemp(prefix="apt-closure-")
    try:
        files, changed = fetch(module, work, tools["apt-get"], tools)
    except OSError as exc:
        module.fail_json(msg="The packages cannot be kept in %s: %s." % (given["directory"], exc.strerror))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    module.exit_json(changed=changed, files=files)


if __name__ == "__main__":
    main()
