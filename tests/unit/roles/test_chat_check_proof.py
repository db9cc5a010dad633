# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role chat_check proves, and what it says where it cannot: asked of a server and a worker that this test plays."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from playbook_run import run_playbook
from played_cluster import KEY, Cluster

pytest.importorskip("openai")

CPU = {"name": "CPU", "kind": "cpu", "host": True, "endpoint": None, "layers": 0, "weights_mib": 28.7, "kv_mib": 0, "compute_mib": 16.64}
NO_FILE = {"chat_check_api_key_file": "/nonexistent/key"}


def case(number: int, given: dict[str, Any], place: Path) -> dict[str, Any]:
    """One use of the role, which leaves its error or its result behind."""
    result, error = ({"ansible.builtin.copy": {"content": "{{ (%s) | to_json }}" % what, "dest": f"{place}/{number}", "mode": "0600"}} for what in (
        "chat_check_result", "ansible_failed_result.results[-1].msg | default(ansible_failed_result.msg)"))
    return {"block": [{"ansible.builtin.include_role": {"name": "herd.llama_cpp.chat_check"}, "vars": given}, result], "rescue": [error]}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("proof")
    keys = f"# of the lab\n{KEY}\n".encode()
    (place / "key").write_bytes(keys)
    with Cluster() as cluster:
        worker = {"machine": "localhost", "address": "127.0.0.1", "port": cluster.worker_port}
        gone = {"machine": "localhost", "address": "127.0.0.1", "port": 9}
        rpc = {"name": "RPC0", "kind": "rpc", "endpoint": f"127.0.0.1:{cluster.worker_port}", "layers": 30, "weights_mib": 92.1, "kv_mib": 45.0}
        usual = {"chat_check_url": f"http://127.0.0.1:{cluster.server_port}", "chat_check_head": "localhost", "chat_check_api_key_file": f"{place}/key",
                 "chat_check_log": {"devices": [rpc, CPU]}, "chat_check_question": "right", "chat_check_workers": [worker]}
        cases = {
            "right": {}, "wrong": {"chat_check_question": "wrong"}, "idle": {"chat_check_question": "idle"}, "hang": {"chat_check_question": "hang"},
            "lost": {"chat_check_workers": [worker, gone]},
            "empty": {"chat_check_log": {"devices": [dict(rpc, layers=0, weights_mib=0), CPU]}},
            "on the CPU": {"chat_check_log": {"devices": [rpc, dict(CPU, layers=3)]}},
            "no key": {"chat_check_api_key_file": ""}, "no key file": NO_FILE, "given key": {**NO_FILE, "chat_check_api_key": KEY},
            "no CA": {"chat_check_head_ca_file": "/nonexistent/ca"},
            "no CA of theirs": {"chat_check_ca_file": "/nonexistent/ca", "chat_check_head_ca_file": "/nonexistent/ca2"},
            "variables": {"chat_check_url": "127.0.0.1", "chat_check_head": "", "chat_check_from": "nobody"},
            "no head": {"chat_check_head": "", "chat_check_workers": [], "chat_check_api_key": KEY, "chat_check_log": {}},
        }
        tasks = [case(number, {**usual, **given}, place) for number, given in enumerate(cases.values())]
        (place / "play.yml").write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
        run = run_playbook(str(place / "play.yml"), "localhost,", "-v", "-e",
                           "{ansible_python_interpreter: '{{ ansible_playbook_python }}', ansible_become: false}", timeout_s=900)
        cluster.shutdown()
    assert run.rc == 0, run.output[-3000:]
    # With -v the results are shown.
    assert "It is Paris." in run.output and KEY not in run.output and base64.b64encode(keys).decode() not in run.output
    return {name: json.loads((place / str(number)).read_text(encoding="utf-8")) for number, name in enumerate(cases)} | {"port": cluster.worker_port}


def test_an_answer_in_which_the_worker_had_its_part(said: dict[str, Any]) -> None:
    result = said["right"]
    assert (result["answer"], result["unknown"]) == ("It is Paris.", [])
    assert [(row["device"], row["layers"], row["bytes_sent"], row["bytes_received"]) for row in result["devices"]] == [
        ("RPC0", 30, 8192, 8192), ("CPU", 0, None, None)]
    assert said["given key"]["answer"] == "It is Paris." and said["given key"]["api_key_file"] == ""
    assert (said["no head"]["answer"], said["no head"]["devices"]) == ("It is Paris.", [])


@pytest.mark.parametrize(("name", "words"), [
    ("wrong", 'The answer to "wrong" is "Rome", which does not match the expected "\\bParis\\b".'),
    ("idle", 'The answer came ("It is Paris."), but not from the cluster as planned.\n'),
    ("idle", "it had no part in the answer: 0 bytes went to its endpoint 127.0.0.1:PORT and 0 came back"),
    ("hang", "closed the connection after"),
    ("hang", " What the sockets show: worker localhost (127.0.0.1:PORT) was sent 8192 bytes and sent nothing back."),
    ("lost", "localhost: nothing was asked, because the head is not connected to worker localhost (127.0.0.1:"),
    ("lost", "Start the rpc-server there, then restart llama-server on the head."),
    ("empty", "its device RPC0 holds no part of the model"),
    ("on the CPU", "its CPU holds 3 layers of the model that belong on a device"),
    ("no key", "does not accept the API key (HTTP 401)."),
    ("no key file", "/nonexistent/key"),
    ("no CA", "/nonexistent/ca"),
    ("no CA of theirs", "No such file or directory"),
    ("variables", 'chat_check_url is "127.0.0.1"'),
    ("variables", 'chat_check_from names "nobody", which is not in the inventory'),
    ("variables", "chat_check_workers is set and chat_check_head is not, so that nobody can see what the workers do"),
])
def test_what_is_no_proof_is_one_reason(said: dict[str, Any], name: str, words: str) -> None:
    assert words.replace("PORT", str(said["port"])) in said[name]


def test_a_worker_that_failed_an_earlier_question_is_not_named_again(said: dict[str, Any]) -> None:
    """The key is refused later in the same run than the worker hangs."""
    assert said["no key"].endswith("does not accept the API key (HTTP 401).")
