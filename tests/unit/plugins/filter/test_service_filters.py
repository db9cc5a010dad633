# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters that the service roles decide with."""

from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.outdated_units import outdated_units
from ansible_collections.herd.llama_cpp.plugins.filter.rpc_server_due import rpc_server_due
from ansible_collections.herd.llama_cpp.plugins.filter.rpc_server_instances import rpc_server_instances
from ansible_collections.herd.llama_cpp.plugins.filter.rpc_tunnel_keys import rpc_tunnel_keys
from ansible_collections.herd.llama_cpp.plugins.filter.systemd_quote import systemd_quote


def test_command_line_and_environment():
    assert systemd_quote(["/usr/bin/printf", "%s", "a b", "$HOME", 3]) == '/usr/bin/printf %%s "a b" $$HOME 3'
    assert systemd_quote({"N": 3, "A": "good day"}) == ['"A=good day"', '"N=3"']
    assert systemd_quote("a b") == '"a b"'


@pytest.mark.parametrize("value", [None, True, [None], [["nested"]], {"A": None}, {"not a name": "x"}, {1: "x"}, "a\0b"])
def test_what_cannot_be_written_is_refused(value):
    with pytest.raises(AnsibleFilterError):
        systemd_quote(value)


def test_instances():
    assert rpc_server_instances(["CPU"], "m", "10.0.0.1", "50052")[0]["endpoint"] == "10.0.0.1:50052"
    with pytest.raises(AnsibleFilterError, match="list"):
        rpc_server_instances("CPU", "m", "10.0.0.1", 1)
    with pytest.raises(AnsibleFilterError, match="port"):
        rpc_server_instances(["CPU"], "m", "10.0.0.1", "many")


def test_outdated_units_checks_its_input():
    assert outdated_units([], {"a.service": "1"}, "/bin/x") == ["a.service"]
    with pytest.raises(AnsibleFilterError):
        outdated_units("nonsense", {}, "/bin/x")
    with pytest.raises(AnsibleFilterError):
        outdated_units([{"unit": "a.service"}], {"a.service": "1"}, "/bin/x")


def test_a_name_and_a_path_of_a_unit():
    assert systemd_quote("/etc/50%/a b", form="path") == "/etc/50%%/a b"
    assert systemd_quote("worker_1.example-2", form="name") == "worker_1.example-2"
    assert systemd_quote("a:b/c%+", form="name") == "a+3Ab+2Fc+25+2B"
    names = ["a", "A", "a+", "a/", "+61", "\u00e4", "w" * 200, "w" * 199 + "x", "/" * 200, "/" * 201, ".", ".."]
    written = [systemd_quote(name, form="name") for name in names]
    assert len({name.lower() for name in written}) >= len(names) - 1 and all(0 < len(name) <= 200 for name in written)
    assert not {".", ".."} & set(written)
    for value, form in (("a\nb", "path"), (" a", "path"), ("a\\", "path"), ("", "name"), ("a", "other"), (["a"], "name"), ({"A": "b"}, "path")):
        with pytest.raises(AnsibleFilterError):
            systemd_quote(value, form=form)


WORKER, OTHER, TLS, GONE = "llama-rpc-server@0.service", "llama-rpc-server@1.service", "llama-rpc-tls@0.service", "llama-rpc-tls@1.service"


def process(unit, config_id="1", executable="/bin/worker", **values):
    return {"unit": unit, "active_state": "active", "in_service": True, "running": True, "environment": {"HERD_CONFIG_ID": config_id},
            "executable": executable, "executable_deleted": False, "stale_credentials": [], **values}


def due(units, changed_files=(), files=("/etc/llama-rpc-server/0.env", "/etc/systemd/system/llama-rpc-tls@0.socket")):
    return {name: found for name, found in rpc_server_due(
        units, {WORKER: "1"}, "/bin/worker", {TLS: "2"}, "/bin/stunnel", changed_files, files).items() if found}


CURRENT = [process(WORKER), process(TLS, "2", "/bin/stunnel")]


def test_workers_that_run_as_configured_need_nothing():
    assert due(CURRENT) == {"in_service": [WORKER, TLS]}


def test_a_bare_machine_has_all_to_start():
    assert due([], files=[]) == {"start": [WORKER], "tls_restart": [TLS]}


def test_a_worker_that_runs_something_else_is_stopped_before_any_is_started():
    assert due([process(WORKER, "old"), CURRENT[1]]) == {"start": [WORKER], "stop": [WORKER], "in_service": [TLS]}
    assert due([process(WORKER, active_state="inactive", running=False, in_service=False), CURRENT[1]]) == {"start": [WORKER], "in_service": [TLS]}


def test_a_worker_whose_settings_were_others_is_started_anew():
    assert due(CURRENT, ["/etc/llama-rpc-server/0.env"]) == {"start": [WORKER], "stop": [WORKER], "in_service": [TLS]}


def test_workers_and_tls_of_more_devices_go():
    units = [*CURRENT, process(OTHER), process("llama-rpc-server@2.service", active_state="inactive", in_service=False)]
    files = ["/etc/llama-rpc-server/0.env", "/etc/llama-rpc-server/1.env", "/etc/llama-rpc-server/3.env", "/etc/systemd/system/llama-rpc-tls@1.socket"]
    assert due(units, files=files) == {"remove": [OTHER, "llama-rpc-server@3.service"], "tls_remove": [GONE], "in_service": [WORKER, TLS, OTHER]}


def test_rpc_server_due_checks_its_input():
    with pytest.raises(AnsibleFilterError, match="unit_process_info"):
        rpc_server_due([{"unit": WORKER}], {WORKER: "1"}, "/bin/worker", {}, "", [], [])


KEY, ANOTHER = "ab" * 32, "0F" * 16


def slurped(machine, text):
    return {"item": machine, "content": base64.b64encode(text.encode()).decode()}


def test_the_keys_of_the_tunnels():
    read = [slurped("w1", f"llama-rpc:{KEY}\n"), slurped("w2", "llama-rpc:short\n"), slurped("w3", f"other:{KEY}"), {"item": "w4", "msg": "no such file"}]
    assert rpc_tunnel_keys(read, {}, ["w1", "w2", "w3", "w4"]) == {"w1": f"llama-rpc:{KEY}"}
    assert rpc_tunnel_keys(read, {"w1": ANOTHER, "w2": ANOTHER, "w9": ANOTHER}, ["w1", "w2"]) == dict.fromkeys(["w1", "w2"], f"llama-rpc:{ANOTHER}")


def test_no_key_is_in_the_message():
    with pytest.raises(AnsibleFilterError) as caught:
        rpc_tunnel_keys([{"item": "w1", "content": KEY[:-1]}], {}, ["w1"])
    assert KEY[:-1] not in str(caught.value)
