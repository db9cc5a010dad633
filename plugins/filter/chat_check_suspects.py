# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chat_check_suspects
short_description: Name the workers that may be why no answer came
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - A worker that is gone has no listener; one that hangs takes bytes and gives none back. Both show in the sockets.
options:
  _input:
    description: The workers, each with C(machine), C(address) and C(port).
    type: list
    elements: dict
    required: true
  before:
    description:
      - The head's sockets before the question, from M(herd.llama_cpp.tcp_socket_info). An empty list asks only whether the head
        is connected to each worker.
    type: list
    elements: dict
    required: true
  after:
    description: The same when the question had failed.
    type: list
    elements: dict
    required: true
  listeners:
    description:
      - Looks at the workers' own machines, each with C(worker) and either its listening C(sockets) or C(unreachable).
    type: list
    elements: dict
    default: []
seealso:
  - plugin: herd.llama_cpp.chat_check_evidence
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Report the suspects of a failed answer
  ansible.builtin.fail:
    msg: "No answer came: {{ workers | herd.llama_cpp.chat_check_suspects(before.sockets, after.sockets) | join('; ') }}"
"""

RETURN = r"""
_value:
  description: What was noticed, without a capital letter or a full stop.
  type: list
  elements: str
  sample:
    - worker worker2 (198.18.0.12:50052) was sent 297996 bytes and sent nothing back
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.evidence import suspects


def chat_check_suspects(workers: t.Any, before: t.Any, after: t.Any, listeners: t.Any = ()) -> t.List[str]:
    """Return what was noticed about the workers."""
    try:
        return suspects(list(workers), before, after, list(listeners))
    except KeyError as error:
        raise AnsibleFilterError("The chat_check_suspects filter misses %s in its input." % error) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError("The chat_check_suspects filter cannot read its input: %s." % error) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"chat_check_suspects": chat_check_suspects}
