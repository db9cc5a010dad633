# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done so that the services of a machine run, and in which order."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.service_steps import service_steps


def words(*units, **given):
    return [f"{step['state']} {step['unit']} {step['enabled']}" for step in service_steps(units, **given)]


def test_what_is_in_service_needs_nothing():
    assert words("a", "b", in_service=["a", "b", "c"]) == []
    assert words("a", "b", in_service=["b"]) == ["started a True"]


def test_the_units_are_started_in_their_order_when_all_else_is_stopped():
    found = words("fence", "a", "b", in_service=["fence", "b"], restart=["a"], reload=["fence"], stop=["b"], disable=["old"])
    assert found == ["stopped old False", "stopped b None", "reloaded fence True", "restarted a True"]


def test_a_unit_that_is_to_restart_is_not_reloaded_besides():
    assert words("a", in_service=["a"], restart=["a"], reload=["a"]) == ["restarted a True"]


def test_check_mode_says_nothing_of_what_may_not_be_there_yet():
    """A unit whose configuration is another may be none on a bare machine."""
    assert words("a", "fence", "b", "c", in_service=["c"], restart=["a"], reload=["fence", "c"], check=True) == ["started b True", "reloaded c True"]


@pytest.mark.parametrize(("units", "given"), [("a.service", {}), (["a"], {"restart": "a"}), (["a"], {"stop": None}), (["a"], {"never": ["a"]})])
def test_anything_but_lists_is_refused(units, given):
    with pytest.raises(AnsibleFilterError, match="service_steps"):
        service_steps(units, **given)
