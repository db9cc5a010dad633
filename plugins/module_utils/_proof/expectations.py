# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a worker or a head that started is the one that was asked for."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import HeadLog
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.worker_log import WorkerLog


def check_worker(log: WorkerLog, expect_devices: t.Sequence[str]) -> t.Optional[Failure]:
    """Whether the worker serves what it should: ``CUDA`` stands for CUDA0, CUDA1 ...; a full name for itself.

    An rpc-server that finds no GPU serves the CPU and says nothing of it (``get_devices`` in ``tools/rpc/rpc-server.cpp``).
    """
    if log.failure or not log.started:
        return log.failure
    served = [device.name for device in log.devices]
    missing = [name for name in expect_devices if not any(_is_device(name, have) for have in served)]
    if not missing:
        return None
    reason = [item.line for item in log.warnings if item.kind == "cuda_unusable"]
    line = reason[0] if reason else "%s" % ", ".join("%s: %s" % (device.name, device.description) for device in log.devices)
    if served and all(name.upper().startswith("CPU") for name in served):
        return Failure(
            "cpu_fallback",
            line,
            "the rpc-server%s serves its CPU in place of %s" % (" at " + log.endpoint if log.endpoint else "", ", ".join(missing)),
            "Check with nvidia-smi that the driver is loaded and that llama.cpp was built with CUDA; name the device (-d) so that it cannot happen",
        )
    return Failure(
        "device_missing",
        line,
        "the rpc-server%s serves %s and not %s"
        % (" at " + log.endpoint if log.endpoint else "", ", ".join(served) or "nothing", ", ".join(missing)),
        "Check the devices of this machine and the -d option of its service",
    )


def _is_device(expected: str, name: str) -> bool:
    if expected == name:
        return True
    return not expected[-1:].isdigit() and re.fullmatch(re.escape(expected) + r"\d*", name) is not None


def check_head(
    log: HeadLog,
    expect_endpoints: t.Sequence[str] = (),
    expect_context_size: t.Optional[int] = None,
    expect_full_offload: bool = False,
    expect_api_key: bool = False,
) -> t.Optional[Failure]:
    """Whether a head that started is the head that was asked for."""
    if log.failure:
        return log.failure
    if log.listening_url is None:
        return None
    if (expect_endpoints or expect_full_offload) and not any(device.weights_mib for device in log.devices):
        return Failure(
            "log_too_quiet",
            "",
            "the log of llama-server does not say where the model is",
            "Run llama-server with -lv 4; at the default verbosity it prints no line about memory",
        )
    holding = {device.endpoint for device in log.devices if device.endpoint and device.weights_mib}
    idle = [endpoint for endpoint in expect_endpoints if endpoint not in holding]
    if idle:
        return Failure(
            "worker_unused",
            "",
            "llama-server put nothing on the worker at %s" % ", ".join(idle),
            "Check --rpc, --device and --tensor-split, and that the worker was up when llama-server started",
        )
    # "offloaded 31/31 layers to GPU" is what load_tensors prints even where there is no device but the CPU.
    host_layers = sum(device.layers or 0 for device in log.devices if device.host)
    if expect_full_offload and (host_layers or log.offloaded_layers != log.offloadable_layers):
        on_cpu = host_layers or (log.offloadable_layers or 0) - (log.offloaded_layers or 0)
        return Failure(
            "partly_on_cpu",
            "offloaded %s/%s layers to GPU" % (log.offloaded_layers, log.offloadable_layers),
            "llama-server keeps %d layers on the head's CPU" % on_cpu,
            "Give it all layers (-ngl all, --fit off) and devices with room for them",
        )
    context = log.n_ctx
    if context is None and log.n_ctx_slot is not None:
        context = log.n_ctx_slot * (1 if log.kv_unified else log.n_slots or 1)
    if expect_context_size is not None and context is not None and context < expect_context_size:
        lines = [item.line for item in log.warnings if item.kind == "context_shrunk"]
        return Failure(
            "context_shrunk",
            lines[0] if lines else "n_ctx = %d" % context,
            "llama-server gave the context %d tokens and not the %d asked for" % (context, expect_context_size),
            "Give it devices with room for the context and --fit off, or ask for a smaller context",
        )
    if expect_api_key and log.api_key_set is False:
        lines = [item.line for item in log.warnings if item.kind == "no_api_key"]
        return Failure(
            "no_api_key",
            lines[0] if lines else "",
            "llama-server runs without an API key",
            "Put a key into the file given to --api-key-file: an empty file means no key, and llama-server starts all the same",
        )
    return None
