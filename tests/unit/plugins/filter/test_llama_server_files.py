# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files llama-server, its tunnels and its proxy have."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_server_files import llama_server_files
from service_settings import PLACES
from service_settings import SETTINGS as OF_ROLES

SETTINGS = OF_ROLES["llama_server"]
CONTENTS = {"api_key": "", "new_api_key": "new", "rpc_keys": {}, "model_files": "", "reads": [], "seen": {}}
TUNNELS = {"rpc_tunnels": [{"machine": "w1", "endpoint": "127.1.1.1:50052", "address": "192.168.1.101", "port": 50052},
                           {"machine": "a/b", "endpoint": "127.1.1.2:50052", "address": "192.168.1.102", "port": 50052}]}


def made(settings: dict[str, Any], **contents: Any) -> dict[str, Any]:
    return llama_server_files({**SETTINGS, **settings}, PLACES, {**CONTENTS, **contents})


def sources(settings: dict[str, Any], **contents: Any) -> list[str]:
    found = []
    for file in made(settings, **contents)["files"]:
        found += [file["path"]] if "content" in file else [file["src"]] if isinstance(file["src"], str) else file["src"]
    return found


OWN = ["/etc/llama-server/api-key", "llama-server.service.j2"]
CHECKED = ["model_check.py", "/etc/llama-server/model.json"]
PROXY = ["proxy_keys.py", "api_keys.py", "proxy.conf.j2", "llama-server-proxy.service.j2"]
OF_TUNNELS = ["rpc-key.j2", "no-certificate-is-trusted.pem", "tunnel.conf.j2", "tunnel.nft.j2", "llama-server-tunnel.service.j2"]


@pytest.mark.parametrize(("settings", "contents", "files", "directories"), [
    ({"proxy": False}, {}, OWN, ["/etc/llama-server"]),
    ({"proxy": False}, {"model_files": "[]\n"}, OWN + CHECKED, ["/etc/llama-server", "/usr/local/lib/llama-server"]),
    ({}, {}, OWN + PROXY, ["/etc/llama-server", "/usr/local/lib/llama-server"]),
    ({"proxy": False, **TUNNELS}, {}, OWN + OF_TUNNELS, ["/etc/llama-server", "/etc/llama-server/rpc-keys"]),
    (TUNNELS, {"model_files": "[]\n"}, OWN + CHECKED + OF_TUNNELS + PROXY,
     ["/etc/llama-server", "/usr/local/lib/llama-server", "/etc/llama-server/rpc-keys"])])
def test_each_part_has_its_files_where_it_is_wanted(settings, contents, files, directories):
    assert sources(settings, **contents) == files
    assert [entry["path"] for entry in made(settings, **contents)["directories"]] == directories


def test_no_directory_with_keys_is_anyone_elses():
    modes = {entry["path"]: (entry.get("mode"), entry.get("exclusive")) for entry in made(TUNNELS)["directories"]}
    assert modes == {"/etc/llama-server": ("0700", None), "/usr/local/lib/llama-server": (None, None), "/etc/llama-server/rpc-keys": ("0700", True)}
    secret = {entry["path"]: entry["mode"] for entry in made(TUNNELS)["files"] if entry.get("secret")}
    assert secret == {"/etc/llama-server/api-key": "0600", "/etc/llama-server/rpc-keys/*": "0600"}


@pytest.mark.parametrize(("given", "content", "force"), [("", "new\n", False), ("mine", "mine\n", True)])
def test_an_api_key_that_was_made_stays_and_one_that_is_given_takes_its_place(given, content, force):
    key = made({}, api_key=given)["files"][0]
    assert (key["content"], key["force"]) == (content, force)


def test_a_model_file_that_is_another_is_another_start():
    seen = {"/srv/m.gguf": {"size_bytes": 5, "changed_s": 7}, "/srv/d.gguf": {"size_bytes": 1, "changed_s": 2}}
    assert made({}, reads=list(seen), seen=seen)["files"][1]["identity"] == "5.7 1.2"


def test_the_keys_are_called_as_their_machines():
    found = made(TUNNELS, rpc_keys={"w1": "llama-rpc:1", "a/b": "llama-rpc:2"})
    (keys,) = [entry["each"] for entry in found["files"] if "each" in entry]
    assert keys == {"w1": "llama-rpc:1", "a+2Fb": "llama-rpc:2"}
    assert found["credentials"]["llama-server-tunnel.service"] == {
        "rpc-key-w1": "/etc/llama-server/rpc-keys/w1", "rpc-key-a+2Fb": "/etc/llama-server/rpc-keys/a+2Fb"}


@pytest.mark.parametrize(("settings", "expected"), [
    ({"tls": "off"}, {}),
    ({"tls": "self-signed"}, {"tls-certificate": "/etc/llama-server/tls/certificate.pem", "tls-key": "/etc/llama-server/tls/key.pem"}),
    ({"tls": "given", "tls_certificate_file": "/c", "tls_key_file": "/k"}, {"tls-certificate": "/c", "tls-key": "/k"})])
def test_the_proxy_is_handed_its_certificate(settings, expected):
    handed = made(settings)["credentials"]
    own = {"api-key": "/etc/llama-server/api-key"}
    assert handed["llama-server.service"] == own and handed["llama-server-proxy.service"] == {"proxy.conf": "/etc/llama-server/proxy.conf", **own, **expected}


@pytest.mark.parametrize("given", [([], PLACES, CONTENTS), (SETTINGS, {}, CONTENTS), (SETTINGS, PLACES, {}),
                                   ({**SETTINGS, "rpc_tunnels": [{"machine": ""}]}, PLACES, CONTENTS)])
def test_what_cannot_be_read_is_refused(given):
    with pytest.raises(AnsibleFilterError, match="llama_server_files"):
        llama_server_files(*given)
