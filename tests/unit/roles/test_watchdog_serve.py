# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets a place at the watchdog's port. What that is good for: tests/integration/test_watchdog.py."""

from __future__ import annotations

import sys
from pathlib import Path

FILES = Path(__file__).resolve().parents[3] / "roles" / "watchdog" / "files"
sys.path.insert(0, str(FILES))

import serve  # noqa: E402  pylint: disable=wrong-import-position


def test_the_oldest_of_an_address_that_has_too_many_goes():
    places = serve.Places(most=9, most_of_one=2)
    assert [places.enter(number, "10.0.0.1", 0) for number in range(4)] == [[], [], [0], [1]]
    assert places.enter(4, "10.0.0.2", 0) == []


def test_where_all_places_are_taken_an_address_that_has_most_of_them_loses_one():
    places = serve.Places(most=4, most_of_one=3)
    for number, address in enumerate(("10.0.0.9", "10.0.0.1", "10.0.0.1", "10.0.0.2")):
        places.enter(number, address, 0)
    assert places.enter(4, "10.0.0.3", 0) == [1]
    assert places.enter(5, "10.0.0.4", 0) == [0]


def test_peers_and_strangers_take_nothing_from_each_other():
    places = serve.Places(["10.0.0.1", "10.1.0.0/16"], most=2, most_of_one=2)
    assert [places.enter(number, address, 0) for number, address in enumerate(("10.0.0.1", "10.1.2.3", "10.0.0.8", "10.0.0.9"))] == [[], [], [], []]
    assert places.enter(4, "10.0.0.10", 0) == [2]
    assert places.enter(5, "10.1.2.4", 0) == [0]


def test_who_has_left_takes_no_place_and_who_is_late_is_named():
    places = serve.Places(most=1, most_of_one=1, deadline_s=5)
    places.enter("a", "10.0.0.1", 10)
    assert (places.late(14.9), places.late(15)) == ([], ["a"])
    places.leave("a")
    assert places.enter("b", "10.0.0.1", 20) == [] and places.late(24) == []
