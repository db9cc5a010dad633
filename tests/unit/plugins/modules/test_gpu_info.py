# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_info: what it returns, and that its documentation says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.modules import gpu_info

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"


def run(module, capsys, **params):
    with patch_module_args(params), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def returned(module):
    return set(yaml.safe_load(module.RETURN))


def program(directory, fixture, code):
    path = directory / "nvidia-smi"
    path.write_text(f"#!/bin/sh\ncat '{FIXTURES}'/documented_{fixture}\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    def put(fixture, code=0):
        monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_a, **_k: program(tmp_path, fixture, code))

    return put


def test_gpus(nvidia_smi, capsys):
    nvidia_smi("535_rtx3090_rtx4090.xml")
    result = run(gpu_info, capsys)
    documented = yaml.safe_load(gpu_info.RETURN)["gpus"]["contains"]
    assert set(result) - {"changed", "invocation"} == returned(gpu_info)
    for gpu in result["gpus"]:
        assert set(gpu) == set(documented)
        assert set(gpu["cuda_index"]) == set(documented["cuda_index"]["contains"])
        assert all(set(process) == set(documented["processes"]["contains"]) for process in gpu["processes"])
    assert [gpu["free_mib"] for gpu in result["gpus"]] == [23054, 24216]


def test_a_driver_that_fails_is_quoted(nvidia_smi, capsys):
    nvidia_smi("driver_not_running.txt", 9)
    result = run(gpu_info, capsys)
    assert result["failed"] is True
    assert result["msg"] == (
        "nvidia-smi cannot reach the GPUs, it says \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make"
        ' sure that the latest NVIDIA driver is installed and running."; load the driver (modprobe nvidia) or install the one for the'
        " running kernel."
    )


def test_a_time_that_cannot_be(capsys):
    assert "timeout_s is 0.0" in run(gpu_info, capsys, timeout_s=0)["msg"]
