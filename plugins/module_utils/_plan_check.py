# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a running llama-server hold on each device what was planned?

The plan's figures are whole MiB, rounded up; the log's have two decimals. Weights and context may differ by the plan's
``tolerance_mib``, which the rounding is part of. A compute buffer may be smaller than planned by the plan's
``compute_tolerance_factor``, and larger by ``tolerance_mib`` only: too small a plan is what ends in "out of memory".
"""

from __future__ import annotations

import typing as t

Mapping = t.Mapping[str, t.Any]

# The log's figures are rounded to hundredths.
_ROUNDING_MIB = 0.01


class PlanCheckError(ValueError):
    """What was given is no plan, or no log of a head."""


def _real(device: Mapping, *keys: str) -> t.Optional[float]:
    """The sum of what the log says, None where it says nothing at all."""
    known = [float(device[key]) for key in keys if device.get(key) is not None]
    return round(sum(known), 2) if known else None


def deviations(plan: Mapping, log: Mapping) -> t.Dict[str, t.Any]:
    """Planned beside real figures per device, the problems, and what the log does not tell.

    ``plan`` is what the filter cluster_plan returned, ``log`` what the module llama_startup_log returned for the head.
    """
    try:
        planned = list(plan["devices"])
        head = str(plan["host"]["machine"])
        tolerance = float(plan["confidence"]["tolerance_mib"]) + _ROUNDING_MIB
        factor = float(plan["confidence"]["compute_tolerance_factor"])
        bound = bool(plan["confidence"].get("bound"))
        seen = list(log["devices"])
    except (KeyError, TypeError, ValueError) as error:
        raise PlanCheckError("it lacks %s" % error) from error
    problems: t.List[t.Dict[str, str]] = []
    unknown: t.List[str] = []
    rows: t.List[t.Dict[str, t.Any]] = []
    real_devices = {str(device.get("name")): device for device in seen if not device.get("host")}

    for device in planned:
        real = real_devices.get(str(device["llama_device"]))
        row = {key: device[key] for key in ("machine", "device", "llama_device")}
        row.update(planned_layers=device["n_layers"], layers=None if real is None else real.get("layers"))
        rows.append(row)
        differs: t.List[str] = []
        if row["layers"] is not None and row["layers"] != device["n_layers"]:
            differs.append("%d layers (%d planned)" % (row["layers"], device["n_layers"]))
        for what, key, sources in (("weights", "weights", ("weights_mib",)), ("KV cache", "kv", ("kv_mib", "recurrent_mib")),
                                   ("compute buffer", "compute", ("compute_mib",))):
            wanted = int(device[key + "_mib"])
            figure = None if real is None else _real(real, *sources)
            row["planned_%s_mib" % key], row["%s_mib" % key] = wanted, figure
            if figure is None:
                if wanted:
                    unknown.append("the head's log does not tell the %s of %s on %s" % (what, device["llama_device"], device["machine"]))
                continue
            too_small = wanted > figure * factor + tolerance if key == "compute" else wanted > figure + tolerance
            if (too_small and not (bound and key != "weights")) or figure > wanted + tolerance:
                differs.append("%s MiB of %s (%d planned)" % (figure, what, wanted))
        if differs:
            problems.append({
                "machine": str(device["machine"]),
                "problem": "%s, which is %s for llama-server, holds %s" % (device["device"], device["llama_device"], ", ".join(differs)),
                "remedy": "Deploy again, so that llama-server is started with the plan's arguments; if that changes nothing, report it "
                          "with the model's name, for then the plan is wrong",
            })
    for device in seen:
        if device.get("host") and planned and (device.get("layers") or device.get("kv_mib")):
            problems.append({
                "machine": head,
                "problem": "%s of the model are on the CPU of llama-server, and all %s were planned on devices" % (
                    "%d layers" % device["layers"] if device.get("layers") else "layers (%s MiB of KV cache)" % device["kv_mib"],
                    plan.get("n_layers", "layers")),
                "remedy": "Deploy again, so that llama-server is started with the plan's arguments",
            })
    context = log.get("n_ctx")
    if context is not None and int(context) < int(plan["context_size"]):
        problems.append({
            "machine": head,
            "problem": "the context has %s tokens, and %s were planned" % (context, plan["context_size"]),
            "remedy": "Deploy again, so that llama-server is started with the plan's arguments",
        })
    return {"rows": rows, "problems": problems, "unknown": unknown}
