# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a running llama-server hold on each device what was planned?

The plan's figures are whole MiB, rounded up; the log's have two decimals. Layers, weights and caches follow from the plan and must be as
planned, within its ``tolerance_mib``, which the rounding is part of. A compute buffer is an estimate: one that is larger, or smaller by
more than ``compute_tolerance_factor``, is worth a warning. On a CPU where llama.cpp itself was asked it is none, and one that is smaller at
all is worth it. What stands beside the model (a draft model, a projector, adapters) was planned by a bound: more of it is worth a warning, and
any of it where none was planned means that it lies elsewhere. What decides is the device's margin: all it really holds must leave the reserve
free.

The same is asked of what llama.cpp says over the workers themselves right before the start (``by_word``), while a failure costs seconds.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import Answer
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.evidence import layers_held

Mapping = t.Mapping[str, t.Any]

# The log's figures are rounded to hundredths.
_ROUNDING_MIB = 0.01
# Each figure: its key, what it is called, and what the log has of it.
_FIGURES = (
    ("weights", "weights", ("weights_mib",)),
    ("kv", "KV cache", ("kv_mib", "recurrent_mib")),
    ("compute", "compute buffer", ("compute_mib",)),
)
_HOST_MORE = "Nothing needs to be done while the head has as much more RAM free"
_AGAIN = "Deploy again, so that llama-server is started with the plan's arguments"


class PlanCheckError(ValueError):
    """What was given is no plan, or no log of a head."""


def _real(devices: t.Sequence[Mapping], keys: t.Sequence[str]) -> t.Optional[float]:
    """The sum of what the log says of these devices in MiB, None where it says nothing at all."""
    known = [float(device[key]) for device in devices for key in keys if device.get(key) is not None]
    return round(sum(known), 2) if known else None


def _lone_mib(plan: Mapping, device: Mapping) -> int:
    """MiB of what was planned to lie on a device by itself, for which room is reserved there: a draft model, a projector.

    The head's RAM is a device without a name.
    """
    parts = (plan.get("beside") or {}).get("parts") or []
    return sum(int(part["mib"]) for part in parts if (part["machine"], part["device"]) == (device["machine"], device["device"]))


def _without_layers(plan: Mapping) -> t.List[t.Dict[str, t.Any]]:
    """Devices that hold a draft model or a projector and none of the model's layers, as the plan's devices are."""
    layered = {(device["machine"], device["device"]) for device in plan["devices"]}
    parts = {(part["machine"], part["device"]): part for part in (plan.get("beside") or {}).get("parts") or [] if "free_mib" in part}
    nothing = {"n_layers": 0, "weights_mib": 0, "kv_mib": 0, "compute_mib": 0}
    return [dict(part, **nothing) for where, part in parts.items() if where not in layered]


def _row(planned: Mapping, names: t.Mapping[str, t.Any], real: t.Sequence[Mapping]) -> t.Dict[str, t.Any]:
    """One device's figures in MiB: planned, llama.cpp's own word from before the start where it was asked, and real."""
    row = dict(names)
    word = planned.get("asked") or {}
    for key, _called, sources in _FIGURES:
        asked = word.get(key + "_mib")
        row["planned_%s_mib" % key] = int(planned[key + "_mib"])
        row["word_%s_mib" % key] = None if asked is None else round(float(asked), 2)
        row["%s_mib" % key] = _real(real, sources)
    row["planned_beside_mib"] = int(planned.get("beside_mib") or 0)
    row["beside_mib"] = _real(real, ("beside_mib",))
    return row


class _Findings(t.NamedTuple):
    """What one device has of each sort, without its name."""

    failures: t.List[str]
    estimates: t.List[str]
    unsaid: t.List[str]


def _judge(row: Mapping, tolerance: float, factor: float, bound: bool, lone_mib: int, over_workers: bool = False) -> _Findings:
    """``bound`` says that caches and compute buffers were planned by an upper bound, so that less is no sign of anything.

    ``over_workers`` says that llama.cpp's word is about the workers themselves, not about stand-ins.
    """
    found = _Findings([], [], [])
    if row["layers"] is not None and row["layers"] != row["planned_layers"]:
        found.failures.append("%d layers (%d planned)" % (row["layers"], row["planned_layers"]))
    for key, called, _sources in _FIGURES:
        wanted, figure = row["planned_%s_mib" % key], row["%s_mib" % key]
        said = "%s MiB of %s (%d planned)" % (figure, called, wanted)
        if figure is None:
            # rounded down, a word of 0 may have been planned as 1, and a log has no line for nothing
            if wanted and row["word_%s_mib" % key] != 0:
                found.unsaid.append(called)
        elif key == "compute":
            if figure > wanted + tolerance or (not bound and wanted > figure * factor + tolerance):
                found.estimates.append(said)
        elif abs(figure - wanted) > tolerance and not (bound and key == "kv" and figure < wanted):
            word = row["word_%s_mib" % key]
            # over the workers themselves it said so, rounded down, before it was started
            foretold = over_workers and word is not None and word - tolerance <= figure <= word + 1 + tolerance
            (found.estimates if foretold else found.failures).append(said)
    figure, wanted = row["beside_mib"], row["planned_beside_mib"]
    if figure is None:
        # what the layers take besides may be nothing on this device
        if lone_mib:
            found.unsaid.append("draft model or projector")
    elif figure > wanted + tolerance:
        (found.estimates if wanted else found.failures).append("%s MiB beside the model (%d planned)" % (figure, wanted))
    return found


def _factor(plan: Mapping, number: int) -> float:
    """By how much the compute buffer of a device may be planned too large: by nothing on a CPU where llama.cpp said it to the hundredth.

    What it says without libllama-measure.so is more than it takes. A whole number may be one whose line was lost, rounded up (ask.parse).
    """
    if number < len(plan["devices"]) and plan["devices"][number].get("kind") == "cpu" and (plan.get("figures") or {}).get("exact") and plan.get("answer"):
        told = float(plan["answer"]["devices"][number][2])
        if told != int(told):
            return 1.0
    return float(plan["confidence"]["compute_tolerance_factor"])


def _host_more_mib(host: Mapping, real_mib: t.Optional[float]) -> float:
    """By how many MiB the compute buffer in the head's own RAM is larger than planned."""
    return max(0.0, real_mib - int(host["compute_mib"])) if real_mib is not None and "compute_mib" in host else 0.0


def _judge_host(plan: Mapping, row: Mapping, elsewhere: bool, tolerance: float) -> _Findings:
    """The head's own RAM: its compute buffer, and where it computes alone also its caches, and its layers where some are ``elsewhere``.

    Weights are not judged: a log has mapped ones twice where llama.cpp repacks them.
    """
    alone = not plan["devices"]
    judged = dict(row, weights_mib=None, beside_mib=None, layers=row["layers"] if alone and elsewhere else None)
    if not alone:
        # layers there are a problem of their own
        judged["kv_mib"] = None
    found = _judge(judged, tolerance, float(plan["confidence"]["compute_tolerance_factor"]), not alone or bool(plan["confidence"].get("bound")), 0)
    if alone and plan.get("headroom_mib") is not None:
        more = sum(float(row[key + "_mib"]) - row["planned_%s_mib" % key] for key in ("kv", "compute") if row[key + "_mib"] is not None)
        if more > int(plan["headroom_mib"]) + tolerance:
            found.failures.append("%.2f MiB more than planned, which left %d MiB of the RAM that was free" % (more, plan["headroom_mib"]))
    return found


def _over_margin(device: Mapping, row: Mapping, tolerance: float, lone_mib: int, host_more_mib: float) -> t.Optional[str]:
    """That a device holds more than its reserve allows, None where it does not; what the log does not tell counts as planned.

    Where its memory is the head's RAM, what llama-server itself takes there more than planned counts as well.
    """
    keys = [key for key, _called, _sources in _FIGURES] + ["beside"]
    planned = sum(row["planned_%s_mib" % key] for key in keys)
    total = sum(float(row["planned_%s_mib" % key] if row["%s_mib" % key] is None else row["%s_mib" % key]) for key in keys)
    # the plan counts what lies there by itself as reserved
    reserve = int(device["reserve_mib"]) - lone_mib
    host_mib = int(device.get("host_mib") or 0)
    room = int(device["free_mib"]) - reserve - host_mib - (int(host_more_mib) if host_mib else 0)
    if total <= room + tolerance:
        return None
    return "%.2f MiB in all (%d planned), and %d MiB of what was free are for it when its reserve of %d MiB is kept" % (total, planned, room, reserve)


def by_word(plan: Mapping, answer: Answer) -> t.Dict[str, t.Any]:
    """The plan with what llama.cpp said over the workers themselves for its word, and what of that is otherwise than planned.

    ``problems`` are devices that it would leave less than their margin, ``notes`` those where it fits all the same.
    """
    tolerance = float(plan["confidence"]["tolerance_mib"]) + _ROUNDING_MIB
    devices: t.List[t.Dict[str, t.Any]] = []
    problems: t.List[t.Dict[str, str]] = []
    notes: t.List[t.Dict[str, str]] = []
    more_mib = _host_more_mib(plan["host"], answer.host.compute_mib)
    for number, (device, told) in enumerate(zip(plan["devices"], answer.devices)):
        word = asdict(told)
        devices.append(dict(device, asked=word))
        most = {"weights_mib": _most(told.weights_mib, device["weights_mib"]), "kv_mib": _most(told.kv_mib, device["kv_mib"])}
        lone_mib = _lone_mib(plan, device)
        row = _row(devices[-1], {"planned_layers": None, "layers": None}, [dict(word, **most)])
        row["planned_beside_mib"] += lone_mib
        found = _judge(row, tolerance, _factor(plan, number), bool(plan["confidence"].get("bound")), 0)
        over = _over_margin(device, row, tolerance, lone_mib, more_mib)
        said = {"machine": str(device["machine"]), "problem": "%s, which is %s for llama-server, would hold %s" % (
            device["device"], device["llama_device"], ", ".join(found.failures + found.estimates + ([over] if over else [])))}
        if over:
            problems.append(dict(said, remedy="Set cluster_plan_headroom_mib to as much more as that is, so that the plan puts less there, and deploy again"))
        elif found.failures or found.estimates:
            notes.append(dict(said, remedy="Nothing needs to be done: all of it still leaves the device its reserve"))
    if more_mib > tolerance:
        notes.append({"machine": str(plan["host"]["machine"]), "problem": "llama-server itself would hold %s MiB of compute buffer (%d planned)" % (
            answer.host.compute_mib, plan["host"]["compute_mib"]), "remedy": _HOST_MORE})
    host = dict(plan["host"], asked=asdict(answer.host))
    return {"plan": dict(plan, devices=devices, host=host, figures=dict(plan["figures"], over_workers=True)), "problems": problems, "notes": notes}


def _most(told_mib: int, planned_mib: int) -> int:
    """The most that a figure can be which llama.cpp rounds down: what is planned, rounded up, where the two may be the same."""
    return planned_mib if told_mib <= planned_mib <= told_mib + 1 else told_mib + 1


def deviations(plan: Mapping, log: Mapping) -> t.Dict[str, t.Any]:
    """Planned, asked and real figures per device, the problems, the warnings, and what the log does not tell.

    ``plan`` is what the filter cluster_plan returned, ``log`` what the module llama_startup_log returned for the head.
    """
    try:
        planned, host = list(plan["devices"]), plan["host"]
        head = str(host["machine"])
        tolerance = float(plan["confidence"]["tolerance_mib"]) + _ROUNDING_MIB
        bound = bool(plan["confidence"].get("bound"))
        over_workers = bool((plan.get("figures") or {}).get("over_workers"))
        seen = list(log["devices"])
        own = [other for other in seen if other.get("host")]
        more_mib = _host_more_mib(host, _real(own, ("compute_mib",)))
        problems: t.List[t.Dict[str, str]] = []
        warnings: t.List[t.Dict[str, str]] = []
        unknown: t.List[str] = []
        rows: t.List[t.Dict[str, t.Any]] = []
        for number, device in enumerate(planned + _without_layers(plan)):
            real = [other for other in seen if not other.get("host") and str(other.get("name")) == str(device["llama_device"])][:1]
            names = {key: device[key] for key in ("machine", "device", "llama_device")}
            row = _row(device, dict(names, planned_layers=device["n_layers"], layers=real[0].get("layers") if real else None), real)
            rows.append(row)
            lone_mib = _lone_mib(plan, device)
            row["planned_beside_mib"] += lone_mib
            found = _judge(row, tolerance, _factor(plan, number), bound, lone_mib, over_workers)
            over = _over_margin(device, row, tolerance, lone_mib, more_mib)
            unknown += ["the head's log does not tell the %s of %s on %s" % (what, device["llama_device"], device["machine"]) for what in found.unsaid]
            subject = "%s, which is %s for llama-server, holds " % (device["device"], device["llama_device"])
            failures = found.failures + ([over] if over else [])
            if failures:
                problems.append({
                    "machine": str(device["machine"]), "problem": subject + ", ".join(failures + (found.estimates if over else [])),
                    "remedy": _AGAIN + "; if that changes nothing, report it with the model's name, for then the plan is wrong"})
            if found.estimates and not over:
                warnings.append({
                    "machine": str(device["machine"]), "problem": subject + ", ".join(found.estimates),
                    "remedy": "Nothing needs to be done: all it holds still leaves its reserve free"})
        if "compute_mib" in host:
            layers = [int(other["layers"]) for other in own if other.get("layers") is not None]
            rows.append(_row(host, {"machine": head, "device": "CPU", "llama_device": "CPU", "planned_layers": 0 if planned else plan.get("n_layers"),
                                    "layers": sum(layers) if layers else None}, own))
            rows[-1]["planned_beside_mib"] = _lone_mib(plan, {"machine": head, "device": ""})
            found = _judge_host(plan, rows[-1], any(other.get("layers") for other in seen if not other.get("host")), tolerance)
            for said, into, remedy in ((found.failures, problems, _AGAIN), (found.estimates, warnings, _HOST_MORE)):
                if said:
                    into.append({"machine": head, "problem": "llama-server itself, on the CPU, holds " + ", ".join(said), "remedy": remedy})
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise PlanCheckError("it lacks %s" % error) from error
    for device in own:
        held = layers_held(device)
        if planned and held:
            problems.append({
                "machine": head,
                "problem": "%s of the model are on the CPU of llama-server, and all %s were planned on devices" % (held, plan.get("n_layers", "layers")),
                "remedy": _AGAIN,
            })
    context = log.get("n_ctx")
    if context is not None and int(context) < int(plan["context_size"]):
        problems.append({
            "machine": head,
            "problem": "the context has %s tokens, and %s were planned" % (context, plan["context_size"]),
            "remedy": _AGAIN,
        })
    return {"rows": rows, "problems": problems, "warnings": warnings, "unknown": unknown}
