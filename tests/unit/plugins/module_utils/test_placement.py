# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import sampled
from described_shapes import described
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES, Accounts, slot_devices


@settings(max_examples=sampled.examples(2000), deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=MAX_DEVICES))
def test_integer_layer_counts_come_back_exactly(counts: list) -> None:
    """Why -ts carries layer counts: any such list is put where it says, despite the float32 sums in between."""
    placed = slot_devices(counts, sum(counts))
    assert [placed.count(i) for i in range(len(counts))] == counts
    assert placed == sorted(placed)


def test_a_split_by_memory_rounds_in_float32() -> None:
    assert slot_devices([24564, 24564], 81).count(0) == 41
    assert slot_devices([1, 0, 1], 4) == [0, 0, 2, 2]


@pytest.mark.parametrize("counts", [[1], [1, 1], [126, 1]])
def test_small_ones(counts: list) -> None:
    assert [slot_devices(counts, sum(counts)).count(i) for i in range(len(counts))] == counts


@pytest.mark.parametrize("shape", ["llama-8b", "llama-8b-mixed", "gemma3-27b", "deepseek3-671b-mtp", "gpt-oss-120b", "granite-hybrid-32b", "granite-hybrid-3b"])
@pytest.mark.parametrize("run", [RunSettings(), RunSettings(context_size=32768, parallel=4, ubatch=256)], ids=["short", "long"])
def test_a_row_is_what_total_says_and_grows(shape: str, run: RunSettings) -> None:
    """The search looks ends up in rows by bisection: a longer run must never need less."""
    model = described(shape)
    accounts, plain = Accounts(model, run), Accounts(model, run)
    for kind in ("cpu", "cuda"):
        for first in range(0, model.n_slots, 1 if model.n_slots < 40 else 5):
            whole = plain.total(kind, first, model.n_slots, False)
            part = list(accounts.row(kind, first, whole // 3))
            row = accounts.row(kind, first)
            # what is left out of a part does not fit, and the rest can be had later
            assert part == row[:len(part)] and all(total > whole // 3 for total in row[len(part):])
            assert row == [plain.total(kind, first, end, False) for end in range(first + 1, model.n_slots + 1)]
            assert row == sorted(row)


@pytest.mark.parametrize("shape", ["llama-8b", "gemma3-27b", "deepseek2-16b", "qwen3next-80b", "granite-hybrid-3b"])
@pytest.mark.parametrize("run", [RunSettings(parallel=3, kv_unified=True), RunSettings(type_k="q8_0", type_v="q8_0", as_fit_params=True)],
                         ids=["unified", "quantised"])
def test_the_search_never_counts_on_less_than_llama_cpp_takes(shape: str, run: RunSettings) -> None:
    accounts = Accounts(described(shape), run)
    n = accounts.model.n_slots
    for first, end in [(0, 1), (0, n // 2), (0, n), (1, 2), (1, 4), (n // 3, n), (n // 2, n - 1), (n - 3, n), (n - 2, n), (n - 1, n)]:
        alone = end - first == n
        charged, exact = accounts.device("cpu", first, end, alone), accounts.exact("cpu", first, end, alone)
        assert charged._replace(compute_bytes=0) == exact._replace(compute_bytes=0)
        assert charged.compute_bytes >= exact.compute_bytes
