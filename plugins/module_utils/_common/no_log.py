# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of a module that hold a secret only sometimes: an address may carry a password, a signature or a token, and so may an option of pip."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def shown_text(text: str) -> str:
    """The text, every address in it without user, password and query."""
    return _ADDRESS.sub(lambda address: without_secrets(address[0]), text)


def show_what_is_plain(module: t.Any, name: str, shown: t.Callable[[str], str] = shown_text, otherwise: t.Any = None) -> None:
    """Let the values of an argument be seen where they hold no secret, which is where ``shown`` leaves them as they are.

    Such an argument is declared with C(no_log), which keeps it out of the system's log before a module's first line runs; that would mask
    a plain address in every sentence about it too. ``module`` is an AnsibleModule, the argument a text, a list of texts, or None, which
    becomes ``otherwise``: Ansible puts the default of such an argument into a set, where no list can be.
    """
    if module.params[name] is None:
        module.params[name] = otherwise
    value = module.params[name]
    for text in [value] if isinstance(value, str) else value or []:
        if text == shown(text):
            module.no_log_values.discard(text)
