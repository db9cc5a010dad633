# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines whose GPU shares the RAM: one pool for the device's share, llama-server itself and the reserve, counted once."""

from __future__ import annotations

from typing import Any

import pytest
import sparse_gguf
from ansible.errors import AnsibleFilterError
from plan_page import rendered

from ansible_collections.herd.llama_cpp.plugins.filter.cluster_plan import cluster_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.page import plan_page
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.text import plan_text

FREE = 111400
RESERVE = 1024


def gpu(free: int = FREE, shared: bool = True, **more: Any) -> dict[str, Any]:
    return dict({"name": "CUDA0", "kind": "cuda", "total_mib": 124546, "free_mib": free, "shared_memory": shared}, **more)


def spark(name: str, *devices: dict[str, Any], ram: int = FREE) -> dict[str, Any]:
    return {"name": name, "ram_free_mib": ram, "devices": list(devices)}


def plan_for(shape: str, machines: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return cluster_plan(sparse_gguf.facts(shape), machines, **dict({"host": "spark1", "context_size": 8192}, **options))


def of_head(plan: dict[str, Any]) -> dict[str, Any]:
    return next(device for device in plan["devices"] if device["machine"] == "spark1")


def test_a_head_that_fits_only_by_counting_its_memory_twice_does_not_fit() -> None:
    machines = [spark("spark1", gpu()), spark("spark2", gpu(114000))]
    assert plan_for("llama-405b", [spark("spark1", gpu(shared=False)), spark("spark2", gpu(114000, shared=False))])["fits"]
    plan = plan_for("llama-405b", machines)
    assert not plan["fits"] and plan["shortfall"]["missing_mib"] > 0
    # where there is room for it, everything comes out of the pool
    roomy = plan_for("llama-405b", [spark("spark1", gpu(115600), ram=115600), spark("spark2", gpu(114000))])
    head = of_head(roomy)
    assert roomy["fits"] and roomy["problems"] == [] and head["host_mib"] == roomy["host"]["total_mib"] > 1000
    assert 0 <= 115600 - (head["needed_mib"] + head["host_mib"] + RESERVE + head["headroom_mib"]) <= 1


def test_as_much_free_as_the_ram_to_the_mib_is_one_pool_unless_it_is_said_to_be_none() -> None:
    """Whoever looked at such a machine in another way than by gpu_info may not have said so."""
    other = spark("spark2", gpu(114000, shared=False))
    silent = {key: value for key, value in gpu().items() if key != "shared_memory"}
    assert not plan_for("llama-405b", [spark("spark1", silent), other])["fits"]
    for apart in (spark("spark1", silent, ram=FREE + 1), spark("spark1", gpu(shared=False))):
        assert plan_for("llama-405b", [apart, other])["fits"]


@pytest.mark.parametrize("policy", ["fewest_machines", "most_headroom", "all_machines"])
def test_it_is_the_plan_of_a_device_that_is_smaller_by_what_llama_server_needs(policy: str) -> None:
    options = {"policy": policy, "context_size": 32768}
    shared = plan_for("llama-70b-q4", [spark("spark1", gpu(30000)), spark("spark2", gpu(30000))], **options)
    reserve = RESERVE + shared["host"]["total_mib"]
    smaller = plan_for("llama-70b-q4", [spark("spark1", gpu(30000, shared=False, reserve_mib=reserve)), spark("spark2", gpu(30000))], **options)
    plain = plan_for("llama-70b-q4", [spark("spark1", gpu(30000, shared=False)), spark("spark2", gpu(30000))], **options)
    assert shared["tensor_split"] == smaller["tensor_split"] and shared["headroom_mib"] == smaller["headroom_mib"]
    assert of_head(shared)["n_layers"] < of_head(plain)["n_layers"]


def test_one_device_alone_is_charged_for_a_llama_server_with_one_device() -> None:
    plan = plan_for("qwen3-8b", [spark("spark1", gpu())])
    assert plan["fits"] and of_head(plan)["host_mib"] == plan["host"]["total_mib"]
    both = plan_for("qwen3-8b", [spark("spark1", gpu()), spark("spark2", gpu())], policy="all_machines")
    assert of_head(both)["host_mib"] == both["host"]["total_mib"] > plan["host"]["total_mib"]


def test_the_head_s_ram_is_not_asked_for_a_second_time() -> None:
    # what the device leaves is less than llama-server needs, for that is taken from it already
    plan = plan_for("qwen3-8b", [spark("spark1", gpu(13050), ram=500)])
    assert plan["fits"], plan["problems"]
    apart = plan_for("qwen3-8b", [spark("spark1", gpu(13050, shared=False), ram=500)])
    assert "of RAM" in apart["problems"][0]


def test_a_worker_is_not_charged_for_the_head() -> None:
    plan = plan_for("llama-70b-q4", [spark("spark1"), spark("spark2", gpu())])
    assert [device["host_mib"] for device in plan["devices"]] == [0] and plan["fits"]


@pytest.mark.parametrize("second", [gpu(name="CUDA1"), {"name": "CPU", "kind": "cpu", "free_mib": FREE, "total_mib": 124546}])
def test_a_second_device_of_the_same_pool_adds_nothing(second: dict[str, Any]) -> None:
    for shape in ("llama-70b-q4", "llama-405b"):
        one = plan_for(shape, [spark("spark1"), spark("spark2", gpu())])
        two = plan_for(shape, [spark("spark1"), spark("spark2", gpu(), second)])
        assert two["fits"] == one["fits"] and two["devices"] == one["devices"]
    # a card of its own does
    card = plan_for("llama-70b-q4", [spark("spark1"), spark("spark2", gpu(30000), gpu(30000, shared=False, name="CUDA1"))])
    assert len(card["devices"]) == 2


def test_the_largest_context_counts_what_llama_server_then_needs() -> None:
    machines = [spark("spark1", gpu(16000))]
    largest = plan_for("llama-8b", machines)["largest_context"]
    assert 8192 < largest < 131072
    assert plan_for("llama-8b", machines, context_size=largest)["fits"] and not plan_for("llama-8b", machines, context_size=largest + 256)["fits"]


def test_a_running_split_stays_only_while_the_pool_has_room_for_all_of_it() -> None:
    before = plan_for("llama-70b-q4", [spark("spark1", gpu(30000)), spark("spark2", gpu(30000))])
    again = plan_for("llama-70b-q4", [spark("spark1", gpu(29990)), spark("spark2", gpu(30100))], keep=before)
    assert again["kept"] and of_head(again)["host_mib"] == again["host"]["total_mib"]
    assert of_head(again)["headroom_mib"] == of_head(before)["headroom_mib"] - 10
    # room for the device's share and the reserve, and not for llama-server besides
    tight = of_head(before)["needed_mib"] + RESERVE + 100
    assert not plan_for("llama-70b-q4", [spark("spark1", gpu(tight)), spark("spark2", gpu(60000))], keep=before)["kept"]


def test_what_llama_server_keeps_of_prompts_comes_out_of_the_pool_and_less_of_it_is_a_way_out() -> None:
    for shape, option, least, variable in (("qwen3-8b", "cache_ram_mib", 0, "llama_server_cache_ram_mib: 0"),
                                           ("gemma3-27b", "ctx_checkpoints", 1, "llama_server_ctx_checkpoints")):
        roomy = of_head(plan_for(shape, [spark("spark1", gpu())]))
        tight = [spark("spark1", gpu(FREE - roomy["headroom_mib"] - 1))]
        plan = plan_for(shape, tight)
        assert not plan["fits"] and plan["shortfall"]["missing_mib"] == 1
        ways = {way["change"]: way for way in plan["ways_out"]}
        assert ways[option][option] == least and variable in ways[option]["text"] and variable in plan["failure"]
        assert plan_for(shape, tight, **{option: least})["fits"]
    # RAM apart from its devices' is no way out for these
    apart = plan_for("qwen3-8b", [spark("spark1", gpu(5000, shared=False))])
    assert not apart["fits"] and not {"cache_ram_mib", "ctx_checkpoints"} & {way["change"] for way in apart["ways_out"]}


def test_text_and_page_show_where_it_comes_from() -> None:
    machines = [spark("spark1", gpu()), spark("spark2", gpu())]
    plan = plan_for("llama-70b-q4", machines, policy="all_machines")
    own = plan["host"]["total_mib"]
    shown = plan_text(plan, {"name": "Llama"})
    assert "llama-server" in shown.splitlines()[2] and "CUDA0 of spark1 has no memory of its own" in shown and "needs %d MiB of the same RAM" % own in shown
    page = rendered(plan_page(plan, machines))
    assert "prompt cache 2\u202f048\u00a0MiB" in page and "2048 MiB of that for its prompt cache" in shown
    assert '<th scope="col" class="n">llama-server</th>' in page and "the memory its device shares" in page and 'class="host' in page
    plain = plan_for("llama-70b-q4", [spark("spark1", gpu(shared=False)), spark("spark2", gpu(shared=False))], policy="all_machines")
    assert "llama-server" not in plan_text(plain, {"name": "Llama"}).splitlines()[2] and 'class="n">llama-server<' not in rendered(plan_page(plain, machines))


def test_a_word_that_is_no_truth_value_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="spark1, device 0: shared_memory must be true or false, not 'yes'"):
        plan_for("qwen3-8b", [spark("spark1", gpu(shared_memory="yes"))])
