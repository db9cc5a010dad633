# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes llama.cpp allocates for a model, per layer and per device, computed from a GGUF header.

Three kinds of memory: weights (from the tensor table), context (attention caches and recurrent states) and compute
(the buffer that one evaluation of a batch needs). All sources named here are those of llama.cpp 0.5.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._graph_alloc import Graph, Tensor

MIB = 1 << 20

# Elements and bytes of a block, for the types a KV cache can have and those whose rows CUDA pads
# (ggml/src/ggml.c, type_traits; ggml/src/ggml-common.h).
BLOCKS: Dict[str, Tuple[int, int]] = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24),
    "q8_0": (32, 34), "q8_1": (32, 36), "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176),
    "q6_k": (256, 210), "q8_k": (256, 292), "iq2_xxs": (256, 66), "iq2_xs": (256, 74), "iq3_xxs": (256, 98),
    "iq1_s": (256, 50), "iq4_nl": (32, 18), "iq3_s": (256, 110), "iq2_s": (256, 82), "iq4_xs": (256, 136),
    "iq1_m": (256, 56), "tq1_0": (256, 54), "tq2_0": (256, 66), "mxfp4": (32, 17), "nvfp4": (64, 36), "q1_0": (128, 18),
    "q2_0": (64, 18),
}
UNQUANTISED = frozenset(["f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64"])
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")

# Buffer alignment: CPU 32 (ggml/src/ggml-backend.cpp, ggml_backend_cpu_buffer_type_get_alignment), CUDA 128
# (ggml/src/ggml-cuda/ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alignment). An RPC device has its server's.
ALIGNMENT = {"cpu": 32, "cuda": 128}
# Types whose matrices an x86 CPU keeps in another layout and so in a buffer apart from that of the input embeddings
# (ggml/src/ggml-cpu/repack.cpp, ggml_repack_get_optimal_repack_type).
REPACKED = frozenset(["q4_0", "q4_k", "q2_k", "iq4_nl", "mxfp4"])
# ggml/src/ggml-cuda/common.cuh, MATRIX_ROW_PADDING
CUDA_ROW_PADDING = 512
# ggml/src/ggml-backend.cpp, GGML_SCHED_MAX_COPIES
PIPELINE_COPIES = 4

# src/llama-hparams.h: LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS. The header's numbers are uint32 there; half of that is ample.
MAX_LAYERS = 512
MAX_EXPERTS = 1024
MAX_NUMBER = (1 << 31) - 1

# Architectures whose figures were compared with llama.cpp 0.5.0 itself on every device, and how each differs.
#   swa: (default pattern, default window or None when the header must have it)  src/models/<name>.cpp, load_arch_hparams
#   rows_after: where the tokens whose output nobody wants are dropped: in the last layer after its "attention" (the
#   default), after the last "layer", or after the final "norm"; what comes before is an output of its own then
#   recurrent: which layers keep a state instead of (or besides) an attention cache
EXACT: Dict[str, Dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3moe": {},
    "gemma2": {"swa": (2, 4096), "always_tied": True, "scaled_embedding": True},
    "gemma3": {"swa": (6, 0), "scaled_embedding": True},
    "gpt-oss": {"swa": (2, None), "rows_after": "layer"},
    "deepseek2": {},
    "glm4moe": {},
    "qwen3next": {"recurrent": "interval", "rows_after": "norm"},
    "falcon-h1": {"recurrent": "every"},
    "granitehybrid": {"recurrent": "no_kv_heads"},
}


class MemoryModelError(Exception):
    """The model cannot be accounted for; the message says what is unknown."""


@dataclass(frozen=True)
class RunSettings:
    """What the head is started with, as far as memory depends on it."""

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
    # common_speculative_output_limits); llama-fit-params asks for one per token.
    outputs: Optional[int] = None
    # llama-fit-params measures a graph in which the first norm of each device still runs on the previous one
    # (ggml/src/ggml-backend.cpp, ggml_backend_sched_reserve_size resets the assignments made while building it).
    as_fit_params: bool = False

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
    def tokens(self) -> int:
        """Tokens of the largest batch a graph is reserved for (src/llama-context.cpp, sched_reserve)."""
        batch = min(self.context_size, self.batch)
        return min(self.total_context, batch, self.ubatch)

    @property
    def output_rows(self) -> int:
        if self.as_fit_params:
            return self.tokens
        return min(self.tokens, self.outputs if self.outputs is not None else self.parallel)


class Ffn(NamedTuple):
    """A feed-forward block; ``n_expert`` 0 is a dense one."""

    n_ff: int
    n_expert: int = 0
    n_used: int = 0
    n_shared: int = 0
    biased_choice: bool = False
    gated: bool = True


class LayerKind(NamedTuple):
    """Everything about a layer that its share of the compute graph depends on."""

    q_dim: int = 0
    k_dim: int = 0
    v_dim: int = 0
    out_dim: int = 0
    cache: int = 0
    head_k: int = 0
    head_v: int = 0
    # latent attention: (rope, latent, heads, value head)
    mla: Tuple[int, ...] = ()
    kv_first: bool = False
    query_gate: bool = False
    # recurrent mixer: name and its dimensions
    mixer: str = ""
    ffn: Tuple[Ffn, ...] = ()


@dataclass(frozen=True)
class Layer:
    kind: LayerKind
    weight_bytes: Mapping[str, int]
    # bytes of one cell of the attention cache, by cache type, are k_row and v_row elements
    k_row: int = 0
    v_row: int = 0
    state_r: int = 0
    state_s: int = 0


@dataclass(frozen=True)
class Model:
    """A model as the planner sees it: one entry per layer slot, the last slot being the output."""

    architecture: str
    n_layer: int
    n_embd: int
    n_vocab: int
    n_ctx_train: int
    layers: Tuple[Layer, ...]
    input_bytes: int
    output_bytes: Mapping[str, int]
    shared_bytes: Mapping[str, int]
    n_swa: int
    file_size_bytes: int
    scaled_embedding: bool = False
    recurrent: bool = False
    rows_after: str = "attention"
    # recurrent mixers: convolution width, inner width, state, groups, heads
    ssm: Tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    # of the output, what is the input embeddings themselves where both are on one CPU
    shared_with_input_bytes: int = 0
    quantised_bytes: int = 0
    quantised_elements: int = 0
    unknown: Tuple[str, ...] = ()

    @property
    def n_slots(self) -> int:
        """Slots that -ts divides: every layer of the file, multi-token-prediction blocks included, and the output."""
        return len(self.layers) + 1


def pad(n: int, to: int) -> int:
    return -(-n // to) * to


def row_bytes(type_name: str, n: int) -> int:
    block, size = BLOCKS[type_name.lower()]
    return pad(n, block) // block * size


def mib_up(n_bytes: int) -> int:
    return -(-n_bytes // MIB)


def _tensor_bytes(tensor: Any, device_kind: str) -> int:
    """Bytes a tensor takes in a device's buffer.

    ggml/src/ggml-alloc.c, alloc_tensor_range: each tensor is padded to the buffer's alignment. CUDA adds the rest of a
    512-element row to a quantised tensor (ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alloc_size).
    """
    size = tensor.size_bytes
    if device_kind == "cuda":
        name = tensor.type_name.lower()
        rest = (tensor.shape[0] if tensor.shape else 1) % CUDA_ROW_PADDING
        if rest and name not in UNQUANTISED:
            size += row_bytes(name, CUDA_ROW_PADDING - rest)
    return pad(size, ALIGNMENT[device_kind])


def _dimension(tensor: Any, axis: int) -> int:
    if len(tensor.shape) <= axis:
        raise MemoryModelError("the tensor %s has %d dimensions, too few for what it is" % (printable(tensor.name), len(tensor.shape)))
    return int(tensor.shape[axis])


def _whole(value: Any, what: str) -> int:
    """A number of the header. It may come from a damaged file: what is no size of a model is refused before it is used."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        text = str(value) if isinstance(value, (int, float)) else "no number"
        raise MemoryModelError("the header's %s is %s, which is no size of a model" % (printable(what), printable(text)))
    return value


def _per_layer(value: Any, n: int, what: str) -> List[int]:
    """A number for each layer, from a list or from one that holds for all."""
    if isinstance(value, (list, tuple)):
        if len(value) < n:
            raise MemoryModelError("the header's %s has %d entries for %d layers" % (printable(what), len(value), n))
        # a pattern is a list of booleans
        return [_whole(int(v) if isinstance(v, bool) else v, what) for v in value[:n]]
    return [_whole(value, what)] * n


class _Header:
    """The architecture's own keys of a header, such as block_count for llama.block_count."""

    def __init__(self, arch: str, metadata: Mapping[str, Any]) -> None:
        self.arch = arch
        self.metadata = metadata

    def get(self, key: str, default: Any = None) -> Any:
        value = self.metadata.get("%s.%s" % (self.arch, key))
        return default if value is None else value

    def number(self, key: str, default: Any = 0) -> int:
        return _whole(self.get(key, default), "%s.%s" % (self.arch, key))

    def per_layer(self, key: str, n: int, default: Any = 0) -> List[int]:
        return _per_layer(self.get(key, default), n, "%s.%s" % (self.arch, key))


_INPUT = ("token_embd.", "token_types.", "position_embd.", "per_layer_token_embd.", "token_embd_norm.")
_SHARED = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")
_BLOCK = re.compile(r"blk\.([0-9]{1,9})\.(.+)", re.DOTALL)


def describe_model(metadata: Mapping[str, Any], tensors: Sequence[Any], file_size_bytes: int = 0, conservative: bool = False) -> Model:
    """Turn a GGUF header into what the planner needs.

    An architecture that was never compared with llama.cpp raises ``MemoryModelError``, or, when ``conservative``, is
    planned with full-length caches in every layer and everything unknown listed in ``Model.unknown``.
    """
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise MemoryModelError("the header names no architecture")

    header = _Header(arch, metadata)
    get = header.get
    rules = EXACT.get(arch)
    unknown: List[str] = []
    if rules is None:
        unknown.append("architecture %s: its caches and compute graph were never compared with llama.cpp's" % printable(arch))
        rules = {}
    if get("attention.indexer.key_length"):
        unknown.append("an indexer cache")
    if get("attention.shared_kv_layers"):
        unknown.append("layers that share a cache")
    if unknown and not conservative:
        raise MemoryModelError("%s; allow a conservative plan to go on" % "; ".join(unknown))

    for key in ("block_count", "embedding_length"):
        if get(key) is None:
            raise MemoryModelError("the header lacks %s.%s" % (printable(arch), key))
    n_all, n_embd = header.number("block_count"), header.number("embedding_length")
    if not 0 < n_all <= MAX_LAYERS or n_embd <= 0:
        raise MemoryModelError("the header has %d layers of width %d" % (n_all, n_embd))
    n_layer = n_all - header.number("nextn_predict_layers")
    if n_layer <= 0:
        raise MemoryModelError("of the header's %d layers, %d predict further tokens, so none is left" % (n_all, n_all - n_layer))
    heads = header.per_layer("attention.head_count", n_all)
    kv_heads = header.per_layer("attention.head_count_kv", n_all, heads)
    n_used = header.per_layer("expert_used_count", n_all)
    # src/llama-model.cpp, llama_model_base::load_hparams
    head_k = header.number("attention.key_length", n_embd // heads[0] if heads[0] else 0)
    head_v = header.number("attention.value_length", n_embd // heads[0] if heads[0] else 0)
    head_k_swa = header.number("attention.key_length_swa", head_k)
    head_v_swa = header.number("attention.value_length_swa", head_v)
    mla = bool(get("attention.key_length_mla") and get("attention.value_length_mla"))
    swa, n_swa = _sliding(rules, header, n_all, n_layer)
    recurrent = _recurrent(rules, header, n_all, n_layer, kv_heads)
    state_r, state_s = _state(header.number)

    kinds = ("cpu", "cuda")
    groups: Dict[int, Dict[str, Any]] = {}
    input_bytes, names = 0, {}
    output = dict.fromkeys(kinds, 0)
    shared = dict.fromkeys(kinds, 0)
    quantised_bytes = quantised_elements = 0
    for tensor in tensors:
        name = tensor.name
        if tensor.type_name.lower() not in BLOCKS and tensor.type_name.lower() not in UNQUANTISED:
            raise MemoryModelError("the tensor %s has the unknown type %s" % (printable(name), printable(tensor.type_name)))
        if name.startswith("blk."):
            match = _BLOCK.fullmatch(name)
            if match is None or int(match.group(1)) >= n_all:
                raise MemoryModelError("the tensor %s belongs to none of the %d layers" % (printable(name), n_all))
            groups.setdefault(int(match.group(1)), {})[match.group(2)] = tensor
            names[name] = tensor
        elif name.startswith(_INPUT):
            input_bytes += pad(tensor.size_bytes, ALIGNMENT["cpu"])
            names[name] = tensor
        else:
            target = shared if name.startswith(_SHARED) else output
            for kind in kinds:
                target[kind] += _tensor_bytes(tensor, kind)
            names[name] = tensor
        if tensor.type_name.lower() not in UNQUANTISED:
            quantised_bytes += tensor.size_bytes
            count = 1
            for n in tensor.shape:
                count *= n
            quantised_elements += count
    embedding = names.get("token_embd.weight")
    if embedding is None:
        raise MemoryModelError("the file has no token_embd.weight")
    shared_with_input = 0
    if "output.weight" not in names:
        shared_with_input = 0 if embedding.type_name.lower() in REPACKED else _tensor_bytes(embedding, "cpu")
        # tied embeddings: a second copy where the output is (src/models/*.cpp, TENSOR_DUPLICATED)
        for kind in kinds:
            output[kind] += _tensor_bytes(embedding, kind)

    layers = []
    for il in range(n_all):
        own = groups.get(il, {})
        if il >= n_layer:
            # multi-token-prediction blocks hold a slot but are not loaded (TENSOR_SKIP without a draft context)
            layers.append(Layer(LayerKind(), dict.fromkeys(kinds, 0)))
            continue
        if not own:
            raise MemoryModelError("the file has no tensor of layer %d, though its header says there are %d layers" % (il, n_all))
        weights = {kind: sum(_tensor_bytes(t, kind) for t in own.values()) for kind in kinds}
        width_k, width_v = (head_k_swa, head_v_swa) if swa[il] else (head_k, head_v)
        attention = kv_heads[il] > 0 and (recurrent[il] in ("", "both"))
        k_row = width_k * kv_heads[il] if attention else 0
        v_row = 0 if mla else width_v * kv_heads[il] if attention else 0
        state = bool(recurrent[il])
        layers.append(Layer(
            kind=_layer_kind(rules, header.number, own, heads[il] or heads[0], width_k, width_v, k_row, v_row, mla, swa[il], recurrent[il],
                             n_used[il]),
            weight_bytes=weights, k_row=k_row, v_row=v_row, state_r=state_r if state else 0, state_s=state_s if state else 0))
    return Model(
        architecture=arch, n_layer=n_layer, n_embd=n_embd, n_vocab=int(embedding.shape[1]) if len(embedding.shape) > 1 else 0,
        n_ctx_train=header.number("context_length"), layers=tuple(layers), input_bytes=input_bytes, output_bytes=output,
        shared_bytes=shared, n_swa=n_swa, file_size_bytes=file_size_bytes or sum(t.size_bytes for t in tensors),
        scaled_embedding=bool(rules.get("scaled_embedding") or get("embedding_scale")), recurrent=any(recurrent),
        rows_after=rules.get("rows_after", "attention"),
        ssm=(header.number("ssm.conv_kernel"), header.number("ssm.inner_size"), header.number("ssm.state_size"),
             header.number("ssm.group_count"), header.number("ssm.time_step_rank")),
        shared_with_input_bytes=shared_with_input, quantised_bytes=quantised_bytes, quantised_elements=quantised_elements, unknown=tuple(unknown))


def _sliding(rules: Mapping[str, Any], header: _Header, n_all: int, n_layer: int) -> Tuple[List[bool], int]:
    """Which layers use a sliding window (src/llama-model.cpp, load_swa_pattern; src/llama-hparams.cpp, set_swa_pattern)."""
    none = [False] * n_all
    if "swa" not in rules:
        return none, 0
    pattern, window = rules["swa"]
    if header.get("attention.sliding_window", window) is None:
        raise MemoryModelError("the header lacks attention.sliding_window")
    n_swa = header.number("attention.sliding_window", window)
    if not n_swa:
        return none, 0
    key = "attention.sliding_window_pattern"
    if isinstance(header.get(key), (list, tuple)):
        return [bool(v) for v in header.per_layer(key, n_all)], n_swa
    pattern = header.number(key) or pattern
    return [il < n_layer and il % pattern < pattern - 1 for il in range(n_all)], n_swa


def _recurrent(rules: Mapping[str, Any], header: _Header, n_all: int, n_layer: int, kv_heads: Sequence[int]) -> List[str]:
    """Per layer: "" attention, "state" a recurrent state instead, "both" (src/models/<architecture>.cpp, load_arch_hparams)."""
    rule = rules.get("recurrent")
    if rule == "interval":
        key = "attention.recurrent_layers"
        if isinstance(header.get(key), (list, tuple)):
            return ["state" if v else "" for v in header.per_layer(key, n_all)]
        interval = header.number("full_attention_interval", 4)
        if not interval:
            raise MemoryModelError("the header says that every 0th layer has attention")
        return ["state" if il < n_layer and (il + 1) % interval else "" for il in range(n_all)]
    if rule == "every":
        return ["both"] * n_all
    if rule == "no_kv_heads" or (rule is None and header.get("ssm.state_size")):
        return ["state" if il < n_layer and not kv_heads[il] else "" for il in range(n_all)]
    return [""] * n_all


def _state(number: Callable[[str], int]) -> Tuple[int, int]:
    """Elements of the convolution and of the recurrent state (src/llama-hparams.cpp, n_embd_r and n_embd_s)."""
    d_conv, d_inner = number("ssm.conv_kernel"), number("ssm.inner_size")
    d_state, n_group = number("ssm.state_size"), number("ssm.group_count")
    return max(d_conv - 1, 0) * (d_inner + 2 * n_group * d_state), d_state * d_inner


def _layer_kind(rules: Mapping[str, Any], number: Callable[[str], int], own: Mapping[str, Any], n_head: int, head_k: int, head_v: int, k_row: int,
                v_row: int, mla: bool, swa: bool, recurrent: str, n_used: int) -> LayerKind:
    ffn: List[Ffn] = []
    experts = own.get("ffn_up_exps.weight") or own.get("ffn_gate_up_exps.weight")
    if experts is not None:
        merged = "ffn_gate_up_exps.weight" in own
        shared = own.get("ffn_up_shexp.weight")
        n_expert = _dimension(experts, 2)
        # src/llama-model.cpp, llama_model_base::load_hparams asserts this
        if not 0 < n_used <= n_expert <= MAX_EXPERTS:
            raise MemoryModelError("the header uses %d of %d experts; there are at most %d" % (n_used, n_expert, MAX_EXPERTS))
        ffn.append(Ffn(_dimension(experts, 1) // (2 if merged else 1), n_expert, n_used,
                       _dimension(shared, 1) if shared is not None else 0, "exp_probs_b.bias" in own,
                       merged or "ffn_gate_exps.weight" in own))
    elif "ffn_up.weight" in own:
        ffn.append(Ffn(_dimension(own["ffn_up.weight"], 1), gated="ffn_gate.weight" in own))
    mixer = ""
    if recurrent:
        mixer = "delta" if "ssm_ba.weight" in own or "ssm_beta_alpha.weight" in own else "mamba2"
    if recurrent == "state":
        return LayerKind(mixer=mixer, ffn=tuple(ffn))
    latent: Tuple[int, ...] = ()
    if mla:
        rope = number("rope.dimension_count")
        if rope > head_k:
            raise MemoryModelError("the header's rope.dimension_count %d is more than its attention.key_length %d" % (rope, head_k))
        latent = (rope, head_k - rope, n_head, number("attention.value_length_mla"), number("attention.key_length_mla"),
                  number("attention.q_lora_rank"))
    return LayerKind(q_dim=n_head * head_k, k_dim=k_row, v_dim=v_row, out_dim=n_head * head_v, cache=2 if swa else 1, head_k=head_k,
                     head_v=head_v, mla=latent, kv_first="swa" in rules, query_gate=rules.get("recurrent") == "interval",
                     mixer=mixer, ffn=tuple(ffn))


# -- caches -----------------------------------------------------------------------------------------------------------

def cache_cells(model: Model, settings: RunSettings, sliding: bool) -> int:
    """Cells per stream (src/llama-kv-cache-iswa.cpp, size_base and size_swa)."""
    base = settings.sequence_context
    if not sliding or settings.swa_full:
        return base
    sequences = settings.parallel if settings.kv_unified else 1
    ubatch = min(settings.context_size, settings.batch, settings.ubatch)
    return pad(min(base, model.n_swa * sequences + ubatch), 256)


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
        total += pad(4 * state * max(1, settings.parallel), align)
    return total


# -- compute ----------------------------------------------------------------------------------------------------------

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

    def norm(self, x: Tensor) -> Tensor:
        return self.graph.op([x], *x.layout, in_place=True)

    def matmul(self, x: Tensor, rows: int, tokens: int) -> Tensor:
        return self.graph.op([x], rows, tokens)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self.graph.op([a, b], *a.layout, in_place=True)

    def inputs(self, kinds: Sequence[LayerKind]) -> None:
        """Positions, cache indices, masks and rotation matrices: the same for every device that has such layers."""
        g, t, s = self.graph, self.tokens, self.settings
        caches = {k.cache for k in kinds if k.cache}
        self.small: List[Tensor] = []
        if caches:
            self.small.append(g.input(4 * t, self.copies))
        # both caches of a sliding-window model are inputs wherever one of its layers is (src/llama-graph.cpp,
        # build_attn_inp_kv_iswa)
        for cache in sorted(caches):
            latent = any(k.mla for k in kinds)
            self.small.append(g.input(8 * t, self.copies))
            if not latent:
                self.small.append(g.input(8 * t, self.copies))
            cells = cache_cells(self.model, s, cache == 2)
            # src/llama-graph.cpp, build_attn_inp_kq_mask: float16 with flash attention
            self.small.append(g.input((2 if s.flash_attention else 4) * cells * t, self.copies))
            first = next(k for k in kinds if k.cache == cache)
            # src/llama-kv-cache.cpp, build_input_k_rot (the largest power of two that divides the head) and
            # build_input_v_rot (64)
            if self.rotated(s.type_k, first.head_k) and not latent:
                self.small.append(g.input(4 * (first.head_k & -first.head_k) ** 2, self.copies))
            if self.rotated(s.type_v, first.head_v) and not latent:
                self.small.append(g.input(4 * 64 ** 2, self.copies))

    @staticmethod
    def rotated(type_name: str, head: int) -> bool:
        return bool(head) and type_name.lower() not in UNQUANTISED and head % 64 == 0

    def rotate(self, x: Tensor, type_name: str, head: int, rows: int) -> Tensor:
        """src/llama-graph.cpp, llama_mul_mat_hadamard: a quantised cache holds rotated vectors."""
        if not self.rotated(type_name, head):
            return x
        return self.graph.op([self.graph.view(x, rows, self.tokens)], rows, self.tokens)

    def attention(self, x: Tensor, kind: LayerKind) -> Tensor:
        """src/llama-graph.cpp, build_qkv, build_attn and build_attn_mha with flash attention."""
        if kind.mla:
            return self.latent_attention(x, kind)
        g, t, s = self.graph, self.tokens, self.settings
        if kind.query_gate:
            full = self.matmul(x, 2 * kind.q_dim, t)
            gate = g.view(full, kind.q_dim, t, whole=False)
            q = g.op([g.view(full, kind.q_dim, t, whole=False)], kind.q_dim, t)
        else:
            gate = None
            q = self.rope(self.matmul(x, kind.q_dim, t), kind.q_dim)
        q = self.rotate(q, s.type_k, kind.head_k, kind.q_dim)
        if not kind.kv_first:
            v = self.rotate(self.matmul(x, kind.v_dim, t), s.type_v, kind.head_v, kind.v_dim)
        k = self.rope(self.matmul(x, kind.k_dim, t), kind.k_dim)
        k = self.rotate(k, s.type_k, kind.head_k, kind.k_dim)
        if kind.kv_first:
            v = self.rotate(self.matmul(x, kind.v_dim, t), s.type_v, kind.head_v, kind.v_dim)
        g.use(k)
        g.use(v)
        out = self.flash(q, kind)
        if gate is not None:
            out = self.rotate(out, s.type_v, kind.head_v, kind.out_dim)
            opened = g.op([g.op([gate], kind.out_dim, t)], kind.out_dim, t, in_place=True)
            out = g.op([g.view(out, kind.out_dim, t), opened], kind.out_dim, t, in_place=True)
        return out

    def project(self, out: Tensor, kind: LayerKind) -> Tensor:
        if not kind.mla and not kind.query_gate:
            out = self.rotate(out, self.settings.type_v, kind.head_v, kind.out_dim)
        return self.matmul(out, self.width, self.tokens)

    def rope(self, x: Tensor, rows: int) -> Tensor:
        """Head norm and rotation work on a reshaped view, so the first of them makes a new tensor."""
        return self.graph.op([self.graph.view(x, rows, self.tokens)], rows, self.tokens)

    def flash(self, q: Tensor, kind: LayerKind) -> Tensor:
        out = self.graph.op([q], kind.out_dim, self.tokens)
        if self.kind == "cuda":
            # ggml/src/ggml-cuda/fattn.cu, ggml_cuda_flash_attn_ext_get_alloc_size: a float16 copy of a cache that is not
            # float16 follows the result. Not measured on CUDA hardware.
            s = self.settings
            cells = cache_cells(self.model, s, kind.cache == 2) * s.streams
            for type_name, row in ((s.type_k, kind.k_dim), (s.type_v, kind.v_dim)):
                if type_name.lower() != "f16":
                    out.size += 128 + 2 * row * cells
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
        rotated = g.op([pe], heads * rope, t)
        query = g.op([g.view(absorbed, heads * latent, t), rotated], heads * (latent + rope), t)
        kv = self.matmul(x, latent + rope, t)
        compressed = self.norm(g.op([g.view(kv, latent, t, whole=False)], latent, t))
        key_pe = g.op([g.view(kv, rope, t, whole=False)], rope, t)
        g.use(g.op([compressed, key_pe], latent + rope, t))
        out = g.op([query], heads * latent, t)
        out = g.op([out], heads * head_v, t)
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
        if ffn.n_shared:
            if self.next_kind is not None and self.next_kind.mixer == "mamba2" and not self.next_kind.cache:
                # the next layer fetches its state before the shared experts run (src/models/granite-hybrid.cpp)
                self.state = self.fetch_state()
            out = g.op([out, self.dense(x, ffn.n_shared, tokens, True)], self.width, tokens, in_place=True)
        return out

    def dense(self, x: Tensor, n_ff: int, tokens: int, gated: bool) -> Tensor:
        g = self.graph
        hidden = [self.matmul(x, n_ff, tokens) for _n in range(2 if gated else 1)]
        return self.matmul(g.op(hidden, n_ff, tokens, in_place=not gated), self.width, tokens)

    def layer(self, x: Tensor, kind: LayerKind, normed: Optional[Tensor], rows: int) -> Tensor:
        """One block; ``rows`` below the batch keeps only the tokens whose output is wanted (the last layer does)."""
        g, t = self.graph, self.tokens
        if kind.cache:
            n = normed if normed is not None else self.norm(x)
            cur = self.attention(n, kind)
            if kind.mixer:
                cur = self.mamba2(x, None, cur, kind)
            else:
                cur = self.project(cur, kind)
        elif kind.mixer == "mamba2":
            cur = self.mamba2(x, normed, None, kind)
        else:
            cur = self.delta_net(normed if normed is not None else self.norm(x), kind)
        if rows:
            cur = g.op([cur], self.width, rows)
            x = g.op([x], self.width, rows)
        r = g.op([cur, x], self.width, rows or t, in_place=True)
        for ffn in kind.ffn:
            f = self.norm(r)
            r = g.op([self.feed_forward(f, ffn, rows or t), r], self.width, rows or t, in_place=True)
        return r

    def fetch_state(self) -> Tensor:
        d_conv, d_inner, d_state, n_group, _heads = self.model.ssm
        return self.graph.op([], (d_conv - 1) * (d_inner + 2 * n_group * d_state), max(1, self.settings.parallel))

    def mamba2(self, x: Tensor, normed: Optional[Tensor], attended: Optional[Tensor], kind: LayerKind) -> Tensor:
        """src/models/mamba-base.cpp, build_mamba2_layer; beside attention (falcon-h1.cpp) the projections are added."""
        g, t = self.graph, self.tokens
        d_conv, d_inner, d_state, n_group, n_head = self.model.ssm
        seqs = max(1, self.settings.parallel)
        conv = d_inner + 2 * n_group * d_state
        state, self.state = self.state or self.fetch_state(), None
        n = normed if normed is not None else self.norm(x)
        zxbcdt = self.matmul(n, d_inner + conv + n_head, t)
        conv_in = g.op([state, g.view(zxbcdt, conv, t, whole=False)], conv, t + (d_conv - 1) * seqs)
        g.use(conv_in)
        xbc = g.op([conv_in], conv, t)
        dt = g.op([g.view(zxbcdt, n_head, t, whole=False)], n_head, t)
        scan = g.op([g.view(xbc, d_inner, t, whole=False), dt], d_inner * t + d_state * d_inner * seqs)
        g.use(g.view(scan, d_state * d_inner, seqs, whole=False))
        projected = None if attended is None else self.project(attended, kind)
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
        state_r = g.op([], (d_conv - 1) * conv, seqs)
        value = d_inner
        qkv = self.matmul(x, conv, t)
        conv_in = g.op([state_r, g.view(qkv, conv, t, whole=False)], conv, t + (d_conv - 1) * seqs)
        g.use(g.view(conv_in, conv, whole=False))
        state = g.op([], d_state * d_inner, seqs)
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
    normed: Optional[Tensor] = None
    if share.kinds:
        x = g.input(4 * width * t, copies, (width, t))
        if not share.first and settings.as_fit_params:
            normed = g.input(4 * width * t, copies, (width, t))
        b.inputs(share.kinds)
        if share.first and model.scaled_embedding:
            x = g.op([x], width, t, in_place=True)
        if share.ends:
            b.small.append(g.input(4 * rows, copies))
        for index, kind in enumerate(share.kinds):
            last_layer = share.ends and index == len(share.kinds) - 1
            b.next_kind = share.kinds[index + 1] if index + 1 < len(share.kinds) else None
            drop = last_layer and model.rows_after == "attention"
            x = b.layer(x, kind, normed if index == 0 else None, rows if drop else 0)
            if last_layer and model.rows_after == "layer":
                x.kept = True
                x = g.op([x], width, rows)
    else:
        arriving = t if model.rows_after == "norm" else rows
        x = g.input(4 * width * arriving, copies, (width, arriving))
    if share.last:
        # an output of the graph is never freed (src/llama-graph.cpp, llm_graph_result::set_outputs)
        embedded = g.op([x], *x.layout, in_place=True, kept=True)
        if model.rows_after == "norm":
            embedded = g.op([embedded], width, rows, kept=True)
        g.op([embedded], model.n_vocab, rows, kept=True)
        if not settings.as_fit_params:
            # few result rows, so room above everything else costs little and no free block has to fit them
            return max(g.size_bytes(), compute_bytes(model, settings, share._replace(last=False), device_kind)
                       + pad(4 * model.n_vocab * rows, ALIGNMENT[device_kind]))
    else:
        if settings.as_fit_params:
            g.use(b.norm(x), x)
        g.use(x)
    if b.copies == 1 and share.kinds:
        g.use(*b.small)
    return g.size_bytes()


def host_compute_bytes(model: Model, settings: RunSettings, alone: bool) -> int:
    """The head's CPU buffer: the token embedding of a batch, and every input of the graph, once per copy."""
    kinds = [layer.kind for layer in model.layers[:model.n_layer]]
    b = _Builder(model, settings, "cpu", 1 if alone else PIPELINE_COPIES)
    t = settings.tokens
    b.graph.input(4 * t, b.copies)
    # room for a batch of embeddings instead of tokens, used or not (src/llama-graph.cpp, build_inp_embd)
    b.graph.input(4 * model.n_embd * t, b.copies)
    b.inputs(kinds)
    b.graph.input(4 * settings.output_rows, b.copies)
    b.graph.use(b.graph.op([], model.n_embd, t))
    return b.graph.size_bytes()
