#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_environment
short_description: Keep a conda environment of its own with certain packages
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Makes an environment at O(prefix), adds packages to it and changes their versions, or removes it.
  - It changes and removes only what it made itself, which it knows by a file that it writes last, C(.herd.llama_cpp.json). Whatever
    else is at O(prefix), another conda environment above all, stays as it is and is an error.
  - An environment that an interrupted run left does not count. It is made anew.
  - Packages that are in the environment and not in O(packages) stay.
options:
  prefix:
    description: The environment's directory.
    type: path
    required: true
  packages:
    description: The packages, as conda understands them, such as V(cuda-toolkit=12.4).
    type: list
    elements: str
    default: []
  channels:
    description: The channels, the first to be preferred. No others are asked, whatever the machine's own settings say. C(conda-forge) when not given.
    type: list
    elements: str
  executable:
    description: C(conda), C(mamba) or C(micromamba), by path or name, or the directory it was installed to. Looked for where it is not given.
    type: str
    default: ""
  environment_modules:
    description: Environment modules to load first.
    type: list
    elements: str
    default: []
  state:
    description: Whether there is to be such an environment.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Asks conda what it would do. That needs conda and its channels, where the environment is not as wanted already.
    support: full
  diff_mode:
    description: Shows the packages before and after.
    support: full
  platform:
    description: Where it can run.
    support: full
    platforms: linux
seealso:
  - module: herd.llama_cpp.conda_info
"""

EXAMPLES = r"""
- name: Install a CUDA compiler with a matching host compiler
  herd.llama_cpp.conda_environment:
    prefix: ~/.local/share/herd.llama_cpp/cuda-12.4
    channels: [conda-forge]
    packages:
      - cuda-toolkit=12.4
      - gxx_linux-64=13

- name: Remove the environment
  herd.llama_cpp.conda_environment:
    prefix: ~/.local/share/herd.llama_cpp/cuda-12.4
    state: absent
"""

RETURN = r"""
prefix:
  description: The environment's directory.
  returned: success
  type: str
  sample: /home/me/.local/share/herd.llama_cpp/cuda-12.4
packages:
  description: What the environment holds afterwards, or would.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: cuda-toolkit
    version:
      description: The version.
      type: str
      sample: 12.4.1
    build:
      description: The build.
      type: str
      sample: h0_0
"""

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import owned
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.conda import (
    Conda,
    CondaError,
    Package,
    Transaction,
    ask,
    change_arguments,
    find_conda,
    installed,
    parse_transaction,
    shown_channel,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain


def _lines(packages: t.Iterable[Package]) -> str:
    return "".join("%s\n" % package for package in sorted(packages, key=lambda package: package.name))


def _name(spec: str) -> str:
    """The package's name in what was asked for."""
    return re.split(r"[\s=<>!~]", spec.rpartition("::")[2], maxsplit=1)[0]


def _after(before: t.Sequence[Package], transaction: Transaction) -> t.List[Package]:
    gone = {package.name for package in transaction.unlink}
    kept = [package for package in before if package.name not in gone]
    return sorted(kept + [Package(package.name, package.version, package.build) for package in transaction.link], key=lambda package: package.name)


class Environment:
    """The environment that is there and the one that is wanted."""

    def __init__(self, params: t.Mapping[str, t.Any], check_mode: bool) -> None:
        self.prefix = os.path.normpath(params["prefix"])
        self.specs: t.List[str] = params["packages"]
        self.channels: t.List[str] = params["channels"]
        self.params = params
        self.check_mode = check_mode
        self.state = owned.state_of(self.prefix)
        self.before = installed(self.prefix) if self.state == owned.OURS else []

    def as_wanted(self) -> bool:
        """Whether nothing was asked for but what we put there, and all of it is still there: conda need not be asked."""
        marker = owned.read_marker(self.prefix) if self.state == owned.OURS else {}
        return bool(
            marker
            and set(self.specs) <= set(marker.get("specs", []))
            and marker.get("channels") == self.channels
            and marker.get("packages") == [str(package) for package in self.before]
        )

    def present(self) -> t.Tuple[bool, t.List[Package]]:
        owned.refuse_foreign(self.prefix)
        if not self.specs:
            raise CondaError("packages is empty; name at least one for the environment %s" % self.prefix)
        if not self.channels:
            raise CondaError("channels is empty; name at least one for the environment %s" % self.prefix)
        if self.as_wanted():
            return False, self.before
        conda = find_conda(self.params["executable"], self.params["environment_modules"])
        if conda is None:
            named = self.params["executable"]
            raise CondaError(
                "there is no conda, mamba or micromamba %s; install one, or say where it is"
                % ("at %s" % named if named else "on the machine, neither on PATH nor where installers put it")
            )
        if self.check_mode:
            return self._try(conda)
        return self._change(conda)

    def _try(self, conda: Conda) -> t.Tuple[bool, t.List[Package]]:
        if self.state == owned.OURS:
            arguments = change_arguments(self.prefix, self.specs, self.channels, create=False, dry_run=True)
        else:
            # Of an unfinished one nothing is used: what is asked is what a new one would hold.
            arguments = change_arguments(self.prefix + ".new", self.specs, self.channels, create=True, dry_run=True)
        transaction = parse_transaction(ask(conda, arguments, self.channels))
        return self.state != owned.OURS or bool(transaction), _after(self.before, transaction)

    def _change(self, conda: Conda) -> t.Tuple[bool, t.List[Package]]:
        known = owned.read_marker(self.prefix).get("specs", []) if self.state == owned.OURS else []
        with owned.being_made(self.prefix) as making:
            create = not os.path.exists(os.path.join(self.prefix, "conda-meta", "history"))
            try:
                ask(conda, change_arguments(self.prefix, self.specs, self.channels, create=create), self.channels)
            except CondaError as error:
                making.intact = not error.touched
                raise
            after = installed(self.prefix)
            if not after:
                raise CondaError("%s says it is done, but %s holds no package" % (conda.executable, self.prefix), touched=True)
            names = [_name(spec) for spec in self.specs]
            content = {
                "kind": "conda environment",
                "channels": self.channels,
                "specs": [spec for spec in known if _name(spec) not in names] + self.specs,
                "packages": [str(package) for package in after],
            }
            owned.write_marker(self.prefix, content)
        return create or after != self.before, after

    def absent(self) -> t.Tuple[bool, t.List[Package]]:
        owned.refuse_foreign(self.prefix)
        if self.check_mode or self.state == owned.ABSENT:
            return self.state != owned.ABSENT, []
        return owned.remove(self.prefix), []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "channels": {"type": "list", "elements": "str", "no_log": True},
            "executable": {"type": "str", "default": ""},
            "environment_modules": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    show_what_is_plain(module, "channels", shown_channel, otherwise=["conda-forge"])
    try:
        environment = Environment(module.params, module.check_mode)
        changed, after = environment.present() if module.params["state"] == "present" else environment.absent()
    except (CondaError, owned.OwnedError) as error:
        text = str(error)
        module.fail_json(msg="%s%s." % (text[0].upper() if text.startswith(("the ", "there ")) else text[0], text[1:]))
    except OSError as error:
        module.fail_json(msg="%s cannot be written: %s. Choose a prefix that is the user's own." % (error.filename, error.strerror))
    module.exit_json(
        changed=changed,
        prefix=environment.prefix,
        packages=[{"name": package.name, "version": package.version, "build": package.build} for package in after],
        diff={"before_header": environment.prefix, "after_header": environment.prefix, "before": _lines(environment.before), "after": _lines(after)},
    )


if __name__ == "__main__":
    main()
