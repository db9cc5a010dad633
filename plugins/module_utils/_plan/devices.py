# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine can give to a plan, from what was seen on it.

Memory that our own services hold counts as free: a plan for a running cluster replaces what runs.
"""

from __future__ import annotations

import typing as t

Mapping = t.Mapping[str, t.Any]


class PlanDevicesError(ValueError):
    """The devices of a machine cannot be told; the message is a sentence's end for the user."""


def own_pids(units: t.Iterable[Mapping]) -> t.Dict[int, int]:
    """The running main processes of ``unit_process_info``'s units, each with its anonymous memory in MiB."""
    return {int(unit["main_pid"]): int(unit.get("anonymous_mib") or 0) for unit in units if unit.get("running")}


def gpu_free_mib(gpu: Mapping, pids: t.Container[int]) -> int:
    """What a GPU would have free without our own services.

    Where the driver does not tell what a process of ours holds (in containers, on WSL), everything that no other process
    is known to hold counts as ours.
    """
    free, total = gpu.get("free_mib"), gpu.get("total_mib")
    if free is None or total is None:
        raise PlanDevicesError("the driver does not tell the memory of GPU %s (%s)" % (gpu.get("index"), gpu.get("name")))
    ours = [process for process in gpu.get("processes") or [] if process.get("pid") in pids]
    if gpu.get("shared_memory"):
        # Free RAM: what other processes hold of it, nobody can tell, so what the driver does not tell of ours stays taken.
        return min(int(total), int(free) + sum(int(process.get("used_mib") or 0) for process in ours))
    if any(process.get("used_mib") is None for process in ours):
        others = sum(process.get("used_mib") or 0 for process in gpu["processes"] if process.get("pid") not in pids)
        return max(int(free), int(total) - int(gpu.get("reserved_mib") or 0) - others)
    return min(int(total), int(free) + sum(int(process["used_mib"]) for process in ours))


def gpu_devices(gpus: t.Sequence[Mapping], units: t.Iterable[Mapping] = ()) -> t.List[t.Dict[str, t.Any]]:
    """The GPUs of ``gpu_info`` as devices, named as llama.cpp names them under CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Of a GPU that shares the machine's RAM, what our processes hold by other means than the driver counts as free as well.
    """
    pids = own_pids(units)
    devices = []
    for gpu in gpus:
        number = (gpu.get("cuda_index") or {}).get("pci_bus_id")
        if number is None:
            raise PlanDevicesError("GPU %s (%s) is divided into instances (MIG), whose numbers the driver does not tell" % (
                gpu.get("index"), gpu.get("name")))
        free_mib = gpu_free_mib(gpu, pids)
        device: t.Dict[str, t.Any] = {
            "name": "CUDA%d" % number, "kind": "cuda", "total_mib": gpu.get("total_mib"), "free_mib": free_mib,
            "description": str(gpu.get("name") or ""),
        }
        if gpu.get("shared_memory"):
            device.update(shared_memory=True, free_mib=min(int(gpu["total_mib"]), free_mib + sum(pids.values())))
        devices.append(device)
    return sorted(devices, key=lambda device: int(device["name"][len("CUDA"):]))


def cpu_free_mib(machine: Mapping, units: t.Iterable[Mapping] = ()) -> int:
    """RAM in MiB that would be free without our own services, from what ``llama_machine_info`` and ``unit_process_info`` returned."""
    return min(int(machine["memory_mib"]), int(machine["memory_available_mib"]) + sum(own_pids(units).values()))


def ram_free_mib(machine: Mapping, units: t.Iterable[Mapping] = (), devices: t.Iterable[Mapping] = ()) -> int:
    """The same where ``devices`` may be GPUs that share the RAM: what our processes hold as GPU memory is RAM too."""
    return max([cpu_free_mib(machine, units)] + [int(device["free_mib"]) for device in devices if device.get("shared_memory")])


def cpu_device(machine: Mapping, units: t.Iterable[Mapping] = ()) -> t.Dict[str, t.Any]:
    """A machine's CPU as the device of a worker."""
    return {
        "name": "CPU", "kind": "cpu", "total_mib": int(machine["memory_mib"]), "free_mib": cpu_free_mib(machine, units),
        "description": str(machine.get("cpu_model") or ""),
    }


def chosen(devices: t.Sequence[t.Dict[str, t.Any]], names: t.Sequence[str]) -> t.List[t.Dict[str, t.Any]]:
    """The named devices, all of them where none is named."""
    known = {device["name"]: device for device in devices}
    missing = [name for name in names if name not in known]
    if missing:
        raise PlanDevicesError("%s is not among its devices (%s)" % (missing[0], ", ".join(known) or "none"))
    return [known[name] for name in names] if names else list(devices)
