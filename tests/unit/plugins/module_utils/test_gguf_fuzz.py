# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What damaged and malicious headers made the planner stumble over, one by one (found with tests/support/gguf_fuzz.py)."""

from __future__ import annotations

import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError

MACHINES = [{"name": "head", "devices": [{"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}]}, {"name": "worker", "devices": [
    {"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}]}]


def test_a_type_that_nobody_knows_yet_is_planned_by_its_bytes_and_said_to_be_unknown() -> None:
    known = facts("llama-8b")
    for row in known["tensors"]:
        row["type"] = {"Q4_K": "TYPE_43"}.get(row["type"], row["type"])
    plans = [report.plan_from_facts(given, MACHINES, host="head", policy="all_machines") for given in (facts("llama-8b"), known)]
    assert all(plan["fits"] for plan in plans) and not plans[0]["confidence"]["unknown"]
    assert len({sum(device["weights_mib"] for device in plan["devices"]) for plan in plans}) == 1
    assert "(TYPE_43)" in plans[1]["confidence"]["unknown"][0] and plans[1]["figures"]["source"] == "bound"
    with pytest.raises(PlanError, match="TYPE_43"):
        report.plan_from_facts(known, MACHINES, host="head", unknown="refuse")


def facts(shape: str = "llama-8b", tensors: dict | None = None, **metadata: object) -> dict:
    model = sparse_gguf.SHAPES[shape]()
    rows = [{"name": n, "shape": list(s), "type": t, "size_bytes": sparse_gguf.tensor_size_bytes(s, t)} for n, s, t in model.tensors]
    for row in rows:
        row.update((tensors or {}).get(row["name"], {}))
    changed = {model.key(key.replace("__", ".")): value for key, value in metadata.items()}
    return {"metadata": {**model.metadata, **changed}, "tensors": rows, "file_size_bytes": 0}


@pytest.mark.parametrize(("shape", "changed", "message"), [
    ("llama-8b", {"context_length": [1, 2]}, "llama.context_length is no number"),
    ("llama-8b", {"attention__key_length": {"array_of": "int32", "length": 5}}, "attention.key_length is no number"),
    ("llama-8b", {"attention__head_count": True}, "head_count is True, which is no size"),
    ("llama-8b", {"attention__head_count": float("nan")}, "head_count is nan, which is no size"),
    ("llama-8b", {"embedding_length": 1 << 40}, "embedding_length is 1099511627776, which is no size"),
    ("llama-8b", {"nextn_predict_layers": 32}, "of the header's 32 layers, 32 predict further tokens"),
    ("llama-8b", {"block_count": 33}, "ends with layer 31, and its header .llama. promises 33 layers"),
    ("llama-8b", {"block_count": 31}, "blk.31.attn_norm.weight belongs to none of the 31 layers"),
    ("llama-8b", {"tensors": {"blk.3.attn_norm.weight": {"name": "blk.x\n.weight"}}}, "the tensor blk.x..weight belongs to none"),
    ("llama-8b", {"tensors": {"blk.3.ffn_up.weight": {"shape": [4096]}}}, "blk.3.ffn_up.weight has 1 dimensions"),
    ("mixtral-8x7b", {"expert_used_count": 0}, "uses 0 of 8 experts"),
    ("mixtral-8x7b", {"expert_used_count": 1 << 30}, "uses 1073741824 of 8 experts"),
    ("gemma3-27b", {"attention__sliding_window_pattern": [True] * 3}, "has 3 entries for 62 layers"),
    ("qwen3next-80b", {"full_attention_interval": 0}, "every 0th layer"),
    ("deepseek2-16b", {"rope__dimension_count": 10_000}, "rope.dimension_count 10000 is more than"),
])
def test_headers_that_once_were_another_exception_or_no_end(shape, changed, message):
    changed = dict(changed)
    known = facts(shape, changed.pop("tensors", None), **changed)
    with pytest.raises(PlanError, match=message) as caught:
        report.plan_from_facts(known, MACHINES, host="head", unknown="bound")
    assert str(caught.value).isprintable()
