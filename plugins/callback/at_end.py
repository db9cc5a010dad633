# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: at_end
type: notification
short_description: Print what a run has to say last, after its recap
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Keeps the text of each task with M(herd.llama_cpp.show_text) and O(herd.llama_cpp.show_text#module:at_end), and prints the last one when the run
    is over, below the recap.
  - Prints nothing where a machine failed or was out of reach, because the failure is then the last word.
  - Where it is not enabled, such a task prints its text at once.
requirements:
  - C(callbacks_enabled) in C(ansible.cfg) has to name it.
"""

import typing as t

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Prints the last text that was kept for the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "herd.llama_cpp.at_end"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def v2_runner_on_ok(self, result: t.Any) -> None:
        # ansible-core 2.19 has the mapping as _result alone.
        said = getattr(result, "result", None) or result._result
        if isinstance(said, t.Mapping) and said.get("kept_for_the_end"):
            self._text = str(said.get("text") or "")

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        if self._text and not stats.failures and not stats.dark:
            self._display.display(self._text)
