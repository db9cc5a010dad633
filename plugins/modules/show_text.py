#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: show_text
short_description: Print text in the terminal as it is
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Prints text without indentation, quotes or escapes, whatever result format the user has set, so that a table stays aligned
    and an example can be pasted. M(ansible.builtin.debug) shows text as part of a result, indented.
  - Escape sequences and letters that do not show, which a file or another machine may have brought into it, are left out.
  - It runs on the control node and needs no connection.
options:
  text:
    description: The text.
    type: str
    required: true
  at_end:
    description:
      - Keep it for the end of the run, below the recap, where the callback P(herd.llama_cpp.at_end#callback) is enabled. Of several the last is printed, and
        none where something failed.
    type: bool
    default: false
attributes:
  action:
    description: It is an action plugin.
    support: full
  check_mode:
    description: It prints in check mode too.
    support: full
  diff_mode:
    description: It changes nothing, so there is nothing to show.
    support: none
seealso:
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Show the address of the API
  herd.llama_cpp.show_text:
    text: |
      URL       http://192.168.1.100:8080/v1
      API key   in /etc/llama-server/api-key on the head
"""

RETURN = r"""
text:
  description: The text.
  returned: success
  type: str
  sample: URL http://192.168.1.100:8080/v1
kept_for_the_end:
  description: Whether it is kept for the end of the run.
  returned: success
  type: bool
  sample: false
"""
