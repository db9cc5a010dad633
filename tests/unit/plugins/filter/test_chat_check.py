# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who took part in an answer, judged from sockets and log. The byte counts are those of a real run (SmolLM2, two workers)."""

from __future__ import annotations

import copy

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.chat_check_evidence import chat_check_evidence
from ansible_collections.herd.llama_cpp.plugins.filter.chat_check_suspects import chat_check_suspects
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.evidence import least_bytes, moved_bytes

WORKERS = [
    {"machine": "worker1", "address": "127.0.0.41", "port": 50252},
    {"machine": "worker2", "address": "127.0.0.42", "port": 50252, "endpoint": "127.0.0.42:50252"},
]
CHAT = {"completion_tokens": 8, "n_embd": 576}


def connection(address, sent, received, local_port=40000):
    return {
        "state": "established",
        "local_port": local_port,
        "remote_address": address,
        "remote_port": 50252,
        "bytes_sent": sent,
        "bytes_received": received,
    }


BEFORE = [connection("127.0.0.41", 100, 200), connection("127.0.0.42", 300, 400)]
# 8 tokens: 8 * (4 * 576 + 8) bytes back from the first, 8 * (4 * 49152) from the last.
AFTER = [connection("127.0.0.41", 100 + 38856, 200 + 18496), connection("127.0.0.42", 300 + 41088, 400 + 1572928)]


def device(name, endpoint, kind="rpc", layers=15, weights_mib=33.82, kv_mib=24.0, compute_mib=24.91):
    return {"name": name, "endpoint": endpoint, "kind": kind, "layers": layers, "weights_mib": weights_mib, "kv_mib": kv_mib, "compute_mib": compute_mib}


LOG = {
    "devices": [
        device("RPC0", "127.0.0.41:50252"),
        device("RPC1", "127.0.0.42:50252", layers=16, weights_mib=58.28, kv_mib=21.0),
        device("CPU", None, "cpu", layers=0, weights_mib=28.69, kv_mib=None, compute_mib=13.67),
    ]
}


def evidence(before=None, after=None, log="", **changes):
    log = copy.deepcopy(LOG if log == "" else log)
    for index, values in changes.pop("devices", {}).items():
        log["devices"][index].update(values)
    return chat_check_evidence(WORKERS, BEFORE if before is None else before, AFTER if after is None else after, CHAT, log, "head", **changes)


def problems(**changes):
    return ["%(machine)s: %(problem)s" % problem for problem in evidence(**changes)["problems"]]


def test_all_took_part():
    result = evidence()
    assert result["problems"] == []
    assert result["unknown"] == []
    assert [(row["machine"], row["device"], row["bytes_sent"], row["bytes_received"]) for row in result["devices"]] == [
        ("worker1", "RPC0", 38856, 18496),
        ("worker2", "RPC1", 41088, 1572928),
        ("head", "CPU", None, None),
    ]
    assert result["devices"][1]["weights_mib"] == 58.28


def test_the_least_is_half_of_what_was_measured():
    assert least_bytes(CHAT) == 8 * 576 * 2
    assert least_bytes(CHAT) * 2 < 18496 < least_bytes(CHAT) * 2.1
    assert least_bytes({"completion_tokens": 8}) == 8 * 256
    assert least_bytes({}, 10) == 10


def test_a_worker_that_moved_nothing_is_named():
    found = problems(after=[AFTER[0], BEFORE[1]], devices={1: {"layers": None, "weights_mib": None, "kv_mib": None}})
    assert len(found) == 1
    assert found[0].startswith("worker2: it had no part in the answer: 0 bytes went to its endpoint 127.0.0.42:50252 and 0 came back")


def test_bytes_must_come_back_too():
    assert len(problems(after=[AFTER[0], connection("127.0.0.42", 300 + 41088, 400 + 100)])) == 1


def test_a_worker_without_a_connection_is_named():
    assert problems(after=[AFTER[0]]) == ["worker2: the head has no connection to its endpoint 127.0.0.42:50252"]


def test_a_new_connection_counts_from_zero_and_several_add_up():
    after = [connection("127.0.0.41", 5, 6, local_port=1), connection("127.0.0.41", 110, 220)]
    assert moved_bytes(WORKERS[:1], BEFORE, after) == {"127.0.0.41:50252": (15, 26)}


def test_a_listening_socket_is_no_connection():
    assert moved_bytes(WORKERS[:1], [], [{**AFTER[0], "state": "listening"}]) == {"127.0.0.41:50252": None}


def test_a_lost_log_line_is_unknown_and_not_nothing():
    result = evidence(devices={0: {"weights_mib": None, "layers": None}})
    assert result["problems"] == []
    assert result["unknown"] == ["the head's log does not say what worker1 (127.0.0.41:50252) holds"]


def test_a_log_without_the_device_is_unknown_too():
    result = evidence(log={"devices": LOG["devices"][1:]})
    assert result["problems"] == []
    assert len(result["unknown"]) == 1
    assert [row["machine"] for row in result["devices"]] == ["worker2", "head", "worker1"]


@pytest.mark.parametrize("values", [{"weights_mib": 0}, {"weights_mib": 0.0, "layers": 0}, {"weights_mib": None, "layers": 0}])
def test_a_log_that_says_nothing_is_held_is_a_problem(values):
    assert problems(devices={0: values}) == ["worker1: its device RPC0 holds no part of the model"]


def test_the_output_alone_is_a_part():
    assert problems(devices={1: {"layers": 0, "weights_mib": 28.0}}) == []


@pytest.mark.parametrize(("values", "words"), [({"layers": 3}, "its CPU holds 3 layers"), ({"layers": None, "kv_mib": 1.5}, "1.5 MiB of KV cache")])
def test_layers_on_the_cpu_that_belong_on_a_device(values, words):
    found = problems(devices={2: values})
    assert len(found) == 1
    assert found[0].startswith("head: ")
    assert words in found[0]
    assert problems(devices={2: values}, allow_cpu_layers=True) == []


def test_a_head_with_nothing_but_its_cpu():
    result = chat_check_evidence([], [], [], CHAT, {"devices": [device("CPU", "", "cpu", layers=31)]}, "head")
    assert result["problems"] == []
    assert result["devices"][0]["machine"] == "head"


def test_without_a_log_the_bytes_decide():
    result = evidence(log=None)
    assert (result["problems"], result["unknown"]) == ([], [])
    assert [row["machine"] for row in result["devices"]] == ["worker1", "worker2"]


def test_several_devices_behind_one_endpoint_share_its_bytes():
    log = {"devices": [device("RPC0", "127.0.0.41:50252"), device("RPC1", "127.0.0.41:50252"), device("RPC2", "127.0.0.42:50252")]}
    assert [row["bytes_sent"] for row in evidence(log=log)["devices"]] == [38856, 38856, 41088]


def test_a_worker_that_hangs_is_suspected():
    after = [AFTER[0], connection("127.0.0.42", 300 + 5058, 400)]
    assert chat_check_suspects(WORKERS, BEFORE, after) == ["worker worker2 (127.0.0.42:50252) was sent 5058 bytes and sent nothing back"]


def test_a_worker_that_is_gone_is_suspected_although_the_head_is_gone_too():
    looks = [
        {"worker": WORKERS[0], "sockets": [{"local_address": "127.0.0.41"}]},
        {"worker": WORKERS[1], "sockets": [{"local_address": "127.0.0.99"}]},
    ]
    assert chat_check_suspects(WORKERS, BEFORE, [], looks) == ["nothing listens at worker worker2 (127.0.0.42:50252)"]


@pytest.mark.parametrize(
    ("look", "count"),
    [
        ({"unreachable": True}, 1),
        ({"sockets": []}, 1),
        ({"sockets": [{"local_address": "0.0.0.0"}]}, 0),
        ({"msg": "no ss"}, 0),
    ],
)
def test_what_a_look_at_the_workers_machine_says(look, count):
    assert len(chat_check_suspects(WORKERS[:1], BEFORE, AFTER, [{"worker": WORKERS[0], **look}])) == count


def test_a_lost_connection_is_named_before_anything_is_asked():
    assert chat_check_suspects(WORKERS, [], BEFORE) == []
    assert chat_check_suspects(WORKERS, [], BEFORE[:1]) == ["the head is not connected to worker worker2 (127.0.0.42:50252)"]
    assert chat_check_suspects(WORKERS, [], []) == ["the head is connected to none of its workers"]
    assert chat_check_suspects([], [], []) == []


def test_what_is_no_input_is_refused():
    with pytest.raises(AnsibleFilterError, match="misses 'address'"):
        chat_check_evidence([{"machine": "w"}], [], [], {})
    with pytest.raises(AnsibleFilterError, match="cannot read"):
        chat_check_suspects(None, [], [])
