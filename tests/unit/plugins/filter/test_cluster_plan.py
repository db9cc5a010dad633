# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sparse_gguf
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.cluster_plan import FilterModule
from ansible_collections.herd.llama_cpp.plugins.filter.gguf_node_count import gguf_node_count
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import COMPARED_BUILD
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.text import plan_text
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import arguments, started
from service_settings import STARTED

ROOT = Path(__file__).absolute().parents[4]
plan = FilterModule().filters()["cluster_plan"]


def machines(count: int, gpus: int = 1, **more: Any) -> list:
    return [dict({"name": "head" if i == 0 else "worker%d" % i, "ram_free_mib": 64000,
                  "devices": [{"name": "CUDA%d" % g, "total_mib": 24564, "free_mib": 24100, "reserve_mib": 2048} for g in range(gpus)]}, **more)
            for i in range(count)]


def line_of(made: dict) -> str:
    """What llama-server is started with by a plan, whatever the role's own variables say."""
    return " ".join(word for words in arguments(started({**STARTED["llama_server"], "n_gpu_layers": 7, "fit": None, "plan": made})) for word in words)


def test_what_the_units_need() -> None:
    made = plan(sparse_gguf.facts("llama-70b-q4"), machines(4), host="head")
    assert made["fits"] and made["machines"] == ["head", "worker1"] and made["unused_machines"] == ["worker2", "worker3"]
    assert sum(made["tensor_split"]) == 81
    assert made["rpc"] == [{"machine": "worker1", "device": "CUDA0"}]
    assert sorted(made["device_option"].split(",")) == ["CUDA0", "RPC0"]
    text = line_of(made)
    assert "--ctx-size 8192 --n-gpu-layers all " in text and "--tensor-split %s --fit off" % ",".join(map(str, made["tensor_split"])) in text
    for device in made["devices"]:
        assert device["needed_mib"] + device["reserve_mib"] + device["headroom_mib"] <= device["free_mib"] + 1
    json.dumps(made)


def test_one_worker_for_each_gpu_of_a_machine() -> None:
    made = plan(sparse_gguf.facts("llama-70b-q4"), machines(2, gpus=2), host="head", policy="all_machines")
    assert [r["machine"] for r in made["rpc"]] == ["worker1", "worker1"]
    assert {d["llama_device"] for d in made["devices"]} == {"CUDA0", "CUDA1", "RPC0", "RPC1"}


def test_a_model_that_does_not_fit_is_an_answer_not_an_error() -> None:
    made = plan(sparse_gguf.facts("llama-405b"), machines(3), host="head")
    assert not made["fits"]
    assert "MiB short" in made["problems"][0] and made["ways_out"]


@pytest.mark.parametrize(("change", "message"), [
    ({"host": "nobody"}, "nobody is not among the machines"),
    ({"policy": "cheapest"}, "no policy"),
    ({"policy": "named_machines"}, "needs the names"),
    ({"policy": "named_machines", "named": ["mars"]}, "mars is not among"),
    ({"context_size": "many"}, "context_size must be a whole number"),
    ({"unknown": "conservative"}, "'bound' or 'refuse'"),
    ({"type_k": "q9"}, "no type of a KV cache"),
    ({"colour": "red"}, "colour"),
])
def test_a_bad_argument_is_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as caught:
        plan(sparse_gguf.facts("llama-8b"), machines(2), **dict({"host": "head"}, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "message"), [
    ([{"devices": []}], "no name"),
    (machines(2) + machines(1), "listed twice"),
    ([{"name": "head", "devices": [{"name": "CUDA0"}]}], "neither free_mib nor total_mib"),
    ([{"name": "head", "devices": [{"kind": "tpu", "free_mib": 1}]}], "no kind of device"),
    ([{"name": "head", "devices": [{"kind": "cpu", "free_mib": 1}]}], "the head's own CPU"),
    ([{"name": "head", "devices": []}], "none of the machines has a device"),
    ("head", "must be a list"),
])
def test_bad_machines_are_one_sentence(value: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        plan(sparse_gguf.facts("llama-8b"), value, host="head")


def test_facts_without_tensors_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="metadata and its tensors"):
        plan({"architecture": "llama"}, machines(1), host="head")


# -- architectures and settings that were never compared with llama.cpp ------------------------------------------------

def newcomer(shape: str = "llama-8b") -> dict:
    """A shape whose architecture has a name that nobody knows."""
    facts = sparse_gguf.facts(shape)
    own = facts["metadata"]["general.architecture"] + "."
    metadata = {"newcomer." + key[len(own):] if key.startswith(own) else key: value for key, value in facts["metadata"].items()}
    return dict(facts, metadata=dict(metadata, **{"general.architecture": "newcomer"}))


def of_size(free_mib: int) -> list:
    """Two machines whose devices have so much."""
    cluster = machines(2)
    for machine in cluster:
        machine["devices"][0].update(total_mib=free_mib, free_mib=free_mib, reserve_mib=0)
    return cluster


def test_an_unknown_architecture_is_planned_by_a_bound_that_says_so() -> None:
    bounded, exact = plan(newcomer(), machines(2), host="head"), plan(sparse_gguf.facts("llama-8b"), machines(2), host="head")
    assert bounded["fits"] and not bounded["may_fit"]
    sure = bounded["confidence"]
    assert sure["bound"] and (sure["weights"], sure["kv"], sure["compute"]) == ("exact", "upper bound", "upper bound")
    assert not exact["confidence"]["bound"] and not exact["confidence"]["unknown"]
    for ours, real in zip(bounded["devices"], exact["devices"]):
        assert ours["weights_mib"] == real["weights_mib"] and ours["kv_mib"] >= real["kv_mib"] and ours["compute_mib"] > real["compute_mib"]
    text = plan_text(bounded, {"name": "A"})
    assert "newcomer" in text and "Once llama.cpp is built it is asked, which makes them exact." in text
    assert "upper bounds" not in plan_text(exact, {"name": "A"})


@pytest.mark.parametrize(("facts", "options", "why"), [
    (newcomer(), {}, "newcomer.*never compared"),
    (sparse_gguf.facts("llama-8b"), {"flash_attention": False}, "without flash attention"),
])
def test_who_wants_a_refusal_gets_one_that_names_the_variable(facts: dict, options: dict, why: str) -> None:
    with pytest.raises(AnsibleFilterError, match=why + ".*cluster_plan_unknown"):
        plan(facts, machines(2), host="head", unknown="refuse", **options)
    assert plan(facts, machines(2), host="head", **options)["confidence"]["bound"]


def test_a_bound_that_does_not_fit_says_whether_the_truth_may() -> None:
    weights = plan(newcomer(), machines(2), host="head")
    need = max(device["needed_mib"] for device in plan(newcomer(), machines(2), host="head", policy="all_machines")["devices"])
    tight = plan(newcomer(), of_size(need - 50), host="head", policy="all_machines")
    assert weights["fits"] and not tight["fits"] and tight["may_fit"]
    assert "cluster_plan_beyond_bound" in tight["failure"] and "may in truth" in plan_text(tight, {"name": "A"})
    hopeless = plan(newcomer(), of_size(2000), host="head")
    assert not hopeless["fits"] and not hopeless["may_fit"] and "beyond_bound" not in hopeless["failure"]
    known = plan(sparse_gguf.facts("llama-8b"), of_size(2000), host="head")
    assert not known["fits"] and not known["may_fit"]


@pytest.mark.parametrize(("number", "compared"), [
    (COMPARED_BUILD, True), (COMPARED_BUILD[1:], True), (int(COMPARED_BUILD[1:]), True), (int(COMPARED_BUILD[1:]) + 1, False), (11321, False), (0, False),
    ("", False)])
def test_formulas_of_another_llama_cpp_are_not_the_truth_about_it(number: Any, compared: bool) -> None:
    facts = sparse_gguf.facts("llama-8b")
    need = max(device["needed_mib"] for device in plan(facts, machines(2), host="head", policy="all_machines")["devices"])

    def made(free_mib: int) -> dict:
        return plan(facts, of_size(free_mib), host="head", policy="all_machines", build_number=number)

    assert made(need)["fits"] and not made(need)["may_fit"]
    tight = made(need - 50)
    assert not tight["fits"] and tight["may_fit"] != compared
    assert ("cluster_plan_beyond_bound" in tight["failure"] and "formulas of llama.cpp " + COMPARED_BUILD in tight["failure"]) != compared
    assert ("by these formulas, though it may in truth" in plan_text(tight, {"name": "A"})) != compared
    assert not made(2000)["may_fit"], "its weights alone are more"


def test_a_header_that_no_bound_can_be_made_of_does_not_fit_by_its_formulas() -> None:
    facts = sparse_gguf.facts("llama-8b")
    facts["metadata"]["llama.attention.sliding_window"] = -1
    made = plan(facts, of_size(2000), host="head")
    assert not made["fits"] and not made["may_fit"]


def test_the_head_s_ram_may_be_enough_though_its_bound_is_more() -> None:
    cluster = machines(2)
    need = plan(newcomer(), cluster, host="head", context_size=65536)["host"]
    cluster[0]["ram_free_mib"] = need["total_mib"] - 50
    made = plan(newcomer(), cluster, host="head", context_size=65536)
    assert not made["fits"] and made["may_fit"] and "RAM" in made["failure"]
    cluster[0]["ram_free_mib"] = need["weights_mib"]
    assert not plan(newcomer(), cluster, host="head", context_size=65536)["may_fit"]


def test_a_head_alone_may_be_enough_as_well() -> None:
    def made(ram: int) -> dict:
        return plan(newcomer(), [{"name": "head", "devices": [], "ram_free_mib": ram}], host="head", head_cpu=True)

    need = made(64000)["host"]["total_mib"]
    assert made(need)["fits"] and not made(need - 1)["fits"] and made(need - 1)["may_fit"] and not made(2000)["may_fit"]


@pytest.mark.parametrize(("shape", "checkpoints_mib"), [("llama-8b", 0), ("gpt-oss-120b", 2 * 3 * 4.5), ("qwen3next-80b", 2 * 3 * 75.375)])
def test_what_llama_server_keeps_of_prompts_is_a_part_of_the_head_s_ram(shape: str, checkpoints_mib: float) -> None:
    def made(ram: int, **options: Any) -> dict:
        cluster = of_size(200_000)
        cluster[0]["ram_free_mib"] = ram
        return plan(sparse_gguf.facts(shape), cluster, host="head", parallel=2, **options)

    none = made(64000, cache_ram_mib=0, ctx_checkpoints=0)["host"]
    kept = made(64000, cache_ram_mib=1000, ctx_checkpoints=3)
    host = kept["host"]
    assert (none["prompt_cache_mib"], none["checkpoints_mib"]) == (0, 0)
    assert (host["prompt_cache_mib"], host["checkpoints_mib"]) == (1000, -(-checkpoints_mib // 1))
    assert host["total_mib"] == none["total_mib"] + 1000 + host["checkpoints_mib"] and made(64000)["host"]["prompt_cache_mib"] == 2048
    short = made(host["total_mib"] - 1, cache_ram_mib=1000, ctx_checkpoints=3)
    assert made(host["total_mib"], cache_ram_mib=1000, ctx_checkpoints=3)["fits"] and not short["fits"]
    said = "1000 MiB of that for its prompt cache (llama_server_cache_ram_mib)"
    assert said in short["failure"] and said in plan_text(kept, {"name": "A"})
    assert ("llama_server_ctx_checkpoints" in short["failure"]) == bool(checkpoints_mib)
    assert "prompt_cache" not in plan_text(dict(kept, host=none), {"name": "A"}) and "prompt cache" not in plan_text(dict(kept, host=none), {"name": "A"})
    # the same split is as good with another
    assert made(64000, cache_ram_mib=500)["basis"] == kept["basis"]


@pytest.mark.parametrize(("shape", "missing_mib", "says"), [
    ("qwen3-8b", 48, "; llama_server_cache_ram_mib: 2000 fits"), ("qwen3-8b", 2048, "; llama_server_cache_ram_mib: 0 fits"), ("qwen3-8b", 2049, ""),
    ("gemma3-27b", 2049, "; llama_server_cache_ram_mib: 0 and llama_server_ctx_checkpoints: 3 fit"),
    ("gemma3-27b", 4000, "; llama_server_cache_ram_mib: 0 and llama_server_ctx_checkpoints: 1 fit"), ("gemma3-27b", 5400, "")])
def test_where_less_of_it_would_do_the_plan_says_how_much(shape: str, missing_mib: int, says: str) -> None:
    def made(ram: int, **options: Any) -> dict:
        cluster = of_size(200_000)
        cluster[0]["ram_free_mib"] = ram
        return plan(sparse_gguf.facts(shape), cluster, host="head", parallel=2, **options)

    ram = made(64000)["host"]["total_mib"] - missing_mib
    short = made(ram)
    assert short["problems"][0].endswith("%d MiB are free%s" % (ram, says)), short["problems"]
    options = {name.removeprefix("llama_server_"): int(value) for name, value in re.findall(r"(llama_server_\w+): (\d+)", says)}
    assert made(ram, **options)["fits"] == bool(says)


def test_what_llama_cpp_is_not_asked_about_is_no_hope_for_the_build() -> None:
    """It says nothing of checkpoints, so that a head that is too small for them alone is too small after the build as well."""
    def made(ram: int) -> dict:
        cluster = of_size(200_000)
        cluster[0]["ram_free_mib"] = ram
        return plan(sparse_gguf.facts("gemma3-27b"), cluster, host="head", parallel=2, build_number=1)

    need = made(64000)["host"]["total_mib"]
    short = made(need - 3000)
    assert not short["fits"] and not short["may_fit"] and "beyond_bound" not in short["failure"]


def test_the_role_s_own_settings_say_how_much_that_is() -> None:
    server = {**STARTED["llama_server"], "cache_ram_mib": 700, "ctx_checkpoints": 1}
    made = plan(sparse_gguf.facts("qwen3next-80b"), of_size(200_000), host="head", server=server)
    assert made["host"]["prompt_cache_mib"] == 700 and made["host"]["checkpoints_mib"] == 151
    defaults = yaml.safe_load((ROOT / "roles" / "llama_server" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    bare = plan(sparse_gguf.facts("qwen3next-80b"), of_size(200_000), host="head", parallel=2)["host"]
    assert bare["prompt_cache_mib"] == defaults["llama_server_cache_ram_mib"]
    assert bare["checkpoints_mib"] == defaults["llama_server_ctx_checkpoints"] * 2 * 75.375
    with pytest.raises(AnsibleFilterError, match="cache_ram_mib must be at least 0, not -1"):
        plan(sparse_gguf.facts("llama-8b"), of_size(2000), host="head", cache_ram_mib=-1)


# -- a single machine without any device ------------------------------------------------------------------------------

def alone(ram: int | None = 64000, **options: Any) -> dict:
    head = {"name": "head", "devices": []} if ram is None else {"name": "head", "devices": [], "ram_free_mib": ram}
    return plan(sparse_gguf.facts("llama-8b"), [head], host="head", head_cpu=True, **options)


def test_the_head_s_cpu_runs_the_model_when_asked_to() -> None:
    made = alone()
    assert made["fits"] and made["machines"] == ["head"] and made["unused_machines"] == []
    assert made["rpc"] == [] and made["devices"] == [] and made["tensor_split"] == [] and made["device_option"] == ""
    text = line_of(made)
    assert "--ctx-size 8192 --n-gpu-layers all " in text and "--fit off" in text and "--tensor-split" not in text and "--rpc" not in text
    assert "--device none " in text, "without any device there is none to name"
    parts = {key: value for key, value in made["host"].items() if key not in ("machine", "total_mib")}
    assert made["host"]["total_mib"] == sum(parts.values())
    # 8192 cells of 32 layers with 8 heads of 128, K and V in float16; and the file's weights, once
    assert parts["kv_mib"] == 8192 * 32 * 8 * 128 * 2 * 2 >> 20
    size = sum(tensor["size_bytes"] for tensor in sparse_gguf.facts("llama-8b")["tensors"])
    assert size <= parts["weights_mib"] << 20 < size + (2 << 20)
    assert made["headroom_mib"] == 64000 - made["host"]["total_mib"] and made["confidence"]["compute"] == "estimate"
    assert made["problems"] == [] and made["ways_out"] == []


def test_the_largest_context_of_a_cpu_alone_fits_and_one_step_more_does_not() -> None:
    largest = alone(10000)["largest_context"]
    assert 8192 < largest < 131072
    assert alone(10000, context_size=largest)["fits"] and not alone(10000, context_size=largest + 256)["fits"]


def test_a_cpu_alone_that_is_too_small_says_by_how_much() -> None:
    made = alone(6000, context_size=32768, headroom_mib=500)
    assert not made["fits"] and made["ways_out"]
    missing = made["shortfall"]["missing_mib"]
    assert made["shortfall"] == {"machine": "head", "device": "CPU", "missing_mib": missing, "total_missing_mib": missing}
    assert len(made["problems"]) == 1 and made["problems"][0].startswith("head: ") and " %d MiB more than are free" % missing in made["problems"][0]
    assert alone(6000 + missing, context_size=32768, headroom_mib=500)["fits"]
    assert not alone(6000 + missing - 1, context_size=32768, headroom_mib=500)["fits"]


def test_a_cpu_alone_whose_ram_is_not_known_is_not_judged() -> None:
    made = alone(None)
    assert made["fits"] and made["headroom_mib"] is None and made["largest_context"] == 131072


def test_a_cpu_alone_is_only_for_inventories_without_a_device() -> None:
    none = [{"name": "head", "devices": []}, {"name": "worker1", "devices": []}]
    with pytest.raises(AnsibleFilterError, match="set head_cpu to let the CPU of head run the model alone"):
        plan(sparse_gguf.facts("llama-8b"), none, host="head")
    assert plan(sparse_gguf.facts("llama-8b"), none, host="head", head_cpu=True)["unused_machines"] == ["worker1"]
    # a device that the policy leaves out is still a device
    with pytest.raises(AnsibleFilterError, match="none of the machines has a device"):
        plan(sparse_gguf.facts("llama-8b"), [none[0], dict(machines(2)[1])], host="head", head_cpu=True, policy="named_machines", named=["head"])
    # and where there are devices the option changes nothing
    assert plan(sparse_gguf.facts("llama-8b"), machines(2), host="head", head_cpu=True) == plan(sparse_gguf.facts("llama-8b"), machines(2), host="head")
    with pytest.raises(AnsibleFilterError, match="head_cpu must be true or false"):
        plan(sparse_gguf.facts("llama-8b"), none, host="head", head_cpu="yes")


@pytest.mark.parametrize(("settings", "real"), [
    # the buffer lines of llama-server 0.5.0 with -lv 4, without a device: model, KV, output, compute
    ({"context_size": 8192, "parallel": 4}, (92.10, 180.00, 0.75, 21.51)),
    ({"context_size": 4096, "parallel": 1, "kv_unified": False}, (92.10, 90.00, 0.19, 17.51)),
    ({"context_size": 8192, "parallel": 2, "kv_unified": False, "ubatch": 256, "type_k": "q8_0", "type_v": "q8_0"}, (92.10, 95.62, 0.38, 8.22)),
    ({"context_size": 2048, "parallel": 4, "ubatch": 128}, (92.10, 45.00, 0.75, 3.88)),
])
def test_a_cpu_alone_is_what_llama_server_said(settings: dict, real: tuple) -> None:
    made = plan(sparse_gguf.facts("smollm2-135m"), [{"name": "head"}], host="head", head_cpu=True, **settings)["host"]
    weights, kv, output, compute = real
    assert (made["weights_mib"], made["kv_mib"], made["output_mib"]) == tuple(-int(-value // 1) for value in (weights, kv, output))
    assert compute <= made["compute_mib"] <= 1.25 * compute + 1


# -- the guide's examples ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kinds", "gigabytes", "count"), [
    ({}, 40, 2),
    ({"weights": "Q6_K", "embedding": "F16", "output": "Q8_0"}, 59, 3),
])
def test_the_guide_s_examples_by_its_rule_and_by_the_planner(kinds: dict, gigabytes: int, count: int, tmp_path: Path) -> None:
    """40 GB on 24 GB GPUs needs two machines, 59 GB three: from files of those sizes, with the default reserve."""
    model = sparse_gguf.llama("guide", n_layer=80, n_embd=8192, n_ff=28672, n_head=64, n_head_kv=8, **kinds)
    path = sparse_gguf.write(model, tmp_path / "model.gguf")
    read = describe(read_gguf_model(str(path)), include_tensors=True, include_metadata=True)
    assert round(read["file_size_bytes"] / 1e9) == gigabytes and path.stat().st_size == read["file_size_bytes"]
    assert gguf_node_count(read["file_size_bytes"], 24) == count
    assert gguf_node_count(gigabytes * 10**9, 24) == count
    five = [{"name": "m%d" % i, "ram_free_mib": 64000, "devices": [{"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}]} for i in range(5)]
    made = plan(read, five, host="m0")
    assert made["fits"] and len(made["machines"]) == count
    assert {device["reserve_mib"] for device in made["devices"]} == {1024}
    # one machine fewer is not enough, however the layers are laid
    assert not plan(read, five[:count - 1], host="m0")["fits"]
