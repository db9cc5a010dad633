# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

# What the role's script prints on a machine whose facts can be gathered.
LINUX = "kernel=Linux"


class ActionModule(ActionBase):
    """Look at a machine that may be away, have no Python or refuse root; see the module of the same name for its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec({"script": {"type": "str", "required": True}})
        seen: t.Dict[str, t.Any] = {
            "changed": False, "reached": True, "reach_message": "", "is_root": False, "become_message": "", "become_stdout": "", "become_stderr": "",
            "facts_message": "", "facts_stderr": "", "ansible_facts": {},
        }
        try:
            # Without become, which a user who may not become root would fail at.
            said = self._low_level_execute_command(arguments["script"], sudoable=False)
        except AnsibleError as error:
            said = {"stdout": "", "stderr": ""}
            seen.update(reached=False, reach_message=str(error))
        # At once, because the machine's clock runs on.
        seen.update(now=int(time.time()), shell_stdout=said["stdout"], shell_stderr=said["stderr"])
        if "epoch=" in said["stdout"]:
            seen.update(self._root())
            if LINUX in said["stdout"] and seen["reached"]:
                seen.update(self._facts(task_vars))
        result.update(seen)
        return result

    def _root(self) -> t.Dict[str, t.Any]:
        """Whether the task's become makes the user root, and what was said where it does not."""
        if not self._connection.become:
            return {}
        try:
            said = self._low_level_execute_command("id -u")
        except AnsibleError as error:
            return _lost(error) or {"become_message": str(error)}
        is_root = "0" in [line.strip() for line in said["stdout"].splitlines()]
        return {"is_root": is_root, "become_stdout": said["stdout"], "become_stderr": said["stderr"]}

    def _facts(self, task_vars: t.Optional[t.Dict[str, t.Any]]) -> t.Dict[str, t.Any]:
        """The machine's facts, as its user sees them: there is more to say of a machine on which nobody can become root."""
        become = self._connection.become
        self._connection.set_become_plugin(None)
        try:
            done = self._execute_module("ansible.legacy.setup", module_args={"gather_subset": ["!all", "hardware", "network"]}, task_vars=task_vars)
        except AnsibleError as error:
            return _lost(error) or {"facts_message": str(error)}
        finally:
            self._connection.set_become_plugin(become)
        kept = {"_ansible_facts_cacheable": done["_ansible_facts_cacheable"]} if "_ansible_facts_cacheable" in done else {}
        return {
            **kept, "ansible_facts": done.get("ansible_facts") or {}, "facts_message": str(done.get("msg") or ""),
            "facts_stderr": str(done.get("module_stderr") or ""),
        }


def _lost(error: AnsibleError) -> t.Dict[str, t.Any]:
    """What is said of a machine that was there before; nothing where it is there still and refuses a password."""
    gone = isinstance(error, AnsibleConnectionFailure) and not isinstance(error, AnsibleAuthenticationFailure)
    return {"reached": False, "reach_message": str(error)} if gone else {}
