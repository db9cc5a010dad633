# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import getpass
import os
import socket
import time
import typing as t

from ansible import context
from ansible.plugins.action import ActionBase

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.lock import Run, computer, has_ended, refusal, run_of, start_of

MODULE = "herd.llama_cpp.cluster_lock"


def this_run() -> Run:
    """The ansible-playbook that this task belongs to, whose child every task is."""
    process = os.getppid()
    playbooks = " and ".join(os.path.basename(name) for name in context.CLIARGS.get("args") or ())
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return Run("%s@%s" % (getpass.getuser(), socket.gethostname()), playbooks or "a playbook", since, computer(), process, start_of(process))


class ActionModule(ActionBase):
    """Describe this run to the module of the same name, and tell whether the one that is noted lives; see its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        own = this_run()
        arguments = dict(self._task.args, run=dataclasses.asdict(own))
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        held = run_of(result.get("held_by"))
        if held is not None and has_ended(held, own.computer):
            result.pop("held_by")
            result.update(self._execute_module(module_name=MODULE, module_args=dict(arguments, instead_of=dataclasses.asdict(held)), task_vars=task_vars))
            ended, held = held, run_of(result.get("held_by"))
            result.update({} if held else {"taken_from": dataclasses.asdict(ended)})
        if held is not None:
            result.update(failed=True, msg=refusal((task_vars or {}).get("inventory_hostname", "the machine"), held, own.computer))
        return result
