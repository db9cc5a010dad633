# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of an inventory's machines say of them, for a plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.cluster_addresses import cluster_addresses
from ansible_collections.herd.llama_cpp.plugins.filter.plan_input_problems import plan_input_problems
from ansible_collections.herd.llama_cpp.plugins.filter.plan_machines import plan_machines

GPU = {"name": "CUDA0", "total_mib": 24564}
ROUTE = {"ansible_facts": {"default_ipv4": {"address": "198.18.0.9"}}}
DEFAULTS = {"rpc_server_port": 50052, "rpc_server_tls": True, "rpc_server_user": "llama-rpc"}


def one(head: bool = False, **own: Any) -> dict[str, Any]:
    return plan_machines([{"inventory_hostname": "m", **own}], "m" if head else "other", DEFAULTS)[0]


def test_what_the_inventory_says_goes_before_what_was_seen():
    seen = {"cluster_plan_devices": [dict(GPU, name="CUDA1")], "cluster_plan_ram_free_mib": 5}
    assert (one(**seen)["devices"][0]["name"], one(**seen)["ram_free_mib"]) == ("CUDA1", 5)
    given = one(llama_devices=[GPU], llama_ram_free_mib=7, **seen)
    assert (given["devices"], given["ram_free_mib"]) == ([GPU], 7)
    assert one(llama_devices=[], **seen)["devices"] == [], "nothing of it holds layers"
    assert "ram_free_mib" not in one(), "nobody knows"


@pytest.mark.parametrize(("own", "address"), [
    ({}, "m"), ({"ansible_host": "10.0.0.1"}, "10.0.0.1"), ({"ansible_host": "10.0.0.1", **ROUTE}, "198.18.0.9"),
    ({"llama_cluster_address": "10.0.0.2", **ROUTE}, "10.0.0.2"),
    ({"rpc_server_address": "10.0.0.3", "llama_server_address": "10.0.0.4", "llama_cluster_address": "10.0.0.2"}, "10.0.0.3"),
    ({"ansible_facts": {"default_ipv4": {}}}, "m")])
def test_by_which_address_a_worker_is_reached(own, address):
    assert one(**own)["address"] == address


def test_a_head_has_the_address_of_its_api():
    assert one(head=True, rpc_server_address="10.0.0.3", llama_server_address="10.0.0.4")["address"] == "10.0.0.4"


def test_a_worker_has_its_settings_or_the_role_s():
    assert one(rpc_server_port=6000, rpc_server_threads="4")["worker"] == {
        "port": 6000, "tls": True, "threads": "4", "cache": None, "extra_args": None, "bin_dir": None}


def test_addresses_that_are_known():
    assert cluster_addresses([{"llama_cluster_address": "10.0.0.2"}, {}, ROUTE]) == ["10.0.0.2", "198.18.0.9"]
    for wrong in ("10.0.0.1", {}, [1]):
        with pytest.raises(AnsibleFilterError, match="cluster_addresses"):
            cluster_addresses(wrong)


def test_what_cannot_be_read_is_a_sentence():
    for wrong in ("m", {}, 1, [{}]):
        with pytest.raises(AnsibleFilterError, match="plan_machines"):
            plan_machines(wrong, "m")
    with pytest.raises(AnsibleFilterError, match="plan_input_problems"):
        plan_input_problems([{}], ["m"], {})


def problems(machines: list, heads: list, given: dict, model: str = "") -> list[tuple[str, str]]:
    return [(found["machine"], found["problem"]) for found in plan_input_problems(machines, heads, given, model)]


def test_what_is_missing_for_a_plan():
    assert problems([], [], {}) == [("this machine", "there is no model to plan for"),
                                    ("this inventory", "the group llama_host has 0 machines, and it needs exactly one")]
    for given, model in (({}, "/m.gguf"), ({"gguf_model_url": "https://x"}, ""), ({"gguf_model_pypi_package": "x"}, None)):
        assert problems([{"inventory_hostname": "m", "llama_devices": []}], ["m"], given, model) == []
    assert problems([], ["a", "b"], {}, "m") == [("this inventory", "the group llama_host has 2 machines, and it needs exactly one")]


@pytest.mark.parametrize(("own", "said"), [
    ({}, "llama_devices is not set, and the machine could not be looked at"),
    ({"cluster_plan_devices": []}, None), ({"llama_devices": [GPU]}, None),
    ({"llama_devices": "CUDA0"}, "llama_devices is not a list of devices"), ({"llama_devices": {}}, "llama_devices is not a list of devices"),
    ({"llama_devices": ["CUDA0"], "cluster_plan_devices": []}, "llama_devices is not a list of devices")])
def test_devices_that_are_none(own, said):
    assert problems([{"inventory_hostname": "m", **own}], ["m"], {}, "x") == ([("m", said)] if said else [])
