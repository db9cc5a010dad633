# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that serves gets another llama.cpp, gets a broken one, and goes back; a client asks all the time.

The tests are one story and need their order: each begins with the cluster as the one before left it.
"""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path

import api
import clusters
import pinned
import pytest
from answers import capital_of_france
from clusters import API_PORT
from playbook_run import ROOT, PlaybookRun, interrupt_playbook, run_playbook
from steady_client import SteadyClient

CLUSTER = clusters.scenario("upgrade")
HERE = Path(__file__).resolve().parents[1]
OLD = ("-e", f"@{HERE / 'vars' / 'old.yml'}")
BROKEN = ("-e", f"@{HERE / 'vars' / 'broken.yml'}")
CA = "/etc/chat/ca.pem"
URL = CLUSTER.url.replace("http://", "https://")
FIGURES = ROOT / ".cache" / "upgrade-downtime.json"
MACHINES = ("head", "worker1", "worker2")
OLD_NAME, NEW_NAME = pinned.source_name(HERE / "vars" / "old.yml"), pinned.source_name(pinned.LAB)

testinfra_hosts = ["local://"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> str:
    """What the site's clients were given to trust it by."""
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    path.write_text(CLUSTER.machine("head").file(CA).content_string, encoding="utf-8")
    return str(path)


def answer() -> str:
    return capital_of_france(CLUSTER.machine("head"), CLUSTER.addresses["head"], API_PORT, CA)


def served_certificate() -> str:
    return ssl.get_server_certificate((CLUSTER.addresses["head"], API_PORT))


def link(machine: str, name: str) -> str:
    return CLUSTER.machine(machine).run(f"readlink /opt/llama.cpp/{name}").stdout.strip().removeprefix("builds/")


def stamps(machine: str) -> dict[str, dict]:
    """What is installed there, by id."""
    text = CLUSTER.machine(machine).check_output("cat /opt/llama.cpp/builds/*/stamp.json | tr -d '\\n' | sed 's/}{/}\\n{/g'")
    return {stamp["id"]: stamp for stamp in map(json.loads, text.splitlines())}


def runs(version: str) -> None:
    """Every machine's current build is of this version, and its services run from it."""
    for machine in MACHINES:
        current = link(machine, "current")
        assert stamps(machine)[current]["version"] == version, machine
        executables = CLUSTER.machine(machine).check_output("readlink /proc/*/exe 2>/dev/null | grep ^/opt/llama.cpp/ || true").split()
        assert executables and all(path.startswith(f"/opt/llama.cpp/builds/{current}/") for path in executables), executables


def keep(what: str, client: SteadyClient) -> None:
    """Print the downtime and put it where figures are collected."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    figures[what] = {"downtime_s": round(client.downtime_s, 1), "answers": len(client.answered), "failed_questions": client.failures}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"\n{what}: {figures[what]['downtime_s']} s without an answer ({FIGURES})")


def switch(ca: str, playbook: str, *arguments: str) -> tuple[PlaybookRun, SteadyClient]:
    with SteadyClient(URL, CLUSTER.api_key, ca) as client:
        run = run_playbook(playbook, CLUSTER.inventory, *arguments)
    return run, client


def test_the_old_version_is_as_shut_as_the_new_one(ca):
    server = api.Api(URL, CLUSTER.api_key, ca)
    assert server.open_with("") == server.open_with("x") == api.OPEN
    assert "Access-Control-Allow-Origin" not in server.ask("GET", "/v1/models", server.key, api.STRANGER).headers
    assert ("GET", "/v1/models") in server.open_with(server.key)


def test_the_old_version_answers_and_status_names_what_it_is_exposed_to():
    assert "Paris" in answer()
    runs(OLD_NAME)
    assert {stamps(machine)[link(machine, "current")]["protocol"] for machine in ("worker1", "worker2")} == {"4.0.0"}
    status = run_playbook("status.yml", CLUSTER.inventory)
    assert status.rc == 0, status.output[-3000:]
    assert status.says("worker1, worker2", "build 9095", "GHSA-2phh-px2f-2qmx")
    assert status.says("head", "build 9095", "CVE-2026-107183")


def test_a_vulnerable_source_is_refused_in_one_sentence():
    run = run_playbook("upgrade.yml", CLUSTER.inventory, "-e", "llama_cpp_allow_vulnerable=false", "-e", "llama_cpp_build_number=b8000")
    assert run.rc != 0
    assert run.says("build 8000", "CVE-2026-34159", "GHSA-2phh-px2f-2qmx", "llama_cpp_allow_vulnerable"), run.output[-3000:]
    assert run.changed == 0, run.recap


def test_upgrade_from_one_protocol_to_another(ca):
    run, client = switch(ca, "upgrade.yml")
    assert run.rc == 0, run.output[-4000:]
    assert run.says("Switched from", OLD_NAME, NEW_NAME)
    keep("upgrade", client)
    assert client.downtime_s < 120
    runs(NEW_NAME)
    for machine in MACHINES:
        assert stamps(machine)[link(machine, "previous")]["version"] == OLD_NAME
    assert {stamps(machine)[link(machine, "current")]["protocol"] for machine in ("worker1", "worker2")} == {"7.0.0"}
    assert "Paris" in answer()


def test_a_deploy_of_the_version_that_runs_changes_nothing():
    deploy = run_playbook("deploy.yml", CLUSTER.inventory)
    assert deploy.rc == 0, deploy.output[-4000:]
    again = run_playbook("deploy.yml", CLUSTER.inventory)
    assert again.rc == 0, again.output[-4000:]
    assert again.changed == 0, again.recap


def test_a_renewed_certificate_is_served_after_a_deploy_and_nothing_else_restarts():
    head = CLUSTER.machine("head")
    before, server = served_certificate(), head.check_output("systemctl show -P InvocationID llama-server")
    renewed = run_playbook(str(HERE / "prepare.yml"), CLUSTER.inventory)
    assert renewed.rc == 0, renewed.output[-3000:]
    deploy = run_playbook("deploy.yml", CLUSTER.inventory)
    assert deploy.rc == 0, deploy.output[-4000:]
    assert served_certificate() == head.file("/etc/chat/certificate.pem").content_string != before
    assert head.check_output("systemctl show -P InvocationID llama-server") == server
    assert "Paris" in answer()


def test_new_keys_are_asked_for_by_the_same_certificate():
    before, key = served_certificate(), CLUSTER.api_key
    rotation = run_playbook("rotate_keys.yml", CLUSTER.inventory)
    assert rotation.rc == 0, rotation.output[-4000:]
    assert CLUSTER.api_key != key
    assert served_certificate() == before
    assert "Paris" in answer()


def test_a_version_that_cannot_serve_is_put_back_by_itself(ca):
    before = {machine: (link(machine, "current"), link(machine, "previous")) for machine in MACHINES}
    run, client = switch(ca, "upgrade.yml", *BROKEN)
    assert run.rc != 0
    assert run.says("was rejected: head:", "llama-server.service", "The cluster is back on", "which answers again"), run.output[-4000:]
    keep("automatic rollback", client)
    assert client.downtime_s < 180
    assert {machine: (link(machine, "current"), link(machine, "previous")) for machine in MACHINES} == before
    runs(NEW_NAME)
    assert "Paris" in answer()


def test_deploy_is_the_same_upgrade_and_a_wrong_answer_puts_the_old_version_back():
    """Only the new version is asked for London, which makes its answer a wrong one."""
    expect = {"chat_check_expect": "{{ 'London' if switch_phase | default('') == 'forward' else 'Paris' }}"}
    run = run_playbook("deploy.yml", CLUSTER.inventory, *OLD, "-e", json.dumps(expect))
    assert run.rc != 0
    assert run.says(f"{OLD_NAME} was rejected", f"The cluster is back on {NEW_NAME}, which answers again"), run.output[-4000:]
    runs(NEW_NAME)
    assert "Paris" in answer()


@pytest.mark.parametrize("wanted", ["b1", "0123456789abcdef"])
def test_what_is_not_installed_cannot_be_gone_back_to(wanted):
    run = run_playbook("rollback.yml", CLUSTER.inventory, "-e", f"llama_cpp_build={wanted}")
    assert run.rc != 0
    assert run.says("worker2", f"it has no build {wanted}", OLD_NAME), run.output[-3000:]
    assert run.changed == 0, run.recap
    assert "Paris" in answer()


def test_rollback_to_the_version_before(ca):
    run, client = switch(ca, "rollback.yml")
    assert run.rc == 0, run.output[-4000:]
    assert run.says("Switched from", NEW_NAME, OLD_NAME)
    keep("rollback", client)
    runs(OLD_NAME)
    assert "Paris" in answer()


@pytest.mark.skipif("HERD_INTERRUPTED" not in os.environ, reason="make test-upgrade runs it: two more upgrades.")
def test_after_an_interrupted_switch_a_failing_version_goes_back_to_what_served_last(ca):
    """Half of the machines point at the version that was interrupted; the record says which one served."""
    assert interrupt_playbook("upgrade.yml", CLUSTER.inventory, at="Point current at the build")
    assert CLUSTER.machine("head").run("systemctl is-active llama-server").stdout.strip() != "active"
    run, client = switch(ca, "upgrade.yml", *BROKEN)
    assert run.rc != 0
    assert run.says("was rejected", f"The cluster is back on {OLD_NAME}", "which answers again"), run.output[-4000:]
    runs(OLD_NAME)
    assert "Paris" in answer()
