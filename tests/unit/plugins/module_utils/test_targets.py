# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For which GPUs a cluster's llama.cpp is compiled, and for how many kinds of processors."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.build_variants import build_variants
from ansible_collections.herd.llama_cpp.plugins.filter.cuda_architectures import cuda_architectures


def gpus(*capabilities: str, built: str = "") -> dict:
    return {"gpus": [{"compute_capability": capability} for capability in capabilities], "built": built}


@pytest.mark.parametrize(
    ("machines", "architectures"),
    [
        ([], []),
        ([gpus()], []),
        ([gpus("8.6"), gpus("8.6", "8.6")], ["86"]),
        ([gpus("12.0"), gpus("8.6"), gpus("8.9")], ["86", "89", "120"]),
        # A driver before 510 does not tell: llama.cpp's own list, which is for all.
        ([gpus("8.6"), gpus("")], []),
        # The machine with the 8.9 is away, and the build in use has it.
        ([gpus("8.6", built="86;89")], ["86", "89"]),
        ([gpus("8.6"), gpus("8.6", built="86;89")], ["86", "89"]),
        ([gpus("8.6", "12.0", built="86;89")], ["86", "120"]),
        ([gpus("8.6", built="86-real")], ["86"]),
        ([gpus(built="86")], []),
    ],
)
def test_architectures(machines, architectures):
    assert cuda_architectures(machines) == architectures


def cluster(kinds: int, per_kind: int = 1, cuda: bool = False, have_own: bool = False, have_all: bool = False) -> list[dict]:
    machines = []
    for kind in range(kinds):
        for _number in range(per_kind):
            missing = ["head"] if not machines else ["worker"]
            machines.append({
                "own": {"id": f"own{kind}", "missing": [] if have_own else missing},
                "all": {"id": "all", "missing": [] if have_all else missing},
                "cuda": cuda,
            })
    return machines


@pytest.mark.parametrize(
    ("machines", "ccache", "variants", "own_steps", "all_steps"),
    [
        (cluster(1), False, "own", 222, 468),
        (cluster(1, 4), False, "own", 224, 470),
        (cluster(2), True, "own", 222 + 20, 470),
        (cluster(2), False, "own", 222 + 40, 470),
        (cluster(7), False, "own", 222 + 6 * 40, 470),
        (cluster(8), False, "all", 222 + 7 * 40, 470),
        (cluster(16), True, "all", 222 + 15 * 20, 470),
        (cluster(2, cuda=True), False, "own", 366 + 184, 614),
        (cluster(3, cuda=True), False, "all", 366 + 2 * 184, 614),
        (cluster(3, cuda=True), True, "own", 366 + 2 * 20, 614),
        # What is there stays.
        (cluster(16, have_own=True), False, "own", 0, 470),
        (cluster(1, have_all=True), True, "all", 222, 0),
        (cluster(3, have_own=True, have_all=True), True, "own", 0, 0),
        ([], True, "own", 0, 0),
    ],
)
def test_what_takes_fewer_steps(machines, ccache, variants, own_steps, all_steps):
    choice = build_variants(machines, ccache=ccache)
    assert (choice["variants"], choice["own_steps"], choice["all_steps"]) == (variants, own_steps, all_steps)


def test_it_says_why():
    assert build_variants(cluster(2), ccache=True)["reason"] == (
        "2 kinds of machines, one build for each: about 242 steps with ccache, one for all of them would take 470")
    assert build_variants(cluster(8))["reason"] == (
        "8 kinds of machines, one build with all variants of the CPU backend: about 470 steps, one for each would take 502")


@pytest.mark.parametrize("machines", [None, "own", [1], [{}], [{"own": {"id": "1"}, "all": {"id": "2", "missing": []}}], [{"own": None}]])
def test_nonsense_is_named(machines):
    with pytest.raises(AnsibleFilterError, match="build_variants filter"):
        build_variants(machines)


def test_nonsense_instead_of_machines_is_named():
    with pytest.raises(AnsibleFilterError, match="cuda_architectures filter"):
        cuda_architectures("86")
