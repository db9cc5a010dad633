# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API from a client machine (this one): right answers with the key, none without."""

from __future__ import annotations

import pytest
import requests
from answers import MESSAGES, capital_of_france
from clusters import API_PORT

testinfra_hosts = ["local://"]


def test_a_real_answer(cluster):
    assert "Paris" in capital_of_france(cluster.machine("head"), cluster.addresses["head"], API_PORT)


@pytest.mark.parametrize("key", [None, "wrong"])
def test_no_answer_without_the_key(cluster, key):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = requests.post(f"{cluster.url}/v1/chat/completions", json={"messages": MESSAGES}, headers=headers, timeout=30)
    assert response.status_code == 401
