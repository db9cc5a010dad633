# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What a unit says of how llama-server is to be started. That it is asked so is shown by tests/integration/test_plan_word.py."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import word
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import systemd

UNIT = """[Service]
Environment=HERD_CONFIG_ID=abc
Environment="GGML_NO_BACKTRACE=1"
Environment="WITH=a 50%% \\"part\\""
ExecStartPre=/usr/bin/rm -f /run/llama-server/api.sock
ExecStart=/opt/llama.cpp/current/bin/llama-server \\
    --model "/srv/a model.gguf" \\
    --rpc 127.0.0.1:50152,127.0.0.1:50153 \\
    --device CUDA0,RPC0,RPC1 \\
    --tensor-split 9,8,7 \\
    --api-key-file ${CREDENTIALS_DIRECTORY}/api-key
User=llama-server
"""
PLAN = {"devices": [{"llama_device": name} for name in ("CUDA0", "RPC0", "RPC1")], "tensor_split": [9, 8, 7]}


def test_the_question_is_the_unit_s() -> None:
    asked = word.question(UNIT, PLAN)
    assert (asked.bin_dir, asked.model, asked.user) == ("/opt/llama.cpp/current/bin", "/srv/a model.gguf", "llama-server")
    assert (asked.endpoints, asked.devices, asked.counts) == ("127.0.0.1:50152,127.0.0.1:50153", ("CUDA0", "RPC0", "RPC1"), (9, 8, 7))
    assert asked.environment == {"HERD_CONFIG_ID": "abc", "GGML_NO_BACKTRACE": "1", "WITH": 'a 50% "part"'}
    assert ask.asked_arguments(asked.arguments) == []


def test_one_device_has_no_split() -> None:
    one = {"devices": PLAN["devices"][:1], "tensor_split": [24]}
    unit = UNIT.replace("--device CUDA0,RPC0,RPC1", "--device CUDA0").replace("    --tensor-split 9,8,7 \\\n", "")
    assert word.question(unit, one).counts == (24,)


@pytest.mark.parametrize(("old", "new"), [("9,8,7", "9,9,6"), ("CUDA0,RPC0", "RPC1,RPC0"), ("--device", "--dev"), (UNIT, "")])
def test_a_unit_that_starts_something_else_is_not_asked(old: str, new: str) -> None:
    with pytest.raises(ask.CannotBeAsked, match="other devices than planned"):
        word.question(UNIT.replace(old, new), PLAN)


@pytest.mark.parametrize("value", ["", "a b", "50%", 'say "no"', "back\\slash", "two\nlines", "=x="])
def test_a_unit_s_environment_is_read_as_it_was_written(value: str) -> None:
    assert systemd.environment_of("[Service]\nEnvironment=%s\n" % systemd.quote_environment("NAME", value)) == {"NAME": value}


def made(**more: Any) -> dict:
    return {"kept": True, "figures": {"source": "asked", "build": "b11434"}, "devices": [{"asked": {"weights_mib": 1}}],
            "host": {"asked": {"weights_mib": 5}}, **more}


def test_a_plan_that_is_kept_keeps_what_was_said_over_its_workers() -> None:
    earlier = made(figures={"source": "asked", "build": "b11434", "over_workers": True}, devices=[{"asked": {"weights_mib": 3}}])
    found = report.with_word(made(), earlier)
    assert found["devices"] == [{"asked": {"weights_mib": 3}}] and found["figures"]["over_workers"]
    for other in (made(kept=False), made(figures={"source": "asked", "build": "b11435"})):
        found = report.with_word(other, earlier)
        assert found["devices"] == [{"asked": {"weights_mib": 1}}] and "over_workers" not in found["figures"]
    assert "over_workers" not in report.with_word(made(), made())["figures"]
