# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watchdog's program is told, on a worker and on the head."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.watchdog_config import watchdog_config
from service_settings import STARTED

WORKER = STARTED["watchdog"]
HEAD = {**WORKER, "rpc_servers": [], "server_unit": "llama-server.service", "server_proxy_unit": "llama-server-proxy.service",
        "server_address": "0.0.0.0", "server_socket": "/run/llama-server/api.sock", "server_tls": True, "server_url": "https://Chat.example.com:8080/",
        "server_workers": [{"endpoint": "127.168.1.101:50052", "machine": "w1", "unit": "llama-rpc-server@0.service", "address": "192.168.1.101"},
                           {"endpoint": "10.1.1.2:50052", "machine": "w2", "unit": "llama-rpc-server@1.service"}]}


def test_a_worker_watches_its_own():
    told = watchdog_config({**WORKER, "rpc_servers": [{"unit": "llama-rpc-server@0.service", "port": "50052", "device": "CPU"}]})
    assert told["head"] is None and told["workers"] == [{"unit": "llama-rpc-server@0.service", "port": 50052}]
    assert {told[name] for name in ("interval_s", "probe_interval_s", "answer_max_age_s", "backoff_s", "backoff_longest_s")} == {1, 30, 90, 10, 600}


def test_who_may_ask_are_machines_by_their_addresses_each_once_and_in_order():
    told = watchdog_config({**HEAD, "peers": ["192.168.1.100", "head", "10.0.0.0/8", "192.168.1.101"]})
    assert told["peers"] == ["10.0.0.0/8", "10.1.1.2", "192.168.1.100", "192.168.1.101"]


def test_the_head_is_asked_where_it_listens_and_its_workers_watchdogs_at_their_own_addresses():
    head = watchdog_config(HEAD)["head"]
    assert [worker["watchdog"] for worker in head["workers"]] == ["192.168.1.101:8079", "10.1.1.2:8079"]
    assert head["address"] == "127.0.0.1" and head["name"] == "chat.example.com" and head["model_state"] == "/run/llama-server/model.json"
    plain = watchdog_config({**HEAD, "server_tls": False, "server_address": "10.0.0.5"})["head"]
    assert plain["address"] == "10.0.0.5" and plain["name"] == ""


def test_settings_that_are_not_whole_are_refused():
    with pytest.raises(AnsibleFilterError, match="runtime_dir"):
        watchdog_config({name: value for name, value in WORKER.items() if name != "runtime_dir"})
    with pytest.raises(AnsibleFilterError, match="not a list"):
        watchdog_config([])
