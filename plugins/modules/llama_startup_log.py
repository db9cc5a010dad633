#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_startup_log
short_description: What llama-server or rpc-server said of itself when it started
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Reads the log of llama-server (the head) or rpc-server (a worker) and returns what its last start says. For a head these are the
    devices with their layers, weights, KV cache and compute buffers, for a worker its devices and its endpoint.
  - A start that failed is returned as its cause, with the line it rests on and what to do. With O(fail_on_problem) it fails the task with
    just that.
  - Knows the formats from the first llama.cpp with RPC to b11434.
  - At its default verbosity llama-server does not say where it put the model. Run it with C(-lv 4) for everything returned here.
  - A log may lack lines. llama-server hands them to a thread that does not finish when the process aborts, and rpc-server
    holds its banner back until its first client unless it runs under C(stdbuf -oL). What is missing is V(null) here.
options:
  text:
    description: The log itself.
    type: str
  path:
    description: A file with the log on the managed machine. Of a large one the last 32 MiB are read.
    type: path
  unit:
    description: A systemd unit, whose journal of its last start is read.
    type: str
  kind:
    description: Whose log it is, V(head) for llama-server and V(worker) for rpc-server.
    type: str
    choices: [head, worker]
    required: true
  expect_devices:
    description:
      - The devices that the worker must serve. V(CUDA0) is that device, V(CUDA) any with this name and a number.
      - An rpc-server that finds no GPU serves the CPU and does not complain. This catches it.
      - Only for O(kind=worker).
    type: list
    elements: str
    default: []
  expect_endpoints:
    description: The workers, as C(address:port), that must hold a part of the model. Only for O(kind=head).
    type: list
    elements: str
    default: []
  expect_context_size:
    description: The size in tokens that the context must at least have. Only for O(kind=head).
    type: int
  expect_full_offload:
    description: Whether no layer may be on the head's own CPU. Only for O(kind=head).
    type: bool
    default: false
  expect_api_key:
    description: Whether llama-server must run with an API key. It starts without one when the key file is empty. Only for O(kind=head).
    type: bool
    default: false
  fail_on_problem:
    description: Whether a start that failed, or is not as expected, fails the task. With V(false) look at RV(failure).
    type: bool
    default: true
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.llama_build_log
  - module: herd.llama_cpp.llama_server_ready
"""

EXAMPLES = r"""
- name: Read the layers and buffers of each device from llama-server's log
  herd.llama_cpp.llama_startup_log:
    unit: llama-server.service
    kind: head
    expect_endpoints: [192.168.1.101:50052, 192.168.1.102:50052]
    expect_context_size: 8192
  register: head_log

- name: Show the layers of each device
  ansible.builtin.debug:
    msg: "{{ item.name }} at {{ item.endpoint }} has {{ item.layers }} layers, {{ item.weights_mib }} MiB of weights"
  loop: "{{ head_log.devices }}"
  loop_control:
    label: "{{ item.name }}"

- name: Check that the worker serves its GPU and not its CPU
  herd.llama_cpp.llama_startup_log:
    unit: llama-rpc-server@0.service
    kind: worker
    expect_devices: [CUDA]
"""

RETURN = r"""
failure:
  description: Why it did not start or is not as expected, V(null) when nothing is wrong.
  returned: always
  type: dict
  contains:
    kind:
      description:
        - A word for programs. For a head V(unknown_argument), V(bad_argument), V(unknown_device), V(api_key_file), V(cannot_listen),
          V(bad_endpoint), V(worker_unreachable), V(rpc_version_mismatch), V(worker_lost), V(rpc_not_built), V(too_many_devices),
          V(model_not_found), V(model_unreadable), V(model_incomplete), V(model_truncated), V(model_invalid), V(model_unsupported),
          V(out_of_memory), V(bad_flash_attention), V(no_backend).
        - For a worker V(unknown_argument), V(bad_argument), V(unknown_device), V(no_device), V(bad_address), V(cannot_listen), V(cache_dir),
          V(rpc_not_built), V(device_failed).
        - For both V(library_missing), V(program_missing), V(wrong_processor), V(killed_out_of_memory), V(driver_too_old),
          V(wrong_cuda_architecture), V(fabric_manager), V(cuda_error), V(out_of_memory), V(aborted), V(crashed), V(killed), V(not_started).
        - For an expectation not met V(cpu_fallback), V(device_missing), V(log_too_quiet), V(worker_unused), V(partly_on_cpu),
          V(context_shrunk), V(no_api_key).
      type: str
      sample: worker_unreachable
    line:
      description: The line of the log that tells.
      type: str
      sample: "/src/llama.cpp/ggml/src/ggml-rpc/ggml-rpc.cpp:547: Failed to connect to 192.168.1.101:50052"
    problem:
      description: What is wrong.
      type: str
      sample: no rpc-server answers at 192.168.1.101:50052
    remedy:
      description: What to do.
      type: str
      sample: Start the worker there first, and check that its firewall lets this machine in
  sample: null
warnings_in_log:
  description: What did not stop the start but may matter, such as a context made smaller or no API key.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: A word for programs.
      type: str
      sample: context_beyond_training
    line:
      description: The line.
      type: str
      sample: "0.00.742.502 W llama_context: n_ctx_seq (65536) > n_ctx_train (8192) -- possible training context overflow"
devices:
  description: The devices of this worker or of this head, for a head the ones of the workers first and its own memory last.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The device as llama.cpp names it.
      type: str
      sample: RPC0
    kind:
      description: V(rpc), V(cuda), V(cpu) or another backend in lower case.
      returned: O(kind=head)
      type: str
      sample: rpc
    endpoint:
      description: The worker behind an RPC device.
      returned: O(kind=head)
      type: str
      sample: 192.168.1.101:50052
    description:
      description: What llama.cpp calls it.
      type: str
      sample: NVIDIA GeForce RTX 3090 Ti
    total_mib:
      description: Its memory in MiB.
      type: int
      sample: 24135
    free_mib:
      description: Its free memory in MiB when it was looked at.
      type: int
      sample: 23972
    host:
      description: Whether it is the head's own memory.
      returned: O(kind=head)
      type: bool
      sample: false
    layers:
      description: How many layers it holds, V(null) when the log does not tell.
      returned: O(kind=head)
      type: int
      sample: 16
    holds_output:
      description: Whether it holds the output matrix, V(null) when the log does not tell.
      returned: O(kind=head)
      type: bool
      sample: false
    weights_mib:
      description: Weights in MiB.
      returned: O(kind=head)
      type: float
      sample: 33.82
    kv_mib:
      description: KV cache in MiB.
      returned: O(kind=head)
      type: float
      sample: 24.0
    recurrent_mib:
      description: Recurrent state in MiB, for models that have one.
      returned: O(kind=head)
      type: float
      sample: 12.5
    compute_mib:
      description: Compute buffers in MiB.
      returned: O(kind=head)
      type: float
      sample: 24.91
    output_mib:
      description: Output buffer in MiB.
      returned: O(kind=head)
      type: float
      sample: 0.75
    beside_mib:
      description: What stands beside the model there in MiB, LoRA adapters, what drafts, and a multimodal projector together.
      returned: O(kind=head)
      type: float
      sample: 293.93
    buffers:
      description: The names of its buffers in the log.
      returned: O(kind=head)
      type: list
      elements: str
      sample: ["RPC0[192.168.1.101:50052]"]
listening_url:
  description: Where llama-server listens with its model loaded, V(null) where it does not, or not yet.
  returned: O(kind=head)
  type: str
  sample: http://192.168.1.100:8080
model_loaded:
  description: Whether the model was loaded.
  returned: O(kind=head)
  type: bool
  sample: true
stopped:
  description: Whether it was told to stop and did.
  returned: O(kind=head)
  type: bool
  sample: false
build_number:
  description: llama.cpp's build number.
  returned: O(kind=head)
  type: int
  sample: 11434
build_commit:
  description: llama.cpp's commit.
  returned: O(kind=head)
  type: str
  sample: 0c1e570
verbosity:
  description: The verbosity it runs with.
  returned: O(kind=head)
  type: int
  sample: 4
model_path:
  description: The model file.
  returned: O(kind=head)
  type: str
  sample: /var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf
architecture:
  description: The model's architecture.
  returned: O(kind=head)
  type: str
  sample: llama
n_layer:
  description: How many layers the model has.
  returned: O(kind=head)
  type: int
  sample: 30
n_ctx:
  description: The context's size in tokens.
  returned: O(kind=head)
  type: int
  sample: 8192
n_ctx_train:
  description: The size in tokens that the model was trained for.
  returned: O(kind=head)
  type: int
  sample: 8192
n_ctx_slot:
  description: The size in tokens that one request may use.
  returned: O(kind=head)
  type: int
  sample: 8192
n_slots:
  description: How many requests it serves at once.
  returned: O(kind=head)
  type: int
  sample: 4
kv_unified:
  description: Whether all requests share one KV cache.
  returned: O(kind=head)
  type: bool
  sample: true
offloaded_layers:
  description: How many layers, the output counted as one, llama.cpp counts as offloaded. It counts them so even without any device.
  returned: O(kind=head)
  type: int
  sample: 31
offloadable_layers:
  description: How many there are.
  returned: O(kind=head)
  type: int
  sample: 31
layers_source:
  description: How RV(devices[].layers) is known, V(assigned) from the log's own words (C(-lv 5)) or V(kv) from the shares of the KV cache.
  returned: O(kind=head)
  type: str
  sample: kv
fit_context_before:
  description: The context's size before C(--fit) made it smaller, V(null) when it did not.
  returned: O(kind=head)
  type: int
  sample: 8192
fit_context_after:
  description: The context's size after.
  returned: O(kind=head)
  type: int
  sample: 4352
api_key_set:
  description: Whether it runs with an API key, V(null) when the log does not tell.
  returned: O(kind=head)
  type: bool
  sample: true
started:
  description: Whether the worker printed its banner.
  returned: O(kind=worker)
  type: bool
  sample: true
protocol_version:
  description: The RPC protocol it speaks, V(null) for builds that do not say.
  returned: O(kind=worker)
  type: str
  sample: 7.0.0
endpoint:
  description: Where it listens.
  returned: O(kind=worker)
  type: str
  sample: 192.168.1.101:50052
cache_dir:
  description: Its cache of tensors, V(null) when it has none.
  returned: O(kind=worker)
  type: str
  sample: /var/cache/llama-rpc/rpc
transport:
  description: How it moves bytes.
  returned: O(kind=worker)
  type: str
  sample: TCP
available_devices:
  description: The devices it has, printed when it was asked for one it has not. With the same keys as RV(devices).
  returned: O(kind=worker)
  type: list
  elements: dict
  sample: []
clients_accepted:
  description: How many clients connected.
  returned: O(kind=worker)
  type: int
  sample: 3
clients_closed:
  description: How many of them left.
  returned: O(kind=worker)
  type: int
  sample: 2
"""

import os
import shlex
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.expectations import check_head, check_worker
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import parse_head
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.worker_log import parse_worker
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import JOURNALCTL, parse_journal

_READ_LIMIT_BYTES = 32 << 20
_FALLBACK_LINES = 5000
# A start, with every tensor that is placed, has some hundreds of lines; a head that has served for weeks wrote millions. What it ended with
# counts, too.
_FIRST_LINES = 20000
_LAST_LINES = 2000


def _read_file(module: AnsibleModule, path: str) -> str:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _READ_LIMIT_BYTES, 0))
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        module.fail_json(msg="Cannot read the log %s: %s." % (path, error.strerror or error))
    return ""


def _read_journal(module: AnsibleModule, unit: str) -> str:
    """What the unit's last start wrote.

    Asked for by its invocation: a head that has served for weeks has its start far above the last lines of its journal.
    """
    rc, out, err = module.run_command(["systemctl", "show", "--property=InvocationID", "--property=LoadState", "--value", unit])
    if rc != 0:
        module.fail_json(msg="systemctl cannot show %s: %s." % (unit, err.strip() or "exit code %d" % rc))
    words = out.split()
    if "not-found" in words:
        module.fail_json(msg="There is no unit %s on this machine." % unit)
    invocation = next((word for word in words if len(word) == 32), "")
    if not invocation:
        return _last_run(_journalctl(module, unit, [*JOURNALCTL, "--lines=%d" % _FALLBACK_LINES, "--unit=" + unit]))
    ours = ["_SYSTEMD_INVOCATION_ID=" + invocation, "+", "INVOCATION_ID=" + invocation]
    first = _journalctl(module, unit, [*JOURNALCTL, *ours], _FIRST_LINES)
    if first.count("\n") < _FIRST_LINES:
        return _last_run(first)
    known = set(first.splitlines()[-_LAST_LINES:])
    last = _journalctl(module, unit, [*JOURNALCTL, "--lines=%d" % _LAST_LINES, *ours])
    return _last_run(first + "\n".join(line for line in last.splitlines() if line not in known))


def _journalctl(module: AnsibleModule, unit: str, command: t.List[str], lines: int = 0) -> str:
    """What journalctl prints, or its first lines."""
    if lines:
        rc, out, err = module.run_command("%s | head -n %d" % (shlex.join(command), lines), use_unsafe_shell=True)
        # The exit code is head's.
        rc = rc or int(bool(err and not out))
    else:
        rc, out, err = module.run_command(command)
    if rc != 0:
        module.fail_json(msg="journalctl cannot read the journal of %s: %s." % (unit, err.strip() or "exit code %d" % rc))
    return out


def _last_run(text: str) -> str:
    runs = parse_journal(text)
    return runs[-1].text if runs else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "text": {"type": "str"},
            "path": {"type": "path"},
            "unit": {"type": "str"},
            "kind": {"type": "str", "choices": ["head", "worker"], "required": True},
            "expect_devices": {"type": "list", "elements": "str", "default": []},
            "expect_endpoints": {"type": "list", "elements": "str", "default": []},
            "expect_context_size": {"type": "int"},
            "expect_full_offload": {"type": "bool", "default": False},
            # a question, not a key
            "expect_api_key": {"type": "bool", "default": False, "no_log": False},
            "fail_on_problem": {"type": "bool", "default": True},
        },
        required_one_of=[("text", "path", "unit")],
        mutually_exclusive=[("text", "path", "unit")],
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["text"] is not None:
        text = wanted["text"]
    elif wanted["path"] is not None:
        text = _read_file(module, wanted["path"])
    else:
        text = _read_journal(module, wanted["unit"])

    if wanted["kind"] == "worker":
        worker = parse_worker(text)
        failure = check_worker(worker, wanted["expect_devices"])
        result = worker.to_dict()
    else:
        head = parse_head(text)
        failure = check_head(
            head,
            wanted["expect_endpoints"],
            wanted["expect_context_size"],
            wanted["expect_full_offload"],
            wanted["expect_api_key"],
        )
        result = head.to_dict()
    # Ansible prints a result's "warnings" as its own.
    result["warnings_in_log"] = result.pop("warnings")
    result["failure"] = asdict(failure) if failure else None
    if failure and wanted["fail_on_problem"]:
        module.fail_json(msg=failure.message(), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
