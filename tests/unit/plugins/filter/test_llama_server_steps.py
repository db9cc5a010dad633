# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done so that llama-server, its tunnels and its proxy run what is configured."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_server_steps import llama_server_steps
from service_settings import PLACES
from service_settings import SETTINGS as OF_ROLES

SETTINGS = OF_ROLES["llama_server"]
SERVER, PROXY, TUNNEL, FENCE = ("llama-server%s.service" % name for name in ("", "-proxy", "-tunnel", "-firewall"))
TUNNELS = {"rpc_tunnels": [{"machine": "w1", "endpoint": "127.1.1.1:50052", "address": "192.168.1.101", "port": 50052}]}
LOOK = {"executable": "/b/llama-server", "tunnel_executable": "/usr/bin/stunnel4", "found": [], "abandoned": [], "rules": 'comment "fence"'}
RUNS = {SERVER: "/b/llama-server", PROXY: "/usr/sbin/nginx", TUNNEL: "/usr/bin/stunnel4", FENCE: ""}
IDS = {SERVER: "server", PROXY: "proxy", TUNNEL: "tunnel", FENCE: "fence"}


def unit(name: str, **other: Any) -> dict[str, Any]:
    return {"unit": name, "running": True, "load_state": "loaded", "environment": {} if name == PROXY else {"HERD_CONFIG_ID": IDS[name]},
            "executable": RUNS[name], "executable_deleted": False, "stale_credentials": [], **other}


def due(settings: dict[str, Any], *units: dict[str, Any], look: dict[str, Any] | None = None, check: bool = False, **written: Any) -> dict[str, Any]:
    """What is due where all these units are in service, and what stands in their places here is all that is another."""
    found = {one["unit"]: one for one in [*map(unit, IDS), *units]}
    result = {"files": [], "changed_files": [], "units": list(found.values()), "in_service": list(found), "config_ids": IDS, "changed": False, **written}
    return llama_server_steps({**SETTINGS, **settings}, PLACES, {**LOOK, **(look or {})}, result, check)


def words(steps: list[dict[str, Any]]) -> list[str]:
    return ["%s %s" % (step["state"], step["unit"].removeprefix("llama-server").removesuffix(".service") or "server") for step in steps]


def test_nothing_is_due_where_what_is_configured_runs():
    assert due(TUNNELS) == {"restart": False, "tunnels": [], "discard": [], "surplus_files": [], "surplus_table": "", "services": []}


def test_without_a_look_all_that_is_wanted_is_started():
    found = llama_server_steps({**SETTINGS, **TUNNELS}, PLACES)
    assert words(found["tunnels"]) == ["started -firewall", "started -tunnel"] and words(found["services"]) == ["started server", "started -proxy"]
    assert not (found["restart"] or found["discard"] or found["surplus_files"])
    assert words(llama_server_steps({**SETTINGS, "proxy": False}, PLACES)["services"]) == ["started server"]


@pytest.mark.parametrize(("other", "look", "written"), [
    (unit(SERVER, running=False), {}, {}),
    (unit(SERVER, environment={"HERD_CONFIG_ID": "before"}), {}, {}),
    (unit(SERVER, executable="/a/llama-server"), {}, {}),
    (unit(SERVER, stale_credentials=["api-key"]), {}, {}),
    (unit(SERVER), {"abandoned": [{"unit": SERVER}]}, {}),
    (unit(SERVER), {}, {"changed_files": ["/etc/systemd/system/llama-server.service"]})])
def test_llama_server_restarts_where_it_does_not_run_what_it_should(other, look, written):
    found = due(TUNNELS, other, look=look, **written)
    assert found["restart"] and found["tunnels"] == [] and words(found["services"]) == ["restarted server"]


def test_somebody_elses_lost_connection_is_no_reason():
    assert not due({}, look={"abandoned": [{"unit": "other.service"}]})["restart"]


def test_llama_server_stops_before_its_tunnels_restart():
    found = due(TUNNELS, unit(TUNNEL, executable="/usr/bin/other"))
    assert found["restart"]
    assert words(found["tunnels"]) == ["stopped server", "stopped -tunnel", "restarted -tunnel"]
    assert words(found["services"]) == ["restarted server"]


def test_the_old_tunnels_stop_before_the_rules_that_do_not_guard_their_ends_any_more():
    found = due(TUNNELS, unit(TUNNEL, environment={"HERD_CONFIG_ID": "before"}), look={"rules": ""})
    assert words(found["tunnels"]) == ["stopped server", "stopped -tunnel", "reloaded -firewall", "restarted -tunnel"]


def test_the_proxy_restarts_alone():
    found = due({}, unit(PROXY, stale_credentials=["proxy.conf"]))
    assert not found["restart"] and words(found["services"]) == ["restarted -proxy"]


def test_rules_that_are_not_loaded_are_loaded_and_nothing_stops():
    found = due(TUNNELS, look={"rules": ""})
    assert not found["restart"] and words(found["tunnels"]) == ["reloaded -firewall"] and found["services"] == []


def test_what_is_wanted_no_more_goes():
    look = {"found": ["/etc/llama-server/proxy.conf", "/etc/llama-server/tls", "/etc/llama-server/rpc-keys"]}
    found = due({"proxy": False}, unit(SERVER, environment={}), look=look)
    # llama-server first, which was started with the tunnels
    assert words(found["discard"]) == ["stopped server", "stopped -proxy", "stopped -tunnel", "stopped -firewall"]
    assert [step["enabled"] for step in found["discard"]] == [None, False, False, False]
    assert found["surplus_files"] == [*look["found"], "/run/llama-server"] and found["surplus_table"] == "llama_server_tunnel"
    assert words(found["services"]) == ["restarted server"]
    # One that goes on as it is was started without them.
    assert words(due({"proxy": False})["discard"]) == ["stopped -proxy", "stopped -tunnel", "stopped -firewall"]
    assert due({"proxy": False}, *(unit(name, load_state="not-found") for name in (PROXY, TUNNEL, FENCE)))["discard"] == []


@pytest.mark.parametrize(("settings", "kept"), [
    ({}, []), ({"tls": "self-signed"}, ["tls"]), ({"tls": "self-signed", "proxy": False}, []), (TUNNELS, ["rpc-keys"]),
    ({"tls": "given", "tls_certificate_file": "/c", "tls_key_file": "/etc/llama-server/tls/mine.pem"}, ["tls"])])
def test_what_has_files_of_this_configuration_stays(settings, kept):
    found = ["/etc/llama-server/tls", "/etc/llama-server/rpc-keys", "/etc/llama-server/tunnel.conf"]
    gone = due(settings, *(unit(name, load_state="not-found") for name in (PROXY, TUNNEL, FENCE)), look={"found": found}, files=[found[2]])["surplus_files"]
    assert gone == [path for path in found[:2] if path.rpartition("/")[2] not in kept]


def test_check_mode_stops_nothing_and_says_nothing_of_what_may_not_be_there_yet():
    found = due(TUNNELS, unit(TUNNEL, running=False), unit(PROXY, running=False), check=True)
    assert found["restart"] and found["tunnels"] == found["services"] == []


@pytest.mark.parametrize("given", [([], PLACES), (SETTINGS, {}), (SETTINGS, PLACES, {"executable": ""}), (SETTINGS, PLACES, LOOK, {"units": []}),
                                   (SETTINGS, PLACES, LOOK, [1])])
def test_what_cannot_be_read_is_refused(given):
    with pytest.raises(AnsibleFilterError, match="llama_server_steps"):
        llama_server_steps(*given)
