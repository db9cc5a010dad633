# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units as the roles write them for machines and files of odd names, and what systemd reads in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playbook_run import ROOT, run_playbook

MACHINES = ["worker1", "2001:db8::1", "a/b", "50%n%", "a b", "w\u00f6rker", "+2F", "w" * 250, "%%"]
ODD = "/etc/ssl/100%u of %n/it's a \"key\".pem"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("units")
    tunnels = [{"machine": name, "endpoint": f"127.0.0.1:{port}", "address": f"198.18.0.{port - 50051}", "port": port}
               for port, name in enumerate(MACHINES, 50052)]
    given = {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "llama_server_rpc_tunnels": tunnels,
        "llama_server_tls": "given",
        "llama_server_tls_certificate_file": ODD,
        "llama_server_tls_key_file": ODD + ".key",
        "llama_server_api_key_file": ODD,
        "llama_server_model": "/srv/m.gguf",
        "llama_server_bin_dir": "/bin",
        "llama_server_address": "127.0.0.1",
        "watchdog_server_api_key_file": ODD,
        "watchdog_server_ca_file": ODD,
        "watchdog_server_unit": "llama-server.service",
        "__llama_server_config_id": "x",
        "__watchdog_config_id": "x",
        "__watchdog_ca": True,
        "__watchdog_socket": "",
        "__watchdog_watched": [],
    }
    units = {
        "llama_server": ["llama-server.service", "llama-server-tunnel.service", "llama-server-proxy.service", "tunnel.conf"],
        "watchdog": ["llama-watchdog.service"],
    }
    plays = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles" / role / part / "main.yml") for part in ("defaults", "vars")],
            "vars": given,
            "tasks": [
                {"ansible.builtin.template": {"src": str(ROOT / "roles" / role / "templates" / f"{name}.j2"), "dest": str(place / name), "mode": "0644"}}
                for name in names
            ],
        }
        for role, names in units.items()
    ]
    (place / "play.yml").write_text(json.dumps(plays), encoding="utf-8")
    (place / "given.json").write_text(json.dumps(given), encoding="utf-8")
    run = run_playbook(str(place / "play.yml"), "localhost,", "-e", f"@{place / 'given.json'}", timeout_s=300)
    assert run.rc == 0, run.output[-3000:]
    return place


def credentials(unit: Path) -> dict[str, str]:
    """The credentials of a unit as systemd.exec(5) says: an id without a colon, then a path, both with specifiers."""
    found = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("LoadCredential="):
            name, _colon, path = line.partition("=")[2].partition(":")
            assert re.fullmatch(r"[!-~]{1,255}", name) and "/" not in name and "%" not in name, line
            assert not re.search(r"%", path.replace("%%", "")), line
            found[name] = path.replace("%%", "%")
    return found


def test_each_machine_has_a_credential_of_its_own(written: Path) -> None:
    keys = {name: path for name, path in credentials(written / "llama-server-tunnel.service").items() if name.startswith("rpc-key-")}
    assert len(keys) == len(set(keys.values())) == len(MACHINES)
    for name, path in keys.items():
        assert path == "/etc/llama-server/rpc-keys/" + name[len("rpc-key-"):]
        assert len(Path(path).name) <= 255
    assert keys["rpc-key-worker1"] == "/etc/llama-server/rpc-keys/worker1"
    used = re.findall(r"(?m)^PSKsecrets = /run/credentials/llama-server-tunnel.service/(.*)$", (written / "tunnel.conf").read_text(encoding="utf-8"))
    assert sorted(used) == sorted(keys)
    sections = re.findall(r"(?m)^\[(.*)\]$", (written / "tunnel.conf").read_text(encoding="utf-8"))
    assert len(set(sections)) == len(MACHINES) and all(re.fullmatch("[!-~]+ [0-9]+", section) for section in sections)


def test_tunnels_have_an_order_of_their_own(written: Path) -> None:
    """A plan that has the same workers in another order restarts none."""
    ports = [int(port) for port in re.findall(r"(?m)^connect = .*:([0-9]+)$", (written / "tunnel.conf").read_text(encoding="utf-8"))]
    assert ports == [port for _name, port in sorted((name.lower(), port) for port, name in enumerate(MACHINES, 50052))] != sorted(ports)
    allowed = re.findall(r"(?m)^IPAddressAllow=localhost (.*)$", (written / "llama-server-tunnel.service").read_text(encoding="utf-8"))
    assert allowed == [" ".join(f"198.18.0.{port - 50051}" for port in ports)]


def test_a_path_is_taken_as_it_is(written: Path) -> None:
    proxy = credentials(written / "llama-server-proxy.service")
    assert proxy["tls-certificate"] == ODD and proxy["tls-key"] == ODD + ".key"
    assert credentials(written / "llama-server.service")["api-key"] == ODD
    watchdog = credentials(written / "llama-watchdog.service")
    assert watchdog["api-key"] == watchdog["ca"] == ODD


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", ["llama-server-tunnel.service", "llama-server-proxy.service", "llama-server.service", "llama-watchdog.service"])
def test_systemd_heeds_every_credential(written: Path, unit: str) -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(written / unit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if re.search("(?i)credential|specifier", line) or ("ignoring" in line and str(written) in line)]
    assert said == []
