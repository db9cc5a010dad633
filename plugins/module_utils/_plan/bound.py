# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that is never less than llama.cpp's own, for models and settings whose graph was never replayed.

Everything comes from the header's numbers and the tensors' shapes, so that an architecture of tomorrow is bounded like any other.
Weights are exact. Caches are counted in full length in every layer that could have one. A layer's part of the graph is
counted as if none of its tensors gave its memory back before the layer ends, a device's as its largest layer and its inputs.

All sources named here are those of llama.cpp b11434.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.graph import PIPELINE_COPIES
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import ALIGNMENT, Model, pad, row_bytes
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts, DeviceMemory, HostMemory

# The one architecture whose attention is never the flash kind, whatever is asked for (src/llama-context.cpp, llama_init_from_model).
_NEVER_FLASH = ("grok",)
# Windows that src/models sets without regard to the header's; the longest is what a model may have whose header says none.
_OWN_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
# And one whose header may name a window that it is run without (src/models/phi3.cpp).
_NO_WINDOW = ("phi3",)
# Float32 tensors with a number for every cell and token that choosing cells needs at once; measured up to 1.9.
_INDEXER_TENSORS = 3
# Where keys are pooled, those, and tensors with a key for every cell of all sequences (src/models/glm5-next.cpp); measured 1.1 and 3.
_POOLED_INDEXER_TENSORS = 2
_POOLING_TENSORS = 4
# Rows an indexer caches for a token where it pools: key, gate and pooled key (src/llama-memory-hybrid-idx.cpp).
_POOLED_INDEXER_ROWS = 3
# Scores and what their softmax makes of them, where attention is not of the flash kind (src/llama-graph.cpp, build_attn_mha).
_SCORE_TENSORS = 2
# Tensors of a token's width that reach a device: two from the one before it (ggml/src/ggml-backend.cpp puts the first norm
# there), one more on the first.
_ARRIVING = 2
_ARRIVING_EMBEDDED = 1
# And where layers mix the results of earlier blocks, what that takes besides those (src/models/kimi-k3.cpp).
_MIXED = 5
# Embeddings are an input and looked up (src/llama-graph.cpp, build_inp_embd): times a token's width on the head.
_EMBEDDING_INPUTS = 2
_EMBEDDED = 3
# The residual and a layer's result stay while the next one runs.
_STAYING = 2
# Positions (four to a token with M-RoPE), cells to write, outputs, states: bytes for a token, all small inputs together.
_SMALL_BYTES = 256
# What names the tensors of a layer that caches keys, and of one that keeps a state.
KEYS = ("attn_k", "attn_qkv", "attn_kv", "indexer")
_STATES = ("ssm_", "time_mix", "shortconv.")


class _LayerBound(NamedTuple):
    """One slot; rows are in elements of one cell, states in elements for one sequence."""

    k_row: int = 0
    v_row: int = 0
    indexer_k: int = 0
    indexer_v: int = 0
    # its cells are one for so many tokens, 0 for one each without any compression
    ratio: int = 0
    windowed: bool = False
    state: int = 0
    # float32 numbers that its graph makes of each token, and those that other devices make for it
    width: int = 0
    arriving: int = 0


class Bound:
    """What a bound needs to know of a model."""

    def __init__(self, model: Model) -> None:
        header, tensors = model.header, model.tensors
        n_all = len(model.layers)
        self.model = model
        self.never_flash = model.architecture in _NEVER_FLASH
        self.heads = max(header.per_layer("attention.head_count", n_all), default=0)
        key_head, value_head = self._heads("key"), self._heads("value")
        self.indexer = header.largest("attention.indexer.key_length")
        self.pooled = header.largest("attention.indexer.kpool") if self.indexer else 0
        self.top_k = header.largest("attention.indexer.top_k")
        # src/llama-kv-cache.cpp, build_input_k_rot and build_input_v_rot: the side of the matrices that rotate vectors
        self.rotated = max(64, *(head & -head for head in (key_head, value_head, self.indexer)))
        window = header.get("attention.sliding_window")
        self.window = header.largest("attention.sliding_window")
        if self.window:
            self.window = max(self.window, _OWN_WINDOWS.get(model.architecture, 0))
        # a model without a word about windows may have them all the same, and then nobody knows which layers do
        self.mask_window = max(_OWN_WINDOWS.values()) if window is None else self.window
        self.compressed = any(_has(own, ("attn_compressor",)) for own in tensors.values())
        ratios = header.per_layer("attention.compress_ratios", n_all) if self.compressed else [0] * n_all
        # src/llama-hparams.cpp, is_mla: one latent row instead of keys and values
        latent = header.largest("attention.key_length_mla") > 0
        kv_heads = header.per_layer("attention.head_count_kv", n_all, header.get("attention.head_count", 0))
        n_used = header.per_layer("expert_used_count", n_all)
        windowed = self._flags("attention.sliding_window_pattern") if self.window else []
        recurring = self._flags("attention.recurrent_layers")
        state = self._state()
        somewhere = any(_has(own, _STATES) for own in tensors.values())
        hyper = max(1, header.largest("hyper_connection.count"))
        self.layers: List[_LayerBound] = []
        visitors = 0
        for il in range(n_all):
            own = tensors.get(il, {})
            # a slot without matrices runs those of another one
            shared = il < model.n_layer and not any(len(tensor.shape) > 1 for tensor in own.values())
            visitors += shared
            if recurring:
                recurrent, attends = recurring[il], not recurring[il]
            else:
                recurrent = shared or not somewhere or _has(own, _STATES)
                # beside a state, an attention of its own has a projection of its own
                attends = not _has(own, _STATES) or _has(own, ("attn_output",))
            cached = attends and kv_heads[il] > 0 and (shared or _has(own, KEYS))
            self.layers.append(_LayerBound(
                k_row=key_head * kv_heads[il] if cached else 0,
                v_row=0 if latent or self.compressed or not cached else value_head * kv_heads[il],
                indexer_k=self.indexer * (_POOLED_INDEXER_ROWS if self.pooled else 1) if cached else 0,
                # src/llama-kv-cache-msa.cpp: the indexer's cache has values as well, of one head, where the model is not latent
                indexer_v=value_head if cached and self.indexer and not latent and not self.compressed else 0,
                ratio=ratios[il],
                windowed=bool(windowed and windowed[il]),
                state=state if recurrent else 0,
                width=_width(own, n_used[il]),
                arriving=_convolved(own)))
        self.cached = any(layer.k_row for layer in self.layers)
        outside = tensors.get(-1, {})
        self.output_width = sum(sum(tensor.shape) for name, tensor in outside.items() if not name.startswith(("output.weight", "token_embd.weight")))
        per_layer = outside.get("per_layer_token_embd.weight")
        ngrams = max(0, header.largest("ple.ngram_size") - 1) * header.largest("ple.heads_per_ngram")
        self.per_layer_input = sum(per_layer.shape[:1]) * max(1, ngrams) if per_layer is not None else 0
        self.embedded = model.n_embd * (1 + header.largest("n_deepstack_layers"))
        # numbers of a token that go from device to device. Hyper-connections have several streams, and each may be looked at apart
        self.stream = model.n_embd * hyper
        block = header.largest("attn_res.block_size")
        self.arriving = self.stream * (_ARRIVING + (hyper if hyper > 1 else 0) + (-(-n_all // block) + _MIXED if block else 0))
        # a slot without matrices may keep its cache on one device and run on another, with all its tensors going to and fro
        self.widest = max(layer.width for layer in self.layers)
        self.visiting = self.widest * visitors

    def _flags(self, key: str) -> List[bool]:
        """What the header says of each layer, where it does say it of each and not the same of all."""
        value, n = self.model.header.get(key), len(self.model.layers)
        flags = [bool(v) for v in self.model.header.per_layer(key, n)] if isinstance(value, (list, tuple)) and len(value) > 1 else []
        return flags if any(flags) and not all(flags) else []

    def _heads(self, what: str) -> int:
        """The longest key or value of a head, of either kind of layer."""
        header = self.model.header
        default = self.model.n_embd // self.heads if self.heads else 0
        return max(header.number("attention.%s_length" % what, default), header.largest("attention.%s_length_swa" % what))

    def _state(self) -> int:
        """Elements of a layer's recurrent states for one sequence (src/llama-hparams.cpp: n_embd_r, n_embd_s, ple_conv_state)."""
        most, n_embd = self.model.header.largest, self.model.n_embd
        kernel, inner, size, groups = most("ssm.conv_kernel"), most("ssm.inner_size"), most("ssm.state_size"), most("ssm.group_count")
        kda, head = most("kda.head_dim"), most("wkv.head_size")
        rolling = max(most("token_shift_count") * n_embd if head else 0, max(0, most("shortconv.l_cache") - 1) * n_embd,
                      3 * (kernel - 1 if kernel else 3) * self.heads * kda, max(0, kernel - 1) * (inner + 2 * groups * size))
        # a model that names its recurrent layers and no size of a state has one of its heads' (src/models/minimax-01.cpp)
        named = any(self.model.header.per_layer("attention.recurrent_layers", len(self.model.layers)))
        self.linear = named and not (kernel or inner or kda or head or most("shortconv.l_cache"))
        linear = self._heads("key") if self.linear else 0
        lasting = max(n_embd * head, self.heads * max(kda, linear) ** 2, size * inner)
        streams = max(1, most("hyper_connection.count"))
        return rolling + lasting + max(0, most("ple.conv_kernel") - 1) * most("ple.ngram_size") * streams * n_embd

    def context_bytes(self, settings: RunSettings, il: int, kind: str) -> int:
        """The caches of one layer, every one in its full length."""
        layer, align = self.layers[il], ALIGNMENT[kind]
        cells, streams = settings.sequence_context, settings.streams
        total = pad(4 * layer.state * max(1, settings.parallel), align) + align
        indexed = cells
        if self.compressed:
            # src/llama-kv-cache-dsv4.cpp: a stream for every sequence even of a unified cache, whole tokens and one cell for
            # every `ratio` of them, and the state of the compression
            streams = max(1, settings.parallel)
            indexed = pad(-(-cells // layer.ratio), 256) if layer.ratio else 0
            cells = self.window_cells(settings, self.window, 1) + indexed if self.window else cells + indexed
            total += 16 * layer.ratio * 2 * (layer.k_row + layer.indexer_k) * streams
        elif layer.windowed:
            cells = self.window_cells(settings, self.window, settings.parallel if settings.kv_unified else 1)
        for type_name, row, of in ((settings.type_k, layer.k_row, cells), (settings.type_v, layer.v_row, cells),
                                   (settings.type_k, layer.indexer_k, indexed), (settings.type_v, layer.indexer_v, indexed)):
            total += pad(row_bytes(type_name, row) * of * streams, align)
        return total

    def checkpoint_bytes(self, settings: RunSettings) -> int:
        """One checkpoint of one slot (caches.checkpoint_bytes): a window that the header says nothing of is none, but for those of _OWN_WINDOWS."""
        total, cells = 0, settings.sequence_context
        window = 0 if self.model.architecture in _NO_WINDOW else min(cells, self.window or _OWN_WINDOWS.get(self.model.architecture, 0))
        told = any(layer.windowed for layer in self.layers)
        if window and self.model.architecture == "exaone4" and self.model.n_layer != 64:
            # src/models/exaone4.cpp: a window without the caches of one, so that all there is of a sequence is kept
            window, told = cells, False
        for layer in self.layers[:self.model.n_layer]:
            total += 4 * layer.state
            if self.compressed:
                # src/llama-kv-cache-dsv4.cpp, state_write: the cells of the window, and the state of the compression
                total += 16 * layer.ratio * 2 * (layer.k_row + layer.indexer_k)
            if layer.windowed or not told:
                total += window * (row_bytes(settings.type_k, layer.k_row) + row_bytes(settings.type_v, layer.v_row))
        if total and self.model.drafts:
            total += cells * sum(row_bytes(settings.draft_type_k, layer.k_row) + row_bytes(settings.draft_type_v, layer.v_row)
                                 for layer in self.model.layers[self.model.n_layer:])
        return total

    def input_bytes(self, settings: RunSettings, cached: bool) -> int:
        """Masks and the small inputs, once; masks go where a layer has an attention cache."""
        t = settings.tokens
        total = _SMALL_BYTES * (t + settings.parallel) + (4 * self.heads * t * t if self.linear else 0)
        if not cached:
            return total
        cells = settings.sequence_context
        if self.mask_window:
            cells += self.window_cells(settings, self.mask_window, settings.parallel if settings.kv_unified else 1)
        total += (2 if self.flash(settings) else 4) * cells * t + 16 * self.rotated ** 2
        if not self.flash(settings):
            # src/llama-kv-cache.cpp, build_input_v_idxs: a transposed V is written number by number, in each cache
            total += 8 * t * max(layer.v_row for layer in self.layers) * (2 if self.mask_window else 1)
        if self.pooled:
            # src/models/glm5-next.cpp: a mask of the pools and one of the cells that can be chosen
            pooled = settings.sequence_context * settings.parallel
            total += pooled * (2 * t // self.pooled + 16) + 4 * t * min(pooled, self.top_k or pooled)
        elif self.indexer:
            total += 2 * t * settings.sequence_context
        return total

    @staticmethod
    def window_cells(settings: RunSettings, window: int, sequences: int) -> int:
        """src/llama-kv-cache-iswa.cpp, size_swa."""
        cells = settings.sequence_context
        return cells if settings.swa_full else pad(min(cells, window * sequences + min(settings.context_size, settings.batch, settings.ubatch)), 256)

    def choosable(self, settings: RunSettings) -> int:
        """Cells, or pools of them, among which an indexer chooses for a token.

        src/llama-memory-hybrid-idx.cpp: the pools are those of all sequences, each of the whole cache.
        """
        cells = settings.sequence_context
        if not self.pooled:
            return cells
        pooled = cells * settings.parallel
        return max(cells, pooled // self.pooled, min(pooled, self.top_k or pooled))

    def flash(self, settings: RunSettings) -> bool:
        return settings.flash_attention and not self.never_flash

    def graph_bytes(self, settings: RunSettings, kind: str, cached: bool) -> int:
        """What depends on the context and not on the layer: scores, chosen cells, float16 copies of a cache."""
        cells, t = settings.sequence_context, settings.tokens
        total = 4 * 4 * self.heads * t * t if self.linear else 0
        if not cached:
            return total
        if self.indexer:
            total += 4 * t * self.choosable(settings) * (_POOLED_INDEXER_TENSORS if self.pooled else _INDEXER_TENSORS)
            if self.pooled:
                total += 4 * cells * settings.parallel * self.indexer * _POOLING_TENSORS
        if not self.flash(settings):
            total += 4 * cells * t * self.heads * _SCORE_TENSORS
        rows = [max(layer.k_row for layer in self.layers), max(layer.v_row for layer in self.layers)]
        for type_name, row in zip((settings.type_k, settings.type_v), rows):
            # ggml/src/ggml-cuda/fattn.cu, ggml_cuda_flash_attn_ext_get_alloc_size; without flash attention V is made contiguous
            if (kind == "cuda" and type_name.lower() != "f16") or not self.flash(settings):
                total += 128 + (2 if self.flash(settings) else 4) * row * cells * settings.streams
        return total


def _has(own: Mapping[str, Any], beginnings: Tuple[str, ...]) -> bool:
    return any(name.startswith(beginnings) for name in own)


def _width(own: Mapping[str, Any], n_used: int) -> int:
    """Numbers a layer makes of a token: what each of its tensors takes and gives, experts as often as they are used."""
    total = 0
    for name, tensor in own.items():
        times = 1
        for n in tensor.shape[2:]:
            times *= n
        if "exps" in name:
            times = max(1, n_used)
        # queries, keys and values of one product are copied apart
        total += sum(tensor.shape[:2]) * times * (2 if name.startswith("attn_qkv") else 1)
    return total


def _convolved(own: Mapping[str, Any]) -> int:
    """Numbers of a token that a recurrent layer may get by way of another device: before and after its convolution."""
    return sum(sum(tensor.shape[-1:]) for name, tensor in own.items() if name.startswith("ssm_conv1d") and name.endswith("weight")) + sum(
        sum(tensor.shape[:1]) for name, tensor in own.items() if name == "ssm_out.weight")


class _Largest(NamedTuple):
    width: int = 0
    arriving: int = 0
    state: int = 0
    cached: bool = False


class BoundAccounts(Accounts):
    """Accounts by the bound, weights excepted: what a device needs only grows with its run.

    ``least`` counts only what is known exactly instead, which llama.cpp needs in any case, and the context checkpoints as given here, of which it says nothing.
    """

    def __init__(self, model: Model, settings: RunSettings, least: bool = False, checkpoint_bytes: int = 0) -> None:
        super().__init__(model, settings)
        self.least, self._checkpoint_bytes = least, checkpoint_bytes
        self.bound = Bound(model)
        self._graph = {(kind, cached): self.bound.graph_bytes(settings, kind, cached) for kind in ALIGNMENT for cached in (False, True)}
        self._inputs = {cached: self.bound.input_bytes(settings, cached) for cached in (False, True)}
        self._contexts: Dict[str, Tuple[List[int], List[int]]] = {}
        self._runs: Dict[int, List[_Largest]] = {}

    def prefix(self, kind: str) -> Tuple[List[int], List[int]]:
        if kind not in self._contexts:
            weights, exact = super().prefix(kind)
            contexts = [0]
            for il in range(len(self.model.layers)):
                contexts.append(contexts[-1] + (0 if self.least else self.bound.context_bytes(self.settings, il, kind)))
            # without flash attention alone the caches are what they were, unless the longest V is everybody's
            known = not self.model.unknown and len({layer.v_row for layer in self.model.layers[:self.model.n_layer]}) == 1
            self._contexts[kind] = weights, exact if known else contexts + [contexts[-1]]
        return self._contexts[kind]

    def checkpoint_bytes(self) -> int:
        # without flash attention alone the caches are what they were
        return self._checkpoint_bytes if self.least else self.bound.checkpoint_bytes(self.settings) if self.model.unknown else super().checkpoint_bytes()

    def _changes(self, first: int) -> List[int]:
        return list(range(first + 1, self.model.n_slots + 1))

    def _largest(self, first: int, stop: int) -> Optional[_Largest]:
        """What is largest in a run of layers, None for a run without any."""
        runs = self._runs.setdefault(first, [])
        while len(runs) < stop - first:
            layer = self.bound.layers[first + len(runs)]
            before = runs[-1] if runs else _Largest()
            runs.append(_Largest(max(before.width, layer.width), max(before.arriving, layer.arriving), max(before.state, layer.state),
                                 before.cached or layer.k_row > 0))
        return runs[stop - first - 1] if stop > first else None

    def _compute_bytes(self, kind: str, first: int, end: int, alone: bool) -> int:
        if self.least:
            return 0
        bound, t = self.bound, self.settings.tokens
        copies = 1 if alone else PIPELINE_COPIES
        number, rows = 4 * t, self.settings.output_rows
        held = self._largest(first, min(end, self.model.n_layer))
        arriving = bound.arriving + (0 if first else bound.embedded * _ARRIVING_EMBEDDED)
        width = bound.stream * _STAYING
        inputs = graph = 0
        if held:
            width += bound.widest if bound.visiting else held.width
            arriving += held.arriving + bound.per_layer_input + bound.visiting
            inputs = self._inputs[held.cached]
            graph = self._graph[kind, held.cached]
            if bound.indexer and held.cached:
                cells = bound.choosable(self.settings)
                arriving += min(bound.top_k or cells, cells)
        total = copies * (inputs + number * arriving) + number * width
        if held:
            # the states of a batch's sequences are copied, changed and written back
            total += graph + 3 * 4 * held.state * max(1, self.settings.parallel)
        if end == self.model.n_slots:
            total += number * bound.output_width + 2 * 4 * self.model.n_vocab * rows
        return pad(total, ALIGNMENT[kind])

    def exact(self, kind: str, first: int, end: int, alone: bool) -> DeviceMemory:
        """There is nothing more exact than the bound."""
        return self.device(kind, first, end, alone)

    def host(self, alone: bool) -> HostMemory:
        """The inputs of the whole graph, once per copy, and what the embeddings make."""
        if self.least:
            return super().host(alone)._replace(compute_bytes=0)
        bound, number = self.bound, 4 * self.settings.tokens
        copies = 1 if alone else PIPELINE_COPIES
        embedded = bound.embedded + bound.per_layer_input
        compute = copies * (self._inputs[bound.cached] + number * (1 + _EMBEDDING_INPUTS * embedded)) + number * _EMBEDDED * embedded
        return super().host(alone)._replace(compute_bytes=pad(compute, ALIGNMENT["cpu"]))

    def host_alone(self) -> HostMemory:
        """The head's CPU with everything: one device's share, and the embeddings, which it looks up itself."""
        whole, host = self.device("cpu", 0, self.model.n_slots, True), self.host(True)
        return HostMemory(self.model.input_bytes + whole.weight_bytes - self.model.shared_with_input_bytes, whole.compute_bytes + host.compute_bytes,
                          host.output_bytes, whole.context_bytes)
