# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan in words: what its page and its text for a terminal both say."""

from __future__ import annotations

import typing as t

Mapping = t.Mapping[str, t.Any]


def layer_range(device: Mapping) -> str:
    """The layers of a device in words."""
    count, output = int(device["n_layers"]), bool(device["output"])
    if not count:
        return "output only" if output else "no layer"
    first, last = device["first_layer"], device["last_layer"]
    words = "layer %d" % first if count == 1 else "layers %d\u2013%d" % (first, last)
    return words + " + output" if output else words


def device_name(device: Mapping) -> str:
    """A planned device by its own name, and by llama-server's where that is another."""
    own, llama_name = str(device["device"]), str(device["llama_device"])
    return own if own == llama_name else "%s as %s" % (own, llama_name)


def shared_device(plan: Mapping) -> t.Optional[Mapping]:
    """The head's device out of whose memory llama-server's own comes, None where that is RAM besides."""
    return next((device for device in plan["devices"] if device.get("host_mib")), None)


def kept_words(host: Mapping) -> str:
    """How much of the head's RAM is for what llama-server keeps of prompts while it serves, and what says so; empty for nothing."""
    parts = ["%d MiB of that for %s" % (host[key], what) for key, what in (
        ("prompt_cache_mib", "its prompt cache (llama_server_cache_ram_mib)"),
        ("checkpoints_mib", "context checkpoints (llama_server_ctx_checkpoints)")) if host.get(key)]
    return ", " + " and ".join(parts) if parts else ""


def devices_with_parts(plan: Mapping) -> t.List[t.Dict[str, t.Any]]:
    """The plan's devices, with what lies there by itself (a draft model, a projector) beside the model and not as reserved."""
    devices = []
    for device in plan["devices"]:
        lone = sum(int(part["mib"]) for part in (plan.get("beside") or {}).get("parts") or []
                   if (part["machine"], part["device"]) == (device["machine"], device["device"]))
        devices.append(dict(device, beside_mib=int(device.get("beside_mib") or 0) + lone, reserve_mib=int(device["reserve_mib"]) - lone))
    return devices


def beside_lines(plan: Mapping) -> t.List[str]:
    """What stands beside the model, one line each: what it is, where it lies, what it takes."""
    lines = []
    for part in (plan.get("beside") or {}).get("parts") or []:
        what = "%s %s" % ({"draft": "Draft model", "mmproj": "Projector"}.get(part["for"], "Adapter"), str(part["file"]).rpartition("/")[2])
        if part["for"] == "lora":
            lines.append("%s: beside the layers that it changes, %d MiB and its part of their compute buffers." % (what.rstrip(), part["mib"]))
            continue
        sure = "its weights alone" if part["mib"] == part.get("least_mib") else "a bound"
        word = "; llama.cpp says %.0f MiB of RAM" % sum(part["asked"].values()) if part.get("asked") else ""
        lines.append("%s: %s of %s, %d MiB, %s%s." % (what.rstrip(), part["device"] or "the RAM", part["machine"], part["mib"], sure, word))
    if (plan.get("beside") or {}).get("own_layers_draft"):
        lines.append("The model's own layers that draft: a context of their own, beside the model where they lie.")
    return lines


def figures_lines(plan: Mapping) -> t.List[str]:
    """Whose the figures are: llama.cpp's own, formulas compared with one version of it, or a bound and what will become of it."""
    bounds = any(part["mib"] != part.get("least_mib") for part in (plan.get("beside") or {}).get("parts") or [])
    return _figures_of_model(plan) + (["What stands beside the model is planned by upper bounds."] if bounds else [])


def _figures_of_model(plan: Mapping) -> t.List[str]:
    sure, figures = plan["confidence"], plan.get("figures") or {}
    more = ["The head has a GPU of its own: what that has no kernel for is left to the head's CPU, and both then take more than planned."] if (
        sure.get("head_gpu")) else []
    if figures.get("source") == "asked":
        asked = "%d times" % figures["questions"] if figures.get("questions", 1) > 1 else "once" if figures["rounds"] else "for the running plan"
        if not figures.get("over_workers") and any(device.get("kind") != "cpu" for device in plan["devices"]):
            more.append("It was asked with CPU devices: what a GPU takes besides (alignment, padded rows, copies of a quantised cache) is a formula.")
        return more + ["Every figure is what llama.cpp %s itself says, which was asked %s%s%s." % (
            figures["build"] or "of this build", asked,
            "" if figures.get("complete", True) else "; there was no time to ask about further splits, of which one may be better",
            "" if figures.get("exact", True) else "; without libllama-measure.so it says a little more than it takes")]
    if not sure.get("bound"):
        return more + ["The figures are formulas, compared with llama.cpp %s. Once llama.cpp is built it is asked itself." % sure["llama_cpp_version"]]
    return more + ["KV cache and compute buffers are upper bounds, not llama.cpp's own figures: %s. Once llama.cpp is built it is asked, which makes them"
                   " exact." % "; ".join(str(reason) for reason in sure["unknown"])]


def sureness(plan: Mapping) -> t.List[str]:
    sure = plan["confidence"]
    lines = ["Weights: %s. KV cache: %s." % (sure["weights"], sure["kv"]),
             "Compute buffers: %s%s." % (sure["compute"], "; the real ones may differ by a factor of %g at most" % sure["compute_tolerance_factor"]
                                         if sure["compute"] == "estimate" else ""),
             "The head's own memory is an estimate; reserves are as given."]
    if plan.get("requests"):
        lines.append("It serves " + plan["requests"])
    lines += figures_lines(plan)
    if plan.get("search") == "beam":
        lines.append("There were too many different sets of devices to try all: a better split may exist.")
    return lines
