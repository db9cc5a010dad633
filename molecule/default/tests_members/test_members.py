# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines leave, come back and change their roles: what they no longer are is gone from them.

One story, whose tests need their order. It ends with head and worker swapped, and the scenario's teardown, which knows only the first inventory,
has to take all of it away.
"""

from __future__ import annotations

import json
import os
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
LISTENING = "ss -Hltn | awk '{print $4}' | grep -vE ':(22|2222)$' || true"
KEYS = "find /etc -name tls-key -o -name api-key -o -path '*/rpc-keys/*'"

testinfra_hosts = ["local://"]
pytestmark = pytest.mark.skipif("HERD_MEMBERS" not in os.environ, reason="make test-members runs it: four more deployments.")


def on(machine: str, command: str) -> str:
    return CLUSTER.machine(machine).check_output(command)


@pytest.fixture
def inventory(tmp_path: Path):
    """A function that writes the scenario's inventory with other groups; every machine stays in it."""

    def write(head: str, *workers: str) -> Path:
        place = tmp_path / "inventory"
        shutil.copytree(CLUSTER.inventory, place)
        machines = yaml.safe_load((place / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        hosts = {name: known for group in ("llama_host", "llama_rpc") for name, known in machines[group]["hosts"].items()}
        groups = {"llama_host": {"hosts": {head: None}}, "llama_rpc": {"hosts": dict.fromkeys(workers)}, "virtual_lab": {"hosts": hosts}}
        (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
        return place

    return write


def deploy(inventory: Path, *arguments: str) -> PlaybookRun:
    run = run_playbook("deploy.yml", inventory, *arguments)
    assert run.rc == 0, run.output[-4000:]
    return run


def record(head: str) -> dict:
    return json.loads(on(head, "cat /etc/llama.cpp/cluster.json"))


def answer(head: str) -> str:
    return capital_of_france(CLUSTER.machine(head), CLUSTER.addresses[head], API_PORT)


def test_the_record_says_what_serves():
    known = record("head")
    assert known["head"] == "head" and set(known["machines"]) == {"head", "worker1", "worker2"}
    assert CLUSTER.machine("head").file(known["model"]["path"]).is_file
    for name, member in known["machines"].items():
        assert on(name, "readlink /opt/llama.cpp/current") == f"builds/{member['build']}"


def test_a_worker_that_left_its_group_has_nothing_left(inventory):
    run = deploy(inventory("head", "worker1"))
    assert run.says("worker2 has rpc-server, which the inventory no longer says"), run.output[-3000:]
    assert on("worker2", SERVICES) == on("worker2", LISTENING) == on("worker2", KEYS) == ""
    assert not CLUSTER.machine("worker2").file("/opt/llama.cpp").exists
    assert set(record("head")["machines"]) == {"head", "worker1"} and record("head")["left"] == {}
    assert "Paris" in answer("head")


def test_it_comes_back_and_head_and_worker_are_swapped(inventory):
    old_keys = on("worker1", "cat /etc/llama-rpc-server/tls-key")
    swapped = inventory("worker1", "head", "worker2")
    deploy(swapped)
    assert "Paris" in answer("worker1")
    assert "llama-server" not in on("head", SERVICES) and f":{API_PORT}" not in on("head", LISTENING)
    assert "llama-rpc" not in on("worker1", SERVICES)
    assert not CLUSTER.machine("head").file("/etc/llama-server").exists
    for machine in ("head", "worker2"):
        assert on(machine, "cat /etc/llama-rpc-server/tls-key") not in old_keys
    assert not CLUSTER.machine("head").file("/etc/llama.cpp/cluster.json").exists and record("worker1")["head"] == "worker1"
    status = run_playbook("status.yml", swapped)
    assert status.rc == 0 and status.says("worker1 serves", "with 3 machines"), status.output[-3000:]


def test_a_changed_setting_that_does_not_start_is_put_back(inventory):
    before = on("worker1", "sha256sum /etc/systemd/system/llama-server.service")
    # A sandbox that hides the model: nothing that is looked at before the start tells.
    wrong = json.dumps({"llama_server_sandbox": {"InaccessiblePaths": "/var/lib/llama.cpp"}, "llama_server_ready_timeout_s": 60})
    run = run_playbook("deploy.yml", inventory("worker1", "head", "worker2"), "-e", wrong)
    assert run.rc != 0
    assert run.says("The changed configuration was rejected", "The cluster is back on the configuration before, which answers again"), run.output[-4000:]
    assert on("worker1", "sha256sum /etc/systemd/system/llama-server.service") == before
    assert "Paris" in answer("worker1")
    for machine in ("head", "worker1", "worker2"):
        assert not CLUSTER.machine(machine).file("/etc/llama.cpp/before.tar").exists
