# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""rpc_protocol_info against real executables.

    LLAMA_CPP_BIN_DIR=DIRECTORY pytest tests/integration/test_rpc_protocol_info.py

The directory is that of a llama.cpp build with llama-server and ggml-rpc-server (or rpc-server, as older builds call it).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc_hello import ask_client, ask_server, parse_version

BIN_DIR = Path(os.environ.get("LLAMA_CPP_BIN_DIR", "/nonexistent"))
SERVERS = [str(BIN_DIR / name) for name in ("ggml-rpc-server", "rpc-server") if (BIN_DIR / name).exists()]
CLIENT = BIN_DIR / "llama-server"

pytestmark = pytest.mark.skipif(not SERVERS or not CLIENT.exists(), reason="LLAMA_CPP_BIN_DIR has no llama-server and rpc-server")


def test_a_head_accepts_the_worker_of_its_own_build_and_no_other_protocol() -> None:
    version = ask_server(SERVERS[0])
    major, minor, patch = parse_version(version)
    assert ask_client(str(CLIENT), version)
    assert not ask_client(str(CLIENT), f"{major + 1}.{minor}.{patch}")
    assert not ask_client(str(CLIENT), f"{major}.{minor + 1}.{patch}")


def test_no_process_is_left() -> None:
    ask_server(SERVERS[0])
    running = [path for path in Path("/proc").glob("[0-9]*/exe") if path.is_symlink() and _target(path) == SERVERS[0]]
    assert not running


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
