# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines change their roles, leave, come back and are not needed: what they no longer are is gone from them.

One story, whose tests need their order. It ends with head and worker swapped, and the scenario's teardown, which knows only the first inventory,
has to take all of it away.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import clusters
import pytest
import yaml
from answers import capital_of_france
from clusters import API_PORT
from playbook_run import PlaybookRun, run_playbook

CLUSTER = clusters.scenario("default")
SERVICES = "systemctl list-units --all --plain --no-legend 'llama-*' | cut -d' ' -f1"
RUNNING = SERVICES.replace("--all", "--state=active")
LISTENING = "ss -Hltn | awk '{print $4}' | grep -vE ':(22|2222)$' || true"
KEY, RECORD = "/etc/llama-rpc-server/tls-key", "/etc/llama.cpp/cluster.json"
KEYS = "find /etc -name tls-key -o -name api-key -o -path '*/rpc-keys/*'"
SWAPPED = ("worker1", "head", "worker-2.lab")
FEWEST = ("-e", "cluster_plan_policy=fewest_machines")
_ROLES = ("rpc_server", "rpc_server_tls", "llama_server", "llama_server_tunnel", "watchdog")
IGNORED = ("-e", json.dumps({f"{role}_sandbox": {"ProtectMoon": "yes"} for role in _ROLES}))
# Nothing that is looked at before the start tells.
HIDDEN_MODEL = json.dumps({"llama_server_sandbox": {"InaccessiblePaths": "/var/lib/llama.cpp"}, "llama_server_ready_timeout_s": 60})

testinfra_hosts = ["local://"]


def on(machine: str, command: str) -> str:
    return CLUSTER.machine(machine).check_output(command)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    """A function that writes the scenario's inventory with other groups; every machine stays in it."""

    def write(head: str, *workers: str) -> Path:
        place = tmp_path_factory.mktemp("other") / "inventory"
        shutil.copytree(CLUSTER.inventory, place)
        machines = yaml.safe_load((place / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        hosts = {name: own for group in ("llama_host", "llama_rpc") for name, own in machines[group]["hosts"].items()}
        groups = {"llama_host": {"hosts": {head: None}}, "llama_rpc": {"hosts": dict.fromkeys(workers)}, "virtual_lab": {"hosts": hosts}}
        # Where the compiler is already: to install another takes a minute.
        known = {"all": {"children": groups, "vars": {"llama_cpp_builder": "head"}}}
        (place / "hosts.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
        return place

    return write


def deploy(inventory: Path, *arguments: str) -> PlaybookRun:
    run = run_playbook("deploy.yml", inventory, *arguments)
    assert run.rc == 0, run.output[-4000:]
    return run


def record(head: str) -> dict:
    return json.loads(on(head, f"cat {RECORD}"))


def answer(head: str) -> str:
    return capital_of_france(CLUSTER.machine(head), CLUSTER.addresses[head], API_PORT)


def test_the_record_says_what_serves():
    known = record("head")
    assert known["head"] == "head" and set(known["machines"]) == {"head", "worker1", "worker-2.lab"}
    assert CLUSTER.machine("head").file(known["model"]["path"]).is_file
    for name, member in known["machines"].items():
        assert on(name, "readlink /opt/llama.cpp/current") == f"builds/{member['build']}"


def test_head_and_worker_are_swapped(inventory):
    old_keys = {on(worker, f"cat {KEY}") for worker in ("worker1", "worker-2.lab")}
    swapped = inventory(*SWAPPED)
    deploy(swapped)
    assert "Paris" in answer("worker1")
    assert "llama-server" not in on("head", SERVICES) and f":{API_PORT}" not in on("head", LISTENING)
    assert "llama-rpc" not in on("worker1", SERVICES)
    assert not CLUSTER.machine("head").file("/etc/llama-server").exists
    # worker-2.lab was a worker all along: the old head knew its key.
    for machine in ("head", "worker-2.lab"):
        assert on(machine, f"cat {KEY}") not in old_keys
    assert not CLUSTER.machine("head").file(RECORD).exists and record("worker1")["head"] == "worker1"
    status = run_playbook("status.yml", swapped)
    assert status.rc == 0 and status.says("worker1 serves", "with 3 machines"), status.output[-3000:]


def test_a_plan_for_fewer_machines_that_does_not_start_is_put_back_on_all_of_them(inventory):
    """The machine that it does not need is one of those that served, and they do not start without it."""
    before = {machine: on(machine, f"{RUNNING}; id -u llama-rpc llama-watchdog") for machine in ("head", "worker-2.lab")}
    run = run_playbook("deploy.yml", inventory(*SWAPPED), *FEWEST, "-e", HIDDEN_MODEL)
    assert run.rc != 0 and run.says("Not needed: head."), run.output[-4000:]
    assert run.says("The changed configuration was rejected", "The cluster is back on the configuration before, which answers again"), run.output[-4000:]
    assert {machine: on(machine, f"{RUNNING}; id -u llama-rpc llama-watchdog") for machine in before} == before
    assert "llama-rpc-server@" in before["head"] and set(record("worker1")["machines"]) == {"head", "worker1", "worker-2.lab"}
    assert "Paris" in answer("worker1")


def test_a_worker_that_left_its_group_has_nothing_left(inventory):
    run = deploy(inventory("worker1", "head"))
    assert run.says("worker-2.lab has rpc-server, which the inventory no longer says"), run.output[-3000:]
    assert on("worker-2.lab", SERVICES) == on("worker-2.lab", LISTENING) == on("worker-2.lab", KEYS) == ""
    assert not CLUSTER.machine("worker-2.lab").file("/opt/llama.cpp").exists
    assert set(record("worker1")["machines"]) == {"head", "worker1"} and record("worker1")["left"] == {}
    assert "Paris" in answer("worker1")


@pytest.fixture(scope="module")
def fewest(inventory):
    """A deployment with the worker back, to as few machines as will do, with a sandbox directive in every unit that no systemd knows."""
    return run_playbook("deploy.yml", inventory(*SWAPPED), *FEWEST, *IGNORED)


def test_it_comes_back_and_a_machine_that_is_not_needed_is_left_out_and_named(fewest):
    assert fewest.rc == 0, fewest.output[-3000:]
    # worker-2.lab gives a little more memory.
    assert fewest.says("Not needed: head."), fewest.output[-3000:]
    assert record("worker1")["plan"]["unused_machines"] == ["head"] and set(record("worker1")["machines"]) == {"worker1", "worker-2.lab"}
    assert on("head", SERVICES) == on("head", LISTENING) == on("head", KEYS) == ""
    assert "Paris" in answer("worker1")


def test_each_role_warns_of_a_directive_that_systemd_ignores(fewest):
    """systemd itself starts the unit without it."""
    for unit in ("llama-rpc-server@", "llama-rpc-tls@", "llama-server", "llama-server-tunnel", "llama-watchdog"):
        assert fewest.says(f"{unit}.service line", "Unknown key", "ProtectMoon"), unit


def test_a_second_deployment_keeps_the_split_and_changes_nothing(inventory):
    again = deploy(inventory(*SWAPPED), *FEWEST, *IGNORED)
    assert again.changed == 0, again.recap
    assert again.says("The split is the one of the running cluster")


def test_a_changed_setting_that_does_not_start_is_put_back(inventory):
    units = {"worker1": "llama-server.service", "worker-2.lab": "llama-rpc-server@.service"}
    before = {machine: on(machine, f"sha256sum /etc/systemd/system/{unit}") for machine, unit in units.items()}
    # The workers' units are others as well, without IGNORED, and the API key is to lie elsewhere.
    on("worker1", "mkdir -p -m 700 /srv/keys")
    run = run_playbook("deploy.yml", inventory(*SWAPPED), *FEWEST, "-e", HIDDEN_MODEL, "-e", "llama_server_api_key_file=/srv/keys/api")
    assert run.rc != 0
    assert run.says("The changed configuration was rejected", "The cluster is back on the configuration before, which answers again"), run.output[-4000:]
    # The new units do not have it, so nothing is said of it.
    assert "ProtectMoon" not in run.output
    assert {machine: on(machine, f"sha256sum /etc/systemd/system/{unit}") for machine, unit in units.items()} == before
    assert "Paris" in answer("worker1")
    assert on("worker1", "rmdir -v /srv/keys"), "a key was left there"
    for machine in ("head", "worker1", "worker-2.lab"):
        assert not CLUSTER.machine(machine).file("/etc/llama.cpp/before.tar").exists


def test_the_new_head_has_what_building_leaves():
    """For the teardown, whose inventory says that another machine builds. This lab's builds come out of the cache."""
    on("worker1", "mkdir -p /var/cache/herd.llama_cpp/src/0123456789abcdef /var/cache/herd.llama_cpp/build")
