# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan: which device holds which slots of the model, whether that fits, and what there is to say where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import MIB
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts, DeviceMemory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Request


@dataclass(frozen=True)
class Placed:
    """A device, and what its run of slots takes of it."""

    device: Device
    memory: DeviceMemory

    @property
    def headroom_mib(self) -> int:
        """What stays free besides the reserve, rounded down."""
        return (self.device.capacity_mib * MIB - self.memory.total_bytes) // MIB

    @property
    def n_slots(self) -> int:
        """How many slots it holds: a layer is one, and so is the output."""
        return self.memory.end_slot - self.memory.first_slot


@dataclass(frozen=True)
class Split:
    """Devices in the order llama.cpp is told, each with its run of slots. ``machines`` is how many serve, the head among them."""

    placed: Tuple[Placed, ...]
    machines: int
    # "beam" where of many different devices only the best sets were tried
    search: str = "exact"

    @property
    def headroom_mib(self) -> int:
        """What stays free besides the reserve on the device that has least left."""
        return min(p.headroom_mib for p in self.placed)


@dataclass
class Plan:
    """What comes of a request. Where nothing fits, the split is the one that comes nearest, None where there is none."""

    request: Request
    split: Optional[Split]
    fits: bool
    accounts: Accounts
    # for the user: why it cannot serve whatever its devices have left
    problems: List[str] = field(default_factory=list)
    # in tokens; 0 where none was looked for
    largest_context: int = 0
    # the device that lacks most (machine, device, missing_mib), and what all lack together (total_missing_mib)
    shortfall: Optional[Dict[str, Any]] = None
    # what ways_out.py found
    ways_out: List[Dict[str, Any]] = field(default_factory=list)
    # no device at all: the head's CPU runs the model, and this is what its RAM has left, where its size is known
    on_head: bool = False
    headroom_mib: Optional[int] = None
    # the bound, or what is known of another llama.cpp, does not fit, and what is known exactly does
    may_fit: bool = False
