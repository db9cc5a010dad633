# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that a variable says are found however they are written, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_taken_arguments import llama_taken_arguments
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import VARIABLES, taken_arguments

ROOT = Path(__file__).absolute().parents[4]


@pytest.mark.parametrize(("argument", "variable"), [
    ("--mmproj", "llama_server_mmproj"), ("-mm", "llama_server_mmproj"), ("--no-mmproj-offload", "llama_server_mmproj_device"),
    ("--lora-scaled=a.gguf:2", "llama_server_lora"), ("--spec_type", "llama_server_spec_type"), ("-md", "llama_server_draft_model"),
    ("--spec-draft-n-max=4", "llama_server_draft_max"), ("-ub 64", "llama_server_ubatch_size"), ("--spec-default", "llama_server_spec_type"),
    ("--no-mmproj", "llama_server_mmproj"), ("-dr", "llama_server_model"), ("--fim-qwen-7b-spec", "llama_server_model"),
    ("-cram", "llama_server_cache_ram_mib"), ("--cache-ram=-1", "llama_server_cache_ram_mib"), ("LLAMA_ARG_CACHE_RAM", "llama_server_cache_ram_mib"),
    ("-ctxcp", "llama_server_ctx_checkpoints"), ("--ctx_checkpoints", "llama_server_ctx_checkpoints"),
    ("--swa-checkpoints", "llama_server_ctx_checkpoints"), ("LLAMA_ARG_CTX_CHECKPOINTS", "llama_server_ctx_checkpoints"),
    ("LLAMA_ARG_SPEC_DRAFT_MODEL", "llama_server_draft_model"), ("LLAMA_ARG_NO_MMPROJ_AUTO", "llama_server_mmproj"),
])
def test_is_found_with_its_variable(argument: str, variable: str) -> None:
    assert [entry["variable"] for entry in taken_arguments([argument])] == [variable]


@pytest.mark.parametrize("argument", ["--no-mmap", "--spec-ngram-mod-n-max", "--mmproj-auto", "model.gguf", "-1", "", "--models-dir", "-ot", "OMP_NUM_THREADS",
                                      "LLAMA_ARG_N_CPU_MOE"])
def test_is_left_alone(argument: str) -> None:
    assert not taken_arguments([argument])


def test_each_once_and_what_only_a_plan_minds() -> None:
    names = ["LLAMA_ARG_N_CPU_MOE", "LLAMA_ARG_NO_KV_OFFLOAD", "LLAMA_ARG_THREADS", "-ncffn", "3"]
    assert llama_taken_arguments(names, planned=True) == "LLAMA_ARG_N_CPU_MOE (leave it out), LLAMA_ARG_NO_KV_OFFLOAD (leave it out), -ncffn (leave it out)"
    arguments = ["--lora", "a", "--lora", "b", "-ot", "x=CPU", 3]
    assert llama_taken_arguments(arguments) == "--lora (set llama_server_lora)"
    assert llama_taken_arguments(arguments, planned=True) == "--lora (set llama_server_lora), -ot (leave it out)"
    assert llama_taken_arguments([]) == ""
    with pytest.raises(AnsibleFilterError, match="a list"):
        llama_taken_arguments("--lora")


def test_every_variable_is_one_of_the_role() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "llama_server" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert set(VARIABLES.values()) <= set(defaults)
