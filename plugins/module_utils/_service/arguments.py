# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of llama-server's arguments decide memory or what is loaded, and the variable that says the same.

The names are those of common/arg.cpp of llama.cpp b11434, older ones that it no longer takes included, and those of the environment.
"""

from __future__ import annotations

import re
import typing as t

# They set the model, batch sizes and context, some a draft model too.
_PRESETS = (
    "--embd-gemma-default", "--fim-qwen-1.5b-default", "--fim-qwen-3b-default", "--fim-qwen-7b-default", "--fim-qwen-7b-spec", "--fim-qwen-14b-spec",
    "--fim-qwen-30b-default", "--gpt-oss-20b-default", "--gpt-oss-120b-default", "--vision-gemma-4b-default", "--vision-gemma-12b-default",
)
# By variable of the role llama_server.
_BY_VARIABLE: t.Dict[str, t.Tuple[str, ...]] = {
    "llama_server_model": (
        "-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-dr", "--docker-repo",
        "LLAMA_ARG_MODEL", "LLAMA_ARG_MODEL_URL", "LLAMA_ARG_HF_REPO", "LLAMA_ARG_HF_FILE", "LLAMA_ARG_DOCKER_REPO", *_PRESETS),
    "llama_server_context_size": ("-c", "--ctx-size", "LLAMA_ARG_CTX_SIZE"),
    "llama_server_parallel": ("-np", "--parallel", "LLAMA_ARG_N_PARALLEL"),
    "llama_server_kv_unified": ("-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified", "LLAMA_ARG_KV_UNIFIED"),
    "llama_server_cache_ram_mib": ("-cram", "--cache-ram", "LLAMA_ARG_CACHE_RAM"),
    "llama_server_ctx_checkpoints": ("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints", "LLAMA_ARG_CTX_CHECKPOINTS"),
    "llama_server_batch_size": ("-b", "--batch-size", "LLAMA_ARG_BATCH"),
    "llama_server_ubatch_size": ("-ub", "--ubatch-size", "LLAMA_ARG_UBATCH"),
    "llama_server_flash_attention": ("-fa", "--flash-attn", "LLAMA_ARG_FLASH_ATTN"),
    "llama_server_cache_type_k": ("-ctk", "--cache-type-k", "LLAMA_ARG_CACHE_TYPE_K"),
    "llama_server_cache_type_v": ("-ctv", "--cache-type-v", "LLAMA_ARG_CACHE_TYPE_V"),
    "llama_server_n_gpu_layers": ("-ngl", "--gpu-layers", "--n-gpu-layers", "LLAMA_ARG_N_GPU_LAYERS"),
    "llama_server_tensor_split": ("-ts", "--tensor-split", "LLAMA_ARG_TENSOR_SPLIT"),
    "llama_server_devices": ("-dev", "--device", "LLAMA_ARG_DEVICE"),
    "llama_server_rpc_endpoints": ("--rpc", "LLAMA_ARG_RPC"),
    "llama_server_fit": ("-fit", "--fit", "LLAMA_ARG_FIT"),
    "llama_server_spec_type": ("--spec-type", "--spec-default", "LLAMA_ARG_SPEC_TYPE"),
    "llama_server_draft_model": (
        "-md", "--model-draft", "--spec-draft-model", "-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf",
        "LLAMA_ARG_SPEC_DRAFT_MODEL", "LLAMA_ARG_SPEC_DRAFT_HF_REPO"),
    "llama_server_draft_devices": ("-devd", "--device-draft", "--spec-draft-device"),
    "llama_server_draft_max": ("--draft", "--draft-n", "--draft-max", "--spec-draft-n-max", "LLAMA_ARG_DRAFT_MAX", "LLAMA_ARG_SPEC_DRAFT_N_MAX"),
    "llama_server_draft_min": ("--draft-min", "--draft-n-min", "--spec-draft-n-min", "LLAMA_ARG_DRAFT_MIN", "LLAMA_ARG_SPEC_DRAFT_N_MIN"),
    "llama_server_draft_cache_type_k": ("-ctkd", "--cache-type-k-draft", "--spec-draft-type-k", "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K"),
    "llama_server_draft_cache_type_v": ("-ctvd", "--cache-type-v-draft", "--spec-draft-type-v", "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V"),
    "llama_server_mmproj": (
        "-mm", "--mmproj", "-mmu", "--mmproj-url", "--no-mmproj", "--no-mmproj-auto",
        "LLAMA_ARG_MMPROJ", "LLAMA_ARG_MMPROJ_URL", "LLAMA_ARG_MMPROJ_AUTO"),
    "llama_server_mmproj_device": ("-mmdev", "--mmproj-device", "--mmproj-offload", "--no-mmproj-offload", "LLAMA_ARG_MMPROJ_OFFLOAD", "MTMD_BACKEND_DEVICE"),
    "llama_server_lora": ("--lora", "--lora-scaled"),
}
# What no variable says, and a plan does not foresee.
_UNPLANNED = (
    "-sm", "--split-mode", "-mg", "--main-gpu", "-ot", "--override-tensor", "-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe",
    "-nkvo", "--no-kv-offload", "--swa-full", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl", "-otd",
    "--override-tensor-draft", "--spec-draft-override-tensor", "-cmoed", "--cpu-moe-draft", "--spec-draft-cpu-moe", "-ncmoed",
    "--n-cpu-moe-draft", "--spec-draft-ncmoe", "--spec-draft-n-cpu-moe", "--control-vector", "--control-vector-scaled", "-ncffn", "--n-cpu-ffn",
    "LLAMA_ARG_SPLIT_MODE", "LLAMA_ARG_MAIN_GPU", "LLAMA_ARG_OVERRIDE_TENSOR", "LLAMA_ARG_CPU_MOE", "LLAMA_ARG_N_CPU_MOE", "LLAMA_ARG_N_CPU_FFN",
    "LLAMA_ARG_KV_OFFLOAD", "LLAMA_ARG_SWA_FULL", "LLAMA_ARG_N_GPU_LAYERS_DRAFT", "LLAMA_ARG_SPEC_DRAFT_CPU_MOE", "LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE",
)
VARIABLES: t.Dict[str, str] = {flag: variable for variable, flags in _BY_VARIABLE.items() for flag in flags}


def taken_arguments(arguments: t.Sequence[t.Any], planned: bool = False) -> t.List[t.Dict[str, str]]:
    """The arguments, or names of the environment, that say what a variable says, each with that variable, once and in their order.

    ``planned`` adds those that would change what a plan foresees and have no variable: theirs is empty. An argument may bring its value
    along (``--fit=on``), and common/arg.cpp takes ``_`` for ``-`` in long ones, and LLAMA_ARG_NO_X for LLAMA_ARG_X.
    """
    found: t.List[t.Dict[str, str]] = []
    for argument in arguments:
        word = re.split(r"[=\s]", str(argument), maxsplit=1)[0]
        flag = word.replace("_", "-") if word.startswith("--") else word.replace("LLAMA_ARG_NO_", "LLAMA_ARG_")
        if flag not in VARIABLES and not (planned and flag in _UNPLANNED):
            continue
        entry = {"argument": word, "variable": VARIABLES.get(flag, "")}
        if entry not in found:
            found.append(entry)
    return found


def value_of(name: str, arguments: t.Sequence[str]) -> str:
    """The word that comes after the first one of this name, empty where there is none."""
    return arguments[arguments.index(name) + 1] if name in arguments[:-1] else ""


def taken_text(found: t.Sequence[t.Mapping[str, str]]) -> str:
    """The same for a sentence: ``--mmproj (set llama_server_mmproj), -ot (leave it out)``."""
    return ", ".join("%s (%s)" % (entry["argument"], "set " + entry["variable"] if entry["variable"] else "leave it out") for entry in found)
