# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""A running cluster beside its plan: real logs of llama.cpp, and every way to differ."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.plan_deviations import FilterModule
from ansible_collections.herd.llama_cpp.plugins.module_utils._startup_log import parse_head

compare = FilterModule().filters()["plan_deviations"]
LOGS = Path(__file__).parents[3] / "fixtures" / "logs" / "head"


def log(name: str) -> dict:
    return parse_head((LOGS / name).read_text(encoding="utf-8")).to_dict()


def planned(machine: str, llama_device: str, layers: int, weights: int, kv: int, compute: int, first: int = 0, output: bool = False) -> dict:
    return {"machine": machine, "device": "CPU", "llama_device": llama_device, "n_layers": layers, "first_layer": first,
            "last_layer": first + layers - 1, "output": output, "weights_mib": weights, "kv_mib": kv, "compute_mib": compute}


def plan_of(found: dict) -> dict:
    """The plan that a log's own figures would be the result of."""
    devices, first = [], 0
    for number, device in enumerate(d for d in found["devices"] if not d["host"]):
        layers = device["layers"]
        devices.append(planned("worker%d" % (number + 1), device["name"], layers, -int(-device["weights_mib"] // 1), -int(-device["kv_mib"] // 1),
                               -int(-device["compute_mib"] // 1), first, bool(device["holds_output"])))
        first += layers
    return {"devices": devices, "host": {"machine": "head"}, "n_layers": first, "context_size": found["n_ctx"],
            "confidence": {"tolerance_mib": 1, "compute_tolerance_factor": 1.25}}


@pytest.fixture
def real() -> dict:
    return log("2workers.txt")


def test_a_cluster_that_is_as_planned(real: dict) -> None:
    result = compare(plan_of(real), real)
    assert result["problems"] == [] and result["unknown"] == []
    assert [row["weights_mib"] for row in result["rows"]] == [d["weights_mib"] for d in real["devices"] if not d["host"]]


@pytest.mark.parametrize(("key", "change", "what"), [
    ("weights_mib", 3, "weights"), ("weights_mib", -3, "weights"), ("kv_mib", 3, "KV cache"), ("kv_mib", -3, "KV cache"),
    ("compute_mib", 3, "compute buffer"), ("compute_mib", -15, "compute buffer"), ("layers", 1, "layers"),
])
def test_every_figure_can_fail_with_both_in_the_sentence(real: dict, key: str, change: int, what: str) -> None:
    plan = plan_of(real)
    device = next(d for d in real["devices"] if d["name"] == "RPC1")
    device[key] += change
    problem = compare(plan, real)["problems"][0]
    wanted = plan["devices"][1]["n_layers" if key == "layers" else key]
    assert problem["machine"] == "worker2" and what in problem["problem"] and "RPC1" in problem["problem"]
    assert str(device[key]) in problem["problem"] and "(%s planned)" % wanted in problem["problem"], problem


def test_a_compute_buffer_may_be_smaller_by_the_stated_factor(real: dict) -> None:
    plan = plan_of(real)
    for device in plan["devices"]:
        device["compute_mib"] = int(device["compute_mib"] * 1.2)
    assert compare(plan, real)["problems"] == []


def test_layers_on_the_cpu_fail_with_both_figures() -> None:
    found = log("ngl10.txt")
    plan = plan_of(log("2workers.txt"))
    problems = compare(plan, found)["problems"]
    text = " ".join(p["problem"] for p in problems)
    assert "on the CPU of llama-server" in text and "all 30 were planned on devices" in text
    assert any("9 layers (16 planned)" in p["problem"] for p in problems), problems


def test_a_context_that_shrank(real: dict) -> None:
    plan = dict(plan_of(real), context_size=100000)
    assert "and 100000 were planned" in compare(plan, real)["problems"][0]["problem"]


def test_what_the_log_does_not_say_is_unknown_and_no_problem(real: dict) -> None:
    plan = plan_of(real)
    silent = copy.deepcopy(real)
    silent["devices"] = [d for d in silent["devices"] if d["name"] != "RPC0"]
    result = compare(plan, silent)
    assert result["problems"] == [] and len(result["unknown"]) == 3 and all("worker1" in u for u in result["unknown"])


@pytest.mark.parametrize("broken", [{}, {"devices": []}, "text", None])
def test_nonsense_is_a_sentence(broken: Any, real: dict) -> None:
    with pytest.raises(AnsibleFilterError, match="plan_deviations filter"):
        compare(broken, real)
