# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server is started with, as far as memory depends on it, and the bytes of the caches of one layer.

All sources named here are those of the llama.cpp that ``model.COMPARED_BUILD`` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import ALIGNMENT, Model, pad, row_bytes

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


@dataclass(frozen=True)
class RunSettings:
    """What the head is started with, as far as memory depends on it.

    Types and batch sizes, and flash attention, are llama.cpp's own where nothing is set: common/common.h of b11434, common_params.
    """

    context_size: int = 8192
    parallel: int = 1
    kv_unified: bool = False
    type_k: str = "f16"
    type_v: str = "f16"
    batch: int = 2048
    ubatch: int = 512
    flash_attention: bool = True
    swa_full: bool = False
    # Outputs of one batch. llama-server asks for one per slot (tools/server/server-context.cpp,
    # common_speculative_get_output_limits); llama-fit-params asks for one per token.
    outputs: Optional[int] = None
    # What llama-fit-params says instead of what a running llama-server allocates: every token is an output, and the first norm
    # of each device but the first still runs on the previous one (ggml/src/ggml-backend.cpp, ggml_backend_sched_reserve_size
    # resets the assignments made while the graph was built).
    as_fit_params: bool = False
    # states that can be gone back to, one for each token drafted (common/common.h, need_n_rs_seq)
    rollback: int = 0
    # caches of what drafts, a context of its own
    draft_type_k: str = "f16"
    draft_type_v: str = "f16"

    @property
    def total_context(self) -> int:
        """src/llama-context.cpp, llama_context::llama_context: n_ctx after padding."""
        return self.sequence_context if self.kv_unified else self.sequence_context * self.parallel

    @property
    def sequence_context(self) -> int:
        """src/llama-context.cpp: n_ctx_seq, the cells of one stream."""
        padded = pad(self.context_size, 256)
        return padded if self.kv_unified else pad(padded // self.parallel, 256)

    @property
    def streams(self) -> int:
        return 1 if self.kv_unified else self.parallel

    @property
    def _batch_tokens(self) -> int:
        """src/llama-context.cpp, sched_reserve: n_tokens."""
        return min(self.total_context, self.batch, self.ubatch)

    @property
    def tokens(self) -> int:
        """Tokens of the largest batch a graph is reserved for: as many for each sequence (src/llama-context.cpp, graph_reserve)."""
        return pad(self._batch_tokens, max(1, self.parallel))

    @property
    def output_rows(self) -> int:
        if self.as_fit_params:
            return self._batch_tokens
        return min(self._batch_tokens, self.outputs if self.outputs is not None else self.parallel)


def cache_cells(model: Model, settings: RunSettings, sliding: bool) -> int:
    """Cells per stream (src/llama-kv-cache-iswa.cpp, size_base and size_swa)."""
    base = settings.sequence_context
    if not sliding or settings.swa_full:
        return base
    sequences = settings.parallel if settings.kv_unified else 1
    ubatch = min(settings.context_size, settings.batch, settings.ubatch)
    return pad(min(base, model.n_swa * sequences + ubatch), 256)


def checkpoint_bytes(model: Model, settings: RunSettings) -> int:
    """What llama-server keeps in the head's RAM to go back to one earlier state of one slot; 0 where the caches themselves can go back.

    tools/server/server-context.cpp, create_checkpoint: of the sequence what cannot be undone. src/llama-kv-cache.cpp, state_write: the cells that
    a sliding window reaches; src/llama-memory-recurrent.cpp, state_write: one state. What layers of the model's own draft with is kept whole.
    """
    total, cells = 0, settings.sequence_context
    for layer in model.layers[:model.n_layer]:
        total += 4 * (layer.state_r + layer.state_s)
        if layer.kind.cache == 2:
            total += min(model.n_swa, cells) * (row_bytes(settings.type_k, layer.k_row) + row_bytes(settings.type_v, layer.v_row))
    if total and model.drafts:
        total += cells * sum(row_bytes(settings.draft_type_k, layer.k_row) + row_bytes(settings.draft_type_v, layer.v_row)
                             for layer in model.layers[model.n_layer:])
    return total


def layer_context_bytes(model: Model, settings: RunSettings, il: int, device_kind: str = "cpu") -> int:
    """The caches of one layer.

    Attention: src/llama-kv-cache.cpp, the constructor: one K and one V tensor of [row, cells, streams]; latent attention
    has no V. Recurrent: src/llama-memory-recurrent.cpp: two float32 tensors with a row per sequence.
    """
    layer = model.layers[il]
    align = ALIGNMENT[device_kind]
    total = 0
    if layer.k_row:
        cells = cache_cells(model, settings, layer.kind.cache == 2) * settings.streams
        total += pad(row_bytes(settings.type_k, layer.k_row) * cells, align)
        if layer.v_row:
            total += pad(row_bytes(settings.type_v, layer.v_row) * cells, align)
    for state in (layer.state_r, layer.state_s):
        total += pad(4 * state * max(1, settings.parallel) * (1 + settings.rollback), align)
    return total
