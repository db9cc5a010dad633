# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""A plan in a terminal: who holds what, who is not needed, or what would make it fit."""

from __future__ import annotations

from typing import Any

import pytest
import sparse_gguf
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.cluster_plan import FilterModule as PlanFilters
from ansible_collections.herd.llama_cpp.plugins.filter.plan_endpoints import FilterModule as EndpointFilters
from ansible_collections.herd.llama_cpp.plugins.filter.plan_text import FilterModule
from plan_page import SERVER, addressed

plan = PlanFilters().filters()["cluster_plan"]
text_of = FilterModule().filters()["plan_text"]
endpoints_of = EndpointFilters().filters()["plan_endpoints"]
LLAMA = sparse_gguf.facts("llama-70b-q4")
MODEL = {"name": "A 70B", "file_size_bytes": 40_000_000_000}


def machines(count: int) -> list[dict[str, Any]]:
    gpu = {"name": "CUDA0", "total_mib": 24564, "free_mib": 24100}
    return [{"name": f"worker{i}" if i else "head", "ram_free_mib": 64000, "devices": [gpu]} for i in range(count)]


def test_a_plan_that_fits() -> None:
    made = plan(LLAMA, machines(3), host="head")
    text = text_of(made, MODEL, addressed(machines(3)), SERVER, ["the end"])
    assert text.startswith("A 70B (llama, 80 layers, 40.0 GB, context 8192). MiB on each device:")
    assert "198.18.0.11:50052" in text and "Not needed: worker2." in text and "worker1, llama-rpc-server@0.service:" in text
    assert text.endswith("the end") and "does not fit" not in text


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    made = plan(sparse_gguf.facts("llama-405b"), machines(3), host="head")
    text = text_of(made, {"path": "/models/big.gguf"})
    assert text.startswith("big.gguf (") and "It does not fit:" in text and text.count("A way out:") == len(made["ways_out"]) > 0
    assert made["failure"].startswith(made["problems"][0]) and made["ways_out"][0]["text"] in made["failure"]


def test_a_machine_alone_has_no_table() -> None:
    made = plan(sparse_gguf.facts("llama-8b"), [{"name": "head", "ram_free_mib": 64000, "devices": []}], host="head", head_cpu=True)
    text = text_of(made, MODEL)
    assert "The CPU of head runs it alone, with %d MiB of RAM" % made["host"]["total_mib"] in text and "----" not in text


def test_a_kept_split_is_called_so() -> None:
    first = plan(LLAMA, machines(3), host="head")
    assert "The split is the one of the running cluster" in text_of(plan(LLAMA, machines(3), host="head", keep=first), MODEL)


def test_endpoints_come_in_the_plan_s_order() -> None:
    instances = [{"machine": "worker1", "device": d, "endpoint": e} for d, e in (("CUDA0", "a:1"), ("CUDA1", "a:2"))]
    made = {"rpc": [{"machine": "worker1", "device": "CUDA1"}, {"machine": "worker1", "device": "CUDA0"}]}
    assert [i["endpoint"] for i in endpoints_of(made, instances)] == ["a:2", "a:1"]
    with pytest.raises(AnsibleFilterError, match="no worker service of worker1 has the device CUDA1"):
        endpoints_of(made, instances[:1])
    with pytest.raises(AnsibleFilterError, match="plan lacks 'rpc'"):
        endpoints_of({}, instances)


def test_nonsense_is_a_sentence() -> None:
    with pytest.raises(AnsibleFilterError, match="takes a plan"):
        text_of("x", {})
    with pytest.raises(AnsibleFilterError, match="cannot write this plan"):
        text_of({}, {})


BESIDE = {"words": {"draft_model": "/m/d.gguf", "mmproj": "/m/p.gguf"}, "headers": [
    {"for": "draft", "header": sparse_gguf.facts("smollm2-135m"), "file": "/m/d.gguf"},
    {"for": "mmproj", "header": {"metadata": {"clip.vision.embedding_length": 64}, "tensors": [], "file_size_bytes": 2_000_000}, "file": "/m/p.gguf"},
    {"for": "lora", "header": {"metadata": {}, "tensors": [{"name": "blk.1.ffn_up.weight.lora_b", "shape": [16, 8192], "type": "F16", "size_bytes": 1 << 20}]},
     "file": "/m/a.gguf"}]}


@pytest.mark.parametrize("head_device", [True, False])
def test_what_stands_beside_the_model_is_shown_and_the_rows_add_up(head_device: bool) -> None:
    cluster = machines(3)
    if not head_device:
        cluster[0]["devices"] = []
    made = plan(LLAMA, cluster, host="head", beside=BESIDE, context_size=4096)
    lines = text_of(made, MODEL).splitlines()
    draft, projector = (next(part["mib"] for part in made["beside"]["parts"] if part["for"] == what) for what in ("draft", "mmproj"))
    where = "CUDA0 of head" if head_device else "the RAM of head"
    assert "Draft model d.gguf: %s, %d MiB, a bound." % (where, draft) in lines and "Projector p.gguf: %s, %d MiB, a bound." % (where, projector) in lines
    assert "Adapter a.gguf: beside the layers that it changes, 1 MiB and its part of their compute buffers." in lines
    assert "What stands beside the model is planned by upper bounds." in lines
    titles = next(line for line in lines if "reserve" in line and "weights" in line)
    for line in lines[lines.index(titles) + 1:]:
        if "CUDA0" not in line or "of head" in line:
            continue
        weights, kv, compute, beside, reserve, free, left = [int(word) for word in line.split() if word.isdigit()][-7:]
        assert beside >= 1 and reserve == 1024 and -3 <= free - (weights + kv + compute + beside + reserve + left) <= 2, line
    assert "beside" not in text_of(plan(LLAMA, machines(3), host="head"), MODEL)
