# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

display = Display()


class ActionModule(ActionBase):
    """Print text as it is; see the module of the same name for its documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(
            {"text": {"type": "str", "required": True}, "at_end": {"type": "bool", "default": False}}
        )
        # Whoever made it has put names from files and answers of machines into it. Its lines and columns stay.
        text = "\n".join(printable(line, None) for line in arguments["text"].split("\n"))
        kept = arguments["at_end"] and "herd.llama_cpp.at_end" in C.CALLBACKS_ENABLED
        if not kept:
            display.display(text)
        result.update(changed=False, text=text, kept_for_the_end=kept)
        return result
