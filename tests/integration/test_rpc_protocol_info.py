# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""rpc_protocol_info against the pinned llama.cpp (conftest.py says how to name another build)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.hello import ask_client, ask_server, parse_version


@pytest.fixture(scope="module")
def server(llama_cpp_bin: Path) -> str:
    """Under the name it has in this build."""
    return next(str(llama_cpp_bin / name) for name in ("ggml-rpc-server", "rpc-server") if (llama_cpp_bin / name).exists())


def test_a_head_accepts_the_worker_of_its_own_build_and_no_other_protocol(llama_cpp_bin: Path, server: str) -> None:
    version = ask_server(server)
    major, minor, patch = parse_version(version)
    client = str(llama_cpp_bin / "llama-server")
    assert ask_client(client, version)
    assert not ask_client(client, f"{major + 1}.{minor}.{patch}")
    assert not ask_client(client, f"{major}.{minor + 1}.{patch}")


def test_no_process_is_left(server: str) -> None:
    ask_server(server)
    # other tests have theirs, which are children of theirs
    assert not [path for path in Path("/proc").glob("[0-9]*/exe") if _target(path) == server and _parent(path.parent) in (1, os.getpid())]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
