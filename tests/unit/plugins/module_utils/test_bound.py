# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bound itself; that it is one is shown against llama.cpp in tests/integration/test_architectures.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import architectures
import pinned
import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import model_from_facts, plan_from_facts

SETTINGS = (
    caches.RunSettings(context_size=8192),
    caches.RunSettings(context_size=65536, parallel=4, kv_unified=True, type_k="q8_0", type_v="q8_0"),
    caches.RunSettings(context_size=8192, parallel=3, ubatch=256, flash_attention=False),
)


def bounded(facts: dict, **metadata: Any) -> plan_model.Model:
    """A model planned by its bound, whether or not its architecture is known."""
    changed = {key: value for key, value in dict(facts["metadata"], **metadata).items() if value is not None}
    return replace(model_from_facts(dict(facts, metadata=changed)), unknown=("as if",))


def test_the_fixture_says_what_it_is() -> None:
    assert len(architectures.names()) == 128
    said = architectures._recorded()
    assert "build %s" % pinned.version()[1:] in said["llama_cpp"] and said["command"] == "test-llama-archs -o DIR"
    kinds = {architectures.facts(name)["metadata"]["general.architecture"] for name in architectures.names()}
    assert {"deepseek32", "minimax-m3", "glm5-next", "qwen4exp", "kimi-k3", "hrm_text"} <= kinds and set(plan_model.EXACT) <= kinds


@pytest.mark.parametrize("name", ["deepseek4-moe", "qwen4exp-moe", "hrm_text-dense"])
def test_a_written_header_is_read_as_the_facts_say(name: str, tmp_path: Path) -> None:
    header = read_gguf(str(architectures.write(name, tmp_path / "model.gguf")))
    facts = architectures.facts(name)
    assert header.architecture == facts["metadata"]["general.architecture"]
    assert {t.name: [list(t.shape), t.type_name, t.size_bytes] for t in header.tensors} == {
        t["name"]: [t["shape"], t["type"], t["size_bytes"]] for t in facts["tensors"]}
    own = header.architecture + "."
    for key, value in facts["metadata"].items():
        if key.startswith(own) and isinstance(value, (int, list)):
            assert header.metadata[key] == value, key


@pytest.mark.parametrize("name", architectures.names())
def test_every_architecture_is_planned(name: str) -> None:
    machines = [{"name": "m%d" % n, "ram_free_mib": 60000, "devices": [{"name": "CUDA0", "free_mib": 24000, "total_mib": 24564}]} for n in range(2)]
    made = plan_from_facts(architectures.facts(name), machines, host="m0", policy="all_machines")
    assert made["fits"] and len(made["devices"]) == 2 and made["largest_context"] > 0
    assert made["confidence"]["bound"] == (made["architecture"] not in plan_model.EXACT)


def growing(model: plan_model.Model, settings: caches.RunSettings) -> None:
    accounts = BoundAccounts(model, settings)
    for kind in ("cpu", "cuda"):
        for alone in (False, True):
            totals = {(first, end): accounts.total(kind, first, end, alone)
                      for first in range(model.n_slots) for end in range(first + 1, model.n_slots + 1)}
            for (first, end), total in totals.items():
                assert total <= totals.get((first, end + 1), total), (kind, alone, first, end)
                # rope frequencies are shared by the layers of a device, so that the output alone may be larger by those
                assert total <= totals.get((first - 1, end), total), (kind, alone, first, end)
        for first in range(model.n_slots):
            assert accounts.row(kind, first) == [accounts.total(kind, first, end, False) for end in range(first + 1, model.n_slots + 1)]


@pytest.mark.parametrize("name", architectures.names())
def test_a_longer_run_never_needs_less(name: str) -> None:
    for settings in SETTINGS:
        growing(bounded(architectures.facts(name)), settings)


@pytest.mark.parametrize("shape", ["gemma3-27b", "granite-hybrid-32b", "glm4moe-106b-mtp"])
def test_a_longer_run_of_a_large_model_never_needs_less(shape: str) -> None:
    growing(bounded(sparse_gguf.facts(shape)), SETTINGS[1])


@pytest.mark.parametrize("name", architectures.names())
def test_what_is_known_exactly_is_part_of_the_bound(name: str) -> None:
    model = bounded(architectures.facts(name))
    counts = (1, model.n_slots - 1)
    for settings in SETTINGS:
        most, most_host = placement.split_memory(BoundAccounts(model, settings), counts, ("cuda", "cpu"))
        least, least_host = placement.split_memory(BoundAccounts(model, settings, least=True), counts, ("cuda", "cpu"))
        assert [d.weight_bytes for d in least] == [d.weight_bytes for d in most] and least_host.total_bytes < most_host.total_bytes
        assert all(known.total_bytes <= bound.total_bytes for known, bound in zip(least, most))
        assert [known.compute_bytes + known.context_bytes for known in least] == [0, 0]


def context(model: plan_model.Model, **settings: Any) -> int:
    return placement.split_memory(BoundAccounts(model, caches.RunSettings(**settings)), (model.n_slots,), ("cpu",))[0][0].context_bytes


def test_layers_are_windowed_only_where_the_header_says_so() -> None:
    facts = sparse_gguf.facts("gemma3-27b")
    layers = facts["metadata"]["gemma3.block_count"]
    everywhere = context(bounded(facts), context_size=65536)
    said = context(bounded(facts, **{"gemma3.attention.sliding_window_pattern": [(il + 1) % 6 != 0 for il in range(layers)]}), context_size=65536)
    formula = placement.split_memory(placement.Accounts(model_from_facts(facts), caches.RunSettings(context_size=65536)), (layers + 1,), ("cpu",))
    assert formula[0][0].context_bytes <= said < everywhere / 3
    no_window = bounded(facts, **{"gemma3.attention.sliding_window_pattern": [True, False] * (layers // 2), "gemma3.attention.sliding_window": 0})
    assert context(no_window, context_size=65536) == everywhere


def test_layers_that_are_run_again_have_caches_and_slots_of_their_own() -> None:
    facts = architectures.facts("nanbeige-dense")
    once, thrice = bounded(facts), bounded(facts, **{"nanbeige.num_loops": 3, "nanbeige.attention.head_count_kv": [2, 2]})
    assert (once.n_slots, thrice.n_slots) == (3, 7)
    assert sum(layer.weight_bytes["cpu"] for layer in thrice.layers) == sum(layer.weight_bytes["cpu"] for layer in once.layers)
    assert context(thrice, context_size=8192) == 3 * context(once, context_size=8192)


def test_an_indexer_adds_its_cache_and_its_choice() -> None:
    facts = architectures.facts("deepseek32-moe")
    with_it, without = bounded(facts), bounded(facts, **{"deepseek32.attention.indexer.key_length": 0})
    # 2 layers of one float16 row of 128 a token
    assert context(with_it, context_size=8192) - context(without, context_size=8192) == 2 * 2 * 128 * 8192
    run = caches.RunSettings(context_size=65536)
    both = [BoundAccounts(model, run).device("cpu", 0, 2, False).compute_bytes for model in (with_it, without)]
    assert both[0] > 2 * both[1]


@pytest.mark.parametrize(("change", "message"), [
    ({"newcomer.attention.sliding_window_pattern": [True, False]}, "sliding_window_pattern has 2 entries for 16 layers"),
    ({"newcomer.attention.indexer.key_length": -4}, "no size of a model"),
    ({"newcomer.embedding_length": 1 << 30}, "layers of width"),
    ({"newcomer.num_loops": 1 << 30}, "layers of width"),
])
def test_a_header_that_makes_no_sense_is_refused_in_one_sentence(change: dict, message: str) -> None:
    facts = sparse_gguf.facts("llama-1b-tied")
    metadata = {key.replace("llama.", "newcomer."): value for key, value in facts["metadata"].items()}
    metadata.update({"general.architecture": "newcomer", "newcomer.attention.sliding_window": 512}, **change)
    machines = [{"name": "m", "devices": [{"name": "CUDA0", "free_mib": 24000}]}]
    with pytest.raises(PlanError, match=message) as caught:
        plan_from_facts(dict(facts, metadata=metadata), machines, host="m")
    assert "\n" not in str(caught.value)
