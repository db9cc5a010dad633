# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files that are no model: each is told by what its own maker writes into it, and nothing that is a model is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.filter.cluster_plan import cluster_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.kind import KINDS, kind_of
from ansible_collections.herd.llama_cpp.plugins.modules import gguf_info
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make
from ansible_collections.herd.llama_cpp.tests.support import sparse_gguf

LLAMA = {"general.architecture": "llama", "llama.block_count": 4, "tokenizer.ggml.model": "gpt2"}
LAYERS = ["token_embd.weight", *("blk.%d.attn_norm.weight" % number for number in range(4)), "output_norm.weight"]
OTHERS = {
    "projector": ({"general.type": "mmproj", "general.architecture": "clip"}, ["v.patch_embd.weight", "v.blk.0.ln1.weight", "mm.0.weight"]),
    "projector by its type": ({"general.type": "mmproj", "general.architecture": "clip2"}, ["blk.0.ln1.weight", "token_embd.weight"]),
    "projector of before there were types": ({"general.architecture": "clip"}, ["v.patch_embd.weight"]),
    "adapter": ({"general.type": "adapter", "general.architecture": "llama"}, ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"]),
    "adapter by its type": ({"general.type": "adapter", "general.architecture": "llama"}, ["token_embd.weight", "blk.0.attn_q.weight"]),
    "adapter without a type": ({"general.architecture": "llama"}, ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"]),
    "draft": ({"general.type": "model", "general.architecture": "eagle3", "eagle3.block_count": 1}, ["blk.0.attn_q.weight", "fc.weight"]),
    "imatrix": ({"general.type": "imatrix"}, ["blk.0.attn_q.weight.in_sum2", "blk.0.attn_q.weight.counts"]),
    "imatrix by its architecture": ({"general.architecture": "imatrix"}, ["blk.0.attn_q.weight.counts"]),
    "control_vector": ({"general.architecture": "controlvector"}, ["direction.1"]),
    "vocabulary": (LLAMA, []),
    "unknown, a picture model": ({"general.architecture": "flux"}, ["double_blocks.0.img_attn.qkv.weight"]),
    "unknown, nothing at all": ({}, []),
    "unknown, nameless": ({}, LAYERS),
    "unknown, the last layers are missing": (LLAMA, LAYERS[:-2]),
    "unknown, no embedding": (LLAMA, LAYERS[1:]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_model_is_told_with_what_to_do(what: str) -> None:
    found = kind_of(*OTHERS[what])
    assert found.kind == what.split()[0].strip(",") and found.kind in KINDS
    assert found.problem.startswith("the file ") and found.remedy and not (found.problem + found.remedy).endswith(".")


def test_the_sentence_names_the_variable_that_takes_it() -> None:
    assert "llama_server_mmproj" in kind_of(*OTHERS["projector"]).remedy
    assert "llama_server_lora" in kind_of(*OTHERS["adapter"]).remedy
    assert "llama_server_draft" in kind_of(*OTHERS["draft"]).remedy
    assert "layer 2" in kind_of(*OTHERS["unknown, the last layers are missing"]).problem


@pytest.mark.parametrize("names", [
    LAYERS,
    # a layer without weights, and layers of an encoder and a decoder
    [name for name in LAYERS if "blk.1" not in name],
    [name.replace("blk", "dec.blk") for name in LAYERS],
])
def test_a_model_is_a_model(names: list[str]) -> None:
    assert kind_of(dict(LLAMA, **{"general.type": "model"}), names).kind == "model"
    assert kind_of(LLAMA, names) == ("model", "", "")


def test_layers_that_predict_further_tokens_may_be_left_out() -> None:
    assert kind_of(dict(LLAMA, **{"llama.nextn_predict_layers": 1}), LAYERS[:-2] + ["output_norm.weight"]).kind == "model"


@pytest.mark.parametrize("shape", sparse_gguf.SHAPES)
def test_every_shape_of_the_planner_is_a_model(shape: str) -> None:
    facts = sparse_gguf.facts(shape)
    assert kind_of(facts["metadata"], [tensor["name"] for tensor in facts["tensors"]]).kind == "model"


def test_the_planner_says_it_too() -> None:
    metadata, names = OTHERS["projector"]
    facts: dict[str, Any] = {"metadata": metadata, "tensors": [{"name": name, "shape": [32], "type": "F32", "size_bytes": 128} for name in names]}
    for unknown in ("refuse", "bound"):
        with pytest.raises(AnsibleFilterError, match=r"the file is a projector \(mmproj\).*llama_server_mmproj"):
            cluster_plan(facts, [{"name": "h", "devices": [{"name": "CUDA0", "free_mib": 24000}]}], host="h", unknown=unknown)


def test_the_module_says_it_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = tmp_path / "vocab.gguf"
    vocabulary.write_bytes(make.gguf_bytes(make.standard_pairs(), []))
    model = tmp_path / "model.gguf"
    model.write_bytes(make.gguf_bytes())
    kinds = {}
    for path in (vocabulary, model):
        with patch_module_args({"path": str(path)}), pytest.raises(SystemExit):
            gguf_info.main()
        kinds[path.stem] = json.loads(capsys.readouterr().out)["gguf"]
    assert kinds["vocab"]["kind"] == "vocabulary" and "without any weights" in kinds["vocab"]["kind_problem"]
    assert (kinds["model"]["kind"], kinds["model"]["kind_problem"], kinds["model"]["kind_remedy"]) == ("model", "", "")
