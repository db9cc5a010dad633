# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API lets in who has the key, shows browsers' pages nothing, and takes no request that is too large."""

from __future__ import annotations

import api
import clusters
import pytest
import requests
from clusters import API_PORT

testinfra_hosts = ["ansible://llama_host"]
MIB = 1 << 20


@pytest.fixture
def server(cluster) -> api.Api:
    return api.Api(cluster.url, cluster.api_key)


@pytest.mark.parametrize("key", ["", "x", "Bearer"])
def test_without_the_key_nothing_is_open_but_health(server, key):
    assert server.open_with(key) == api.OPEN


def test_the_key_in_another_header_must_be_right_too(server):
    assert server.ask("GET", "/v1/models", headers={"X-Api-Key": "x"}).status_code == 401
    assert server.ask("GET", "/v1/models", headers={"X-Api-Key": server.key}).status_code == 200


def test_with_the_key_it_is_open(server):
    """The test of what is closed must be able to fail."""
    opened = server.open_with(server.key)
    assert {("GET", "/v1/models"), ("GET", "/props"), ("POST", "/v1/chat/completions"), ("POST", "/tokenize")} <= opened


def test_what_nobody_asked_for_is_closed_to_everybody(server):
    for path in ("/slots", "/metrics", "//slots", "/%73lots", "/x/../slots", "/slots?model=any"):
        assert server.ask("GET", path, server.key).status_code == 404, path
    page = server.ask("GET", "/", server.key)
    assert page.status_code == 404, page.text[:200]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("key", [True, False])
def test_no_page_of_another_site_may_read_an_answer(server, method, key):
    path = "/v1/completions" if method == "POST" else "/v1/models"
    options = {"json": {"prompt": "1, 2,", "max_tokens": 1}} if method == "POST" else {}
    for origin in (api.STRANGER, "null", "http://localhost:3000", server.url):
        answer = server.ask(method, path, server.key if key else "", origin, headers={"Access-Control-Request-Method": "POST"}, **options)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], (origin, answer.headers)


def test_llama_server_itself_would_let_it(host, server):
    """What closes it is what stands before it: the tests above can fail."""
    script = (
        "import http.client, socket, sys\n"
        "c = http.client.HTTPConnection('x'); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect('/run/llama-server/api.sock')\n"
        "key = open('/etc/llama-server/api-key').read().strip()\n"
        "c.request('GET', sys.argv[1], headers={'Origin': 'https://evil.example', 'Authorization': 'Bearer ' + key})\n"
        "r = c.getresponse(); print(r.status, r.getheader('Access-Control-Allow-Origin'))"
    )
    assert host.check_output("python3 -c %s /v1/models", script) == "200 https://evil.example"
    assert host.check_output("python3 -c %s /slots", script).startswith("200 ")


def test_no_other_user_gets_around_what_stands_before_it(host):
    script = "import socket; socket.socket(socket.AF_UNIX).connect('/run/llama-server/api.sock')"
    assert "PermissionError" in host.run("runuser -u nobody -- python3 -c %s", script).stderr
    assert host.run("runuser -u llama-server -- python3 -c %s", script).rc == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_too_large_is_refused_and_harms_nothing(server, chunked):
    body = b'{"prompt": "' + b"x" * (16 * MIB) + b'"}'
    parts = (body[at : at + MIB] for at in range(0, len(body), MIB)) if chunked else body
    answer = requests.post(
        f"{server.url}/v1/completions", data=parts, headers={"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "The request is larger than 16 MiB"
    assert server.ask("POST", "/v1/completions", server.key, json={"prompt": "1, 2,", "max_tokens": 1}).status_code == 200


def test_a_large_request_below_the_bound_reaches_llama_server(server):
    answer = server.ask("POST", "/tokenize", server.key, json={"content": "word " * 500000}, timeout=180)
    assert answer.status_code == 200
    assert len(answer.json()["tokens"]) > 400000


def test_its_process_has_no_rights(host):
    process = host.process.filter(comm="nginx")
    assert len(process) == 3
    assert {one.user for one in process} & {"root", "llama-server", "www-data"} == set()
    capabilities = host.check_output("grep CapEff /proc/%s/status", str(process[0].pid)).split()[1]
    assert int(capabilities, 16) == 0


@pytest.mark.parametrize("unit", ["llama-server.service", "llama-server-proxy.service", "llama-server-tunnel.service"])
def test_units_are_shut_in(host, unit):
    assert clusters.exposure(host, unit) <= 1.5


def test_the_packages_own_server_stays_off(host, cluster):
    assert host.run("systemctl is-enabled nginx").stdout.strip() == "disabled"
    assert not host.service("nginx").is_running
    assert {line.split()[3] for line in host.check_output("ss -Hltnp").splitlines() if "nginx" in line} == {f"{cluster.addresses['head']}:{API_PORT}"}
