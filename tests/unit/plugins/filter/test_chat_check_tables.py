# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of an answer's report, and what is wrong with the variables of a question."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.chat_check_tables import chat_check_tables
from ansible_collections.herd.llama_cpp.plugins.filter.setup_problems import setup_problems

DEVICE = {"machine": "worker1", "device": "RPC0", "endpoint": "192.168.1.101:50052", "layers": 16, "weights_mib": 33.8, "kv_mib": 96.0, "compute_mib": 60.0,
          "bytes_sent": 4740, "bytes_received": 2312}
ROW = {"machine": "worker1", "device": "RPC0", "planned_layers": 16, "layers": 16, "planned_weights_mib": 34, "word_weights_mib": None, "weights_mib": 33.8,
       "planned_kv_mib": 96, "word_kv_mib": None, "kv_mib": 96.0, "planned_compute_mib": 60, "word_compute_mib": None, "compute_mib": 59.0}
QUESTION = {"machine": "head", "machines": ["head", "worker1"], "url": "http://192.168.1.100:8080", "head": "head", "from_machine": "localhost",
            "workers": [{"machine": "worker1"}]}


def headings(line: str) -> str:
    return " ".join(line.split())


def test_devices_with_what_they_hold_where_there_is_no_plan():
    found = chat_check_tables([DEVICE])
    assert headings(found["devices"][0]) == "machine device endpoint layers weights MiB KV MiB compute MiB bytes to it bytes from it"
    assert found["devices"][2].split() == ["worker1", "RPC0", "192.168.1.101:50052", "16", "33.80", "96.00", "60.00", "4740", "2312"]
    assert found["comparison"] == [] and not found["asked"]


def test_a_comparison_says_what_they_hold_once():
    found = chat_check_tables([DEVICE], [ROW])
    assert headings(found["devices"][0]) == "machine device endpoint layers bytes to it bytes from it"
    assert headings(found["comparison"][0]) == "machine device layers planned real weights planned real KV planned real compute planned real"
    assert not found["asked"]


def test_what_llama_cpp_said_stands_between():
    found = chat_check_tables([], [ROW, {**ROW, "word_compute_mib": 59.3}])
    assert found["devices"] == [] and found["asked"]
    assert headings(found["comparison"][0]).endswith("weights planned asked real KV planned asked real compute planned asked real")


def test_what_stands_beside_the_model_where_something_does():
    assert headings(chat_check_tables([], [ROW, {**ROW, "planned_beside_mib": 12}])["comparison"][0]).endswith("beside it planned real")
    assert "beside" not in chat_check_tables([], [{**ROW, "planned_beside_mib": 0}])["comparison"][0]


def test_rows_that_are_none():
    with pytest.raises(AnsibleFilterError, match="chat_check_tables cannot read"):
        chat_check_tables([1])


@pytest.mark.parametrize("given", [{}, {"url": "https://h/v1"}, {"head": "", "workers": []}, {"from_machine": "worker1"}, {"head": "localhost"}])
def test_nothing_is_wrong_with_the_question(given):
    assert setup_problems({**QUESTION, **given}, "chat_check") == []


@pytest.mark.parametrize(("given", "problem"), [
    ({"url": ""}, 'chat_check_url is ""'), ({"url": "http:///v1"}, 'chat_check_url is "http:///v1"'), ({"url": "192.168.1.100:8080"}, "chat_check_url is"),
    ({"head": "other"}, 'chat_check_head names "other", which is not in the inventory'),
    ({"from_machine": "other"}, 'chat_check_from names "other", which is not in the inventory'),
    ({"head": ""}, "chat_check_workers is set and chat_check_head is not"),
])
def test_each_wrong_variable_is_said(given: dict[str, Any], problem: str):
    (found,) = setup_problems({**QUESTION, **given}, "chat_check")
    assert found["machine"] == "head" and problem in found["problem"]
