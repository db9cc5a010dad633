# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table is aligned and tells unknown from zero."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.text_table import text_table

COLUMNS = {"machine": "machine", "layers": "layers", "weights_mib": "weights MiB"}


def test_numbers_right_text_left_and_nothing_trails():
    rows = [
        {"machine": "worker1", "layers": 15, "weights_mib": 33.817},
        {"machine": "head", "layers": 0, "weights_mib": 1058.1, "other": 1},
    ]
    assert text_table(rows, COLUMNS) == [
        "machine  layers  weights MiB",
        "-------  ------  -----------",
        "worker1      15        33.82",
        "head          0      1058.10",
    ]


def test_unknown_is_a_dash_and_zero_is_zero():
    lines = text_table([{"machine": "w", "layers": None, "weights_mib": 0}], COLUMNS)
    assert lines[2].split() == ["w", "-", "0"]


def test_no_rows_leave_the_heading():
    assert len(text_table([], COLUMNS)) == 2


@pytest.mark.parametrize(("rows", "columns"), [("text", COLUMNS), ([1], COLUMNS), ([], {}), ([], ["machine"]), ({}, COLUMNS)])
def test_what_is_no_table_is_refused(rows, columns):
    with pytest.raises(AnsibleFilterError, match="text_table"):
        text_table(rows, columns)


def test_what_others_wrote_makes_no_rows_and_no_colours():
    rows = [{"machine": "w\x1b[31m1\nhead  99\u202e", "layers": 1, "weights_mib": 1}]
    assert text_table(rows, {"machine": "m\x1b]0;x\x07"}) == ["m", "-----------", "w1 head 99?"]
    assert len(text_table([{"machine": "x" * 10**6}], {"machine": "m"})[2]) <= 300
