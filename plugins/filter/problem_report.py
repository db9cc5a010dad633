# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: problem_report
short_description: Turn a list of problems into one readable line each
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Takes what the roles' preflights found and returns text with one line for each problem, the machine, what is wrong with
    it, and what to do.
  - A problem that is in the list twice is printed once. The problems of one machine stand together, the machines in the order
    in which they first appear.
  - White space in a problem, line breaks included, becomes single spaces, so that one problem stays one line.
options:
  _input:
    description:
      - The problems, each a mapping with the keys C(machine), C(problem) and, optionally, C(remedy). Other keys do not show.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Fail when a problem was found
  ansible.builtin.fail:
    msg: "{{ rpc_server_problems | herd.llama_cpp.problem_report }}"
  when: rpc_server_problems | length > 0
  vars:
    rpc_server_problems:
      - machine: worker1
        problem: port 50052 is already in use by nginx
        remedy: stop it or set rpc_server_port
"""

RETURN = r"""
_value:
  description: The report, lines joined by line breaks; empty when the list is empty.
  type: str
  sample: "worker1: port 50052 is already in use by nginx. Stop it or set rpc_server_port."
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import ProblemError, problem_text


def problem_report(problems: t.Any) -> str:
    """Return one line for each problem."""
    try:
        return problem_text(problems)
    except ProblemError as error:
        raise AnsibleFilterError("The problem_report filter cannot read its input: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"problem_report": problem_report}
