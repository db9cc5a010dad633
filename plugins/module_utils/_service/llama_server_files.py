# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files the role llama_server writes on the head's machine."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import unit_name

# As the module service_files takes them.
Entry = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Parts:
    """Those of the role's variables, without their prefix, that say which parts there are beside llama-server."""

    proxy: bool
    tls: str
    tls_certificate_file: str
    tls_key_file: str
    rpc_tunnels: t.Sequence[t.Mapping[str, t.Any]]

    @classmethod
    def of(cls, settings: t.Mapping[str, t.Any]) -> "Parts":
        """From all of them; what is not needed is not read, and so not templated. Raises KeyError where one is missing."""
        return cls(**{one.name: settings[one.name] for one in fields(cls)})


@dataclass(frozen=True)
class Places:
    """Names of the units and paths of the files, as the role's ``vars/`` and its templates have them.

    ``firewall`` is the unit that loads the rules of the tunnels' ends, as the role service_unit takes it.
    """

    unit: str
    proxy_unit: str
    tunnel_unit: str
    firewall: t.Mapping[str, str]
    unit_dir: str
    config_dir: str
    code_dir: str
    runtime_dir: str
    rpc_keys_dir: str
    tls_dir: str
    model_files: str
    api_key_file: str


@dataclass(frozen=True)
class Contents:
    """What the files are made of besides the settings.

    ``api_key`` is the one that is given, ``new_api_key`` the one for a machine that has none. ``rpc_keys`` are the lines with the workers' keys by
    machine, ``model_files`` is the text of what the model's files must be, empty where they are not checked. ``reads`` are all files that
    llama-server reads, ``seen`` is what was found at each path: ``size_bytes``, and ``changed_s`` since 1970.
    """

    model_files: str
    reads: t.Sequence[str]
    seen: t.Mapping[str, t.Mapping[str, t.Any]]
    api_key: str = field(repr=False)
    new_api_key: str = field(repr=False)
    rpc_keys: t.Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Files:
    """``directories`` and ``files`` are written, ``credentials`` are what systemd hands to each unit at its start."""

    directories: t.List[Entry]
    files: t.List[Entry]
    credentials: t.Dict[str, t.Dict[str, str]]


def service_files(given: Parts, at: Places, contents: Contents) -> Files:
    """The files of llama-server, of the tunnels to its workers and of its proxy. Raises SystemdError where a machine has no name."""
    return Files(_directories(given, at, contents), _files(given, at, contents), _credentials(given, at))


def _directories(given: Parts, at: Places, contents: Contents) -> t.List[Entry]:
    found: t.List[Entry] = [{"path": at.config_dir, "mode": "0700"}]
    if contents.model_files or given.proxy:
        found.append({"path": at.code_dir})
    if given.rpc_tunnels:
        found.append({"path": at.rpc_keys_dir, "mode": "0700", "exclusive": True})
    return found


def _files(given: Parts, at: Places, contents: Contents) -> t.List[Entry]:
    units = at.unit_dir + "/"
    found: t.List[Entry] = [
        # One that was made by itself stays until it is rotated; nothing reads it back.
        {"content": "%s\n" % (contents.api_key or contents.new_api_key), "path": at.api_key_file, "mode": "0600", "force": bool(contents.api_key),
         "secret": True},
        {"src": at.unit + ".j2", "path": units, "unit": at.unit, "identity": _model_identity(contents)},
    ]
    if contents.model_files:
        found += [{"src": "model_check.py", "path": at.code_dir + "/"}, {"content": contents.model_files, "path": at.model_files}]
    if given.rpc_tunnels:
        found += [
            {"src": "rpc-key.j2", "path": at.rpc_keys_dir + "/*", "each": {unit_name(name): key for name, key in contents.rpc_keys.items()},
             "mode": "0600", "secret": True},
            {"src": ["no-certificate-is-trusted.pem", "tunnel.conf.j2"], "path": at.config_dir + "/"},
            {"src": "tunnel.nft.j2", "path": at.firewall["rules"], "unit": at.firewall["unit"]},
            {"src": at.tunnel_unit + ".j2", "path": units, "unit": at.tunnel_unit, "parts": [at.config_dir + "/tunnel.conf"]},
        ]
    if given.proxy:
        found += [
            {"src": ["proxy_keys.py", "api_keys.py"], "path": at.code_dir + "/"},
            {"src": "proxy.conf.j2", "path": at.config_dir + "/", "unit": at.proxy_unit, "parts": [units + at.proxy_unit]},
            {"src": at.proxy_unit + ".j2", "path": units},
        ]
    return found


def _model_identity(contents: Contents) -> str:
    """The very files that the process reads, beside its unit. The API key is compared by the module service_files."""
    seen = [contents.seen[path] for path in contents.reads if path in contents.seen]
    return " ".join("%s.%s" % (file["size_bytes"], file["changed_s"]) for file in seen)


def _credentials(given: Parts, at: Places) -> t.Dict[str, t.Dict[str, str]]:
    # nginx wipes its environment, so what it was started from is seen by what it was handed: its settings name the unit, and the certificate and its
    # key are files too.
    proxy = {"proxy.conf": at.config_dir + "/proxy.conf", "api-key": at.api_key_file}
    if given.tls == "given":
        proxy.update({"tls-certificate": given.tls_certificate_file, "tls-key": given.tls_key_file})
    elif given.tls != "off":
        proxy.update({"tls-certificate": at.tls_dir + "/certificate.pem", "tls-key": at.tls_dir + "/key.pem"})
    names = [unit_name(str(tunnel["machine"])) for tunnel in given.rpc_tunnels]
    return {at.unit: {"api-key": at.api_key_file}, at.proxy_unit: proxy,
            at.tunnel_unit: {"rpc-key-" + name: "%s/%s" % (at.rpc_keys_dir, name) for name in names}}


def kept_directories(given: Parts, at: Places) -> t.List[str]:
    """Those directories of one configuration or another that have files of this one in them."""
    own_tls = given.proxy and given.tls == "self-signed"
    in_it = any(path.startswith(at.tls_dir + "/") for path in (given.tls_certificate_file, given.tls_key_file))
    return ([at.tls_dir] if own_tls or in_it else []) + ([at.rpc_keys_dir] if given.rpc_tunnels else [])
