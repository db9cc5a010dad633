# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the integration tests share: the pinned llama.cpp and the lab's model, made or fetched at the first use.

``LLAMA_CPP_BIN_DIR`` names another build's directory of executables instead, ``SMOLLM2_GGUF`` another file of the model.
"""

from __future__ import annotations

import os
from pathlib import Path

import llama_cpp_build
import pytest

# A test reads of each task what an operator need not see.
os.environ.setdefault("ANSIBLE_DISPLAY_OK_HOSTS", "true")


@pytest.fixture(scope="session")
def llama_cpp_here() -> llama_cpp_build.Here:
    """The pinned build and the lab's model in the control node's cache."""
    return llama_cpp_build.have()


@pytest.fixture(scope="session")
def llama_cpp_bin(request: pytest.FixtureRequest) -> Path:
    """A directory with llama-server, llama-fit-params and ggml-rpc-server."""
    given = os.environ.get("LLAMA_CPP_BIN_DIR")
    return Path(given) if given else request.getfixturevalue("llama_cpp_here").bin


@pytest.fixture(scope="session")
def smollm2(request: pytest.FixtureRequest) -> Path:
    """SmolLM2-135M-Instruct as Q4_1."""
    given = os.environ.get("SMOLLM2_GGUF")
    return Path(given) if given else request.getfixturevalue("llama_cpp_here").model
