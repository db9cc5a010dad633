# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine, no worker: no --rpc on the command line, and a right answer."""

from __future__ import annotations

import api
import pytest
from answers import capital_of_france

testinfra_hosts = ["ansible://chat_frontend"]


def test_answers_alone(host):
    assert "--rpc" not in host.process.get(comm="llama-server").args
    assert "Paris" in capital_of_france(host, "198.18.2.10", 6080)


@pytest.fixture
def server(host) -> api.Api:
    return api.Api("http://198.18.2.10:6080", host.file("/etc/llama-server/api-key").content_string.strip())


def test_nothing_stands_before_it_any_more(host):
    assert {line.split()[3] for line in host.check_output("ss -Hltn").splitlines() if not line.split()[3].endswith(":22")} == {"198.18.2.10:6080"}
    assert host.run("systemctl list-unit-files --no-legend 'llama-server-proxy*'").stdout == ""
    assert not host.file("/etc/llama-server/tls").exists
    assert not host.file("/run/llama-server").exists


def test_without_the_key_nothing_is_open_but_health(server):
    assert server.open_with("x") == server.open_with("") == api.OPEN


def test_no_page_of_another_site_may_read_an_answer(server):
    for method in ("GET", "OPTIONS"):
        headers = server.ask(method, "/v1/models", server.key, api.STRANGER).headers
        assert headers["Access-Control-Allow-Origin"] == server.url
