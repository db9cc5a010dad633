# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role llama_server decides of the head's service."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import beside as beside_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import checks
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import taken_arguments, taken_text

#: What the unit names the file of the API key by: systemd hands it over (systemd.exec(5), LoadCredential=).
API_KEY_FILE = "${CREDENTIALS_DIRECTORY}/api-key"

_OWN_UNITS = ("llama-server.service", "llama-server-proxy.service")
_TUNNEL_UNIT = "llama-server-tunnel.service"
_LOOPBACK_END = re.compile(r"127[.][0-9.]+:[0-9]{1,5}")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----")


@dataclass(frozen=True)
class LlamaServer:
    """Variables of the role llama_server, without their prefix. ``tls_subject`` is the name or address that a certificate has to be for."""

    address: str
    port: int
    host_name: str
    proxy: bool
    tls: str
    tls_subject: str
    tls_certificate_file: str
    tls_key_file: str
    tls_days: int
    cors_origins: t.Sequence[str]
    max_requests: int
    max_requests_per_client: t.Optional[int]
    max_connections_per_client: int
    max_request_mib: int
    timeout_s: int
    context_size: int
    parallel: int
    cache_ram_mib: int
    ctx_checkpoints: int
    rpc_endpoints: t.Sequence[str]
    rpc_tunnels: t.Sequence[t.Mapping[str, t.Any]]
    extra_args: t.Sequence[t.Any]
    environment_names: t.Sequence[str]
    rpc_keys: t.Mapping[str, str] = field(repr=False)
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Start(LlamaServer):
    """What it is started with besides, when the model and its devices are known.

    ``socket`` is where it listens behind its proxy, ``url`` where clients reach the API, ``beside`` are the settings of what stands beside the model
    (beside.py), ``read_paths`` all files that it reads. A sandbox has directives that replace or join ours. ``plan`` is what the filter cluster_plan
    returned, empty where nothing was planned.
    """

    model: str
    socket: str
    url: str
    metrics: bool
    webui: bool
    kv_unified: bool
    cache_type_k: str
    cache_type_v: str
    batch_size: t.Union[int, str, None]
    ubatch_size: t.Union[int, str, None]
    flash_attention: str
    n_gpu_layers: t.Union[int, str]
    devices: t.Sequence[str]
    tensor_split: t.Sequence[t.Any]
    fit: t.Optional[bool]
    alias: str
    log_verbosity: t.Union[int, str]
    beside: t.Mapping[str, t.Any]
    bin_dir: str
    read_paths: t.Sequence[str]
    sandbox_profile: str
    sandbox: t.Mapping[str, t.Any]
    tunnel_sandbox: t.Mapping[str, t.Any]
    proxy_sandbox: t.Mapping[str, t.Any]
    plan: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Look(checks.Look):
    """The results of openssl with a certificate and key that were given, and what is wrong with what stands beside the model."""

    certificate: t.Mapping[str, t.Any] = field(default_factory=dict)
    certificate_ended: t.Mapping[str, t.Any] = field(default_factory=dict)
    certificate_key: t.Mapping[str, t.Any] = field(default_factory=dict)
    beside: t.Sequence[t.Mapping[str, str]] = ()


def decided(plan: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """What a plan decides of llama-server's settings, by their names. Raises KeyError where it is none."""
    settings, beside = plan["settings"], plan.get("beside") or {}
    return {
        # "none" is llama.cpp's word for its own CPU alone.
        "devices": str(plan["device_option"] or "none").split(","),
        "tensor_split": list(plan["tensor_split"]) if len(plan["tensor_split"]) > 1 else [],
        "n_gpu_layers": plan["n_gpu_layers"],
        "fit": False,
        "context_size": int(settings["context_size"]),
        "parallel": int(settings["parallel"]),
        "kv_unified": bool(settings["kv_unified"]),
        "cache_type_k": str(settings["type_k"]),
        "cache_type_v": str(settings["type_v"]),
        "batch_size": settings["batch"],
        "ubatch_size": settings["ubatch"],
        "flash_attention": "on" if settings["flash_attention"] else "off",
        "beside": {"draft_devices": beside.get("draft_devices") or [], "mmproj_device": beside.get("mmproj_device") or ""},
    }


def started(settings: t.Mapping[str, t.Any]) -> Start:
    """The settings that the role hands over, with what their plan decides in place of them.

    Raises TypeError where one is missing or unknown, and KeyError where the plan is none.
    """
    given = Start(**settings)
    if not given.plan:
        return given
    of_plan = dict(decided(given.plan))
    of_plan["beside"] = {**given.beside, **of_plan["beside"]}
    return replace(given, **of_plan)


def arguments(given: Start) -> t.List[t.List[str]]:
    """llama-server's arguments without its API key's file: an option with its value at a time, so that the unit can be read.

    The names are those of common/arg.cpp of llama.cpp b11434. An option that is not set is left to llama.cpp.
    """
    lines = [["--model", given.model]]
    if given.proxy:
        # A thread for each request that is let in, and some for who watches: versions differ in how many they make by themselves.
        lines += [["--host", given.socket], ["--threads-http", str(given.max_requests + 8)]]
    else:
        lines += [["--host", given.address], ["--port", str(given.port)]]
    lines += [["--ctx-size", str(given.context_size)], ["--n-gpu-layers", str(given.n_gpu_layers)], ["--timeout", str(given.timeout_s)]]
    if not given.proxy and list(given.cors_origins) != ["*"]:
        # It allows one, which has to be a real one: its own is that of no other page.
        lines.append(["--cors-origins", given.cors_origins[0] if given.cors_origins else given.url])
    if given.metrics:
        lines.append(["--metrics"])
    if not given.webui:
        lines.append(["--no-webui"])
    lines += _with_value("--rpc", ",".join(given.rpc_endpoints))
    lines += _with_value("--device", ",".join(given.devices))
    # 7.0 is 7 to a reader.
    lines += _with_value("--tensor-split", ",".join(re.sub("[.]0+$", "", str(part)) for part in given.tensor_split))
    if given.fit is not None:
        lines.append(["--fit", "on" if given.fit else "off"])
    lines += [["--parallel", str(given.parallel)], ["--kv-unified" if given.kv_unified else "--no-kv-unified"]]
    lines += [["--cache-ram", str(given.cache_ram_mib)], ["--ctx-checkpoints", str(given.ctx_checkpoints)]]
    lines += _with_value("--cache-type-k", given.cache_type_k)
    lines += _with_value("--cache-type-v", given.cache_type_v)
    lines += _with_value("--batch-size", given.batch_size)
    lines += _with_value("--ubatch-size", given.ubatch_size)
    lines += _with_value("--flash-attn", given.flash_attention)
    # what is wrong with them is said before it is started
    lines += [] if beside_model.problems(given.beside) else beside_model.arguments(given.beside)
    lines += _with_value("--alias", given.alias)
    lines.append(["-lv", str(given.log_verbosity)])
    return lines + ([[str(word) for word in given.extra_args]] if given.extra_args else [])


def _with_value(option: str, value: t.Union[str, int, None]) -> t.List[t.List[str]]:
    return [] if value is None or value == "" else [[option, str(value)]]


def problems(given: LlamaServer, look: Look) -> Found:
    """Every reason why the service cannot be set up on the machine."""
    yield from checks.systemd_problems("llama-server", look)
    yield from checks.unread_socket_problems(look)
    yield from checks.address_problems("llama_server_address", given.address, look, "clients reach")
    yield from _size_problems(given)
    yield from _worker_problems(given)
    if given.api_key.startswith("#") or re.search(r"\s", given.api_key):
        yield "llama_server_api_key begins with a hash or has white space in it, which llama-server cannot read from a file", "Choose a key without"
    yield from _public_side_problems(given)
    yield from _certificate_problems(given, look)
    taken = taken_text(taken_arguments([*given.extra_args, *given.environment_names]))
    if taken:
        yield "llama_server_extra_args or llama_server_environment has what a variable says: %s" % taken, "Use the variable that is named instead"
    yield from checks.taken_port_problems(look, given.address, [given.port], checks.of_unit(*_OWN_UNITS), "llama_server_port")
    ends = [checks.split_endpoint(tunnel["endpoint"]) for tunnel in given.rpc_tunnels]
    for socket in checks.in_the_way(look, ends, checks.of_unit(_TUNNEL_UNIT, *_OWN_UNITS))[:1]:
        yield ("port %d on %s, where the tunnel to a worker begins, is taken by %s" % (socket["local_port"], socket["local_address"], socket["held_by"]),
               "Stop that program or set rpc_server_port of that worker")
    for entry in look.beside:
        yield entry["problem"], entry["remedy"]


def _size_problems(given: LlamaServer) -> Found:
    yield from checks.port_problems("llama_server_port", given.port)
    if given.context_size <= 0:
        yield ("llama_server_context_size is %d tokens" % given.context_size,
               "Set it to the tokens that a request and its answer may have together, times llama_server_parallel")
    if given.parallel < 1:
        yield "llama_server_parallel is %d" % given.parallel, "Set it to how many requests shall be worked on at a time"
    if min(given.cache_ram_mib, given.ctx_checkpoints) < 0:
        yield ("llama_server_cache_ram_mib is %d and llama_server_ctx_checkpoints %d, and no plan can count what is less than 0" % (
            given.cache_ram_mib, given.ctx_checkpoints), "Set them to what the RAM has room for; with 0 nothing is kept")


def _worker_problems(given: LlamaServer) -> Found:
    endpoints = checks.not_like(checks.ENDPOINT, given.rpc_endpoints)
    if endpoints:
        yield "llama_server_rpc_endpoints has what is not ADDRESS:PORT: %s" % ", ".join(endpoints), "Write them like 192.168.1.101:50052"
    if len(set(given.rpc_endpoints)) < len(given.rpc_endpoints):
        yield ("llama_server_rpc_endpoints names a worker twice: %s" % ", ".join(given.rpc_endpoints),
               "Name each worker once; a worker serves one connection at a time")
    tunnels = checks.not_like(_LOOPBACK_END, [tunnel["endpoint"] for tunnel in given.rpc_tunnels])
    if tunnels:
        yield ("llama_server_rpc_tunnels has an endpoint that is not on the loopback interface: %s" % ", ".join(tunnels),
               "Give it the entries of rpc_server_instances of the role rpc_server whose tls_unit is not empty")
    machines = [machine for machine, key in given.rpc_keys.items() if not checks.HEXADECIMAL_KEY.fullmatch(key)]
    if machines:
        yield ("llama_server_rpc_keys has what is not 32 to 128 hexadecimal digits for %s" % ", ".join(machines),
               "Give the key as it is in llama_server_rpc_key_file of that machine, without what stands before the colon")


def _public_side_problems(given: LlamaServer) -> Found:
    """What the proxy cannot do, or cannot do without."""
    if given.tls != "off" and not given.proxy:
        yield ("llama_server_tls is %s and llama_server_proxy is false, and TLS is the proxy's work" % given.tls,
               "Leave llama_server_proxy on, or set llama_server_tls to off")
    if not given.proxy and len(given.cors_origins) > 1:
        yield ("llama_server_cors_origins has more than one origin and llama_server_proxy is false, and llama-server can allow one only",
               "Leave llama_server_proxy on, or name one origin")
    origins = checks.not_like(_ORIGIN, given.cors_origins)
    if origins:
        yield ("llama_server_cors_origins has what is not an origin: %s" % ", ".join(origins),
               "Write them as browsers do, like https://chat.example.com or http://localhost:3000, without a path")
    if given.host_name and not _HOST_NAME.fullmatch(given.host_name):
        yield ("llama_server_host_name is '%s', which is not a host name" % given.host_name,
               "Set it to the name by which clients reach this machine, without a port, or leave it empty")
    bounds = (given.max_requests, given.max_requests_per_client, given.max_connections_per_client, given.max_request_mib, given.timeout_s)
    if any(bound is not None and bound < 1 for bound in bounds):
        yield ("one of llama_server_max_requests, llama_server_max_requests_per_client, llama_server_max_connections_per_client, "
               "llama_server_max_request_mib and llama_server_timeout_s is less than 1", "Set it to 1 or more; nothing is served otherwise")
    if 1 <= given.max_requests < given.parallel:
        yield ("llama_server_max_requests is %d, fewer than the %d of llama_server_parallel" % (given.max_requests, given.parallel),
               "Let in at least as many requests as are worked on at a time")


def _certificate_problems(given: LlamaServer, look: Look) -> Found:
    if given.tls == "self-signed" and given.tls_days < 31:
        yield "llama_server_tls_days is %d, and a certificate is made anew in its last 30 days" % given.tls_days, "Set it to 31 or more"
    if given.tls != "given":
        return
    if not (given.tls_certificate_file and given.tls_key_file):
        yield "llama_server_tls is given, and llama_server_tls_certificate_file or llama_server_tls_key_file is not", "Set both to files on the machine"
        return
    said = str(look.certificate.get("stdout") or "")
    public, end = _PUBLIC_KEY.search(said), re.search("notAfter=.*", said)
    if not public:
        yield ("the certificate %s cannot be read: %s" % (given.tls_certificate_file, _openssl_reason(look.certificate)),
               "Set llama_server_tls_certificate_file to a certificate in PEM on the machine, and see that openssl is installed there")
    if look.certificate_key.get("rc", 1) != 0:
        yield ("the private key %s cannot be read: %s" % (given.tls_key_file, _openssl_reason(look.certificate_key)),
               "Set llama_server_tls_key_file to a key in PEM on the machine that has no passphrase")
    if not public:
        return
    if look.certificate_key.get("rc", 1) == 0 and public.group() != str(look.certificate_key["stdout"]).strip():
        yield ("the private key %s does not belong to the certificate %s" % (given.tls_key_file, given.tls_certificate_file),
               "Set llama_server_tls_key_file to the key that the certificate was made for")
    if look.certificate_ended.get("rc") != 0:
        yield "the certificate %s is no longer valid (%s)" % (given.tls_certificate_file, end.group() if end else ""), "Put a new one there"
    if "does NOT match certificate" in said:
        yield ("the certificate %s is not for %s, by which clients reach the API" % (given.tls_certificate_file, given.tls_subject),
               "Set llama_server_host_name to a name in the certificate, or use another certificate")


@dataclass(frozen=True)
class Installed:
    """Where llama-server should be, and what that path leads to, empty where there is nothing; and all files that it reads, of each ``what`` it is,
    the ``variable`` that names it and its ``path``. ``user`` reads them, and is in ``groups`` besides while it serves.

    Each of ``tunnel_machines`` has its key in its own ``rpc_key_file``.
    """

    binary: str
    executable: str
    reads: t.Sequence[t.Mapping[str, str]]
    user: str = ""
    groups: t.Sequence[str] = ()
    tunnel_machines: t.Sequence[str] = ()
    rpc_key_file: str = ""


@dataclass(frozen=True)
class FilesLook:
    """What was found at each path, by it: of a file ``regular``, and whether the user may read it. ``keys`` are the machines whose key is known.

    In check mode (``check``) nothing was installed or made that a real run would have installed or made by now.
    """

    files: t.Mapping[str, t.Mapping[str, t.Any]]
    user_exists: bool = True
    keys: t.Collection[str] = ()
    check: bool = False


def missing(given: Installed, look: FilesLook) -> Found:
    """What llama-server cannot be started without and is not on the machine, or cannot be read."""
    if not look.check:
        yield from _absent(given, look)
    unreadable = [item["path"] for item in given.reads if _is(look, item, "regular") and not _is(look, item, "readable")]
    # Further groups are the service's alone and cannot be tried. Nobody knows what a user could read that is not there yet.
    if unreadable and not given.groups and (look.user_exists or not look.check):
        yield ("the user %s cannot read %s" % (given.user, " and ".join(unreadable)),
               "Let everyone read the file and enter the directories above it, or name the file's group in llama_server_supplementary_groups")
    keyless = [machine for machine in given.tunnel_machines if machine not in look.keys]
    if keyless and not look.check:
        yield ("the TLS key of %s could not be read from %s there, or is no key" % (", ".join(keyless), given.rpc_key_file),
               "Run the role rpc_server there first, or give the key in llama_server_rpc_keys")


def _absent(given: Installed, look: FilesLook) -> Found:
    if not given.executable:
        yield "there is no %s" % given.binary, "Install llama.cpp there, or set llama_server_bin_dir"
    for item in given.reads:
        if not _is(look, item, "regular"):
            yield ("the %s %s is not a file on this machine" % (item["what"], item["path"]) if item["path"] else "%s is not set" % item["variable"],
                   "Put the GGUF file there, or set %s to its path" % item["variable"])


def _is(look: FilesLook, item: t.Mapping[str, str], what: str) -> bool:
    return bool(look.files.get(item["path"], {}).get(what))


def _openssl_reason(result: t.Mapping[str, t.Any]) -> str:
    return str((result.get("stderr_lines") or ["openssl could not be run"])[0])
