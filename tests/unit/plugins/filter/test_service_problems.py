# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason why a service cannot be set up on a machine, without such a machine."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.service_problems import service_problems
from service_settings import SETTINGS

KEY = "ab" * 32
PUBLIC = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
LOOK = {"units": {"systemd": True, "units": []}, "sockets": {"sockets": []}, "addresses": ["192.168.1.101", "10.0.0.5"]}
LOOKS: dict[str, dict[str, Any]] = {
    "rpc_server": LOOK,
    "watchdog": {**LOOK, "python": "/usr/bin/python3", "python_version": "3.11.2"},
    "llama_server": {**LOOK, "certificate": {"skipped": True}, "certificate_ended": {"skipped": True}, "certificate_key": {"skipped": True}, "beside": []},
}
GIVEN = {"tls": "given", "tls_certificate_file": "/c.pem", "tls_key_file": "/k.pem"}
CERTIFICATE = {"certificate": {"rc": 0, "stdout": f"{PUBLIC}\nnotAfter=Dec  1 2027 GMT\n"}, "certificate_ended": {"rc": 0},
               "certificate_key": {"rc": 0, "stdout": PUBLIC + "\n"}}
TUNNELS = {"rpc_tunnels": [{"endpoint": "127.168.1.101:50052"}, {"endpoint": "127.168.1.102:50053"}]}


def listener(address: str, port: int, unit: str = "", pid: int = 99) -> dict[str, Any]:
    return {"local_address": address, "local_port": port, "unit": unit, "pid": pid, "held_by": f"a program (pid {pid})"}


def listening(*sockets: dict[str, Any]) -> dict[str, Any]:
    return {"sockets": {"sockets": list(sockets)}}


def problems(service: str, settings: dict[str, Any], look: dict[str, Any]) -> list[dict[str, str]]:
    return service_problems({**SETTINGS[service], **settings}, service, "m1", {**LOOKS[service], **look})


@pytest.mark.parametrize(("service", "settings", "look"), [
    ("rpc_server", {}, {}),
    ("rpc_server", {"tls_key": KEY}, {}),
    ("rpc_server", {"address": "127.0.0.1", "tls": False}, {}),
    ("rpc_server", {"firewall": False, "allow_from": []}, {}),
    ("rpc_server", {}, listening(listener("10.0.0.5", 50052), listener("192.168.1.101", 50053), listener("::", 50052))),
    ("rpc_server", {}, listening(listener("*", 50052, "llama-rpc-server@3.service"), listener("192.168.1.101", 50052, "llama-rpc-tls@0.service"))),
    ("rpc_server", {}, {**listening(listener("192.168.1.101", 50052, "init.scope", 1)),
                        "units": {"systemd": True, "units": [{"unit": "llama-rpc-tls@0.socket", "active_state": "active"}]}}),
    ("watchdog", {"address": "0.0.0.0"}, {}),
    ("watchdog", {"address": "127.0.0.1"}, {"python_version": "3.9.0rc1"}),
    ("watchdog", {}, listening(listener("192.168.1.101", 8079, "llama-watchdog.service"))),
    ("llama_server", {"address": "0.0.0.0", "cors_origins": ["https://a.example", "*", "http://[::1]:80"]}, {}),
    ("llama_server", {"tls": "self-signed", "host_name": "chat.example.com"}, {}),
    ("llama_server", {"rpc_endpoints": ["127.168.1.101:50052"], "rpc_keys": {"w1": KEY}, "extra_args": ["--no-mmap", 0.5], **TUNNELS}, {}),
    ("llama_server", GIVEN, CERTIFICATE),
    ("llama_server", TUNNELS, listening(
        listener("127.168.1.101", 50053), listener("127.168.1.101", 50052, "llama-server-tunnel.service"),
        listener("0.0.0.0", 8080, "llama-server-proxy.service"), listener("192.168.1.101", 8080, "llama-server.service"))),
])
def test_nothing_is_in_the_way(service, settings, look):
    assert problems(service, settings, look) == []


NO_SYSTEMD = {"units": {"failed": True}}
UNREAD = {"units": {"systemd": True, "units": [], "units_problem": "systemctl could not show the units: no bus"}}
CASES = [
    *((service, {}, UNREAD, "what systemd runs on this machine cannot be read: systemctl could not show the units: no bus") for service in LOOKS),
    ("rpc_server", {}, {**UNREAD, **listening(listener("192.168.1.101", 50052, "init.scope", 1))}, "what systemd runs on this machine cannot be read"),
    ("rpc_server", {}, NO_SYSTEMD, "rpc-server needs systemd"),
    ("rpc_server", {}, {"sockets": {"failed": True, "msg": "there is no ss"}}, "cannot be read: there is no ss"),
    ("rpc_server", {}, {"sockets": {}}, "cannot be read: no reason given"),
    ("rpc_server", {"address": "worker1"}, {}, "rpc_server_address is 'worker1', which is not one IPv4 address"),
    ("rpc_server", {"address": "0.0.0.0"}, {}, "which is not one IPv4 address"),
    ("rpc_server", {"address": "192.168.1.101\n"}, {}, "which is not one IPv4 address"),
    ("rpc_server", {"address": "10.9.9.9"}, {}, "the worker's address 10.9.9.9 is not an address of this machine"),
    ("rpc_server", {"address": "127.0.0.1"}, {}, "a loopback address, where the head's end of the TLS tunnel would be"),
    ("rpc_server", {"tls_key": "abc"}, {}, "rpc_server_tls_key is not 32 to 128 hexadecimal digits"),
    ("rpc_server", {"ports": [65535, 65536], "devices": ["A", "B"]}, {}, "the ports of the workers are 65535, 65536, and a port is 1 to 65535"),
    ("rpc_server", {"devices": ["A", "A"]}, {}, "rpc_server_devices names a device twice: A, A"),
    ("rpc_server", {"devices": ["A B"], "extra_args": ["$x"]}, {}, "must be plain words, and these are not: $x A B"),
    ("rpc_server", {"allow_from": []}, {}, "nobody could connect to the RPC ports"),
    ("rpc_server", {"allow_from": ["head", "10.0.0.0/33"]}, {}, "neither an IPv4 address nor a network: head, 10.0.0.0/33"),
    ("rpc_server", {}, listening(listener("0.0.0.0", 50052)), "port 50052 on 192.168.1.101 is taken by a program (pid 99)"),
    ("rpc_server", {}, {**listening(listener("192.168.1.101", 50052, "init.scope", 1)),
                        "units": {"systemd": True, "units": [{"unit": "llama-rpc-tls@0.socket", "active_state": "inactive"}]}}, "is taken by"),
    ("watchdog", {}, NO_SYSTEMD, "the watchdog needs systemd"),
    ("watchdog", {}, {"python_version": "3.8.10"}, "needs /usr/bin/python3 of version 3.9 or newer, and there is 3.8.10"),
    ("watchdog", {}, {"python_version": ""}, "of version 3.9 or newer, and there is none"),
    ("watchdog", {"watched": []}, {}, "there is nothing to watch"),
    ("watchdog", {"watched": ["x.socket", "a b"]}, {}, "these are not names of systemd services: x.socket, a b"),
    ("watchdog", {"worker_endpoints": ["x"]}, {}, "endpoints that are not ADDRESS:PORT: x"),
    ("watchdog", {"peers": ["a"]}, {}, "watchdog_peers has what is neither an IPv4 address nor a network: a"),
    ("watchdog", {"address": ""}, {}, "watchdog_address is '', which is not one IPv4 address"),
    ("watchdog", {"address": "10.9.9.9"}, {}, "the address 10.9.9.9 is not an address of this machine"),
    ("watchdog", {"port": 0}, {}, "watchdog_port is 0"),
    ("watchdog", {"backoff_longest_s": 0}, {}, "an interval or pause of the watchdog is less than 1 s"),
    ("watchdog", {"answer_max_age_s": 40}, {}, "watchdog_answer_max_age_s is 40, and an idle head is asked only every 30 s"),
    ("watchdog", {"address": "0.0.0.0"}, listening(listener("10.0.0.5", 8079)), "port 8079 on 0.0.0.0 is taken by"),
    ("llama_server", {}, NO_SYSTEMD, "llama-server needs systemd"),
    ("llama_server", {}, {"sockets": {}}, "the sockets of this machine cannot be read"),
    ("llama_server", {"address": "head"}, {}, "llama_server_address is 'head'"),
    ("llama_server", {"address": "10.9.9.9"}, {}, "the address 10.9.9.9 is not an address of this machine"),
    ("llama_server", {"port": 70000}, {}, "llama_server_port is 70000"),
    ("llama_server", {"context_size": 0}, {}, "llama_server_context_size is 0 tokens"),
    ("llama_server", {"parallel": 0}, {}, "llama_server_parallel is 0"),
    ("llama_server", {"rpc_endpoints": ["a:1", "b"]}, {}, "what is not ADDRESS:PORT: b"),
    ("llama_server", {"rpc_endpoints": ["a:1", "a:1"]}, {}, "names a worker twice: a:1, a:1"),
    ("llama_server", {"rpc_tunnels": [{"endpoint": "10.0.0.1:50052"}]}, {}, "not on the loopback interface: 10.0.0.1:50052"),
    ("llama_server", {"rpc_keys": {"w1": "xyz", "w2": KEY}}, {}, "what is not 32 to 128 hexadecimal digits for w1"),
    ("llama_server", {"api_key": "#x"}, {}, "llama_server_api_key begins with a hash"),
    ("llama_server", {"api_key": "a b"}, {}, "has white space in it"),
    ("llama_server", {"tls": "self-signed", "proxy": False}, {}, "TLS is the proxy's work"),
    ("llama_server", {"proxy": False, "cors_origins": ["https://a", "https://b"]}, {}, "more than one origin"),
    ("llama_server", {"cors_origins": ["https://a/x"]}, {}, "what is not an origin: https://a/x"),
    ("llama_server", {"host_name": "https://x:80"}, {}, "'https://x:80', which is not a host name"),
    ("llama_server", {"max_requests_per_client": 0}, {}, "is less than 1"),
    ("llama_server", {"cache_ram_mib": -1}, {}, "llama_server_cache_ram_mib is -1 and llama_server_ctx_checkpoints 4, and no plan can count"),
    ("llama_server", {"ctx_checkpoints": -1}, {}, "llama_server_ctx_checkpoints -1"),
    ("llama_server", {"max_requests": 1}, {}, "llama_server_max_requests is 1, fewer than the 2"),
    ("llama_server", {"tls": "self-signed", "tls_days": 5}, {}, "llama_server_tls_days is 5"),
    ("llama_server", {"tls": "given", "tls_key_file": "/k.pem"}, {}, "llama_server_tls_certificate_file or llama_server_tls_key_file is not"),
    ("llama_server", GIVEN, {**CERTIFICATE, "certificate": {"rc": 1, "stdout": "", "stderr_lines": ["no such file", "x"]}}, "cannot be read: no such file"),
    ("llama_server", GIVEN, {**CERTIFICATE, "certificate_key": {"msg": "no openssl"}}, "the private key /k.pem cannot be read: openssl could not be run"),
    ("llama_server", GIVEN, {**CERTIFICATE, "certificate_key": {"rc": 0, "stdout": "another"}}, "/k.pem does not belong to the certificate /c.pem"),
    ("llama_server", GIVEN, {**CERTIFICATE, "certificate_ended": {"rc": 1}}, "is no longer valid (notAfter=Dec  1 2027 GMT)"),
    ("llama_server", GIVEN, {**CERTIFICATE, "certificate": {"rc": 0, "stdout": f"{PUBLIC}\nIP 1.2.3.4 does NOT match certificate\n"}},
     "the certificate /c.pem is not for 192.168.1.101"),
    ("llama_server", {"extra_args": ["-ngl=3"]}, {},
     "llama_server_extra_args or llama_server_environment has what a variable says: -ngl (set llama_server_n_gpu_layers)"),
    ("llama_server", {"environment_names": ["GGML_X", "LLAMA_ARG_MMPROJ"]}, {}, "has what a variable says: LLAMA_ARG_MMPROJ (set llama_server_mmproj)"),
    ("llama_server", {"address": "0.0.0.0"}, listening(listener("10.0.0.5", 8080)), "port 8080 on 0.0.0.0 is taken by a program (pid 99)"),
    ("llama_server", TUNNELS, listening(listener("0.0.0.0", 50053)),
     "port 50053 on 0.0.0.0, where the tunnel to a worker begins, is taken by a program (pid 99)"),
    ("llama_server", {}, {"beside": [{"problem": "llama_server_draft_max is 0", "remedy": "Set it"}]}, "llama_server_draft_max is 0"),
]


@pytest.mark.parametrize(("service", "settings", "look", "words"), CASES, ids=[case[3] for case in CASES])
def test_one_thing_is_in_the_way(service, settings, look, words):
    (found,) = problems(service, settings, look)
    assert words in found["problem"]
    assert found["machine"] == "m1" and found["remedy"]


def test_all_of_them_are_said():
    found = problems("rpc_server", {"address": "x", "ports": [0], "devices": ["a", "a"], "allow_from": []}, NO_SYSTEMD)
    assert len(found) == 5


def test_what_llama_server_cannot_be_started_without():
    model, draft, unset = ({"what": what, "variable": "llama_server_" + name, "path": path}
                           for what, name, path in (("model", "model", "/srv/m.gguf"), ("draft", "draft", "/srv"), ("model", "model", "")))
    seen = {"/srv/m.gguf": {"regular": True, "readable": True}, "/srv": {"regular": False}, "": {"regular": False}}

    def missing(executable, *reads):
        given = {"binary": "/bin/llama-server", "executable": executable, "reads": list(reads)}
        found = service_problems(given, "llama_server_files", "m", {"files": seen})
        assert {one["machine"] for one in found} <= {"m"}
        return [(one["problem"], one["remedy"]) for one in found]

    assert missing("/opt/llama-server", model) == []
    assert missing("", model, draft, unset) == [
        ("there is no /bin/llama-server", "Install llama.cpp there, or set llama_server_bin_dir"),
        ("the draft /srv is not a file on this machine", "Put the GGUF file there, or set llama_server_draft to its path"),
        ("llama_server_model is not set", "Put the GGUF file there, or set llama_server_model to its path")]


def lacking(given: dict[str, Any], **look: Any) -> list[str]:
    model = {"what": "model", "variable": "llama_server_model", "path": "/srv/m.gguf"}
    found = service_problems({"binary": "/b", "executable": "/b", "reads": [model], "user": "llama-server", **given}, "llama_server_files", "m", {
        "files": {"/srv/m.gguf": {"regular": True, "readable": True}}, **look})
    return ["%(problem)s. %(remedy)s" % one for one in found]


def test_a_model_that_the_user_cannot_read():
    unreadable = {"/srv/m.gguf": {"regular": True, "readable": False}}
    expected = ["the user llama-server cannot read /srv/m.gguf. Let everyone read the file and enter the directories above it, or name the file's group "
                "in llama_server_supplementary_groups"]
    assert lacking({}, files=unreadable) == lacking({}, files=unreadable, user_exists=False) == lacking({}, files=unreadable, check=True) == expected
    # which cannot be tried, or is not known yet
    assert lacking({"groups": ["video"]}, files=unreadable) == lacking({}, files=unreadable, user_exists=False, check=True) == []


def test_a_worker_whose_key_is_not_known():
    tunnels = {"tunnel_machines": ["w1", "w2", "w3"], "rpc_key_file": "/etc/tls-key"}
    assert lacking(tunnels, keys=["w2"]) == [
        "the TLS key of w1, w3 could not be read from /etc/tls-key there, or is no key. "
        "Run the role rpc_server there first, or give the key in llama_server_rpc_keys"]
    assert lacking(tunnels, keys=["w1", "w2", "w3"]) == []


def test_check_mode_says_nothing_of_what_a_real_run_would_have_made():
    assert lacking({"executable": "", "tunnel_machines": ["w1"]}, files={}, check=True) == []


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(AnsibleFilterError, match="not chat_check"):
        service_problems({}, "chat_check", "m1", {})
    with pytest.raises(AnsibleFilterError, match="two mappings"):
        service_problems([], "watchdog", "m1", {})
    with pytest.raises(AnsibleFilterError, match="tls_key"):
        service_problems({"address": "x"}, "rpc_server", "m1", LOOK)
    with pytest.raises(AnsibleFilterError, match="cannot read what it was given of rpc_server"):
        problems("rpc_server", {"ports": []}, {})
