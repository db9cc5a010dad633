# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules gpu_info and rpc_device_info: what they return, and that their documentation says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc import client as rpc_client
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SocketProcess, TcpSocket
from ansible_collections.herd.llama_cpp.plugins.modules import gpu_info, rpc_device_info

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
LISTENER = TcpSocket("listening", "10.0.0.1", 50052, "0.0.0.0", 0, 0, 1, (SocketProcess("ggml-rpc-server", 2**22 + 1),))


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


@pytest.mark.parametrize("module", [gpu_info, rpc_device_info])
def test_a_time_that_cannot_be(module, capsys):
    assert "timeout_s is 0.0" in run(module, capsys, timeout_s=0)["msg"]


@pytest.mark.parametrize(("params", "message"), [({"address": "worker1"}, "address is 'worker1'"), ({"port": 0}, "port is 0")])
def test_a_worker_that_cannot_be(params, message, capsys):
    assert message in run(rpc_device_info, capsys, **params)["msg"]


def answering(monkeypatch, outcome):
    def ask(*_arguments):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(rpc_device_info, "ask_idle_worker", ask)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_a, **_k: "/bin/ss")


def test_an_idle_worker(monkeypatch, capsys):
    answering(monkeypatch, rpc_client.WorkerReport("7.0.0", (rpc_client.RpcDevice(0, (24253 << 20) + 5, 24576 << 20),), LISTENER))
    result = run(rpc_device_info, capsys, address="10.0.0.1")
    assert set(result) - {"changed", "invocation"} == returned(rpc_device_info)
    assert result["devices"] == [{"index": 0, "free_mib": 24253, "total_mib": 24576}]
    assert (result["endpoint"], result["busy"], result["process"], result["pid"]) == ("10.0.0.1:50052", False, "ggml-rpc-server", 2**22 + 1)


def test_a_busy_worker(monkeypatch, capsys):
    answering(monkeypatch, rpc_client.WorkerBusy("serves a client: ss shows a connection from 10.0.0.9:4", LISTENER))
    result = run(rpc_device_info, capsys, address="10.0.0.1")
    assert set(result) - {"changed", "invocation"} == returned(rpc_device_info)
    assert result["busy"] is True and result["devices"] == [] and result["changed"] is False
    assert result["busy_reason"] == "10.0.0.1:50052 serves a client: ss shows a connection from 10.0.0.9:4."


def test_a_worker_that_cannot_be_asked(monkeypatch, capsys):
    answering(monkeypatch, rpc_client.RpcError("has no listener on this machine; start the worker"))
    result = run(rpc_device_info, capsys, address="10.0.0.1")
    assert result["failed"] is True and result["msg"] == "10.0.0.1:50052 has no listener on this machine; start the worker."
