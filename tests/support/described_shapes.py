# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of sparse_gguf as the planner sees them, without writing a file."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model


def tensors_of(model: sparse_gguf.Model) -> list:
    return [SimpleNamespace(name=name, shape=shape, type_name=kind, size_bytes=sparse_gguf.tensor_size_bytes(shape, kind))
            for name, shape, kind in model.tensors]


@functools.lru_cache(maxsize=None)
def described(shape: str) -> plan_model.Model:
    model = sparse_gguf.SHAPES[shape]()
    return plan_model.describe_model(model.metadata, tensors_of(model))
