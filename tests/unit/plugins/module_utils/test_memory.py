# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicted memory against what llama.cpp itself said, recorded in tests/fixtures/plan."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import architectures
import memory_cases
import pinned
import pytest
import sampled
import sparse_gguf
from described_shapes import described, tensors_of

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import accounts_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import model_from_facts

MIB = 1 << 20


@functools.lru_cache(maxsize=None)
def recorded() -> list:
    recording = json.loads(pinned.fixture("llama_cpp").read_text(encoding="utf-8"))
    assert "llama.cpp %s " % pinned.version() in recording["about"]
    return recording["cases"]


@pytest.mark.parametrize("shape", sorted(sparse_gguf.SHAPES))
def test_every_device_as_llama_cpp_says(shape: str) -> None:
    mine = [item for item in recorded() if item[0] == shape]
    assert len(mine) >= 40
    found = []
    for name, cluster, settings, split, rows in sampled.part(mine):
        found += memory_cases.problems(memory_cases.Case(name, tuple(cluster), settings, tuple(split)), described(shape), rows)
    assert not found, "\n".join(found[:20])


def test_what_is_compared_live_has_every_shape_setting_and_sort_of_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERY_CASE", raising=False)
    for cluster in memory_cases.CLUSTERS:
        every, live = list(memory_cases.cases(cluster)), [case for shape in sparse_gguf.SHAPES for case in memory_cases.live(cluster, shape)]
        assert len(live) == len(sparse_gguf.SHAPES) <= len(every) / 10
        assert {case.shape for case in live} == set(sparse_gguf.SHAPES)
        assert {str(case.settings) for case in live} == {str(case.settings) for case in every}
        # the even split, the two most lopsided ones, and others
        assert {every.index(case) % 5 for case in live} == set(range(5))
    monkeypatch.setenv("EVERY_CASE", "1")
    assert [case for shape in sparse_gguf.SHAPES for case in memory_cases.live((1, 1), shape)] == list(memory_cases.cases((1, 1)))


def test_what_is_compared_with_a_server_that_loads_has_every_trait_of_every_architecture() -> None:
    """And each architecture that there are formulas for."""
    every, some = architectures.names(), architectures.varied()
    assert len(set(some)) == len(some) <= len(every) / 2
    assert frozenset().union(*map(architectures.traits, some)) == frozenset().union(*map(architectures.traits, every))
    known = {name for name in every if not model_from_facts(architectures.facts(name)).unknown}
    assert known and known <= set(some)
    # what is kept and computed in ways of its own: an indexer, latent attention, states, convolutions, experts
    found = frozenset().union(*map(architectures.traits, some))
    assert {"indexer.proj", "attn_kv_a_mqa", "ssm_a", "shortconv.conv", "ffn_up_exps", "attn_sinks"} <= found


@functools.lru_cache(maxsize=None)
def on_cuda() -> dict:
    """Of the last build that met a GPU, which the recording names."""
    return json.loads((pinned.PLANS.parent / "cuda" / "memory.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("shape", sorted(sparse_gguf.SHAPES))
def test_every_cuda_device_as_llama_cpp_says(shape: str) -> None:
    """Compute to the hundredth; without flash attention, and where a sliding window's quantised cache comes first, no less."""
    mine = [item for item in on_cuda()["cases"] if item[0] == shape]
    assert len(mine) >= 5
    model, found = described(shape), []
    for _name, number, split, rows in mine:
        settings = on_cuda()["settings"][number]
        run = caches.RunSettings(**{"kv_unified": True, **settings})
        bounded = not run.flash_attention or (run.type_k != "f16" and any(layer.kind.cache == 2 for layer in model.layers))
        planned = placement.split_memory(accounts_of(model, run), tuple(split), ["cuda"] * len(split))[0]
        for device, (weights, kv, compute) in zip(planned, rows):
            ours = device.compute_bytes / MIB
            if ours < compute - 0.011 or (not bounded and ours > compute + 0.011):
                found.append("%s %s: compute %.2f, llama.cpp %.2f" % (settings, split, ours, compute))
            if (device.weight_bytes // MIB, device.context_bytes // MIB) != (weights, kv):
                found.append("%s %s: %d and %d, llama.cpp %d and %d" % (
                    settings, split, device.weight_bytes // MIB, device.context_bytes // MIB, weights, kv))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("shape", ["deepseek2-16b", "deepseek3-671b", "llama-8b"])
def test_what_stand_ins_say_and_what_cuda_adds_is_what_cuda_takes(shape: str) -> None:
    """The stand-ins' word is that of the formulas for a CPU, which equal it."""
    (number,) = [index for index, settings in enumerate(on_cuda()["settings"]) if settings.get("type_k") == "q8_0"]
    ((_name, _number, split, rows),) = [item for item in on_cuda()["cases"] if item[:2] == [shape, number]]
    base = accounts_of(described(shape), caches.RunSettings(**{"kv_unified": True, **on_cuda()["settings"][number]}))
    on_cpus, host = placement.split_memory(base, tuple(split), ["cpu"] * len(split))
    figures = [ask.Figures(d.weight_bytes // MIB, d.context_bytes // MIB, round(d.compute_bytes / MIB, 2)) for d in on_cpus]
    asked = rounds.AskedAccounts(base)
    asked.learn(split, ask.Answer(tuple(figures), ask.Figures(0, 0, round(host.compute_bytes / MIB, 2))))
    planned = placement.split_memory(asked, tuple(split), ["cuda"] * len(split))[0]
    assert [device.compute_bytes / MIB for device in planned] == pytest.approx([row[2] for row in rows], abs=0.02)


def test_at_least_twelve_shapes_and_all_kinds_are_compared() -> None:
    kinds = {described(s).architecture for s in sparse_gguf.SHAPES}
    assert kinds == set(plan_model.EXACT), "every architecture called exact must have a recorded shape"
    assert len(sparse_gguf.SHAPES) >= 12


@pytest.mark.parametrize(("settings", "cells", "streams"), [
    ({"context_size": 8192, "parallel": 4, "kv_unified": True}, 8192, 1),
    ({"context_size": 8192, "parallel": 4}, 2048, 4),
    ({"context_size": 1000, "parallel": 1}, 1024, 1),
    ({"context_size": 1000, "parallel": 3}, 512, 3),
])
def test_context_is_padded(settings: dict, cells: int, streams: int) -> None:
    run = caches.RunSettings(**settings)
    assert (run.sequence_context, run.streams) == (cells, streams)


# What llama-server b11434 logged ("created context checkpoint 2 of 3 ... size = 0.524 MiB") of a prompt of 200 tokens with --parallel 2 and the
# models that its test-llama-archs writes; those of the first row made none.
@pytest.mark.parametrize(("names", "said_mib"), [
    (["llama-dense", "qwen3moe-moe", "deepseek2-moe", "glm4moe-moe", "granite-dense", "hrm_text-dense"], 0),
    (["gemma2-dense", "gemma3-dense", "gpt-oss-moe", "cohere2-dense", "exaone-moe-moe", "granite_swa-dense"], 0.032),
    (["falcon-h1-dense"], 0.524), (["granitehybrid-dense"], 0.262), (["jamba-dense"], 0.256), (["qwen3next-moe"], 0.134),
    (["kimi-k3-moe", "kimi-linear-moe", "glm5-next-moe", "bailingmoe3-moe"], 0.067), (["afmoe-moe"], 0.016), (["dots3note-moe"], 0.036),
    (["exaone4-dense"], 0.385),
])
def test_a_context_checkpoint_is_what_llama_server_says(names: list, said_mib: float) -> None:
    for name in names:
        model = model_from_facts(architectures.facts(name))
        ours = accounts_of(model, caches.RunSettings(context_size=512, parallel=2)).checkpoint_bytes() / (1 << 20)
        # its log has thousandths, and a few bytes of each cell are its position
        assert said_mib - 0.0015 <= ours <= max(said_mib, 0.502 if name == "exaone4-dense" else 0), name


@pytest.mark.parametrize(("kind", "n", "expected"), [("f16", 128, 256), ("q8_0", 128, 136), ("q4_0", 64, 36), ("f32", 3, 12)])
def test_row_bytes(kind: str, n: int, expected: int) -> None:
    assert plan_model.row_bytes(kind, n) == expected


def test_cuda_pads_quantised_rows() -> None:
    tensor = SimpleNamespace(name="blk.0.ffn_up.weight", shape=(576, 1536), type_name="Q4_1", size_bytes=576 * 1536 // 32 * 20)
    assert plan_model._tensor_bytes(tensor, "cpu") == tensor.size_bytes
    newer = SimpleNamespace(**{**vars(tensor), "type_name": "TYPE_43"})
    assert plan_model._tensor_bytes(newer, "cuda") == plan_model._tensor_bytes(tensor, "cuda")
    # 576 is 64 over a multiple of 512: the rest of the row, 448 elements, once
    assert plan_model._tensor_bytes(tensor, "cuda") == -(-(tensor.size_bytes + 448 // 32 * 20) // 128) * 128


def test_what_is_unknown_of_an_architecture_is_listed() -> None:
    model = sparse_gguf.SHAPES["llama-1b-tied"]()
    metadata = {key.replace("llama.", "newcomer."): value for key, value in model.metadata.items()}
    metadata["general.architecture"] = "newcomer"
    described = plan_model.describe_model(metadata, tensors_of(model))
    assert len(described.unknown) == 1 and "newcomer" in described.unknown[0] and "never compared" in described.unknown[0]


@pytest.mark.parametrize(("change", "message"), [
    ({"llama.block_count": None}, "lacks llama.block_count"),
    ({"llama.block_count": 10**9}, "layers of width"),
    ({"general.architecture": 7}, "no architecture"),
    ({"llama.attention.head_count_kv": [1, 2]}, "head_count_kv has 2 entries for 16 layers"),
])
def test_broken_headers_are_one_sentence(change: dict, message: str) -> None:
    model = sparse_gguf.SHAPES["llama-1b-tied"]()
    metadata = {k: v for k, v in dict(model.metadata, **change).items() if v is not None}
    with pytest.raises(plan_model.MemoryModelError, match=message):
        plan_model.describe_model(metadata, tensors_of(model))


def test_multi_token_prediction_blocks_cost_nothing() -> None:
    plain, mtp = described("deepseek3-671b"), described("deepseek3-671b-mtp")
    assert mtp.n_slots == plain.n_slots + 1
    assert mtp.layers[-1].weight_bytes == {"cpu": 0, "cuda": 0}
    assert sum(x.weight_bytes["cpu"] for x in mtp.layers) == sum(x.weight_bytes["cpu"] for x in plain.layers)
