# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of a worker's TLS as the role rpc_server writes them, read by systemd's own checker.

    pytest tests/integration/test_rpc_tls_units.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).absolute().parents[2]
PLAY = """
- name: Write what the role would
  hosts: all
  gather_facts: false
  tasks:
    - name: Look for what is in the way
      ansible.builtin.include_role:
        name: herd.llama_cpp.rpc_server
        tasks_from: preflight
        public: true

    - name: Write the units
      ansible.builtin.template:
        src: "{{ roles }}/{{ unit.value }}"
        dest: "{{ folder }}/{{ unit.key }}"
        mode: "0644"
      loop: "{{ files | dict2items }}"
      loop_control:
        loop_var: unit
      vars:
        files:
          llama-rpc-tls@0.socket: rpc_server/templates/llama-rpc-tls.socket.j2
          llama-rpc-tls@.service: rpc_server/templates/llama-rpc-tls@.service.j2
          llama-rpc-firewall.service: service_unit/templates/firewall.service.j2
        service_unit_role: rpc_server
        service_unit_firewall: "{{ __rpc_server_firewall }}"
        __service_unit_nft: /usr/sbin/nft
        item: "{{ __rpc_server_instances[0] }}"
"""


# Each is a machine of one inventory, so that one run of a playbook serves all of them.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "off": {"rpc_server_firewall": False},
    "other": {"rpc_server_tls_sandbox": {"IPAddressAllow": "10.9.0.0/16"}},
    "none": {"rpc_server_tls_sandbox": {"IPAddressAllow": None, "IPAddressDeny": None, "UMask": "0022"}},
}
SOCKET, SERVICE = "llama-rpc-tls@0.socket", "llama-rpc-tls@.service"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one of units for each case."""
    folder = tmp_path_factory.mktemp("units")
    for name in CASES:
        (folder / name).mkdir()
    inventory = {"all": {"hosts": CASES, "vars": {
        "roles": str(ROOT / "roles"), "folder": f"{folder}/{{{{ inventory_hostname }}}}", "rpc_server_address": "127.0.0.1",
        "rpc_server_devices": ["CPU"], "rpc_server_allow_from": ["192.168.1.100", "10.2.0.0/16"], "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable}}}
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    run = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), str(folder / "play.yml")],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def fence(unit: Path, section: str) -> list[str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"[{section}]")
    ends = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("[")), len(lines))
    return [line for line in lines[start:ends] if line.startswith("IPAddress")]


def test_the_second_fence_is_where_the_port_is(written: Path) -> None:
    """systemd holds the port by the socket unit, whose control group is the one that what arrives is judged by."""
    assert fence(written / "plain" / SOCKET, "Socket") == ["IPAddressDeny=any", "IPAddressAllow=192.168.1.100 10.2.0.0/16"]
    assert fence(written / "plain" / SERVICE, "Service") == ["IPAddressDeny=any", "IPAddressAllow=localhost 192.168.1.100 10.2.0.0/16"]


@pytest.mark.parametrize(("name", "left"), [("off", []), ("other", ["IPAddressDeny=any", "IPAddressAllow=10.9.0.0/16"]), ("none", [])])
def test_who_opens_one_fence_opens_both(written: Path, name: str, left: list[str]) -> None:
    assert fence(written / name / SOCKET, "Socket") == fence(written / name / SERVICE, "Service") == left


@pytest.mark.skipif(not shutil.which("systemd-analyze") or not Path("/usr/bin/stunnel4").exists(), reason="it needs systemd-analyze and stunnel4")
def test_systemd_understands_them(written: Path) -> None:
    def verify() -> str:
        told = subprocess.run(["systemd-analyze", "verify", "--man=no", str(socket)], env={**os.environ, "SYSTEMD_UNIT_PATH": f"{socket.parent}:"},
                              capture_output=True, text=True, check=False)
        return told.stderr + (f"rc {told.returncode}" if told.returncode else "")

    socket = written / "plain" / SOCKET
    text = socket.read_text(encoding="utf-8")
    assert verify() == ""
    socket.write_text(text.replace("=192.168.1.100", "=everybody"), encoding="utf-8")
    assert "everybody" in verify()
    socket.write_text(text, encoding="utf-8")
