# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chat_check_evidence
short_description: Judge whether every device had its part in an answer
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares the head's connections to its workers before and after an answer, and what llama-server's log says about the
    devices, and returns the devices with what they hold and moved, what is wrong, and what the log left unsaid.
  - It is the judging half of the role C(herd.llama_cpp.chat_check), which collects the input.
options:
  _input:
    description: The workers, each with C(machine), C(address) and C(port).
    type: list
    elements: dict
    required: true
  before:
    description: The head's sockets before the question, from M(herd.llama_cpp.tcp_socket_info).
    type: list
    elements: dict
    required: true
  after:
    description: The same after the answer.
    type: list
    elements: dict
    required: true
  chat:
    description: What M(herd.llama_cpp.llama_chat) returned.
    type: dict
    required: true
  log:
    description: What M(herd.llama_cpp.llama_startup_log) returned for the head. Null when there is no log to look at.
    type: dict
  head:
    description: The head's name.
    type: str
    default: ""
  bytes_per_token:
    description:
      - How many bytes must at least go each way for each token of the answer. Null takes two for each value of the model's
        hidden state.
    type: int
  allow_cpu_layers:
    description: Whether layers on the head's CPU are meant to be there.
    type: bool
    default: false
seealso:
  - plugin: herd.llama_cpp.chat_check_suspects
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Check an answer
  ansible.builtin.set_fact:
    evidence: "{{ workers | herd.llama_cpp.chat_check_evidence(before.sockets, after.sockets, chat) }}"
"""

RETURN = r"""
_value:
  description: The devices, the problems and what stayed unknown.
  type: dict
  contains:
    devices:
      description:
        - Every device with C(machine), C(device), C(description), C(kind), C(endpoint), C(layers), C(weights_mib), C(kv_mib),
          C(compute_mib), C(bytes_sent) and C(bytes_received). Devices behind one endpoint share its connection's bytes.
      type: list
      elements: dict
    problems:
      description: What is wrong, for P(herd.llama_cpp.problem_report#filter).
      type: list
      elements: dict
    unknown:
      description: What the log left unsaid, a sentence each.
      type: list
      elements: str
    least_bytes:
      description: What each worker had to move each way.
      type: int
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.evidence import evidence


def chat_check_evidence(
    workers: t.Any,
    before: t.Any,
    after: t.Any,
    chat: t.Any,
    log: t.Any = None,
    head: str = "",
    bytes_per_token: t.Optional[int] = None,
    allow_cpu_layers: bool = False,
) -> t.Dict[str, t.Any]:
    """Return the devices, the problems and the unknown."""
    try:
        return evidence(list(workers), before, after, chat, log, head, bytes_per_token, allow_cpu_layers)
    except KeyError as error:
        raise AnsibleFilterError("The chat_check_evidence filter misses %s in its input." % error) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("The chat_check_evidence filter cannot read its input: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"chat_check_evidence": chat_check_evidence}
