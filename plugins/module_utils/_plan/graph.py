# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compute buffer that one evaluation of a batch needs, per device: the graph's allocations replayed in llama.cpp's order.

All sources named here are those of the llama.cpp that ``model.COMPARED_BUILD`` names.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings, cache_cells
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.graph_alloc import Graph, Tensor
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import ALIGNMENT, UNQUANTISED, Ffn, LayerKind, Model

# ggml/src/ggml-backend.cpp, GGML_SCHED_MAX_COPIES
PIPELINE_COPIES = 4


class _Builder:
    """Builds the part of the graph that one device runs, in the order llama.cpp builds it."""

    def __init__(self, model: Model, settings: RunSettings, device_kind: str, copies: int) -> None:
        self.model = model
        self.settings = settings
        self.kind = device_kind
        self.copies = copies
        self.tokens = settings.tokens
        self.width = model.n_embd
        self.graph = Graph(ALIGNMENT[device_kind])
        self.next_kind: Optional[LayerKind] = None
        self.state: Optional[Tensor] = None
        # inputs of the graph by what they are and, for those of attention, by cache
        self.read: Dict[Any, Tensor] = {}

    def norm(self, x: Tensor) -> Tensor:
        return self.graph.op([x], *x.layout, in_place=True)

    def matmul(self, x: Tensor, rows: int, tokens: int) -> Tensor:
        return self.graph.op([x], rows, tokens)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self.graph.op([a, b], *a.layout, in_place=True)

    def embeddings(self, on_head: bool) -> Tensor:
        """What the first device makes of a batch: src/llama-graph.cpp, build_inp_embd.

        The embeddings are looked up on the head's CPU. So that a graph fits a batch of tokens, of vectors and of both, the
        last of these ways is part of every graph: vectors are copied and token rows set into the copy, which nothing reads
        and nothing frees. No weight ties these two operations to the CPU, so they run on the first device
        (ggml/src/ggml-backend.cpp, ggml_backend_sched_split_graph, "expand gpu up"). ``on_head``: there is no device at all.
        """
        g, t, width = self.graph, self.tokens, self.width
        if on_head:
            tokens = g.input(4 * t, 1)
            g.input(4 * width * t, 1)
            x = g.op([tokens], width, t)
            looked_up = g.op([g.input(4 * t, 1)], width, t)
            places, vectors = g.input(8 * t, 1), g.input(4 * width * t, 1)
        else:
            vectors = g.input(4 * width * t, self.copies)
            looked_up = g.input(4 * width * t, self.copies)
            places = g.input(8 * t, self.copies)
            x = g.input(4 * width * t, self.copies, (width, t))
        mixed = g.op([vectors], width, t)
        g.use(g.view(mixed), looked_up, places)
        mixed.kept = True
        if self.model.embedding_factors:
            x = g.op([x, g.input(4 * t, self.copies)], width, t, in_place=True)
        elif self.model.scaled_embedding:
            x = g.op([x], width, t, in_place=True)
        return x

    def inputs(self, kinds: Sequence[LayerKind], views: bool = True) -> None:
        """Positions, cache indices, masks, rotation matrices and state indices: the same for every device that has such layers."""
        g, t, s = self.graph, self.tokens, self.settings
        if any(k.cache for k in kinds):
            self.read["positions"] = g.input(4 * t * self.model.positions, self.copies)
        for cache in dict.fromkeys(k.cache for k in kinds if k.cache):
            first = next(k for k in kinds if k.cache == cache)
            # src/llama-kv-cache.cpp, build_input_k_rot (the largest power of two that divides the head) and
            # build_input_v_rot (64)
            if self.rotated(s.type_k, first.head_k) and not first.mla:
                self.read["k_rot", cache] = g.input(4 * (first.head_k & -first.head_k) ** 2, self.copies)
            if self.rotated(s.type_v, first.head_v) and not first.mla:
                self.read["v_rot", cache] = g.input(4 * 64 ** 2, self.copies)
            self.read["k_places", cache] = g.input(8 * t, self.copies)
            if not first.mla:
                self.read["v_places", cache] = g.input(8 * t, self.copies)
            cells = cache_cells(self.model, s, cache == 2)
            # src/llama-graph.cpp, build_attn_inp_kq_mask: float16 with flash attention
            self.read["mask", cache] = g.input((2 if s.flash_attention else 4) * cells * t, self.copies)
        if any(k.mixer for k in kinds):
            # src/llama-graph.cpp, build_rs_inp_impl: which states; a device that reads some in place fetches two views of it
            seqs = max(1, s.parallel)
            self.read["states"] = g.input(4 * seqs, self.copies)
            if views and any(k.mixer == "mamba2" for k in kinds):
                g.input(4 * seqs, self.copies)
                self.read["other_states"] = g.input(4 * (seqs - 1), self.copies)

    @staticmethod
    def rotated(type_name: str, head: int) -> bool:
        return bool(head) and type_name.lower() not in UNQUANTISED and head % 64 == 0

    def rotate(self, x: Tensor, which: str, kind: LayerKind, rows: int) -> Tensor:
        """src/llama-graph.cpp, llama_mul_mat_hadamard: a quantised cache holds rotated vectors."""
        matrix = self.read.get((which, kind.cache))
        if matrix is None:
            return x
        return self.graph.op([matrix, self.graph.view(x, rows, self.tokens)], rows, self.tokens)

    def attention(self, x: Tensor, kind: LayerKind) -> Tensor:
        """src/llama-graph.cpp, build_qkv, build_attn and build_attn_mha with flash attention."""
        if kind.mla:
            return self.latent_attention(x, kind)
        g, t = self.graph, self.tokens
        if kind.query_gate:
            full = self.matmul(x, 2 * kind.q_dim, t)
            gate = g.view(full, kind.q_dim, t, whole=False)
            q = g.op([g.view(full, kind.q_dim, t, whole=False), self.read["positions"]], kind.q_dim, t)
        else:
            gate = None
            q = self.rope(self.matmul(x, kind.q_dim, t), kind.q_dim)
        q = self.rotate(q, "k_rot", kind, kind.q_dim)
        if not kind.kv_first:
            v = self.rotate(self.matmul(x, kind.v_dim, t), "v_rot", kind, kind.v_dim)
        k = self.rope(self.matmul(x, kind.k_dim, t), kind.k_dim)
        k = self.rotate(k, "k_rot", kind, kind.k_dim)
        if kind.kv_first:
            v = self.rotate(self.matmul(x, kind.v_dim, t), "v_rot", kind, kind.v_dim)
        g.use(k, self.read["k_places", kind.cache])
        g.use(v, self.read["v_places", kind.cache])
        out = self.flash(q, kind)
        if gate is not None:
            out = self.rotate(out, "v_rot", kind, kind.out_dim)
            opened = g.op([g.op([gate], kind.out_dim, t)], kind.out_dim, t, in_place=True)
            out = g.op([g.view(out, kind.out_dim, t), opened], kind.out_dim, t, in_place=True)
        return out

    def project(self, out: Tensor, kind: LayerKind) -> Tensor:
        if not kind.mla and not kind.query_gate:
            out = self.rotate(out, "v_rot", kind, kind.out_dim)
        return self.matmul(out, self.width, self.tokens)

    def rope(self, x: Tensor, rows: int) -> Tensor:
        """Head norm and rotation work on a reshaped view, so the first of them makes a new tensor."""
        return self.graph.op([self.graph.view(x, rows, self.tokens), self.read["positions"]], rows, self.tokens)

    def flash(self, q: Tensor, kind: LayerKind) -> Tensor:
        """The result of flash attention; on CUDA float16 copies of a cache that is not float16 follow it.

        ggml/src/ggml-cuda/fattn.cu, ggml_cuda_flash_attn_ext_get_alloc_size, and ggml/src/ggml-cuda/fattn-common.cuh line 53,
        ggml_cuda_flash_attn_ext_get_f16_extra_data: one copy for K, one for V, each from a multiple of 128 bytes on. With MLA V is a part
        of K, and the same copy would do; but an rpc-server that is asked for the size is not told what V is a view of
        (ggml/src/ggml-rpc/ggml-rpc.cpp, rpc_server::get_alloc_size), and counts both.
        """
        latent = kind.mla[1] if kind.mla else 0
        out = self.graph.op([q, self.read["mask", kind.cache]], kind.mla[2] * latent if kind.mla else kind.out_dim, self.tokens)
        if self.kind == "cuda":
            s = self.settings
            cells = cache_cells(self.model, s, kind.cache == 2) * s.streams
            for type_name, row in ((s.type_k, kind.k_dim), (s.type_v, latent or kind.v_dim)):
                if type_name.lower() != "f16":
                    out.size = -(-out.size // 128) * 128 + 2 * row * cells
        return out

    def latent_attention(self, x: Tensor, kind: LayerKind) -> Tensor:
        """src/models/deepseek2.cpp, the graph's branch for is_mla."""
        g, t = self.graph, self.tokens
        rope, latent, heads, head_v, head_k, q_lora = kind.mla
        q = x
        if q_lora:
            q = self.norm(self.matmul(x, q_lora, t))
        q = self.matmul(q, heads * head_k, t)
        nope = g.view(q, heads * (head_k - rope), t, whole=False)
        pe = g.view(q, heads * rope, t, whole=False)
        absorbed = g.op([g.view(nope, heads * (head_k - rope), t, whole=False)], heads * latent, t)
        rotated = g.op([pe, self.read["positions"]], heads * rope, t)
        query = g.op([g.view(absorbed, heads * latent, t), rotated], heads * (latent + rope), t)
        kv = self.matmul(x, latent + rope, t)
        compressed = self.norm(g.op([g.view(kv, latent, t, whole=False)], latent, t))
        key_pe = g.op([g.view(kv, rope, t, whole=False), self.read["positions"]], rope, t)
        g.use(g.op([compressed, key_pe], latent + rope, t), self.read["k_places", kind.cache])
        out = g.op([self.flash(query, kind)], heads * head_v, t)
        return g.op([g.view(out, heads * head_v, t, whole=False)], heads * head_v, t)

    def feed_forward(self, x: Tensor, ffn: Ffn, tokens: int) -> Tensor:
        """src/llama-graph.cpp, build_ffn and build_moe_ffn; the result replaces x's block's output."""
        g = self.graph
        if not ffn.n_expert:
            return self.dense(x, ffn.n_ff, tokens, ffn.gated)
        logits = self.matmul(x, ffn.n_expert, tokens)
        probs = g.op([logits], ffn.n_expert, tokens, in_place=True)
        chosen_from = g.op([probs], ffn.n_expert, tokens) if ffn.biased_choice else probs
        order = g.op([chosen_from], ffn.n_expert, tokens)
        top = g.view(order, ffn.n_used, tokens, whole=False)
        weights = g.op([g.view(probs, 1, ffn.n_expert, tokens), top], 1, ffn.n_used, tokens)
        if ffn.late_softmax:
            weights = g.op([g.view(weights, ffn.n_used, tokens)], ffn.n_used, tokens)
        else:
            share = g.op([g.view(weights, ffn.n_used, tokens)], 1, tokens)
            weights = g.op([g.view(weights, ffn.n_used, tokens), share], ffn.n_used, tokens)
        rows = (ffn.n_used, tokens)
        hidden = [g.op([x, top], ffn.n_ff, *rows) for _n in range(2 if ffn.gated else 1)]
        inner = g.op(hidden, ffn.n_ff, *rows, in_place=not ffn.gated)
        down = g.op([inner, top], self.width, *rows)
        weighted = g.op([down, weights], self.width, *rows, in_place=True)
        parts = [g.view(weighted, self.width, tokens, whole=False) for _n in range(ffn.n_used)]
        out = parts[0]
        for index in range(1, ffn.n_used):
            out = g.op([out, parts[index]], self.width, tokens, in_place=True)
        if ffn.n_used == 1:
            out = g.op([out], self.width, tokens)
        self.fetch_ahead()
        if ffn.n_shared:
            out = g.op([out, self.dense(x, ffn.n_shared, tokens, True)], self.width, tokens, in_place=True)
        return out

    def dense(self, x: Tensor, n_ff: int, tokens: int, gated: bool) -> Tensor:
        g = self.graph
        hidden = [self.matmul(x, n_ff, tokens) for _n in range(2 if gated else 1)]
        return self.matmul(g.op(hidden, n_ff, tokens, in_place=not gated), self.width, tokens)

    def layer(self, x: Tensor, kind: LayerKind, normed: Tensor, rows: int, lends: bool) -> Tensor:
        """One block.

        ``normed`` is what its first norm reads: the input itself, or what the previous device normed and is only weighted here.
        ``rows`` below the batch keeps only the tokens whose output is wanted (the last layer does). ``lends``: the next device
        runs an operation of this layer, see ``lends_operation``.
        """
        g, t = self.graph, self.tokens
        if kind.cache:
            cur = self.attention(self.norm(normed), kind)
            if kind.mixer:
                cur = self.mamba2(x, cur, kind, False)
            else:
                if kind.all_dense:
                    self.fetch_ahead()
                if lends:
                    g.use(cur)
                    cur = self.matmul(g.input(4 * kind.out_dim * t, self.copies), self.width, t)
                else:
                    cur = self.project(cur, kind)
        elif kind.mixer == "mamba2":
            cur = self.mamba2(normed, None, kind, lends)
        else:
            cur = self.delta_net(self.norm(normed), kind)
        if rows and not (kind.cache and kind.mixer):
            cur = g.op([cur, self.read["outputs"]], self.width, rows)
            x = g.op([x, self.read["outputs"]], self.width, rows)
        r = g.op([cur, x], *x.layout, in_place=True)
        if rows and kind.cache and kind.mixer:
            # src/models/falcon-h1.cpp: only the sum is read afterwards
            r = g.op([r, self.read["outputs"]], self.width, rows)
        for ffn in kind.ffn:
            f = self.norm(r)
            r = g.op([self.feed_forward(f, ffn, rows or t), r], self.width, rows or t, in_place=True)
        return r

    def fetch_ahead(self) -> None:
        """The next layer's state, where its fetching comes before what is left of this layer.

        A graph is built up to what is asked for. A recurrent layer asks for its state first (src/llama-graph.cpp, build_rs),
        an attention layer up to its attention, one with experts up to their sum; the rest comes when something needs it.
        """
        if self.next_kind is not None and self.next_kind.state_first and self.state is None:
            self.state = self.fetch_state()

    def fetch_state(self) -> Tensor:
        d_conv, d_inner, d_state, n_group, _heads = self.model.ssm
        return self.graph.op([self.read["states"]], (d_conv - 1) * (d_inner + 2 * n_group * d_state), max(1, self.settings.parallel))

    def borrowed(self, kind: LayerKind) -> None:
        """The operation of the previous device's last layer that runs here, see ``lends_operation``."""
        g, t = self.graph, self.tokens
        arrived = g.input(lent_bytes(self.model, self.settings, kind), self.copies)
        if kind.cache:
            matrix = self.read.get(("v_rot", kind.cache)) or g.input(4 * 64 ** 2, self.copies)
            self.state = self.fetch_state()
            g.use(g.op([matrix, arrived], kind.out_dim, t))
        else:
            self.state = self.fetch_state()
            g.use(g.op([arrived], self.model.ssm[1], t))

    def mamba2(self, x: Tensor, attended: Optional[Tensor], kind: LayerKind, lends: bool) -> Tensor:
        """src/models/mamba-base.cpp, build_mamba2_layer; beside attention (falcon-h1.cpp) the projections are added."""
        g, t = self.graph, self.tokens
        d_conv, d_inner, d_state, n_group, n_head = self.model.ssm
        seqs = max(1, self.settings.parallel)
        conv = d_inner + 2 * n_group * d_state
        state, self.state = self.state or self.fetch_state(), None
        zxbcdt = self.matmul(self.norm(x), d_inner + conv + n_head, t)
        conv_in = g.op([state, g.view(zxbcdt, conv, t, whole=False)], conv, t + (d_conv - 1) * seqs)
        g.use(conv_in)
        xbc = g.op([conv_in], conv, t)
        dt = g.op([g.view(zxbcdt, n_head, t, whole=False)], n_head, t)
        scan = g.op([g.view(xbc, d_inner, t, whole=False), dt], d_inner * t + d_state * d_inner * seqs)
        # the states of the other sequences (src/llama-graph.cpp, build_rs: a gather that leaves the first one out)
        g.use(g.op([self.read["other_states"]], d_state * d_inner, seqs - 1))
        g.use(g.view(scan, d_state * d_inner, seqs, whole=False))
        projected = None if attended is None else self.project(attended, kind)
        if kind.all_dense:
            self.fetch_ahead()
        if lends:
            g.use(g.view(zxbcdt, d_inner, t, whole=False))
            z = g.input(4 * d_inner * t, self.copies)
        else:
            z = g.op([g.view(zxbcdt, d_inner, t, whole=False)], d_inner, t)
        skip = g.op([g.view(xbc, d_inner, t, whole=False)], d_inner, t)
        y = g.op([g.view(scan, d_inner, t, whole=False), skip], d_inner, t, in_place=True)
        gated = g.op([z, y], d_inner, t)
        out = self.matmul(g.op([g.view(gated, d_inner, t)], d_inner, t), self.width, t)
        return out if projected is None else g.op([projected, out], self.width, t, in_place=True)

    def delta_net(self, x: Tensor, kind: LayerKind) -> Tensor:
        """src/models/qwen3next.cpp, build_layer_attn_linear; delta-net-base.cpp."""
        g, t = self.graph, self.tokens
        d_conv, d_inner, d_state, n_group, n_head = self.model.ssm
        seqs = max(1, self.settings.parallel)
        conv = d_inner + 2 * n_group * d_state
        state_r = self.fetch_state()
        value = d_inner
        qkv = self.matmul(x, conv, t)
        conv_in = g.op([state_r, g.view(qkv, conv, t, whole=False)], conv, t + (d_conv - 1) * seqs)
        g.use(g.view(conv_in, conv, whole=False))
        state = g.op([self.read["states"]], d_state * d_inner, seqs)
        convolved = g.op([g.op([conv_in], conv, t)], conv, t, in_place=True)
        key = d_state * n_group
        parts = []
        for _n in range(2):
            normed = g.op([g.view(convolved, key, t, whole=False)], key, t)
            parts.append(g.op([normed], value, t) if value != key else normed)
        ba = self.matmul(x, 2 * n_head, t)
        a = g.op([g.view(ba, n_head, t, whole=False)], n_head, t)
        b = g.op([g.view(ba, n_head, t, whole=False)], n_head, t)
        out = g.op(parts + [g.view(convolved, value, t, whole=False), a, b, state], value * t + d_state * d_inner * seqs)
        g.use(g.view(out, d_state * d_inner, seqs, whole=False))
        y = g.op([g.view(out, value, t, whole=False)], value, t)
        z = g.op([g.view(self.matmul(x, value, t), value, t)], value, t)
        gated = g.op([y, z], value, t, in_place=True)
        return g.view(self.matmul(gated, self.width, t), self.width, t)


class Share(NamedTuple):
    """A device's part of the model, as far as its compute buffer depends on it."""

    kinds: Tuple[LayerKind, ...]
    first: bool
    last: bool
    # the last layer, which drops the tokens whose output nobody wants, runs here
    ends: bool
    alone: bool
    # the layer of the previous device one of whose operations runs here, and whether the next device runs one of this one's
    before: Optional[LayerKind] = None
    lends: bool = False
    # no device at all: the head's CPU looks up the embeddings too
    on_head: bool = False


def lends_operation(settings: RunSettings, kind: LayerKind, following: Optional[LayerKind]) -> bool:
    """Whether a device runs an operation of the layer before its first one.

    A recurrent layer's state is fetched before the rest of a layer without experts (see ``fetch_ahead``). The next operation of
    that rest follows its predecessor's device if no weight ties it to its own (ggml/src/ggml-backend.cpp,
    ggml_backend_sched_split_graph, "expand gpu down"): the copy of a recurrent layer's gate, the rotation of a quantised
    cache's result.
    """
    if following is None or not following.state_first or not kind.all_dense:
        return False
    return kind.mixer == "mamba2" if not kind.cache else not kind.mixer and _Builder.rotated(settings.type_v, kind.head_v)


def lent_bytes(model: Model, settings: RunSettings, kind: LayerKind) -> int:
    """What is copied to the next device for that."""
    if kind.cache:
        return 4 * kind.out_dim * settings.tokens
    _conv, d_inner, d_state, n_group, n_head = model.ssm
    # a part of every row, and so as long as the rows before the last and that part of it
    return 4 * ((settings.tokens - 1) * (2 * d_inner + 2 * n_group * d_state + n_head) + d_inner)


def compute_bytes(model: Model, settings: RunSettings, share: Share, device_kind: str = "cpu") -> int:
    """The compute buffer of one device.

    src/llama-context.cpp, sched_reserve: the graph of the largest batch is walked and the buffer sized by its peak.
    With more than one device, everything offloaded and no tensor overrides, batches are pipelined and each input is
    kept four times (llama_context::llama_context, pipeline_parallel; ggml-backend.cpp, GGML_SCHED_MAX_COPIES).
    """
    if not share.kinds and not share.last:
        return 0
    copies = 1 if share.alone else PIPELINE_COPIES
    b = _Builder(model, settings, device_kind, copies)
    g, t, width = b.graph, settings.tokens, model.n_embd
    rows = settings.output_rows
    if share.kinds:
        x = b.embeddings(share.on_head) if share.first else g.input(4 * width * t, copies, (width, t))
        # what the previous device normed is only weighted here
        normed = g.input(4 * width * t, copies, (width, t)) if settings.as_fit_params and not share.first else x
        b.inputs(share.kinds)
        if share.before is not None:
            b.borrowed(share.before)
        if share.ends:
            b.read["outputs"] = g.input(4 * rows, copies)
        for index, kind in enumerate(share.kinds):
            last_layer = share.ends and index == len(share.kinds) - 1
            b.next_kind = share.kinds[index + 1] if index + 1 < len(share.kinds) else None
            drop = last_layer and model.rows_after == "attention"
            lends = share.lends and index == len(share.kinds) - 1
            x = b.layer(x, kind, normed if index == 0 else x, rows if drop else 0, lends)
            if last_layer and model.rows_after == "layer":
                x.kept = True
                x = g.op([x, b.read["outputs"]], width, rows)
    else:
        arriving = t if model.rows_after == "norm" else rows
        x = g.input(4 * width * arriving, copies, (width, arriving))
    if share.last:
        # an output of the graph is never freed (src/llama-graph.cpp, llm_graph_result::set_outputs)
        embedded = g.op([x], *x.layout, in_place=True, kept=True)
        if model.rows_after == "norm":
            embedded = g.op([embedded], width, rows, kept=True)
        g.op([embedded], model.n_vocab, rows, kept=True)
    else:
        if settings.as_fit_params:
            g.use(b.norm(x), x)
        g.use(x)
    return g.size_bytes()


def host_compute_bytes(model: Model, settings: RunSettings, alone: bool) -> int:
    """The head's CPU buffer: the token embedding of a batch, and every input of the graph, once per copy."""
    kinds = [layer.kind for layer in model.layers[:model.n_layer]]
    b = _Builder(model, settings, "cpu", 1 if alone else PIPELINE_COPIES)
    g, t = b.graph, settings.tokens
    # tokens, and room for a batch of embeddings instead or of both, used or not (src/llama-graph.cpp, build_inp_embd)
    for size in (4 * t, 4 * model.n_embd * t, 4 * t, 8 * t, 4 * model.n_embd * t):
        g.input(size, b.copies)
    if model.embedding_factors:
        g.input(4 * t, b.copies)
    b.inputs(kinds, views=False)
    g.input(4 * settings.output_rows, b.copies)
    # both look-ups stay until the first device has fetched them
    g.use(g.op([], model.n_embd, t), g.op([], model.n_embd, t))
    return g.size_bytes()
