# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

MODULE = "herd.llama_cpp.service_unit_info"


class ActionModule(ActionBase):
    """Look at the machine by the module of the same name, and gather the facts about its network where nobody has; see its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        known = (task_vars or {}).get("ansible_facts") or {}
        facts: t.Dict[str, t.Any] = {}
        if boolean(self._task.args.get("network_facts", False)) and "all_ipv4_addresses" not in known:
            facts = self._execute_module("ansible.legacy.setup", module_args={"gather_subset": ["!all", "!min", "network"]}, task_vars=task_vars)
        # A machine whose facts cannot be gathered is said as it is without this plugin.
        seen = facts if facts.get("failed") else self._execute_module(MODULE, task_vars=task_vars)
        result.update(seen, **{name: facts[name] for name in ("ansible_facts", "_ansible_facts_cacheable") if name in facts})
        return result
