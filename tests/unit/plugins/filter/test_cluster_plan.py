# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
import sparse_gguf
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.cluster_plan import FilterModule

plan = FilterModule().filters()["cluster_plan"]


def facts(shape: str = "llama-70b-q4") -> dict:
    model = sparse_gguf.SHAPES[shape]()
    return {"metadata": model.metadata, "file_size_bytes": 0, "tensors": [
        {"name": n, "shape": list(s), "type": t, "size_bytes": sparse_gguf.tensor_size_bytes(s, t)} for n, s, t in model.tensors]}


def machines(count: int, gpus: int = 1, **more: Any) -> list:
    return [dict({"name": "head" if i == 0 else "worker%d" % i, "ram_free_mib": 64000,
                  "devices": [{"name": "CUDA%d" % g, "total_mib": 24564, "free_mib": 24100, "reserve_mib": 2048} for g in range(gpus)]}, **more)
            for i in range(count)]


def test_what_the_units_need() -> None:
    made = plan(facts(), machines(4), host="head")
    assert made["fits"] and made["machines"] == ["head", "worker1"] and made["unused_machines"] == ["worker2", "worker3"]
    assert sum(made["tensor_split"]) == 81
    assert made["rpc"] == [{"machine": "worker1", "device": "CUDA0"}]
    assert sorted(made["device_option"].split(",")) == ["CUDA0", "RPC0"]
    text = " ".join(made["arguments"])
    assert "--fit off -ngl all -c 8192" in text and "-ts %s" % ",".join(map(str, made["tensor_split"])) in text
    for device in made["devices"]:
        assert device["needed_mib"] + device["reserve_mib"] + device["headroom_mib"] <= device["free_mib"] + 1
    json.dumps(made)


def test_one_worker_for_each_gpu_of_a_machine() -> None:
    made = plan(facts(), machines(2, gpus=2), host="head", policy="all_machines")
    assert [r["machine"] for r in made["rpc"]] == ["worker1", "worker1"]
    assert {d["llama_device"] for d in made["devices"]} == {"CUDA0", "CUDA1", "RPC0", "RPC1"}


def test_a_projector_takes_room_on_its_device() -> None:
    plain = plan(facts(), machines(2), host="head", policy="all_machines")
    with_it = plan(facts(), machines(2), host="head", policy="all_machines", mmproj_mib=800)
    own = {d["machine"]: d for d in with_it["devices"]}
    assert own["head"]["reserve_mib"] == 2848 and own["worker1"]["reserve_mib"] == 2048
    assert with_it["headroom_mib"] < plain["headroom_mib"]
    headless = [dict(machines(1)[0], devices=[])] + machines(3)[1:]
    assert plan(facts(), headless, host="head", mmproj_mib=800)["host"]["extra_mib"] == 800


def test_a_model_that_does_not_fit_is_an_answer_not_an_error() -> None:
    made = plan(facts("llama-405b"), machines(3), host="head")
    assert not made["fits"] and made["arguments"] == []
    assert "MiB short" in made["problems"][0] and made["ways_out"]


@pytest.mark.parametrize(("change", "message"), [
    ({"host": "nobody"}, "nobody is not among the machines"),
    ({"policy": "cheapest"}, "no policy"),
    ({"policy": "named_machines"}, "needs the names"),
    ({"policy": "named_machines", "named": ["mars"]}, "mars is not among"),
    ({"context_size": "many"}, "context_size must be a whole number"),
    ({"unknown": "guess"}, "'refuse' or 'conservative'"),
    ({"type_k": "q9"}, "no type of a KV cache"),
    ({"colour": "red"}, "colour"),
    ({"mmproj_mib": 1, "mmproj_device": "head/CUDA7"}, "not among the devices"),
])
def test_a_bad_argument_is_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as caught:
        plan(facts("llama-8b"), machines(2), **dict({"host": "head"}, **change))
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
        plan(facts("llama-8b"), value, host="head")


def test_facts_without_tensors_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="metadata and its tensors"):
        plan({"architecture": "llama"}, machines(1), host="head")


def test_an_unknown_architecture_is_refused_or_doubled() -> None:
    known = facts("llama-8b")
    new = dict(known, metadata={k.replace("llama.", "newcomer."): v for k, v in known["metadata"].items()})
    new["metadata"]["general.architecture"] = "newcomer"
    with pytest.raises(AnsibleFilterError, match="never compared"):
        plan(new, machines(2), host="head")
    careful = plan(new, machines(2), host="head", unknown="conservative")
    exact = plan(known, machines(2), host="head")
    assert careful["confidence"]["unknown"]
    assert careful["devices"][0]["compute_mib"] > exact["devices"][0]["compute_mib"]
