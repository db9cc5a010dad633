# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-server's command line from the role's settings."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_server_arguments import llama_server_arguments
from service_settings import STARTED

SETTINGS = STARTED["llama_server"]


def line(**settings: Any) -> str:
    return " ".join(" ".join(words) for words in llama_server_arguments({**SETTINGS, **settings}))


def test_by_default_it_listens_behind_its_proxy_and_leaves_the_rest_to_llama_cpp():
    assert line() == ("--model /srv/m.gguf --host /run/llama-server/api.sock --threads-http 72 --ctx-size 8192 --n-gpu-layers 99 --timeout 3600 "
                      "--no-webui --fit off --parallel 2 --no-kv-unified --cache-ram 2048 --ctx-checkpoints 4 --alias m -lv 4")


def test_all_that_can_be_set_in_the_order_of_the_unit():
    assert line(metrics=True, webui=True, rpc_endpoints=["127.1.1.1:50052", "127.1.1.2:50052"], devices=["CUDA0", "RPC0", "RPC1"],
                tensor_split=[7.0, "8", 10.5], fit=True, kv_unified=True, cache_ram_mib=0, ctx_checkpoints=32, cache_type_k="q8_0", cache_type_v="q4_0",
                batch_size=512, ubatch_size="0", flash_attention="on", n_gpu_layers="all", beside={"mmproj": "/srv/p.gguf"}, extra_args=["--temp", 0.5]) == (
        "--model /srv/m.gguf --host /run/llama-server/api.sock --threads-http 72 --ctx-size 8192 --n-gpu-layers all --timeout 3600 --metrics "
        "--rpc 127.1.1.1:50052,127.1.1.2:50052 --device CUDA0,RPC0,RPC1 --tensor-split 7,8,10.5 --fit on --parallel 2 --kv-unified "
        "--cache-ram 0 --ctx-checkpoints 32 --cache-type-k q8_0 --cache-type-v q4_0 "
        "--batch-size 512 --ubatch-size 0 --flash-attn on --mmproj /srv/p.gguf --alias m -lv 4 --temp 0.5")


@pytest.mark.parametrize(("origins", "says"), [
    ([], " --cors-origins http://192.168.1.101:8080"), (["https://chat.example.com"], " --cors-origins https://chat.example.com"), (["*"], "")])
def test_without_the_proxy_it_has_the_port_and_allows_one_origin(origins, says):
    expected = "--host 192.168.1.101 --port 8080 --ctx-size 8192 --n-gpu-layers 99 --timeout 3600%s --no-webui" % says
    assert expected in line(proxy=False, cors_origins=origins)


PLAN = {
    "device_option": "CUDA0,RPC0", "tensor_split": [40, 41], "n_gpu_layers": "all",
    "settings": {"context_size": 4096, "parallel": 3, "kv_unified": True, "type_k": "q8_0", "type_v": "f16", "batch": 1024, "ubatch": 256,
                 "flash_attention": True},
    "beside": {"draft_devices": ["CUDA0"], "mmproj_device": "none"}}


def test_a_plan_takes_the_place_of_what_it_decides():
    own = {"devices": ["CUDA1"], "tensor_split": [1, 2], "n_gpu_layers": 5, "fit": True, "context_size": 1, "parallel": 1, "cache_type_k": "f32",
           "batch_size": 1, "ubatch_size": 1, "flash_attention": "off", "rpc_endpoints": ["10.0.0.1:50052"],
           "beside": {"draft_model": "/d.gguf", "draft_devices": ["CUDA1"], "mmproj": "/p.gguf", "mmproj_device": "CUDA1"}}
    assert line(plan=PLAN, **own) == (
        "--model /srv/m.gguf --host /run/llama-server/api.sock --threads-http 72 --ctx-size 4096 --n-gpu-layers all --timeout 3600 --no-webui "
        "--rpc 10.0.0.1:50052 --device CUDA0,RPC0 --tensor-split 40,41 --fit off --parallel 3 --kv-unified --cache-ram 2048 --ctx-checkpoints 4 "
        "--cache-type-k q8_0 --cache-type-v f16 --batch-size 1024 --ubatch-size 256 --flash-attn on "
        "--spec-type draft-simple --model-draft /d.gguf --device-draft CUDA0 --mmproj /p.gguf "
        "--no-mmproj-offload --alias m -lv 4")


def test_a_plan_without_devices_or_with_one_alone():
    bare = {**PLAN, "device_option": "", "tensor_split": [], "settings": {**PLAN["settings"], "flash_attention": False}}
    assert "--device none --fit off" in line(plan=bare, tensor_split=[1, 1]) and "--flash-attn off" in line(plan=bare)
    assert "--device CUDA0 --fit off" in line(plan={**PLAN, "device_option": "CUDA0", "tensor_split": [81]})
    with pytest.raises(AnsibleFilterError, match="device_option"):
        line(plan={"settings": {}})


def test_a_build_that_does_not_know_fit_and_a_model_without_a_name():
    assert "--fit" not in line(fit=None) and "--alias" not in line(alias="")


def test_settings_that_are_not_whole_are_refused():
    with pytest.raises(AnsibleFilterError, match="model"):
        llama_server_arguments({name: value for name, value in SETTINGS.items() if name != "model"})
    with pytest.raises(AnsibleFilterError, match="not a list"):
        llama_server_arguments([])
