# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gguf_node_count
short_description: Number of machines a model needs, by the simple rule
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Divides the size of a GGUF file by the VRAM that each machine has left after a fixed reserve, and rounds up.
  - With 24 GB on each machine and 2 GB kept back, a model of 40 GB needs 2 machines and one of 59 GB needs 3.
  - This is a rule of thumb for choosing a model or buying machines. It knows nothing of the context's KV cache, of compute buffers,
    or that a layer cannot be divided between machines. An exact plan has to look at the model's layers.
  - Sizes are numbers or texts with a unit (C(B), C(KB), C(MB), C(GB), C(TB) count in powers of 1000; C(KiB), C(MiB), C(GiB), C(TiB)
    in powers of 1024).
options:
  _input:
    description: The model's size, a number of bytes (such as RV(herd.llama_cpp.gguf_info#module:gguf.file_size_bytes)) or a text such
      as C(40 GB).
    type: raw
    required: true
  vram:
    description:
      - The VRAM of a machine, a number of GB (10^9 bytes) or a text such as C(24564 MiB). One value stands for any number of equal
        machines.
      - A list gives each machine's own VRAM. The filter fails when all of them together are not enough.
    type: raw
    required: true
  reserve:
    description: What is kept back on every machine, a number of GB or a text with a unit.
    type: raw
    default: 2
  order:
    description: In which order the machines of a list are taken.
    type: str
    choices:
      largest_first: As few machines as possible.
      given: As the list has them, such as the head first.
    default: largest_first
seealso:
  - module: herd.llama_cpp.gguf_info
"""

EXAMPLES = r"""
- name: Calculate how many machines with 24 GB the model needs
  ansible.builtin.debug:
    msg: "{{ '40 GB' | herd.llama_cpp.gguf_node_count(24) }}"

- name: Calculate it for a model of 59 GB with 2 GB of each machine reserved
  ansible.builtin.debug:
    msg: "{{ 59000000000 | herd.llama_cpp.gguf_node_count('24 GB', reserve='2 GB') }}"

- name: Calculate it for three machines of different sizes
  ansible.builtin.debug:
    msg: "{{ '40 GB' | herd.llama_cpp.gguf_node_count(['8188 MiB', '24564 MiB', '32607 MiB']) }}"
"""

RETURN = r"""
_value:
  description: How many machines hold the model, the head included.
  type: int
  sample: 2
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.node_count import NodeCountError, node_count


def gguf_node_count(size: t.Any, vram: t.Any, reserve: t.Any = 2, order: str = "largest_first") -> int:
    """Return the number of machines."""
    try:
        return node_count(size, vram, reserve=reserve, order=order)
    except NodeCountError as exc:
        raise AnsibleFilterError("gguf_node_count cannot answer: %s." % exc) from exc


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"gguf_node_count": gguf_node_count}
