# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a command line when it is only read. What llama-server says of one: tests/integration/test_server_arguments.py."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import argument_check


@pytest.mark.parametrize(("given", "kept"), [
    (["--rpc", "10.0.0.1:50052", "--temp", "1"], ["--temp", "1"]),
    (["--rpc=10.0.0.1:50052", "-dev=RPC0", "--temp=1"], ["--temp=1"]),
    (["--temp", "1", "--device"], ["--temp", "1"]),
    (["--log-prompts-dir", "/var/prompts", "--override_tensor", "x=RPC0", "--temp", "1"], ["--temp", "1"]),
    (["--alias", "--rpc-like", "-ot", "x=RPC0", "-mmdev", "RPC1"], ["--alias", "--rpc-like"]),
])
def test_what_reaches_the_workers_is_left_out(given, kept):
    assert argument_check.readable_arguments(given) == kept


@pytest.mark.parametrize(("returncode", "output", "says"), [
    (0, "error: of no consequence", ""),
    (1, "error: invalid argument: --x\n", "invalid argument: --x"),
    (1, 'warning: no GPU\nerror while handling argument "--ctx-size": stoi\n\nusage:\n', '"--ctx-size": stoi'),
    (1, '0.00.001.234 W error while handling argument "--ctx-size": stoi\n\nusage:\nDEPRECATED: argument\n', '"--ctx-size": stoi'),
    (127, "/opt/x/llama-server: error while loading shared libraries: libx.so\n", ""),
    (-11, "", ""),
])
def test_only_a_refusal_is_one(returncode, output, says):
    assert argument_check.refusal(returncode, output) == says


USAGE = "Usage: /opt/x/rpc-server [options]\n"


@pytest.mark.parametrize(("returncode", "output", "says"), [
    (0, USAGE, ""),
    (0, "ggml_cuda_init: found no devices\n" + USAGE, ""),
    (0, "error: unknown argument: --x\n" + USAGE, "unknown argument: --x"),
    (0, "ggml_cuda_init: found no devices\nerror: unknown argument: --x\n" + USAGE, "unknown argument: --x"),
    (127, "rpc-server: error while loading shared libraries: libx.so\n", "rpc-server: error while loading shared libraries: libx.so"),
    (-6, "terminate called\n  what():  stoi\n\n", "what():  stoi"),
    (-11, "", "it ends with -11"),
])
def test_rpc_server_refuses_in_its_first_line_and_ends_with_0(returncode, output, says):
    assert argument_check.rpc_server_refusal(returncode, output) == says
