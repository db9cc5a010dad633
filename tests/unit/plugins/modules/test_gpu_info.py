# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules gpu_info and plan_machine_info: what they return, and that their documentation says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.modules import gpu_info, plan_machine_info

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


def test_what_there_is_to_plan_with(nvidia_smi, capsys):
    nvidia_smi("535_rtx3090_rtx4090.xml")
    result = run(plan_machine_info, capsys, gpus=True)
    assert set(result) - {"changed", "invocation"} == returned(plan_machine_info)
    assert [gpu["free_mib"] for gpu in result["gpus"]] == [23054, 24216] and result["gpu_problem"] == ""
    assert 0 < result["memory_available_mib"] <= result["memory_mib"] and result["units"] == []
    assert run(plan_machine_info, capsys)["gpus"] == [], "nobody asked for them"


def test_gpus_that_cannot_be_looked_at_are_no_failure_of_the_look(nvidia_smi, capsys):
    nvidia_smi("535_rtx3090_rtx4090.xml", code=9)
    alone = run(gpu_info, capsys)
    assert alone["failed"]
    assert run(plan_machine_info, capsys, gpus=True)["gpu_problem"] == alone["msg"]


def test_of_the_services_those_that_run_are_named_with_what_becomes_free(monkeypatch, capsys):
    shown = "".join(f"Id={name}\nLoadState=loaded\nActiveState={state}\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\nNRestarts=0\n"
                    f"MainPID={pid}\n\n" for name, state, pid in (("llama-server.service", "active", os.getpid()), ("gone.service", "inactive", 0)))
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_a, **_k: "/usr/bin/systemctl")
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda *_a, **_k: (0, shown, ""))
    units = run(plan_machine_info, capsys, units=["llama-server.service", "gone.service"])["units"]
    assert [(unit["unit"], unit["running"], unit["main_pid"]) for unit in units] == [("llama-server.service", True, os.getpid())]
    assert set(units[0]) == set(yaml.safe_load(plan_machine_info.RETURN)["units"]["contains"]) and units[0]["anonymous_mib"] > 0
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda *_a, **_k: (1, "", "no bus"))
    assert run(plan_machine_info, capsys, units=["x.service"])["msg"] == "systemctl could not show the units: no bus."


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
