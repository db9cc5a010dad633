# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS with a certificate made on the machine, an origin that was allowed, and no more requests at a time than were."""

from __future__ import annotations

import subprocess
import time

import api
import pytest
import requests

testinfra_hosts = ["ansible://chat_frontend"]
TLS = "/etc/llama-server/tls"
URL = "https://198.18.2.10:6080"
ALLOWED = "https://pages.reuse.test"
BOUND = 6


@pytest.fixture
def server(host, tmp_path) -> api.Api:
    trusted = tmp_path / "certificate.pem"
    trusted.write_text(host.file(f"{TLS}/certificate.pem").content_string, encoding="utf-8")
    return api.Api(URL, host.file("/etc/llama-server/api-key").content_string.strip(), str(trusted))


def test_is_trusted_by_its_certificate_and_by_nothing_else(server):
    assert server.ask("GET", "/v1/models", server.key).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{URL}/health", timeout=30)


def test_speaks_no_old_tls_and_no_plain_http(server):
    for version, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        client = subprocess.run(
            ["openssl", "s_client", "-connect", "198.18.2.10:6080", version, "-cipher", "DEFAULT@SECLEVEL=0",
             "-CAfile", server.ca, "-verify_return_error", "-verify_hostname", "chat.reuse.test"], input=b"", capture_output=True, check=False)
        assert (client.returncode == 0) is works, client.stderr
    answer = requests.get("http://198.18.2.10:6080/v1/models", headers={"Authorization": f"Bearer {server.key}"}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "This port speaks TLS: ask it by https")


def test_its_private_key_is_nowhere_to_be_read(host):
    key = host.file(f"{TLS}/key.pem")
    assert (key.user, key.mode) == ("root", 0o600)
    secret = key.content_string.splitlines()[1]
    assert host.run("find / -xdev -type f -perm -o=r -not -path '/proc/*' -exec grep -lF -- %s {} +", secret).stdout == ""
    assert secret not in host.check_output("journalctl --no-pager -o cat")


def test_nothing_is_open_without_the_key_but_health(server):
    assert server.open_with("x") == server.open_with("") == api.OPEN
    assert ("GET", "/metrics") in server.open_with(server.key)


def test_only_the_allowed_origin_may_read_answers(server):
    for method in ("GET", "OPTIONS"):
        allowed = server.ask(method, "/v1/models", server.key if method == "GET" else "", ALLOWED).headers
        assert (allowed["Access-Control-Allow-Origin"], allowed["Vary"]) == (ALLOWED, "Origin")
        assert "Authorization" in allowed["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in allowed
    for origin in (api.STRANGER, ALLOWED + ".evil.example", "http://pages.reuse.test", "null"):
        assert "Access-Control-Allow-Origin" not in server.ask("GET", "/v1/models", server.key, origin).headers


def test_no_more_requests_at_a_time_than_were_allowed(host, server):
    with api.Holders(server, BOUND) as held:
        deadline = time.monotonic() + 30
        refused = None
        while time.monotonic() < deadline and (refused is None or refused.status_code != 503):
            refused = server.ask("GET", "/v1/models", server.key)
            time.sleep(0.1)
        assert refused.status_code == 503, held.statuses
        assert refused.json()["error"]["message"] == "Too many requests at a time, try again"
        assert refused.headers["Retry-After"] == "2"
        # Who watches it still hears it, and llama-server itself has an ear for those who watch it.
        assert server.ask("GET", "/health").status_code == 200
        assert set(held.statuses) <= {200}
    deadline = time.monotonic() + 60
    while server.ask("GET", "/v1/models", server.key).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.ask("POST", "/v1/completions", server.key, json={"prompt": "1, 2,", "max_tokens": 1}).status_code == 200


def test_a_stream_comes_as_it_is_made(server):
    with requests.post(f"{URL}/v1/completions", headers={"Authorization": f"Bearer {server.key}"}, verify=server.ca, stream=True, timeout=60,
                       json={"prompt": "1, 2, 3,", "max_tokens": 100, "stream": True, "ignore_eos": True}) as answer:
        times = [time.monotonic() for line in answer.iter_lines() if line.startswith(b"data:")]
    assert len(times) > 50
    assert times[-1] - times[0] > 0.2
