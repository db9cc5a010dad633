# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""A running cluster's split stays while it fits, and only then."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import plan_from_facts, starts_otherwise


MODEL = sparse_gguf.facts("llama-70b-q4")


def machines(*free_mib: int) -> list:
    return [{"name": "head" if i == 0 else "worker%d" % i, "devices": [{"name": "CUDA0", "total_mib": 24564, "free_mib": free}]}
            for i, free in enumerate(free_mib)]


def plan(them: list, keep: Any = None, model: dict = MODEL, **options: Any) -> dict:
    return plan_from_facts(model, them, host="head", keep=keep, **options)


@pytest.fixture
def earlier() -> dict:
    """As it comes back from the head's disk."""
    return json.loads(json.dumps(plan(machines(24100, 23000, 24100))))


def split(made: dict) -> list:
    return [(d["machine"], d["tensor_split"]) for d in made["devices"]]


def test_memory_that_moves_moves_no_layer(earlier: dict) -> None:
    free = {"head": 23400, "worker1": 24000, "worker2": 23900}
    now = machines(*free.values())
    assert split(plan(now)) != split(earlier), "this case must tell the two apart"
    made = plan(now, earlier)
    assert made["kept"] and split(made) == split(earlier) and not starts_otherwise(made, earlier)
    assert all(d["free_mib"] == free[d["machine"]] for d in made["devices"]), "with today's memory"


def test_memory_that_is_gone_moves_them(earlier: dict) -> None:
    used = [d["machine"] for d in earlier["devices"]]
    now = [24100 if m not in used[1:] else 15000 for m in ("head", "worker1", "worker2")]
    made = plan(machines(*now), earlier)
    assert not made["kept"] and made["fits"]


def test_fewer_machines_are_worth_a_restart() -> None:
    three = json.loads(json.dumps(plan(machines(16000, 16000, 16000, 16000))))
    assert len(three["machines"]) > 2
    made = plan(machines(24100, 24100, 24100, 24100), three)
    assert not made["kept"] and len(made["machines"]) == 2


def test_a_new_machine_joins_where_all_were_asked_for() -> None:
    two = json.loads(json.dumps(plan(machines(24100, 24100), policy="all_machines")))
    made = plan(machines(24100, 24100, 24100), two, policy="all_machines")
    assert not made["kept"] and len(made["machines"]) == 3


@pytest.mark.parametrize("change", [{"context_size": 4096}, {"policy": "most_headroom"}, {"type_k": "q8_0", "type_v": "q8_0"}, {"headroom_mib": 1}])
def test_another_wish_is_another_plan(earlier: dict, change: dict) -> None:
    assert not plan(machines(24100, 23000, 24100), earlier, **change)["kept"]


def test_another_model_is_another_plan(earlier: dict) -> None:
    assert not plan(machines(24100, 24100, 24100), earlier, model=sparse_gguf.facts("llama-8b"))["kept"]


@pytest.mark.parametrize("spoil", [
    lambda p: p["devices"][0].update(device="CUDA9"), lambda p: p["devices"][0].update(tensor_split=1),
    lambda p: p["devices"][0].update(tensor_split="x"), lambda p: p.pop("devices"), lambda p: p.update(devices=[]),
    lambda p: p["devices"][0].pop("kind"), lambda p: p["devices"][0].update(kind="cpu"),
])
def test_a_damaged_file_is_no_plan(earlier: dict, spoil: Any) -> None:
    spoil(earlier)
    assert not plan(machines(24100, 23000, 24100), earlier)["kept"]
