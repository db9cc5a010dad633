# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which builds have which vulnerability, and the collection's own table of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_advisories import llama_advisories
from ansible_collections.herd.llama_cpp.plugins.module_utils._build.advisories import (
    AdvisoryError,
    exposure_of,
    parse_build_number,
    read_advisories,
)
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).absolute().parents[4]
TABLE = yaml.safe_load((ROOT / "roles/llama_cpp/vars/advisories.yml").read_text(encoding="utf-8"))["llama_cpp_advisories"]
ENTRY = {
    "id": "X-1",
    "what": "end it",
    "components": ["worker"],
    "introduced_in": 100,
    "fixed_in": 200,
    "refuse": True,
    "confirmed": True,
    "sources": ["https://example.org/x-1"],
}


@pytest.mark.parametrize(
    ("text", "number"),
    [("b11434", 11434), ("11434", 11434), (11434, 11434), (" b9 ", 9), ("0", None), (0, None), ("", None), (None, None)]
    + [(wrong, None) for wrong in ("master", "0.3.36", "11434.0.0", "b-1", "1e4", "c78fb909b")],
)
def test_build_numbers(text, number):
    assert parse_build_number(text) == number


@pytest.mark.parametrize(("build", "exposed"), [(99, False), (100, True), (199, True), (200, False)])
def test_the_first_build_that_has_it_and_the_first_that_does_not(build, exposed):
    assert bool(exposure_of(build, read_advisories([ENTRY])).advisories) is exposed


def test_an_unknown_build_is_no_clean_bill():
    verdict = llama_advisories("0", TABLE)
    assert "nobody can tell" in verdict.pop("summary")
    assert verdict == {"known": False, "build_number": 0, "exposed": [], "refused": [], "fixed_in": 0}


def test_only_the_machines_own_components_count():
    advisories = read_advisories([ENTRY])
    assert exposure_of(150, advisories, components=["worker"]).advisories
    assert not exposure_of(150, advisories, components=["head"]).advisories


@pytest.mark.parametrize(("options", "exposed"), [({}, False), ({"GGML_X": "OFF"}, False), ({"GGML_X": "ON"}, True), ({"GGML_X": True}, True)])
def test_code_that_is_not_compiled_in_does_not_count(options, exposed):
    advisories = read_advisories([{**ENTRY, "build_option": "GGML_X"}])
    assert bool(exposure_of(150, advisories, options).advisories) is exposed


def test_what_is_only_named_does_not_raise_the_floor():
    named = {**ENTRY, "id": "X-2", "fixed_in": 300, "refuse": False}
    both = llama_advisories(150, [ENTRY, named])
    assert (both["exposed"], both["refused"], both["fixed_in"]) == (["X-1", "X-2"], ["X-1"], 200)
    alone = llama_advisories(250, [ENTRY, named])
    assert (alone["exposed"], alone["refused"], alone["fixed_in"]) == (["X-2"], [], 300)
    assert both["summary"] == "build 150 has known vulnerabilities: X-1 (fixed in build 200), X-2 (fixed in build 300)"
    assert llama_advisories(300, [ENTRY, named])["summary"] == ""


@given(st.integers(min_value=1, max_value=20000))
def test_a_build_at_the_floor_is_accepted(build):
    verdict = llama_advisories(build, TABLE, {"GGML_RPC_RDMA": "ON"})
    if verdict["refused"]:
        assert build < verdict["fixed_in"]
        assert not llama_advisories(verdict["fixed_in"], TABLE, {"GGML_RPC_RDMA": "ON"})["refused"]


def test_our_own_default_is_above_the_floor_and_an_old_worker_is_not():
    assert llama_advisories("b11434", TABLE)["refused"] == []
    assert "CVE-2026-118375" in llama_advisories("b11434", TABLE, {"GGML_RPC_RDMA": "ON"})["refused"]
    assert {"CVE-2026-34159", "CVE-2024-42479"} <= set(llama_advisories("b3000", TABLE)["refused"])
    assert "CVE-2024-42479" not in llama_advisories("b3561", TABLE)["refused"]


@pytest.mark.parametrize("entry", TABLE, ids=[entry["id"] for entry in TABLE])
def test_every_entry_of_our_table_says_where_it_is_from(entry):
    (advisory,) = read_advisories([entry])
    assert all(source.startswith("https://") for source in advisory.sources) and advisory.sources
    assert advisory.confirmed or advisory.remark, "an entry that is not confirmed tells what was looked at"
    assert set(entry) <= {
        *("id", "also", "what", "components", "introduced_in", "fixed_in", "build_option", "refuse", "confirmed", "remark", "sources")
    }


def test_no_vulnerability_is_in_our_table_twice():
    names = [name for entry in TABLE for name in [entry["id"], *entry.get("also", [])]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"id": ""}, "entry 1 of the advisories () has no id"),
        ({"components": ["client"]}, "head, worker"),
        ({"components": "worker"}, "list of words"),
        ({"fixed_in": "200"}, "no build number in fixed_in"),
        ({"fixed_in": 100}, "fixed before it is introduced"),
        ({"refuse": "yes"}, "true or false"),
    ],
)
def test_a_wrong_entry_is_named(wrong, said):
    with pytest.raises(AdvisoryError, match="entry 1") as caught:
        read_advisories([{**ENTRY, **wrong}])
    assert said in str(caught.value)


@pytest.mark.parametrize("table", ["text", None, 3, ["text"]])
def test_a_table_that_is_none_is_a_sentence(table):
    with pytest.raises(AnsibleFilterError, match="cannot answer"):
        llama_advisories(1, table)
