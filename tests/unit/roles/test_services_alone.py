# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles of services by themselves, in a play that has gathered nothing and with no other role's facts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import OWNER_PATH, Owner, owner_of
from playbook_run import ROOT, PlaybookRun, run_playbook


def played(folder: Path, tasks: list[dict], hosts: dict[str, dict] | None = None, *, mode: str = "--check", **keywords: object) -> PlaybookRun:
    """A play on this machine, or on what stands for several, each with its variables; in check mode, because a role that is broken may do anything."""
    machine = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    machines = {name: {**machine, **variables} for name, variables in (hosts or {"m1": {}}).items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": machines}}), encoding="utf-8")
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}]), encoding="utf-8")
    return run_playbook(str(folder / "play.yml"), folder / "hosts.yml", mode)


def role(name: str, **keywords: object) -> dict:
    return {"ansible.builtin.include_role": {"name": f"herd.llama_cpp.{name}", **keywords}}


def note(folder: Path, expression: str) -> dict:
    """A task that writes down what an expression comes to on each machine."""
    return {"ansible.builtin.copy": {"content": "{{ %s | to_json }}" % expression, "dest": f"{folder}/{{{{ inventory_hostname }}}}.json", "mode": "0600"},
            "check_mode": False}


def noted(folder: Path, name: str = "m1") -> object:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_look_gathers_the_facts_that_the_addresses_come_from(tmp_path: Path) -> None:
    for name in ("rpc_server", "watchdog"):
        run = played(tmp_path, [role(name, tasks_from="preflight", public=True), note(tmp_path, f"[{name}_problems, {name}_address, ansible_facts]")])
        assert run.rc == 0, run.output[-3000:]
        problems, address, facts = noted(tmp_path)
        assert facts["all_ipv4_addresses"] and address == facts["default_ipv4"].get("address", "")
        assert address == "" or not [one for one in problems if "address" in one["problem"]]


def test_the_watchdog_says_all_that_is_in_its_way_and_changes_nothing(tmp_path: Path) -> None:
    run = played(tmp_path, [role("watchdog")], vars={"watchdog_peers": ["nobody"], "watchdog_user": "no-such-user"})
    assert run.rc != 0 and run.changed == 0
    assert run.says("m1: there is nothing to watch, because watchdog_server_unit and watchdog_rpc_servers are empty. Set one of them")
    assert run.says("m1: watchdog_peers has what is neither an IPv4 address nor a network: nobody.")


def test_the_watchdog_is_restarted_by_what_was_written_last(tmp_path: Path) -> None:
    """Where another role has written since, by what the step that wrote the watchdog's own files has recorded."""
    unit = {"unit": "llama-watchdog.service", "running": True, "executable": "/usr/bin/python3", "executable_deleted": False, "stale_credentials": []}

    def written(running: str) -> dict:
        units = [{**unit, "environment": {"HERD_CONFIG_ID": running}}]
        return {"units_changed": False, "units": units, "config_ids": {"llama-watchdog.service": "new"}, "in_service": ["llama-watchdog.service"]}

    another = {"units_changed": True, "units": [], "config_ids": {"llama-rpc-server@0.service": "1"}, "in_service": []}
    cases: dict[str, tuple[dict, str]] = {
        "first": ({}, "started"),
        "current": ({"service_unit_written": written("new"), "watchdog_restart_needed": True}, ""),
        "outdated": ({"service_unit_written": written("old"), "watchdog_restart_needed": False}, "restarted"),
        "later": ({"service_unit_written": another, "watchdog_restart_needed": True}, "restarted"),
        "later-current": ({"service_unit_written": another, "watchdog_restart_needed": False}, "started"),
        "passed-by": ({"service_unit_written": {"changed": False, "skipped": True}}, "started"),
    }
    service = yaml.safe_load((ROOT / "roles/watchdog/tasks/service.yml").read_text(encoding="utf-8"))[0]
    steps = {"vars": service["vars"], **note(tmp_path, "service_unit_steps")}
    run = played(tmp_path, [steps], {name: given for name, (given, _state) in cases.items()}, mode="--diff",
                 vars_files=[str(ROOT / "roles/watchdog/vars/main.yml")])
    assert run.rc == 0, run.output[-3000:]
    done = {name: [step["state"] for step in noted(tmp_path, name)] for name in cases}
    assert done == {name: [state] if state else [] for name, (_given, state) in cases.items()}


def test_a_worker_stops_before_the_firewall_that_it_was_guarded_by(tmp_path: Path) -> None:
    worker, fence = "llama-rpc-server@0.service", "llama-rpc-firewall.service"
    due = {"start": [], "stop": [worker], "remove": [], "tls_restart": [], "tls_remove": [], "in_service": []}
    steps = {"vars": {"__rpc_server_due": due, "__rpc_server_no_firewall": [fence]}, **note(tmp_path, "__rpc_server_discard_steps")}
    run = played(tmp_path, [steps], vars_files=[str(ROOT / "roles/rpc_server/vars/main.yml")])
    assert run.rc == 0, run.output[-3000:]
    assert [(step["unit"], step["state"]) for step in noted(tmp_path)] == [(worker, "stopped"), (fence, "stopped")]


def test_a_worker_says_of_which_cluster_it_is_as_far_as_that_is_known(tmp_path: Path) -> None:
    """What has compared nothing, as rotate_keys.yml, leaves the file that is there."""
    owner = {"id": "a1", "head": "head", "host": "192.0.2.10", "port": ""}
    tasks = yaml.safe_load((ROOT / "playbooks/parts/tasks/services.yml").read_text(encoding="utf-8"))
    (configure,) = [task for task in tasks if task.get("ansible.builtin.include_role", {}).get("tasks_from") == "configure"]
    files = {"vars": configure["vars"], **note(tmp_path, "__rpc_server_own_files | selectattr('content', 'defined') | list")}
    run = played(tmp_path, [files], {"m1": {"__switch_head": {"cluster_record_changes": {"cluster": owner}}}, "m2": {"__switch_head": {}}},
                 vars_files=[str(ROOT / "roles/rpc_server" / name / "main.yml") for name in ("defaults", "vars")])
    assert run.rc == 0, run.output[-3000:]
    (file,) = noted(tmp_path)
    assert file["path"] == OWNER_PATH and owner_of(json.loads(file["content"])) == Owner(**owner)
    assert noted(tmp_path, "m2") == []


def test_nothing_is_removed_of_a_service_whose_units_cannot_be_read(tmp_path: Path) -> None:
    """What runs would lose its files."""
    look, refuses, _removes = yaml.safe_load((ROOT / "roles/service_unit/tasks/remove.yml").read_text(encoding="utf-8"))[:3]
    seen = {"systemd": True, "units": [], "units_problem": "systemctl could not show the units: no bus"}
    run = played(tmp_path, [refuses], {"m1": {look["register"]: seen}, "m2": {look["register"]: {**seen, "units_problem": ""}}},
                 vars={"service_unit_title": "the workers"})
    assert run.says("m1: systemctl could not show the units: no bus. Nothing of the workers was removed.")
    assert {machine: counts["failed"] for machine, counts in run.recap.items()} == {"m1": 1, "m2": 0}
