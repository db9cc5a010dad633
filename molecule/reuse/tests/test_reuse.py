# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stranger's cluster answers, through its worker, on the stranger's ports."""

from __future__ import annotations

from answers import capital_of_france

testinfra_hosts = ["ansible://chat_frontend"]


def test_answers_through_the_worker(host):
    assert "Paris" in capital_of_france(host, "198.18.2.10", 6080, "/etc/llama-server/tls/certificate.pem")
    established = host.check_output("ss -Htnp state established dst 198.18.2.11:6000 or dst 127.18.2.11:6000").splitlines()
    assert sorted(("llama-server" in line, "stunnel4" in line) for line in established) == [(False, True), (True, False)]


def test_runs_from_the_strangers_prefix(host):
    process = host.process.get(comm="llama-server")
    assert host.check_output(f"readlink /proc/{process.pid}/exe").startswith("/srv/llm/builds/")
