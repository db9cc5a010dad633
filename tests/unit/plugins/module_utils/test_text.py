# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from files and the network, as it reaches a terminal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SmolLM2 135M \u00fc \u65e5\u672c", "SmolLM2 135M \u00fc \u65e5\u672c"),
        ("a\nb\tc\u00a0d\u2028e", "a b c d e"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link", "alink"),
        ("a\x9b31mb\x1bc", "ab"),
        ("\x1b[2", ""),
        ("\u202egpj.exe\u2066\u200b\ufeff", "?gpj.exe???"),
        ("\x00\x07\x08\x7f\ud800", "?????"),
        ("x" * 90, "x" * 77 + "..."),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(), st.integers(min_value=3, max_value=200))
def test_any_text_shows(text: str, limit: int) -> None:
    assert printable(text, None).isprintable()
    assert printable(text, limit).isprintable() and len(printable(text, limit)) <= limit
    assert printable(printable(text, limit), limit) == printable(text, limit)


def test_it_takes_no_time() -> None:
    begun = time.monotonic()
    for text in ("\x1b[" * 10**6, "\x1b]" * 10**6, "\x1b" * 10**6, "a" * 10**7):
        printable(text)
        printable(text[:200000], None)
    assert time.monotonic() - begun < 5
