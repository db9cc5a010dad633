# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which worker services a machine has, and which units do not run what they should."""

from __future__ import annotations

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.workers import (
    WorkersError, WorkerSettings, outdated_units, worker_arguments, worker_instances,
)


def test_one_instance_for_each_device():
    instances = worker_instances(["CUDA0", "CUDA1"], "node1", "10.0.0.1", 50052)
    assert [(i["unit"], i["endpoint"], i["device"]) for i in instances] == [
        ("llama-rpc-server@0.service", "10.0.0.1:50052", "CUDA0"),
        ("llama-rpc-server@1.service", "10.0.0.1:50053", "CUDA1"),
    ]


def test_with_tls_the_head_connects_to_its_own_end_of_the_tunnel():
    instance = worker_instances(["CUDA0"], "node1", "192.168.1.101", 50052, tls=True)[0]
    assert (instance["endpoint"], instance["listens_on"]) == ("127.168.1.101:50052", "192.168.1.101:50052")
    assert instance["tls_unit"] == "llama-rpc-tls@0.service"


def test_without_tls_it_connects_to_the_worker_itself():
    instance = worker_instances(["CUDA0"], "node1", "192.168.1.101", 50052)[0]
    assert (instance["endpoint"], instance["listens_on"], instance["tls_unit"]) == ("192.168.1.101:50052", "192.168.1.101:50052", "")


def test_one_instance_without_a_device():
    assert [i["device"] for i in worker_instances([], "node1", "10.0.0.1", 50052)] == [""]


EXECUTABLE = "/opt/llama.cpp/builds/1/bin/llama-server"


def unit(**values):
    return {
        "unit": "u.service",
        "running": True,
        "environment": {"HERD_CONFIG_ID": "1"},
        "executable": EXECUTABLE,
        "executable_deleted": False,
        **values,
    }


def test_what_a_worker_is_started_with():
    """Behind its TLS it listens on the loopback address of its own network; without a device it takes what it finds."""
    plain, tls = (worker_instances(["CUDA0"], "node1", "192.168.1.101", 50052, tls=tls)[0] for tls in (False, True))
    assert worker_arguments(plain) == ["-H", "192.168.1.101", "-p", "50052", "-d", "CUDA0"]
    assert worker_arguments(tls, 4, True, ["--verbose"]) == ["-H", "127.0.0.1", "-p", "50052", "-d", "CUDA0", "-t", "4", "-c", "--verbose"]
    assert worker_arguments(worker_instances([], "node1", "10.0.0.1", 50052)[0]) == ["-H", "10.0.0.1", "-p", "50052"]


def test_the_settings_of_workers_as_an_inventory_has_them():
    assert WorkerSettings.of({}) == WorkerSettings.of({"port": None, "tls": "no", "threads": "0", "extra_args": None}) == WorkerSettings(extra_args=[])
    given = WorkerSettings.of({"port": "6000", "tls": "yes", "threads": "4", "cache": True, "extra_args": "--verbose", "bin_dir": "/srv/bin"})
    assert given == WorkerSettings(6000, True, 4, True, ["--verbose"], "/srv/bin")
    with pytest.raises(WorkersError, match="port|literal"):
        WorkerSettings.of({"port": "many"})


def test_what_runs_as_configured_is_left_alone():
    assert outdated_units([unit()], {"u.service": "1"}, EXECUTABLE) == []


@pytest.mark.parametrize(
    "values",
    [
        {"running": False},
        {"environment": {"HERD_CONFIG_ID": "2"}},
        {"environment": {}},
        {"executable": "/opt/llama.cpp/builds/2/bin/llama-server"},
        {"executable_deleted": True},
        {"unit": "other.service"},
    ],
    ids=str,
)
def test_any_difference_calls_for_a_restart(values):
    assert outdated_units([unit(**values)], {"u.service": "1"}, EXECUTABLE) == ["u.service"]


def test_units_that_are_not_wanted_do_not_matter():
    assert outdated_units([unit(), unit(unit="old.service", running=False)], {"u.service": "1"}, EXECUTABLE) == []


def test_a_unit_that_has_loaded_another_key_than_the_one_that_is_kept_is_outdated():
    assert outdated_units([unit(stale_credentials=[])], {"u.service": "1"}, EXECUTABLE) == []
    assert outdated_units([unit(stale_credentials=["psk"])], {"u.service": "1"}, EXECUTABLE) == ["u.service"]


def test_which_file_it_was_started_from_matters_only_where_one_is_named():
    assert outdated_units([unit(executable="/usr/bin/python3.11", executable_deleted=True)], {"u.service": "1"}) == []
    assert outdated_units([unit(environment={})], {"u.service": ""}) == []
    assert outdated_units([unit()], {"u.service": ""}) == ["u.service"]


@pytest.mark.parametrize(("changed", "outdated"), [
    (["/etc/systemd/system/w@.service"], ["w@0.service", "w@1.service"]),
    (["/etc/w/1.env"], ["w@1.service"]),
    (["/etc/systemd/system/w@0.service"], ["w@0.service"]),
    (["/etc/systemd/system/w-tls@.service", "/etc/w/0.tls", "/etc/w/10.env"], []),
])
def test_a_unit_whose_own_file_was_another_is_outdated(changed, outdated):
    units = [unit(unit=f"w@{number}.service") for number in (0, 1)]
    assert outdated_units(units, {"w@0.service": "1", "w@1.service": "1"}, EXECUTABLE, changed) == outdated
