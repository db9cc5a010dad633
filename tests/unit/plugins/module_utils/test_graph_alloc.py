# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sampled
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.graph_alloc import Graph, Pool


def test_best_fit_takes_the_smallest_hole_and_the_later_of_equals() -> None:
    pool = Pool(1)
    a, b, c, d, e = (pool.take(n) for n in (4, 1, 2, 1, 2))
    pool.give(a, 4)
    pool.give(c, 2)
    assert pool.take(2) == c
    pool.give(c, 2)
    pool.give(e, 2)
    assert pool.take(3) == a
    assert (b, d) == (4, 7)
    assert pool.high_water == 10


@settings(max_examples=sampled.examples(200), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=60), st.sampled_from([1, 32, 128]))
def test_blocks_never_overlap_and_everything_merges_back(steps: list, alignment: int) -> None:
    pool = Pool(alignment)
    live: list = []
    for size, drop in steps:
        if drop and live:
            offset, length = live.pop(0)
            pool.give(offset, length)
        else:
            live.append((pool.take(size), size))
        spans = sorted((o, o + -(-n // alignment) * alignment) for o, n in live)
        assert all(left[1] <= right[0] for left, right in zip(spans, spans[1:]))
        assert not spans or spans[-1][1] <= pool.high_water
    for offset, length in live:
        pool.give(offset, length)
    assert pool._free == [[0, 1 << 62]]


def test_an_in_place_operation_takes_over_its_only_reader_s_input() -> None:
    def size(in_place: bool) -> int:
        graph = Graph(1)
        a = graph.op([], 100, item=1)
        b = graph.op([a], 100, item=1, in_place=in_place)
        graph.use(b)
        return graph.size_bytes()

    assert (size(True), size(False)) == (100, 200)


def test_a_view_keeps_its_source_and_is_never_taken_over() -> None:
    graph = Graph(1)
    a = graph.op([], 100, item=1)
    seen = graph.view(a, 100)
    b = graph.op([seen], 100, item=1, in_place=True)
    graph.use(b)
    assert graph.size_bytes() == 200


def test_copies_of_an_input_stay() -> None:
    graph = Graph(1)
    x = graph.input(10, 4)
    graph.use(graph.op([x], 10, item=1))
    assert graph.size_bytes() == 50
