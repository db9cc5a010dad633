# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Did every device have its part in an answer?

Two witnesses that know nothing of each other are heard: the bytes that the kernel counted on the head's connections to its
workers while the answer was made, and llama-server's own log of where it put the model. The bytes decide; a log line that
is missing (some get lost) proves nothing, a log line that says zero does.
"""

from __future__ import annotations

import typing as t

Mapping = t.Mapping[str, t.Any]
Problem = t.Dict[str, str]

# For each token the head hands a worker the hidden state of the layer before, n_embd values, and gets n_embd values (the last
# device: n_vocab) back. Measured with SmolLM2 (n_embd 576) over two workers, llama.cpp 0.5.0: 2,312 bytes received from the
# first worker for each token that was computed, which is 4 * n_embd + 8, 196,616 from the last, and 4,740 or more sent to
# each. Half a float32 for each value leaves room for a transport that sends float16.
BYTES_PER_VALUE = 2
# When the server does not tell n_embd: the smallest model worth splitting has more than 128 values.
FALLBACK_BYTES_PER_TOKEN = 256


def endpoint_of(worker: Mapping) -> str:
    return str(worker.get("endpoint") or "%s:%s" % (worker["address"], worker["port"]))


def _name(worker: Mapping) -> str:
    endpoint = endpoint_of(worker)
    machine = str(worker.get("machine") or "")
    return "%s (%s)" % (machine, endpoint) if machine else endpoint


def _connections(sockets: t.Iterable[Mapping]) -> t.Dict[str, t.Dict[int, t.Tuple[int, int]]]:
    """Established connections as endpoint -> own port -> (sent, received)."""
    found: t.Dict[str, t.Dict[int, t.Tuple[int, int]]] = {}
    for socket in sockets:
        if socket.get("state", "established") != "established":
            continue
        endpoint = "%s:%s" % (socket["remote_address"], socket["remote_port"])
        counts = (int(socket.get("bytes_sent") or 0), int(socket.get("bytes_received") or 0))
        found.setdefault(endpoint, {})[int(socket["local_port"])] = counts
    return found


def moved_bytes(
    workers: t.Sequence[Mapping], before: t.Iterable[Mapping], after: t.Iterable[Mapping]
) -> t.Dict[str, t.Optional[t.Tuple[int, int]]]:
    """For each worker's endpoint the bytes (sent, received) since ``before``; None where the head is not connected.

    A connection that was not there before counts from zero.
    """
    old, new = _connections(before), _connections(after)
    moved: t.Dict[str, t.Optional[t.Tuple[int, int]]] = {}
    for worker in workers:
        endpoint = endpoint_of(worker)
        if endpoint not in new:
            moved[endpoint] = None
            continue
        sent = received = 0
        for port, counts in new[endpoint].items():
            was = old.get(endpoint, {}).get(port, (0, 0))
            sent += counts[0] - was[0]
            received += counts[1] - was[1]
        moved[endpoint] = (sent, received)
    return moved


def _is_deaf(look: Mapping) -> bool:
    """Whether a worker's machine does not answer, or nothing on it listens at the worker's endpoint."""
    if look.get("unreachable"):
        return True
    address = str(look["worker"].get("address") or endpoint_of(look["worker"]).rpartition(":")[0])
    sockets = look.get("sockets")
    return sockets is not None and not any(socket["local_address"] in (address, "0.0.0.0", "*") for socket in sockets)


def suspects(
    workers: t.Sequence[Mapping],
    before: t.Iterable[Mapping],
    after: t.Iterable[Mapping],
    listeners: t.Sequence[Mapping] = (),
) -> t.List[str]:
    """What the sockets say about workers that may be why no answer came.

    ``listeners`` are looks at the workers' own machines, each with ``worker`` and either its listening ``sockets`` or
    ``unreachable``.
    """
    moved = moved_bytes(workers, before, after)
    deaf = {endpoint_of(look["worker"]) for look in listeners if _is_deaf(look)}
    if len(moved) > 1 and not deaf and all(counts is None for counts in moved.values()):
        return ["the head is connected to none of its workers"]
    certain, lost = [], []
    for worker in workers:
        counts = moved[endpoint_of(worker)]
        if endpoint_of(worker) in deaf:
            certain.append("nothing listens at worker %s" % _name(worker))
        elif counts is None:
            lost.append("the head is not connected to worker %s" % _name(worker))
        elif counts[0] > 0 and counts[1] == 0:
            certain.append("worker %s was sent %d bytes and sent nothing back" % (_name(worker), counts[0]))
    # A head that ended has no connections: that says something about a worker only when nothing else does.
    return certain or lost


def least_bytes(chat: Mapping, bytes_per_token: t.Optional[int] = None) -> int:
    """What must at least go each way between the head and each worker for this answer."""
    tokens = max(int(chat.get("completion_tokens") or 0), 1)
    if bytes_per_token is None:
        n_embd = int(chat.get("n_embd") or 0)
        bytes_per_token = n_embd * BYTES_PER_VALUE if n_embd else FALLBACK_BYTES_PER_TOKEN
    return tokens * bytes_per_token


def layers_held(device: Mapping) -> str:
    """What the head's log puts on a device of the model's layers, as ``3 layers``; empty where it puts none there.

    A layer has a KV cache, so that shows one even where no line names it.
    """
    if device.get("layers"):
        return "%d layers" % device["layers"]
    return "layers (%s MiB of KV cache)" % device["kv_mib"] if device.get("kv_mib") else ""


def _device_row(device: Mapping, machine: str, counts: t.Optional[t.Tuple[int, int]]) -> t.Dict[str, t.Any]:
    return {
        "machine": machine,
        "device": str(device.get("name") or ""),
        "description": str(device.get("description") or ""),
        # Memory of the head that another backend manages is the head's memory all the same.
        "kind": "cpu" if device.get("host") else str(device.get("kind") or ""),
        "endpoint": str(device.get("endpoint") or ""),
        "layers": device.get("layers"),
        "weights_mib": device.get("weights_mib"),
        "kv_mib": device.get("kv_mib"),
        "compute_mib": device.get("compute_mib"),
        "bytes_sent": counts[0] if counts else None,
        "bytes_received": counts[1] if counts else None,
    }


def evidence(
    workers: t.Sequence[Mapping],
    before: t.Iterable[Mapping],
    after: t.Iterable[Mapping],
    chat: Mapping,
    log: t.Optional[Mapping] = None,
    head: str = "",
    bytes_per_token: t.Optional[int] = None,
    allow_cpu_layers: bool = False,
) -> t.Dict[str, t.Any]:
    """The devices with what they hold and moved, the problems, and what stayed unknown.

    ``log`` is what llama_startup_log returned for the head, or nothing when there is no log to look at.
    """
    problems: t.List[Problem] = []
    unknown: t.List[str] = []
    moved = moved_bytes(workers, before, after)
    least = least_bytes(chat, bytes_per_token)
    idle = set()

    def add(machine: str, problem: str, remedy: str) -> None:
        problems.append({"machine": machine, "problem": problem, "remedy": remedy})

    for worker in workers:
        endpoint = endpoint_of(worker)
        machine = str(worker.get("machine") or endpoint)
        counts = moved[endpoint]
        if counts is None:
            add(
                machine,
                "the head has no connection to its endpoint %s" % endpoint,
                "start its rpc-server, then restart llama-server on the head",
            )
        elif min(counts) < least:
            idle.add(endpoint)
            add(
                machine,
                "it had no part in the answer: %d bytes went to its endpoint %s and %d came back, and %d each way is the "
                "least for the %s tokens of the answer" % (counts[0], endpoint, counts[1], least, chat.get("completion_tokens")),
                "give its device layers of the model (llama_server_tensor_split), or take it out of the cluster",
            )

    by_endpoint = {endpoint_of(worker): str(worker.get("machine") or "") for worker in workers}
    rows: t.List[t.Dict[str, t.Any]] = []
    known = list((log or {}).get("devices") or [])
    for device in known:
        endpoint = str(device.get("endpoint") or "")
        machine = by_endpoint.get(endpoint, "") if endpoint else head
        rows.append(_device_row(device, machine or endpoint or head, moved.get(endpoint)))
    for worker in workers:
        endpoint = endpoint_of(worker)
        if all(row["endpoint"] != endpoint for row in rows):
            if log is not None:
                unknown.append("the head's log does not say what %s holds" % _name(worker))
            placeholder = {"name": worker.get("device") or "", "endpoint": endpoint, "kind": "rpc"}
            rows.append(_device_row(placeholder, str(worker.get("machine") or endpoint), moved[endpoint]))

    accelerators = [row for row in rows if row["kind"] != "cpu"]
    for row in rows:
        if row["kind"] == "cpu":
            # The input embedding is always on the head's CPU.
            held = layers_held(row)
            if accelerators and not allow_cpu_layers and held:
                add(
                    row["machine"] or "head",
                    "its CPU holds %s of the model that belong on a device" % held,
                    "raise llama_server_n_gpu_layers, or set chat_check_allow_cpu_layers when that is meant",
                )
        elif row["weights_mib"] == 0 or (row["layers"] == 0 and not row["weights_mib"]):
            if row["endpoint"] not in idle:
                add(
                    row["machine"] or row["endpoint"],
                    "its device %s holds no part of the model" % (row["device"] or row["endpoint"]),
                    "give it layers (llama_server_tensor_split), or take it out of the cluster",
                )
        elif row["weights_mib"] is None and log is not None and row["endpoint"] not in idle:
            sentence = "the head's log does not say what %s holds" % (
                "%s (%s)" % (row["machine"], row["endpoint"]) if row["endpoint"] and row["machine"] else row["device"]
            )
            if sentence not in unknown:
                unknown.append(sentence)
    return {"devices": rows, "problems": problems, "unknown": unknown, "least_bytes": least}
