# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule of thumb for the number of machines."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.gguf_node_count import FilterModule
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.node_count import NodeCountError, node_count


@pytest.mark.parametrize(
    ("size", "vram", "reserve", "machines"),
    [
        ("40 GB", 24, 2, 2),
        ("59 GB", 24, 2, 3),
        (40_000_000_000, "24 GB", "2 GB", 2),
        (59e9, 24.0, 2.0, 3),
        ("59GB", "24", "2", 3),
        # Exactly full is not too full, one byte more is.
        (22_000_000_000, 24, 2, 1),
        (22_000_000_001, 24, 2, 2),
        ("20 GiB", "24564 MiB", 0, 1),
        ("98362432", 24, 2, 1),
    ],
)
def test_equal_machines(size, vram, reserve, machines):
    assert node_count(size, vram, reserve) == machines


@pytest.mark.parametrize(
    ("vram", "order", "machines"),
    [
        ([24, 24], "largest_first", 2),
        ([8, 24, 32], "largest_first", 2),
        ([8, 24, 32], "given", 3),
        ([48, 8, 8], "given", 1),
        # 2 GB and less hold nothing and are not counted.
        ([2, 24, 1, 24], "given", 2),
        (("24 GB", "24564 MiB"), "given", 2),
    ],
)
def test_different_machines(vram, order, machines):
    assert node_count("40 GB", vram, 2, order) == machines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("40 GB", [24, 12]), "the model has 40.0 GB, but the 2 machines together hold 32.0 GB after a reserve of 2.0 GB on each"),
        (("40 GB", []), "the 0 machines together hold 0.0 GB"),
        (("40 GB", 2), "leaves nothing for a model"),
        (("40 GB", 24564), "is 24564 without a unit, which would be GB, and no machine has that: write the unit, such as '24564 MiB'"),
        (("40 GB", [24, "8188"]), "the VRAM of machine 2 is 8188 without a unit"),
        (("40 GB", 24, 4096), "the reserve is 4096 without a unit"),
        ((40, 24), "is 40 bytes, which no model is: write the unit, such as '40 GB'"),
        (("40 GX", 24), "whose unit is none of"),
        (("forty", 24), "not a number or a text such as '40 GB'"),
        (("40 GB", "-24"), "cannot be negative"),
        (("40 GB", float("inf")), "cannot be negative or without bounds"),
        (("40 GB", True), "is a bool"),
        (("40 GB", [24, None]), "the VRAM of machine 2 is a NoneType"),
        (("40 GB", 24, 2, "smallest"), "must be one of largest_first and given"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(NodeCountError) as caught:
        node_count(*arguments)
    assert words in str(caught.value)


def test_filter_translates():
    count = FilterModule().filters()["gguf_node_count"]
    assert count("59 GB", 24) == 3
    assert count("40 GB", [8, 24, 32], reserve="2 GB", order="given") == 3
    with pytest.raises(AnsibleFilterError, match="cannot answer: the model has 40.0 GB"):
        count("40 GB", [24])
