# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.ggml_cpu_options import FilterModule, ggml_cpu_options


def test_name() -> None:
    assert list(FilterModule().filters()) == ["ggml_cpu_options"]


def test_list_and_string_are_the_same() -> None:
    assert ggml_cpu_options(["avx", "avx2"]) == ggml_cpu_options("avx avx2")
    assert ggml_cpu_options("avx avx2")["GGML_AVX2"] == "ON"


@pytest.mark.parametrize("value", [None, 5, {"avx": True}, ["avx", 2]])
def test_other_input(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="needs a list of processor flags"):
        ggml_cpu_options(value)


def test_unknown_architecture() -> None:
    with pytest.raises(AnsibleFilterError, match="cannot help: s390x is not one of the architectures"):
        ggml_cpu_options("vx", architecture="s390x")
