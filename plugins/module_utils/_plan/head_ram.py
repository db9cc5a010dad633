# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head's RAM: what llama-server itself takes of it, with devices and where the head's CPU runs the model alone, and whether that fits.

Where a device of the head shares the machine's RAM, as a GPU on the processor's chip does, the same is taken from the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.beside import PART_NAMES
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import mib_up
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts, HostMemory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, Request
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.words import kept_words

# The head's own process besides the buffers counted here: measured between 60 and 250 MiB, mostly the vocabulary. Fitted.
HEAD_PROCESS_MIB = 300


def with_host_share(request: Request, accounts: Accounts, device: Device) -> Device:
    """The device with what llama-server itself needs taken from its memory, where that is the head's RAM."""
    if not device.shared_memory or device.machine != request.head:
        return device
    several, alone = (_host_parts(accounts.host(by_itself), request, accounts)["total_mib"] for by_itself in (False, True))
    return replace(device, host_mib=several, host_alone_mib=alone)


def machines_with_host_share(request: Request, accounts: Accounts, machines: Sequence[Machine]) -> List[Machine]:
    """The machines with what llama-server itself needs taken from devices whose memory is the head's RAM."""
    return [replace(m, devices=tuple(with_host_share(request, accounts, d) for d in m.devices)) for m in machines]


def head_spare_mib(request: Request, accounts: Accounts) -> Optional[int]:
    """What the head's RAM has left, in MiB, when its CPU runs everything, None where its size is not known."""
    ram = next(m for m in request.machines if m.name == request.head).ram_free_mib
    if ram is None:
        return None
    return ram - _host_parts(accounts.host_alone(), request, accounts)["total_mib"]


def _beside_alone(plan: Plan) -> List[Tuple[Device, Dict[str, Any]]]:
    """What stands beside the model on devices without layers, of which the search leaves nothing to judge."""
    holding = {p.device.label for p in plan.split.placed} if plan.split is not None else set()
    devices = {d.label: d for m in plan.request.machines for d in m.devices if d.label not in holding}
    parts = plan.request.beside.parts if plan.request.beside is not None else []
    return [(devices[label], part) for part in parts for label in ["%(machine)s/%(device)s" % part] if label in devices]


def host_problems(plan: Plan) -> List[str]:
    """What is too large for the head's own RAM, and for devices that hold no layers and a part beside the model: a sentence for each."""
    if plan.split is None:
        return []
    host = host_mib(plan)
    need = host["total_mib"]
    head = next(m for m in plan.request.machines if m.name == plan.request.head)
    problems, alone = [], _beside_alone(plan)
    for device in dict.fromkeys(d for d, _part in alone):
        if device.free_mib < device.reserve_mib and (head.ram_free_mib is None or not _in_head_ram(plan, device)):
            parts = [part for other, part in alone if other is device]
            mib = sum(part["mib"] for part in parts)
            problems.append("%s: %s has no room for the %s: %d MiB and the reserve of %d MiB, %d MiB are free; name another device, or none for the RAM"
                            " of %s (%s)" % (device.machine, device.name, " and the ".join(PART_NAMES[part["for"]] for part in parts), mib,
                                             device.reserve_mib - mib, device.free_mib, head.name,
                                             ", ".join("cluster_plan_%s_device" % part["for"] for part in parts)))
    if any(p.device.machine == head.name and p.device.shared_memory for p in plan.split.placed):
        # Counted on that device already, whose memory is this RAM.
        return problems
    cpu = sum(mib_up(p.memory.total_bytes) for p in plan.split.placed if p.device.machine == head.name and p.device.kind == "cpu")
    if head.ram_free_mib is not None and need + cpu > head.ram_free_mib:
        problems.append("%s: llama-server needs about %d MiB of RAM%s, %d MiB are free%s" % (
            head.name, need + cpu, kept_words(host), head.ram_free_mib, less_kept(host, plan.request, need + cpu - head.ram_free_mib)))
    return problems


def less_kept(host: Mapping[str, int], request: Request, missing_mib: int) -> str:
    """With how much less of what llama-server keeps of prompts it fits where that much is missing, in words; empty where nothing of that would do."""
    cache_mib, checkpoints = host["prompt_cache_mib"], request.ctx_checkpoints
    if missing_mib <= cache_mib:
        return "; llama_server_cache_ram_mib: %d fits" % (cache_mib - missing_mib)
    each_mib = host["checkpoints_mib"] // checkpoints if checkpoints else 0
    # 2 more, because all of them together are rounded up
    fewer = -(-(missing_mib - cache_mib + 2) // each_mib) if each_mib else checkpoints + 1
    if fewer > checkpoints:
        return ""
    return "; llama_server_cache_ram_mib: 0 and llama_server_ctx_checkpoints: %d fit" % (checkpoints - fewer)


def _in_head_ram(plan: Plan, device: Device) -> bool:
    return device.shared_memory and device.machine == plan.request.head


def host_mib(plan: Plan) -> Dict[str, int]:
    """What llama-server takes of the head's RAM, in MiB: input embeddings, caches, compute buffer, results, its process, what it keeps of prompts, and
    what lies there besides."""
    if plan.on_head:
        return _host_parts(plan.accounts.host_alone(), plan.request, plan.accounts)
    parts = _host_parts(plan.accounts.host(plan.split is not None and len(plan.split.placed) == 1), plan.request, plan.accounts)
    more = sum(part["mib"] for device, part in _beside_alone(plan) if _in_head_ram(plan, device))
    return dict(parts, extra_mib=parts["extra_mib"] + more, total_mib=parts["total_mib"] + more)


def _host_parts(host: HostMemory, request: Request, accounts: Accounts) -> Dict[str, int]:
    # tools/server/server-task.cpp, server_prompt_cache: its limit holds before an entry is made, and counts the checkpoints that an entry has
    parts = {
        "weights_mib": mib_up(host.weight_bytes),
        "kv_mib": mib_up(host.context_bytes),
        "compute_mib": mib_up(host.compute_bytes),
        "output_mib": mib_up(host.output_bytes),
        "process_mib": HEAD_PROCESS_MIB,
        "prompt_cache_mib": request.cache_ram_mib,
        "checkpoints_mib": mib_up(request.ctx_checkpoints * request.settings.parallel * accounts.checkpoint_bytes()),
        "extra_mib": request.host_extra_mib + mib_up(host.beside_bytes),
    }
    parts["total_mib"] = sum(parts.values())
    return parts
