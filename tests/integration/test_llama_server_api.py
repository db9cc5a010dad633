# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role llama_server makes of certificates and bounds, on this machine, before anything is served.

    pytest tests/integration/test_llama_server_api.py

It needs openssl, and root for the certificate that the role makes. Each case is a machine of one inventory, so that one run of a
playbook serves all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).absolute().parents[2]

PLAY = """
- name: Look at each machine
  hosts: all
  gather_facts: false
  tasks:
    - name: Run the role
      ansible.builtin.include_role:
        name: herd.llama_cpp.llama_server
        tasks_from: preflight

    - name: Keep what it found
      ansible.builtin.set_fact:
        found: "{{ {'problems': llama_server_problems, 'url': llama_server_url, 'ca': llama_server_ca_file} }}"

    - name: Write down what it found on all machines
      ansible.builtin.copy:
        content: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'found'))) | to_json }}"
        dest: "{{ result_dir }}/found.json"
        mode: "0644"
      run_once: true
"""

MAKE = """
- name: Make a certificate
  hosts: all
  gather_facts: false
  tasks:
    - name: Run that part of the role
      ansible.builtin.include_role:
        name: herd.llama_cpp.llama_server
        tasks_from: certificate
      vars:
        __llama_server_tls_dir: "{{ result_dir }}/tls"
"""


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


def certificate(folder: Path, name: str, *options: str, ended: bool = False, subject: str = "IP:127.0.0.1") -> dict[str, str]:
    """A certificate and its key, as the options of the role that give them."""
    files = {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *(options or ("-nodes",)), "-keyout", str(files["key"]),
            "-out", str(files["certificate"]), "-days", "9", "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}")
    if ended:
        openssl("x509", "-in", str(files["certificate"]), "-signkey", str(files["key"]), "-days", "-1", "-out", str(files["certificate"]))
    return {"llama_server_tls": "given", **{f"llama_server_tls_{kind}_file": str(path) for kind, path in files.items()}}


def play(folder: Path, text: str, hosts: dict[str, dict[str, Any]], *arguments: str) -> str:
    inventory = {"all": {
        "hosts": hosts,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "result_dir": str(folder), "llama_server_port": 61234,
                 "llama_server_address": "127.0.0.1", "llama_server_model": "/m.gguf"}}}
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    (folder / "play.yml").write_text(text, encoding="utf-8")
    run = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), str(folder / "play.yml"), *arguments],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
             "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


# What is set, and the words of the one problem that is found; none where it is sound. "given" is a sound certificate for 127.0.0.1.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "sound": ({"given": "sound"}, ""),
    "plain": ({"llama_server_tls": False}, ""),
    "made": ({"llama_server_tls": "self-signed", "llama_server_host_name": "chat.example.com"}, ""),
    "other-key": ({"given": "sound", "llama_server_tls_key_file": "FOLDER/named.key"}, "does not belong to the certificate"),
    "ended": ({"given": "ended"}, "is no longer valid (notAfter="),
    "passphrase": ({"given": "locked"}, "locked.key cannot be read"),
    "no-certificate": ({"given": "sound", "llama_server_tls_certificate_file": "/nowhere.pem"}, "the certificate /nowhere.pem cannot be read"),
    "no-key": ({"given": "sound", "llama_server_tls_key_file": "/nowhere.key"}, "the private key /nowhere.key cannot be read"),
    "not-pem": ({"given": "sound", "llama_server_tls_certificate_file": "FOLDER/play.yml"}, "play.yml cannot be read"),
    "unset": ({"llama_server_tls": "given"}, "llama_server_tls_certificate_file or llama_server_tls_key_file is not"),
    "other-name": ({"given": "sound", "llama_server_host_name": "chat.example.com"}, "is not for chat.example.com"),
    "named": ({"given": "named", "llama_server_host_name": "chat.example.com"}, ""),
    "named-asked-by-address": ({"given": "named"}, "is not for 127.0.0.1"),
    "tls-without-proxy": ({"llama_server_tls": "self-signed", "llama_server_proxy": False}, "TLS is the proxy's work"),
    "short": ({"llama_server_tls": "self-signed", "llama_server_tls_days": 5}, "llama_server_tls_days is 5"),
    "origin-with-path": ({"llama_server_cors_origins": ["https://a.example/x"]}, "what is not an origin: https://a.example/x"),
    "origin-that-ends-a-string": ({"llama_server_cors_origins": ['https://a" 1; include /etc/passwd; "']}, "what is not an origin"),
    "origins": ({"llama_server_cors_origins": ["https://a.example", "http://localhost:3000", "*", "http://[::1]:80"]}, ""),
    "origins-without-proxy": ({"llama_server_cors_origins": ["https://a", "https://b"], "llama_server_proxy": False}, "more than one origin"),
    "any-origin-without-proxy": ({"llama_server_cors_origins": ["*"], "llama_server_proxy": False}, ""),
    "name": ({"llama_server_host_name": "https://chat"}, "which is not a host name"),
    "nothing-let-in": ({"llama_server_max_requests": 0}, "less than 1"),
    "nothing-let-in-per-client": ({"llama_server_max_requests_per_client": 0}, "less than 1"),
    "nothing-small-enough": ({"llama_server_max_request_mib": 0}, "less than 1"),
    "fewer-than-at-work": ({"llama_server_max_requests": 4, "llama_server_parallel": 8}, "fewer than the 8"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("api")
    given = {
        "sound": certificate(folder, "sound"),
        "named": certificate(folder, "named", subject="DNS:chat.example.com"),
        "ended": certificate(folder, "ended", ended=True),
        "locked": certificate(folder, "locked", "-passout", "pass:secret"),
    }
    hosts = {}
    for name, (options, _words) in CASES.items():
        options = json.loads(json.dumps(options).replace("FOLDER", str(folder)))
        hosts[name] = {**given.get(options.pop("given", ""), {}), **options}
    play(folder, PLAY, hosts)
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_in_a_sentence(found, name):
    words = CASES[name][1]
    # Whether systemd runs this machine is not what is asked.
    problems = [one["problem"] for one in found[name]["problems"] if "systemd" not in one["problem"]]
    assert len(problems) == bool(words), problems
    assert not words or words in problems[0]


def test_clients_are_told_what_to_trust(found):
    told = {name: (found[name]["url"], found[name]["ca"]) for name in ("plain", "sound", "made")}
    assert told == {
        "plain": ("http://127.0.0.1:61234", ""),
        "sound": ("https://127.0.0.1:61234", ""),
        "made": ("https://chat.example.com:61234", "/etc/llama-server/tls/certificate.pem"),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="the role gives the certificate to root")
def test_a_certificate_is_made_once_and_again_when_it_must_be(tmp_path):
    made = tmp_path / "tls" / "certificate.pem"
    key = tmp_path / "tls" / "key.pem"

    def run(**options: Any) -> tuple[bytes, bytes, bool]:
        output = play(tmp_path, MAKE, {"here": {"llama_server_tls": "self-signed", **options}})
        return made.read_bytes(), key.read_bytes(), "changed=0" in output

    first, own = run()[:2]
    assert oct(key.stat().st_mode & 0o777) == "0o600"
    assert "CA:FALSE" in openssl("x509", "-in", str(made), "-noout", "-ext", "basicConstraints")
    assert run() == (first, own, True)
    named, same = run(llama_server_host_name="chat.example.com")[:2]
    assert (named != first, same) == (True, own)
    assert "DNS:chat.example.com, IP Address:127.0.0.1" in openssl("x509", "-in", str(made), "-noout", "-ext", "subjectAltName")
    openssl("req", "-x509", "-new", "-key", str(key), "-out", str(made), "-days", "29", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1")
    ending = made.read_bytes()
    renewed, same = run()[:2]
    assert (renewed != ending, same) == (True, own)
    openssl("x509", "-in", str(made), "-noout", "-checkend", str(800 * 86400))
    key.unlink()
    other, new = run()[:2]
    assert (other != renewed, new != own) == (True, True)
    assert openssl("x509", "-in", str(made), "-noout", "-pubkey") == openssl("pkey", "-in", str(key), "-pubout")
