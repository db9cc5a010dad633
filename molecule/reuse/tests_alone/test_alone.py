# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine, no worker: no --rpc on the command line, and a right answer."""

from __future__ import annotations

from answers import capital_of_france

testinfra_hosts = ["ansible://chat_frontend"]


def test_answers_alone(host):
    assert "--rpc" not in host.process.get(comm="llama-server").args
    assert "Paris" in capital_of_france(host, "198.18.2.10", 6080)
