# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside the model: from settings to arguments, files, problems, and to memory that is never less than llama.cpp's."""

from __future__ import annotations

from pathlib import Path

import beside_files
import pytest
import sparse_gguf
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_beside import llama_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensors import TensorInfo
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import beside_memory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import plan_from_facts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import beside as plan_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import decided

MIB = 1 << 20
HEAD = {"name": "head", "ram_free_mib": 64000, "devices": [{"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}]}
BARE = {"name": "head", "ram_free_mib": 64000, "devices": []}
WORKER = {"name": "w1", "devices": [{"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}]}


def facts_of(path: Path) -> dict:
    header = read_gguf(str(path))
    return describe(read_gguf_model(str(path)), include_tensors=True, include_metadata=True) | {"metadata": dict(header.metadata)}


# -- words


@pytest.mark.parametrize(("settings", "arguments"), [
    ({}, []),
    ({"spec_type": "none"}, []),
    ({"spec_type": "draft-mtp", "draft_max": 2, "draft_cache_type_k": "q8_0"},
     [["--spec-type", "draft-mtp"], ["--spec-draft-n-max", "2"], ["--cache-type-k-draft", "q8_0"]]),
    # without a type llama-server loads a draft model for nothing
    ({"draft_model": "/m/d.gguf", "draft_devices": ["CUDA0"], "draft_min": 1},
     [["--spec-type", "draft-simple"], ["--model-draft", "/m/d.gguf"], ["--device-draft", "CUDA0"], ["--spec-draft-n-min", "1"]]),
    ({"draft_model": "/m/d.gguf", "spec_type": "draft-eagle3,ngram-mod"}, [["--spec-type", "draft-eagle3,ngram-mod"], ["--model-draft", "/m/d.gguf"]]),
    ({"mmproj": "/m/p.gguf"}, [["--mmproj", "/m/p.gguf"]]),
    ({"mmproj": "/m/p.gguf", "mmproj_device": "none"}, [["--mmproj", "/m/p.gguf"], ["--no-mmproj-offload"]]),
    ({"mmproj": "/m/p.gguf", "mmproj_device": "RPC0"}, [["--mmproj", "/m/p.gguf"], ["--mmproj-device", "RPC0"]]),
    ({"lora": [{"path": "/m/a.gguf"}, {"path": "/m/b.gguf", "scale": 0.25}]}, [["--lora-scaled", "/m/a.gguf:1,/m/b.gguf:0.25"]]),
])
def test_arguments(settings: dict, arguments: list) -> None:
    assert llama_beside(settings) == {"arguments": arguments, "files": plan_beside.files(settings), "problems": []}


@pytest.mark.parametrize(("settings", "said"), [
    ({"spec_type": "mtp"}, "which llama.cpp does not know"),
    ({"spec_type": "draft-simple"}, "needs a model of its own"),
    ({"spec_type": "ngram-mod", "draft_model": "/m/d.gguf"}, "would be loaded and never asked"),
    ({"spec_type": "none", "draft_model": "/m/d.gguf"}, "would be loaded and never asked"),
    ({"spec_type": "draft-mtp", "draft_devices": ["CUDA0"]}, "there is no draft model"),
    ({"draft_model": "/m/d.gguf", "draft_max": 0}, "llama_server_draft_max is 0"),
    ({"draft_model": "/m/d.gguf", "draft_min": 4}, "more than the 3"),
    ({"lora": [{"scale": 1}]}, "has no path"),
    ({"lora": ["/m/a.gguf"]}, "has no path"),
    ({"lora": [{"path": "/m/a,b.gguf"}]}, "comma"),
    ({"lora": [{"path": "/m/a.gguf", "scale": "much"}]}, "scale 'much'"),
])
def test_what_is_wrong_is_one_sentence(settings: dict, said: str) -> None:
    found = llama_beside(settings)
    assert found["arguments"] == [] and len(found["problems"]) == 1
    assert said in found["problems"][0]["problem"] and found["problems"][0]["remedy"]


@pytest.mark.parametrize("settings", [None, [], {"lora": "x"}, {"draft_max": "many"}])
def test_what_are_no_settings(settings: object) -> None:
    with pytest.raises(AnsibleFilterError, match="llama_beside"):
        llama_beside(settings)


def test_tokens_drafted() -> None:
    assert plan_beside.drafted_tokens({}) == 0
    assert plan_beside.drafted_tokens({"draft_model": "x"}) == 3
    assert plan_beside.drafted_tokens({"spec_type": "draft-mtp", "draft_max": 5}) == 5
    assert plan_beside.drafted_tokens({"spec_type": "draft-mtp,ngram-mod", "draft_max": 5}) == 64


# -- memory


# Of llama-server b11434 with --fit on -lv 5, two CPU workers, -ts 30,32 -c 8192 -np 2: the second device's weights with the layer that
# drafts, and what its context takes there (KV and compute). MiB, rounded down.
@pytest.mark.parametrize(("shape", "weights", "kv", "compute"), [("deepseek3-671b-mtp", 193573, 9, 439), ("glm4moe-106b-mtp", 37593, 32, 228)])
def test_layers_that_draft(shape: str, weights: int, kv: int, compute: int) -> None:
    facts = sparse_gguf.facts(shape)
    tensors = [_gguf_tensor(tensor) for tensor in facts["tensors"]]
    model = beside_memory.with_own_drafting(plan_model.describe_model(facts["metadata"], tensors), facts["metadata"], tensors)
    accounts = placement.Accounts(model, caches.RunSettings(context_size=8192, parallel=2, kv_unified=False, outputs=8))
    first = placement.slot_devices((30, 32), model.n_slots).count(0)
    devices, _host = placement.split_memory(accounts, (first, model.n_slots - first), ("cpu", "cpu"))
    assert devices[0].beside_bytes == 0
    assert devices[1].weight_bytes // MIB == weights
    assert kv + compute <= devices[1].beside_bytes / MIB <= 2 * (kv + compute)


def _gguf_tensor(tensor: dict) -> TensorInfo:
    class Tensor:
        name, shape, type_name, size_bytes = tensor["name"], tuple(tensor["shape"]), tensor["type"], tensor["size_bytes"]

    return Tensor  # type: ignore[return-value]


def test_rows_are_totals_with_what_stands_beside() -> None:
    """The search's shortcut says what every run by itself does."""
    facts = sparse_gguf.facts("glm4moe-106b-mtp")
    tensors = [_gguf_tensor(tensor) for tensor in facts["tensors"]]
    model = beside_memory.with_own_drafting(plan_model.describe_model(facts["metadata"], tensors), facts["metadata"], tensors)
    accounts = placement.Accounts(model, caches.RunSettings(parallel=2))
    for first in (0, 20, model.n_layer - 1, model.n_layer, model.n_slots - 1):
        assert accounts.row("cuda", first) == [accounts.total("cuda", first, end, False) for end in range(first + 1, model.n_slots + 1)]


def test_adapters_lie_beside_their_layers(tmp_path: Path) -> None:
    """llama-server b11434 said 0.64 and 0.32 MiB for the same adapter over 20 and 10 layers."""
    facts = sparse_gguf.facts("smollm2-135m")
    model = plan_model.describe_model(facts["metadata"], [_gguf_tensor(tensor) for tensor in facts["tensors"]])
    adapter = read_gguf(str(beside_files.lora(tmp_path / "lora.gguf")))
    accounts = placement.Accounts(beside_memory.with_adapter(model, adapter.tensors), caches.RunSettings())
    graph = 2 * 4 * 512 * (4 + 576)
    devices, _host = placement.split_memory(accounts, (20, 11), ("cpu", "cpu"))
    assert [round((device.beside_bytes - graph) / MIB, 2) for device in devices] == [0.64, 0.32]
    with pytest.raises(plan_model.MemoryModelError, match="layer 40"):
        beside_memory.with_adapter(model, read_gguf(str(beside_files.lora(tmp_path / "x.gguf", layers=range(40, 41)))).tensors)


# -- plans


def arguments_of(made: dict, **words: str) -> list[str]:
    """What llama-server is told of what stands beside the model, where a plan says on which device it lies."""
    return [word for argument in plan_beside.arguments({**words, **decided(made)["beside"]}) for word in argument]


def plan(machines: list, model: str = "llama-8b", **beside: object) -> dict:
    return plan_from_facts(sparse_gguf.facts(model), machines, host="head", beside=beside)


def test_a_draft_model_lies_on_the_head_s_device() -> None:
    header = sparse_gguf.facts("smollm2-135m", 98_000_000)
    alone, found = plan([HEAD]), plan([HEAD], words={"draft_model": "/m/d.gguf"}, headers=[{"for": "draft", "header": header, "file": "/m/d.gguf"}])
    part = found["beside"]["parts"][0]
    # llama-server b11434: 92 MiB of weights, 180 of KV, 21 of compute buffer
    assert part["llama_device"] == "CUDA0" and 293 <= part["mib"] <= 320
    assert found["devices"][0]["reserve_mib"] == alone["devices"][0]["reserve_mib"] + part["mib"]
    assert found["beside"]["draft_devices"] == ["CUDA0"]
    assert arguments_of(found, draft_model="/m/d.gguf") == ["--spec-type", "draft-simple", "--model-draft", "/m/d.gguf", "--device-draft", "CUDA0"]


def test_where_the_head_has_no_device_it_is_its_ram_s() -> None:
    headers = [{"for": "draft", "header": sparse_gguf.facts("smollm2-135m", 98_000_000), "file": "/m/d.gguf"}]
    words = {"draft_model": "/m/d.gguf"}
    without, found = plan([BARE, WORKER]), plan([BARE, WORKER], words=words, headers=headers)
    assert found["beside"]["parts"][0]["machine"] == "head" and found["beside"]["draft_devices"] == ["none"]
    assert found["host"]["extra_mib"] - without["host"]["extra_mib"] == found["beside"]["parts"][0]["mib"]
    named = plan([BARE, WORKER], words=words, headers=headers, draft_device="w1/CUDA0")
    assert named["beside"]["draft_devices"] == ["RPC0"]
    with pytest.raises(PlanError, match="not among the devices"):
        plan([BARE, WORKER], words=words, headers=headers, draft_device="w9/CUDA0")


def test_a_projector_follows_from_its_file(tmp_path: Path) -> None:
    """llama-server b11434 said 1.88 MiB for this one."""
    path = beside_files.projector(tmp_path / "mmproj.gguf")
    found = plan([HEAD, WORKER], words={"mmproj": "/m/p.gguf"}, headers=[{"for": "mmproj", "header": facts_of(path), "file": "/m/p.gguf"}])
    assert found["beside"]["mmproj_device"] == "CUDA0" and found["beside"]["parts"][0]["mib"] >= 2
    assert arguments_of(found, mmproj="/m/p.gguf") == ["--mmproj", "/m/p.gguf", "--mmproj-device", "CUDA0"]


def test_a_model_without_such_layers_is_not_asked_to_draft() -> None:
    with pytest.raises(PlanError, match="no layers of its own that predict"):
        plan([HEAD], words={"spec_type": "draft-mtp"})
    big = dict(HEAD, devices=[{"name": "CUDA0", "total_mib": 200000, "free_mib": 190000}])
    found = plan([big], "glm4moe-106b-mtp", words={"spec_type": "draft-mtp"})
    assert found["beside"]["own_layers_draft"] and found["devices"][0]["beside_mib"] > 0
    assert plan([big], "glm4moe-106b-mtp")["devices"][0]["beside_mib"] == 0


@pytest.mark.parametrize("policy", ["fewest_machines", "most_headroom"])
def test_a_part_that_does_not_fit_its_device_is_no_plan_that_fits(policy: str) -> None:
    """The search passes over a device of which nothing is left for layers."""
    small = dict(HEAD, devices=[{"name": "CUDA0", "total_mib": 8192, "free_mib": 7800}])
    machines = [small, WORKER, dict(WORKER, name="w2")]
    beside = {"words": {"draft_model": "/m/d.gguf"}, "headers": [{"for": "draft", "header": sparse_gguf.facts("qwen2-32b"), "file": "/m/d.gguf"}]}
    found = plan_from_facts(sparse_gguf.facts("llama-8b"), machines, host="head", policy=policy, beside=beside)
    mib = found["beside"]["parts"][0]["mib"]
    assert not found["fits"] and mib > 7800 and "head" not in {device["machine"] for device in found["devices"]}
    assert "head: CUDA0 has no room for the draft model: %d MiB and the reserve of 1024 MiB, 7800 MiB are free" % mib in found["failure"]
    assert "cluster_plan_draft_device" in found["failure"] and "take a smaller model" not in found["failure"]
    moved = plan_from_facts(sparse_gguf.facts("llama-8b"), machines, host="head", policy=policy, beside={**beside, "draft_device": "none"})
    assert moved["fits"] and moved["problems"] == []


def test_a_part_on_a_device_that_shares_the_head_s_ram_takes_of_it() -> None:
    shared = {"name": "head", "ram_free_mib": 7800, "devices": [{"name": "CUDA0", "total_mib": 8192, "free_mib": 7800, "shared_memory": True}]}

    def made(ram: int) -> dict:
        machines = [dict(shared, ram_free_mib=ram), WORKER]
        header = {"for": "mmproj", "header": {"metadata": {}, "tensors": [], "file_size_bytes": 5000 * MIB}, "file": "/m/p.gguf"}
        return plan_from_facts(sparse_gguf.facts("llama-8b"), machines, host="head", policy="named_machines", named=["w1"],
                               beside={"words": {"mmproj": "/m/p.gguf"}, "headers": [header]})

    found = made(7800)
    assert found["fits"] and found["host"]["extra_mib"] == found["beside"]["parts"][0]["mib"] == 5000
    need = found["host"]["total_mib"]
    assert made(need)["fits"] and not made(need - 1)["fits"]


SEEING = {"clip.vision.embedding_length": 1664, "clip.vision.feed_forward_length": 8192, "clip.vision.patch_size": 14, "clip.vision.image_size": 448}


@pytest.mark.parametrize("build_number", [plan_model.COMPARED_BUILD, 0])
@pytest.mark.parametrize(("named", "room"), [(["head"], 24000), (["w1"], 24000)])
def test_what_is_a_guess_beside_the_model_refuses_nothing_for_good(build_number: object, named: list, room: int) -> None:
    """A projector's file is what it takes in any case, whether layers lie beside it or not."""
    header = {"for": "mmproj", "header": {"metadata": SEEING, "tensors": [], "file_size_bytes": 1300 * 10 ** 6}, "file": "/m/p.gguf"}
    beside = {"words": {"mmproj": "/m/p.gguf"}, "headers": [header]}

    def made(free: int, head: dict | None = None) -> dict:
        head = head or HEAD
        machines = [dict(head, devices=[dict(head["devices"][0], free_mib=free)]), WORKER]
        return plan_from_facts(sparse_gguf.facts("llama-8b"), machines, host="head", policy="named_machines", named=named, beside=beside,
                               build_number=build_number)

    ample = made(room)
    part = ample["beside"]["parts"][0]
    assert ample["fits"] and part["mib"] > 3000 and part["least_mib"] == 1240
    need = room - ample["headroom_mib"] if named == ["head"] else 1024 + part["mib"]
    assert made(need)["fits"]
    short = made(need - 300)
    assert not short["fits"] and short["may_fit"] and "cluster_plan_beyond_bound" in short["failure"] and "only the weights count" in short["failure"]
    assert made(need - (part["mib"] - 1240))["may_fit"]
    if build_number or named == ["w1"]:
        assert not made(need - (part["mib"] - 1240) - 1)["may_fit"]


def test_a_draft_model_takes_its_weights_in_any_case() -> None:
    headers = [{"for": "draft", "header": sparse_gguf.facts("smollm2-135m", 98_000_000), "file": "/m/d.gguf"}]
    for machines, least in (([HEAD], 92), ([BARE, WORKER], 92)):
        part = plan(machines, words={"draft_model": "/m/d.gguf"}, headers=headers)["beside"]["parts"][0]
        assert least <= part["least_mib"] <= least + 31 < part["mib"]


# Of llama-server b11434 with -c 8192 -np 4 --kv-unified, the draft model on the CPU, MiB: weights, KV cache, compute and output buffers. Of
# gemma4-assistant, which wants a Gemma 4, its weights, the least of its caches, and those results.
@pytest.mark.parametrize(("architecture", "spec_type", "weights", "taken"), [
    ("eagle3", "draft-eagle3", 63.71, 63.71 + 6.0 + 194.44 + 0.75), ("dflash", "draft-dflash", 35.68, 35.68 + 30.0 + 194.44 + 0.75),
    ("gemma4-assistant", "draft-mtp", 40.0, 40.0 + 16.0 + 192.0 + 0.75)])
@pytest.mark.parametrize("machines", [[HEAD], [BARE, WORKER]])
def test_files_that_only_draft_are_planned_by_a_bound(architecture: str, spec_type: str, weights: float, taken: float, machines: list) -> None:
    header = beside_files.draft_facts(architecture)
    found = plan(machines, "smollm2-135m", words={"draft_model": "/m/d.gguf", "spec_type": spec_type},
                 headers=[{"for": "draft", "header": header, "file": "/m/d.gguf"}])
    part = found["beside"]["parts"][0]
    assert found["fits"] and abs(part["least_mib"] - weights) <= 1
    assert taken < part["mib"] < 1.5 * taken
