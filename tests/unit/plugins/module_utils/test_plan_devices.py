# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""What a machine gives to a plan: our own services' memory counts as free, nobody else's does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.plan_devices import FilterModule
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import nvidia_smi
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import devices as _plan_devices

devices_of = FilterModule().filters()["plan_devices"]
FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
MACHINE = {"memory_mib": 64000, "memory_available_mib": 50000, "cpu_model": "EPYC"}


def gpu(index: int = 0, **more: Any) -> dict:
    return dict({"index": index, "name": "RTX 4090", "cuda_index": {"pci_bus_id": index, "fastest_first": None}, "total_mib": 24564,
                 "reserved_mib": 300, "free_mib": 4000, "used_mib": 20264, "processes": []}, **more)


def unit(pid: int, anonymous_mib: int = 0, running: bool = True) -> dict:
    return {"unit": "llama-rpc-server@0.service", "main_pid": pid, "running": running, "anonymous_mib": anonymous_mib}


def process(pid: int, used_mib: int | None) -> dict:
    return {"pid": pid, "name": "x", "kind": "C", "used_mib": used_mib}


def test_what_our_worker_holds_counts_as_free() -> None:
    own = gpu(processes=[process(7, 19000), process(8, 1000)])
    assert devices_of(MACHINE, "cuda", gpus=[own], units=[unit(7)])["devices"] == [
        {"name": "CUDA0", "kind": "cuda", "total_mib": 24564, "free_mib": 23000, "description": "RTX 4090"}]
    assert devices_of(MACHINE, "cuda", gpus=[own], units=[unit(7, running=False)])["devices"][0]["free_mib"] == 4000


def test_never_more_than_there_is() -> None:
    assert _plan_devices.gpu_free_mib(gpu(processes=[process(7, 24000)]), {7}) == 24564


def test_a_driver_that_does_not_say_what_a_process_holds() -> None:
    unsaid = gpu(processes=[process(7, None), process(8, 1000)])
    assert _plan_devices.gpu_free_mib(unsaid, {7}) == 24564 - 300 - 1000
    assert _plan_devices.gpu_free_mib(unsaid, {9}) == 4000, "a stranger's memory is not free"


def test_a_gpu_that_shares_the_ram_counts_our_memory_of_both_kinds_once() -> None:
    shared = gpu(name="NVIDIA GB10", shared_memory=True, total_mib=64000, free_mib=20000, reserved_mib=0, processes=[process(7, 30000), process(8, 500)])
    seen = devices_of(MACHINE, "cuda", gpus=[shared], units=[unit(7, 900)])
    assert seen["devices"] == [
        {"name": "CUDA0", "kind": "cuda", "total_mib": 64000, "free_mib": 50900, "description": "NVIDIA GB10", "shared_memory": True}]
    assert devices_of(dict(MACHINE, memory_available_mib=20000), "cuda", gpus=[shared], units=[unit(7, 900)])["ram_free_mib"] == 50900
    assert devices_of(MACHINE, "cuda", gpus=[dict(shared, free_mib=63999)], units=[unit(7, 900)])["devices"][0]["free_mib"] == 64000
    # what the driver does not tell is not made up from RAM that may be anybody's
    untold = dict(shared, processes=[process(7, None)])
    assert devices_of(MACHINE, "cuda", gpus=[untold], units=[unit(7, 900)])["devices"][0]["free_mib"] == 20900


def test_gpus_come_in_the_order_of_their_numbers_and_can_be_limited() -> None:
    gpus = [gpu(1), gpu(0)]
    assert [d["name"] for d in devices_of(MACHINE, "cuda", gpus=gpus)["devices"]] == ["CUDA0", "CUDA1"]
    assert [d["name"] for d in devices_of(MACHINE, "cuda", gpus=gpus, names=["CUDA1"])["devices"]] == ["CUDA1"]
    with pytest.raises(AnsibleFilterError, match=r"CUDA3 is not among its devices \(CUDA0, CUDA1\)"):
        devices_of(MACHINE, "cuda", gpus=gpus, names=["CUDA3"])


def test_documented_gpus() -> None:
    text = (FIXTURES / "documented_535_rtx3090_rtx4090.xml").read_text(encoding="utf-8")
    report = nvidia_smi.parse_xml(nvidia_smi.Finished(0, text))
    gpus = [dict(asdict(seen), cuda_index=number)
            for seen, number in zip(report.gpus, nvidia_smi.cuda_indices(report.gpus))]
    found = devices_of(MACHINE, "cuda", gpus=gpus)["devices"]
    assert [d["name"] for d in found] == ["CUDA0", "CUDA1"] and all(0 < d["free_mib"] <= d["total_mib"] for d in found)


@pytest.mark.parametrize(("broken", "message"), [
    (gpu(cuda_index={"pci_bus_id": None}), "MIG"),
    (gpu(free_mib=None), "does not tell the memory"),
    (gpu(total_mib=None), "does not tell the memory"),
])
def test_what_cannot_be_told_is_said(broken: dict, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        devices_of(MACHINE, "cuda", gpus=[broken])


def test_a_cpu_is_a_worker_s_device_and_not_the_head_s() -> None:
    seen = devices_of(MACHINE, "cpu", units=[unit(7, 9000)])
    assert seen == {"ram_free_mib": 59000, "devices": [
        {"name": "CPU", "kind": "cpu", "total_mib": 64000, "free_mib": 59000, "description": "EPYC"}]}
    assert devices_of(MACHINE, "cpu", head=True) == {"ram_free_mib": 50000, "devices": []}
    assert devices_of(MACHINE, "cpu", units=[unit(7, 90000)])["ram_free_mib"] == 64000


def test_nonsense_is_a_sentence() -> None:
    with pytest.raises(AnsibleFilterError, match="not 'vulkan'"):
        devices_of(MACHINE, "vulkan")
    with pytest.raises(AnsibleFilterError, match="lacks something"):
        devices_of({}, "cpu")
