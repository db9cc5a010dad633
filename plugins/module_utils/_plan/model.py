# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planner takes from a GGUF header: per layer its weights, its caches' rows and the kind of graph it makes.

All sources named here are those of llama.cpp ``COMPARED_BUILD``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

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

# Buffer alignment: CPU 32 (ggml/src/ggml-backend.cpp, ggml_backend_cpu_buffer_type_get_alignment), CUDA 128
# (ggml/src/ggml-cuda/ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alignment). An RPC device has its server's.
ALIGNMENT = {"cpu": 32, "cuda": 128}
# Types whose matrices an x86 CPU keeps in another layout and so in a buffer apart from that of the input embeddings
# (ggml/src/ggml-cpu/repack.cpp, ggml_repack_get_optimal_repack_type).
REPACKED = frozenset(["q4_0", "q4_k", "q2_k", "iq4_nl", "mxfp4"])
# ggml/src/ggml-cuda/common.cuh, MATRIX_ROW_PADDING
CUDA_ROW_PADDING = 512

# src/llama-hparams.h: LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS. The header's numbers are uint32 there; half of that is ample.
MAX_LAYERS = 512
MAX_EXPERTS = 1024
# No model is known to be wider than 16,384: what a bound is made of must not be absurd either.
MAX_WIDTH = 1 << 20
MAX_NUMBER = (1 << 31) - 1

# The build of llama.cpp whose sources the formulas follow and whose own figures they were compared with.
COMPARED_BUILD = "b11434"

# Architectures whose figures were compared with llama.cpp itself on every device, and how each differs.
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
    "gemma3": {"swa": (6, 0), "embedding_factors": True},
    "gpt-oss": {"swa": (2, None), "rows_after": "layer", "late_softmax": True},
    "deepseek2": {},
    "glm4moe": {"picture_positions": True},
    "qwen3next": {"recurrent": "interval", "rows_after": "norm"},
    "falcon-h1": {"recurrent": "every"},
    "granitehybrid": {"recurrent": "no_kv_heads"},
}


class MemoryModelError(Exception):
    """The model cannot be accounted for; the message says what is unknown."""


class Ffn(NamedTuple):
    """A feed-forward block; ``n_expert`` 0 is a dense one."""

    n_ff: int
    n_expert: int = 0
    n_used: int = 0
    n_shared: int = 0
    biased_choice: bool = False
    gated: bool = True
    # the chosen experts' weights by a softmax over these alone (LLAMA_EXPERT_GATING_FUNC_TYPE_SOFTMAX_WEIGHT)
    late_softmax: bool = False


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

    @property
    def all_dense(self) -> bool:
        return not any(f.n_expert for f in self.ffn)

    @property
    def state_first(self) -> bool:
        """A layer that begins with its recurrent state."""
        return self.mixer == "mamba2" and not self.cache


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
    # scaled by a factor of each token's own (1 for a token, another for a picture's part)
    embedding_factors: bool = False
    # numbers that say where a token is: four where pictures have rows and columns
    positions: int = 1
    recurrent: bool = False
    rows_after: str = "attention"
    # recurrent mixers: convolution width, inner width, state, groups, heads
    ssm: Tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    # of the output, what is the input embeddings themselves where both are on one CPU
    shared_with_input_bytes: int = 0
    quantised_bytes: int = 0
    quantised_elements: int = 0
    # what was never compared with llama.cpp, so that only a bound can be said
    unknown: Tuple[str, ...] = ()
    # what stands beside the model (_plan/beside_memory.py): bytes by slot, the widest that an adapter adds to, whether its last layers draft
    beside: Tuple[int, ...] = ()
    beside_width: int = 0
    drafts: bool = False
    # what the bound is made of: the header's numbers and the tensors by layer, those of no layer under -1
    header: "Header" = field(default_factory=lambda: Header("", {}), repr=False, compare=False)
    tensors: Mapping[int, Mapping[str, Any]] = field(default_factory=dict, repr=False, compare=False)

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

    ggml/src/ggml-alloc.c, ggml_backend_alloc_ctx_tensors_from_buft: each tensor is padded to the buffer's alignment. CUDA adds the rest of a
    512-element row to a quantised tensor (ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alloc_size).
    """
    size = tensor.size_bytes
    if device_kind == "cuda":
        name = tensor.type_name.lower()
        rest = (tensor.shape[0] if tensor.shape else 1) % CUDA_ROW_PADDING
        if rest and name in BLOCKS and name not in UNQUANTISED:
            size += row_bytes(name, CUDA_ROW_PADDING - rest)
        elif rest and name not in UNQUANTISED:
            # as many bytes for each element as it has in the file
            size += -(-size * (CUDA_ROW_PADDING - rest) // max(1, _elements(tensor)))
    return pad(size, ALIGNMENT[device_kind])


def _elements(tensor: Any) -> int:
    count = 1
    for n in tensor.shape:
        count *= n
    return count


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


class Header:
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
        """A number for each of ``n`` layers; those of a file whose layers are run several times are said once."""
        value = self.get(key, default)
        loops = self.number("num_loops")
        if isinstance(value, (list, tuple)) and 1 < loops <= MAX_LAYERS and len(value) < n:
            value = list(value) * loops
        return _per_layer(value, n, "%s.%s" % (self.arch, key))

    def largest(self, key: str) -> int:
        """The number, or the largest of a list of them; 0 where there is none."""
        value = self.get(key, 0)
        return max(self.per_layer(key, len(value)), default=0) if isinstance(value, (list, tuple)) else self.number(key)


_INPUT = ("token_embd.", "token_types.", "position_embd.", "per_layer_token_embd.", "token_embd_norm.")
_SHARED = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")
_BLOCK = re.compile(r"blk\.([0-9]{1,9})\.(.+)", re.DOTALL)


def describe_model(metadata: Mapping[str, Any], tensors: Sequence[Any], file_size_bytes: int = 0) -> Model:
    """Turn a GGUF header into what the planner needs.

    What was never compared with llama.cpp is listed in ``Model.unknown``: such a model is planned by its bound. A header that
    makes no sense raises ``MemoryModelError``.
    """
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise MemoryModelError("the header names no architecture")

    header = Header(arch, metadata)
    get = header.get
    rules = EXACT.get(arch, {})
    unknown: List[str] = []
    if arch not in EXACT:
        unknown.append("architecture %s: its caches and compute graph were never compared with llama.cpp's" % printable(arch))
    if get("attention.indexer.key_length"):
        unknown.append("an indexer cache")
    if get("attention.shared_kv_layers"):
        unknown.append("layers that share a cache")
    types = {tensor.type_name for tensor in tensors if tensor.type_name.lower() not in BLOCKS and tensor.type_name.lower() not in UNQUANTISED}
    if types:
        unknown.append("tensors of a type that llama.cpp %s does not have (%s): they count as many bytes as they have in the file" % (
            COMPARED_BUILD, ", ".join(printable(name) for name in sorted(types)[:3])))
    for key in ("block_count", "embedding_length"):
        if get(key) is None:
            raise MemoryModelError("the header lacks %s.%s" % (printable(arch), key))
    n_file, n_embd = header.number("block_count"), header.number("embedding_length")
    # src/models/nanbeige.cpp: the layers are run several times, each time as slots with caches of their own
    n_all = n_file * max(1, header.number("num_loops"))
    if not 0 < n_all <= MAX_LAYERS or not 0 < n_embd <= MAX_WIDTH:
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
        if name.startswith("blk."):
            match = _BLOCK.fullmatch(name)
            if match is None or int(match.group(1)) >= n_file:
                raise MemoryModelError("the tensor %s belongs to none of the %d layers" % (printable(name), n_file))
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
        if not name.startswith("blk."):
            groups.setdefault(-1, {})[name] = tensor
        if tensor.type_name.lower() not in UNQUANTISED:
            quantised_bytes += tensor.size_bytes
            quantised_elements += _elements(tensor)
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
        if not own and not header.largest("hrm.layers_per_stack") and n_all == n_file:
            raise MemoryModelError("the file has no tensor of layer %d, though its header says there are %d layers" % (il, n_all))
        weights = {kind: sum(_tensor_bytes(t, kind) for t in own.values()) for kind in kinds}
        if arch not in EXACT:
            layers.append(Layer(LayerKind(), weights))
            continue
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
        # src/llama-hparams.cpp, use_mrope and n_pos_per_embd
        positions=4 if rules.get("picture_positions") and all(header.per_layer("rope.dimension_sections", 2)) else 1,
        embedding_factors=bool(rules.get("embedding_factors")), scaled_embedding=bool(rules.get("scaled_embedding") or get("embedding_scale")),
        recurrent=any(recurrent),
        rows_after=rules.get("rows_after", "attention"),
        ssm=(header.number("ssm.conv_kernel"), header.number("ssm.inner_size"), header.number("ssm.state_size"),
             header.number("ssm.group_count"), header.number("ssm.time_step_rank")),
        shared_with_input_bytes=shared_with_input, quantised_bytes=quantised_bytes, quantised_elements=quantised_elements, unknown=tuple(unknown),
        header=header, tensors=groups)


def _sliding(rules: Mapping[str, Any], header: Header, n_all: int, n_layer: int) -> Tuple[List[bool], int]:
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


def _recurrent(rules: Mapping[str, Any], header: Header, n_all: int, n_layer: int, kv_heads: Sequence[int]) -> List[str]:
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
                       merged or "ffn_gate_exps.weight" in own, bool(rules.get("late_softmax"))))
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
