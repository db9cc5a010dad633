# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: systemd_quote
short_description: Write a value into a systemd unit file so that it is taken literally
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Quotes a value for a unit file. Spaces, quotes, backslashes, line breaks and the characters that systemd treats specially
    reach the program unchanged.
  - A number is written as its digits. A list becomes its quoted items with a space between them, which is a command line.
  - A mapping becomes a list of assignments for C(Environment=), sorted by name.
options:
  _input:
    description: A string, a number, a list of those, or a mapping of names to those.
    type: raw
    required: true
  form:
    description:
      - V(argument) is an argument of a command line, or an assignment.
      - V(path) is a path that ends its line, as after C(LoadCredential=ID:), where white space and quotes stand for themselves.
      - V(name) is a name of a credential, a file or an instance, made of any text and different for each. An ordinary host name stays as
        it is; of anything but letters, digits, C(.), C(_) and C(-) each byte becomes C(+) and two digits.
    type: str
    choices: [argument, path, name]
    default: argument
"""

EXAMPLES = r"""
- name: Show a command line
  ansible.builtin.debug:
    msg: "ExecStart={{ ['/usr/bin/printf', '%s', 'a b', '$HOME'] | herd.llama_cpp.systemd_quote }}"
  # ExecStart=/usr/bin/printf %%s "a b" $$HOME

- name: Show an environment
  ansible.builtin.debug:
    msg: "Environment={{ {'GREETING': 'good day', 'N': 3} | herd.llama_cpp.systemd_quote | join(' ') }}"
  # Environment="GREETING=good day" "N=3"

- name: Show a credential
  ansible.builtin.debug:
    msg: >-
      LoadCredential=key-{{ '2001:db8::1' | herd.llama_cpp.systemd_quote(form='name') }}:{{ '/srv/50%' | herd.llama_cpp.systemd_quote(form='path') }}
  # LoadCredential=key-2001+3Adb8+3A+3A1:/srv/50%%
"""

RETURN = r"""
_value:
  description: The text for the unit file; for a mapping, a list of such texts.
  type: raw
  sample: /usr/bin/printf %%s "a b" $$HOME
"""

import re
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import (
    SystemdError,
    quote_environment,
    quote_exec,
    quote_path,
    unit_name,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(value: t.Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise AnsibleFilterError(
            "The systemd_quote filter takes strings and numbers, not a %s." % type(value).__name__
        )
    return str(value)


def systemd_quote(value: t.Any, form: str = "argument") -> t.Any:
    """Quote a string, a command line (list) or an environment (mapping)."""
    try:
        if form in ("path", "name"):
            return (quote_path if form == "path" else unit_name)(_text(value))
        if form != "argument":
            raise AnsibleFilterError("The systemd_quote filter knows the forms argument, path and name, not %r." % (form,))
        if isinstance(value, t.Mapping):
            for name in value:
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise AnsibleFilterError("%r is not the name of an environment variable." % (name,))
            return [quote_environment(name, _text(value[name])) for name in sorted(value)]
        if isinstance(value, (list, tuple)):
            return " ".join(quote_exec(_text(item)) for item in value)
        return quote_exec(_text(value))
    except SystemdError as error:
        raise AnsibleFilterError("The systemd_quote filter cannot write this value: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"systemd_quote": systemd_quote}
