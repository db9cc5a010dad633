# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rpc-server (a worker) says of itself when it starts: its endpoint and the devices it serves.

Formats: ``tools/rpc/rpc-server.cpp`` (devices) and ``ggml_backend_rpc_start_server`` in ``ggml/src/ggml-rpc/ggml-rpc.cpp`` (banner, socket);
``ggml_cuda_init`` in ``ggml/src/ggml-cuda/ggml-cuda.cu``; of the first llama.cpp with RPC, builds 9095 and 11434, and 0.5.0.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.failures import Warn, add_warnings, find_failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.log_lines import last_worker_start, read_lines

_WORKER_OLD = re.compile(r"^Starting RPC server on (\S+?), backend memory: (\d+) MB")
_WORKER_NEW = re.compile(r"^Starting RPC server v(\d+\.\d+\.\d+)")
_WORKER_FIELD = re.compile(r"^  (endpoint|local cache|backend memory|transport)\s*: (.*)$")
_WORKER_DEVICE = re.compile(r"^\s+(\w[\w.:/-]*): (.*) \((\d+) MiB, (\d+) MiB free\)$")
_CUDA_DEVICE = re.compile(r"^\s+Device (\d+): (.+?), compute capability ")
_CREATE_BACKEND = re.compile(r"create_backend: using (\w+) backend")


@dataclass
class WorkerDevice:
    """A device that a worker serves."""

    name: str
    description: str = ""
    total_mib: t.Optional[int] = None
    free_mib: t.Optional[int] = None


@dataclass
class WorkerLog:
    """The last start of a worker."""

    started: bool = False
    protocol_version: t.Optional[str] = None
    endpoint: t.Optional[str] = None
    cache_dir: t.Optional[str] = None
    transport: t.Optional[str] = None
    devices: t.List[WorkerDevice] = field(default_factory=list)
    available_devices: t.List[WorkerDevice] = field(default_factory=list)
    clients_accepted: int = 0
    clients_closed: int = 0
    warnings: t.List[Warn] = field(default_factory=list)
    failure: t.Optional[Failure] = None

    def to_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


def parse_worker(text: str) -> WorkerLog:
    """The last start of an rpc-server in its log, of any llama.cpp that has one.

    The banner is stdout and not flushed: a worker that has had no client yet may have written nothing to a file, pipe or journal
    unless it runs under ``stdbuf -oL``. An empty log is no failure.
    """
    lines = last_worker_start(read_lines(text))
    log = WorkerLog()
    cuda: t.Dict[str, str] = {}
    backend: t.Optional[str] = None
    memory_mib: t.Optional[int] = None
    in_devices = False
    for line in lines:
        words = line.text
        old = _WORKER_OLD.match(words)
        if old:
            log.started, log.endpoint, memory_mib = True, old.group(1), int(old.group(2))
            continue
        new = _WORKER_NEW.match(words)
        if new:
            log.started, log.protocol_version, in_devices = True, new.group(1), False
            continue
        if words == "Devices:":
            in_devices = True
            continue
        device = _WORKER_DEVICE.match(words)
        if device:
            entry = WorkerDevice(device.group(1), device.group(2), int(device.group(3)), int(device.group(4)))
            (log.devices if in_devices else log.available_devices).append(entry)
            continue
        item = _WORKER_FIELD.match(words)
        if item:
            name, value = item.group(1), item.group(2).strip()
            if name == "endpoint":
                log.endpoint = value
            elif name == "local cache":
                log.cache_dir = None if value == "n/a" else value
            elif name == "transport":
                log.transport, in_devices = value, False
            elif value.split(" ")[0].isdigit():
                memory_mib = int(value.split(" ")[0])
            continue
        if words.startswith("Accepted client connection"):
            log.clients_accepted += 1
        elif words.startswith("Client connection closed"):
            log.clients_closed += 1
        named = _CREATE_BACKEND.search(words)
        if named:
            backend = named.group(1)
        gpu = _CUDA_DEVICE.match(words)
        if gpu:
            cuda["CUDA" + gpu.group(1)] = gpu.group(2)
        add_warnings(log.warnings, line, "worker")
    if not log.devices and log.started:
        # These builds serve one device and do not name it. Their "MB" are MiB: free_mem / (1024 * 1024).
        name = "CUDA0" if backend == "CUDA" or (backend is None and cuda) else (backend or "")
        if name or memory_mib is not None:
            log.devices.append(WorkerDevice(name or "unknown", cuda.get(name, ""), None, memory_mib))
    log.failure = find_failure(lines, "worker")
    return log
