# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a llama-server that is about to be started over the very workers it will have, by its unit."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import Answer, Asker, CannotBeAsked, Workers, ask_in_private
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.rounds import answer_as_dict, answer_from_dict
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import value_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import environment_of, exec_arguments


class Question(NamedTuple):
    """What a unit starts, and over what."""

    bin_dir: str
    model: str
    arguments: List[str]
    environment: Dict[str, str]
    endpoints: str
    devices: Tuple[str, ...]
    counts: Tuple[int, ...]
    user: str


def question(unit: str, plan: Mapping[str, Any]) -> Question:
    """From the text of a unit that starts a plan's split; raises CannotBeAsked where it starts another one, and SystemdError."""
    words = exec_arguments(unit)
    counts = tuple(int(count) for count in plan["tensor_split"])
    devices = ",".join(str(device["llama_device"]) for device in plan["devices"])
    split = ",".join(str(count) for count in counts) if len(counts) > 1 else ""
    if not devices or value_of("--device", words) != devices or value_of("--tensor-split", words) != split:
        raise CannotBeAsked("its unit starts it with other devices than planned")
    users = [line.partition("=")[2].strip() for line in unit.splitlines() if line.startswith("User=")]
    return Question(os.path.dirname(words[0]), value_of("--model", words), words[1:], environment_of(unit), value_of("--rpc", words),
                    tuple(devices.split(",")), counts, users[-1] if users else "root")


def ask_over_workers(asked: Question, user_id: int, group_id: int, timeout_s: float) -> Answer:
    """What llama.cpp says of the plan's split over its workers, which must be idle. Raises AskError."""
    def work() -> Dict[str, Any]:
        workers = Workers(asked.endpoints, asked.devices, user_id, group_id)
        with Asker(asked.bin_dir, asked.model, len(asked.devices), asked.arguments, asked.environment, timeout_s=timeout_s, workers=workers) as asker:
            return answer_as_dict(asked.counts, asker.ask(asked.counts))

    return answer_from_dict(ask_in_private(work, own_network=False))[1]
