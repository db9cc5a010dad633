# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is asked for: a model, llama-server's settings, machines with their devices, and a policy; and whether that can be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import KV_TYPES, RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import BLOCKS, Model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts

POLICIES = ("fewest_machines", "most_headroom", "all_machines", "named_machines")


class PlanError(Exception):
    """No plan can be computed; the message is one sentence for the user."""


@dataclass(frozen=True)
class Device:
    """A device that may hold layers: its machine, llama.cpp's word for it there, and its memory in MiB."""

    machine: str
    name: str
    # "cuda" or "cpu", by which buffers are aligned and rows are padded
    kind: str = "cuda"
    total_mib: int = 0
    free_mib: int = 0
    reserve_mib: int = 0
    description: str = ""
    # whether its memory is the machine's RAM, as of a GPU on the processor's chip
    shared_memory: bool = False
    # what llama-server itself takes of that memory where the head is this machine: with further devices, and alone
    host_mib: int = 0
    host_alone_mib: int = 0

    @property
    def capacity_mib(self) -> int:
        """What layers may take of it, in MiB; negative where the reserve alone is more than is free."""
        return self.free_mib - self.reserve_mib - self.host_mib

    def alone(self) -> "Device":
        """The device as the only one of a plan: llama-server needs less itself then."""
        return replace(self, host_mib=self.host_alone_mib)

    @property
    def label(self) -> str:
        """What it is called in a cluster: machine/device."""
        return "%s/%s" % (self.machine, self.name)


@dataclass(frozen=True)
class Machine:
    """A machine, its devices, and the MiB of its RAM that are free, None where that is not known."""

    name: str
    devices: Tuple[Device, ...] = ()
    ram_free_mib: Optional[int] = None


@dataclass
class Beside:
    """What stands beside the model: model and settings with what it adds to them, and the machines without what it takes of their devices."""

    model: Model
    settings: RunSettings
    machines: List[Machine]
    host_extra_mib: int = 0
    # the parts with a place of their own, as facts
    parts: List[Dict[str, Any]] = field(default_factory=list)
    # llama_server's variables for it, without their prefix
    words: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """Everything a plan depends on. ``head`` is the name of a machine, as those in ``named`` are (for the policy named_machines)."""

    model: Model
    settings: RunSettings
    machines: Tuple[Machine, ...]
    head: str
    policy: str = "fewest_machines"
    named: Tuple[str, ...] = ()
    # what must stay free on every device besides its reserve
    headroom_mib: int = 0
    # MiB of the head's process besides, such as a multimodal projector that runs on the CPU
    host_extra_mib: int = 0
    # no machine has a device and the head's CPU is to run the model
    head_cpu: bool = False
    beside: Optional[Beside] = None
    # whether the llama.cpp that will run is the one that the formulas were compared with
    compared: bool = False
    # MiB of the head's RAM for earlier prompts, and how many states of each slot are kept to go back to; of no split's basis (keep.py)
    cache_ram_mib: int = 0
    ctx_checkpoints: int = 0


def unsure_of(model: Model, settings: RunSettings) -> Tuple[str, ...]:
    """Why the plan of a model with these settings rests on a bound; empty where every figure is llama.cpp's own."""
    return model.unknown + (() if settings.flash_attention else ("compute buffers without flash attention",))


def check_settings(model: Model, settings: RunSettings) -> None:
    """Refuse what llama.cpp refuses. Raises PlanError."""
    if settings.context_size < 1 or settings.parallel < 1 or settings.ubatch < 1 or settings.batch < 1:
        raise PlanError("context size, slots, batch and micro batch must be at least 1")
    if settings.parallel > 256:
        raise PlanError("llama.cpp serves at most 256 slots, not %d" % settings.parallel)
    for name in (settings.type_k, settings.type_v):
        if name.lower() not in KV_TYPES:
            raise PlanError("'%s' is no type of a KV cache; choose one of %s" % (name, ", ".join(KV_TYPES)))
    if not settings.flash_attention and settings.type_v.lower() not in ("f32", "f16", "bf16"):
        raise PlanError("a quantised V cache needs flash attention")
    if any(layer.kind.mla for layer in model.layers) and settings.type_k.lower() != settings.type_v.lower():
        raise PlanError("this model's latent attention has one cache: llama.cpp wants the same type for K and V")
    for layer in model.layers:
        for type_name, row in ((settings.type_k, layer.k_row), (settings.type_v, layer.v_row)):
            if row % BLOCKS[type_name.lower()][0]:
                raise PlanError("a KV cache of type %s needs rows of a multiple of %d, this model's have %d" % (
                    type_name, BLOCKS[type_name.lower()][0], row))


def candidates(request: Request) -> List[Machine]:
    """The machines a policy may use; the head is always among them. Raises PlanError for a policy or a machine that there is not."""
    names = {m.name for m in request.machines}
    if request.head not in names:
        raise PlanError("the head %s is not among the machines" % request.head)
    unknown = [n for n in request.named if n not in names]
    if unknown:
        raise PlanError("%s is not among the machines" % unknown[0])
    if request.policy not in POLICIES:
        raise PlanError("'%s' is no policy; choose one of %s" % (request.policy, ", ".join(POLICIES)))
    if request.policy == "named_machines":
        if not request.named:
            raise PlanError("the policy named_machines needs the names of the machines")
        wanted = set(request.named) | {request.head}
        # a head that is not named still runs llama-server, but none of its devices is used
        return [m if m.name in request.named else replace(m, devices=()) for m in request.machines if m.name in wanted]
    return list(request.machines)


def accounts_of(model: Model, settings: RunSettings) -> Accounts:
    """What is known of a model without asking llama.cpp: formulas, or a bound where there are none for all of it."""
    return BoundAccounts(model, settings) if unsure_of(model, settings) else Accounts(model, settings)
