# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else would fit where a plan does not: the cheapest changes of settings, file or machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.context import context_that_fits, largest
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, PlanError, Request, check_settings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import quick_fits

# Bits per weight of common quantisations of whole files, measured on a 70B (tools/quantize/README.md of llama.cpp).
QUANTISATIONS = (("Q8_0", 8.50), ("Q6_K", 6.56), ("Q5_K_M", 5.67), ("Q5_K_S", 5.52), ("Q4_K_M", 4.84), ("Q4_K_S", 4.57), ("IQ4_XS", 4.25),
                 ("Q3_K_L", 4.27), ("Q3_K_M", 3.89), ("Q3_K_S", 3.47), ("IQ3_XXS", 3.06), ("Q2_K", 2.96), ("IQ2_XXS", 2.06))


def ways_out(request: Request, machines: Sequence[Machine]) -> List[Dict[str, Any]]:
    """Up to three changes that would make it fit, each on its own, cheapest first: ``change`` says which, ``text`` says it in words."""
    found: List[Dict[str, Any]] = []
    settings = request.settings
    if any(d.shared_memory and d.machine == request.head for m in machines for d in m.devices) or not any(m.devices for m in machines):
        # elsewhere the head's RAM is none of the devices'
        if request.cache_ram_mib > 0 and quick_fits(replace(request, cache_ram_mib=0), machines):
            found.append({"change": "cache_ram_mib", "cache_ram_mib": 0,
                          "text": "no prompt cache instead of one of %d MiB (llama_server_cache_ram_mib: 0)" % request.cache_ram_mib})
        if request.ctx_checkpoints > 1 and quick_fits(replace(request, ctx_checkpoints=1), machines):
            found.append({"change": "ctx_checkpoints", "ctx_checkpoints": 1,
                          "text": "1 context checkpoint for each slot instead of %d (llama_server_ctx_checkpoints)" % request.ctx_checkpoints})
    for type_name in ("q8_0", "q4_0"):
        if settings.type_k.lower() in ("f16", "bf16", "f32") and settings.flash_attention:
            smaller = replace(settings, type_k=type_name, type_v=type_name)
            try:
                check_settings(request.model, smaller)
            except PlanError:
                continue
            if quick_fits(replace(request, settings=smaller), machines):
                found.append({"change": "kv_type", "kv_type": type_name,
                              "text": "store the KV cache as %s (-ctk %s -ctv %s)" % (type_name, type_name, type_name)})
                break
    context = context_that_fits(request, machines)
    if 0 < context < settings.context_size:
        found.append({"change": "context_size", "context_size": context, "text": "a context of %d instead of %d" % (context, settings.context_size)})
    if settings.ubatch > 128:
        if quick_fits(replace(request, settings=replace(settings, ubatch=128)), machines):
            found.append({"change": "ubatch", "ubatch": 128, "text": "a micro batch of 128 instead of %d (-ub 128): slower prompts" % settings.ubatch})
    smaller_file = _smaller_quantisation(request, machines)
    if smaller_file:
        found.append(smaller_file)
    bigger = one_more_machine(request, machines)
    if bigger:
        found.append(bigger)
    return found[:3]


def _smaller_quantisation(request: Request, machines: Sequence[Machine]) -> Optional[Dict[str, Any]]:
    """The least change of the file's quantisation that fits, weights scaled as a whole."""
    model = request.model
    if not model.quantised_elements:
        return None
    bits = 8 * model.quantised_bytes / model.quantised_elements
    for name, wanted in sorted(QUANTISATIONS, key=lambda item: -item[1]):
        if wanted >= bits:
            continue
        factor = wanted / bits
        layers = tuple(replace(layer, weight_bytes={k: int(v * factor) for k, v in layer.weight_bytes.items()}) for layer in model.layers)
        scaled = replace(model, layers=layers, output_bytes={k: int(v * factor) for k, v in model.output_bytes.items()})
        if quick_fits(replace(request, model=scaled), machines):
            size = int(model.file_size_bytes * factor)
            return {"change": "quantisation", "quantisation": name, "file_size_bytes": size,
                    "text": "a file quantised to about %s (%.1f bits per weight, some %.0f GB instead of %.0f)" % (
                        name, wanted, size / 1e9, model.file_size_bytes / 1e9)}
    return None


def one_more_machine(request: Request, machines: Sequence[Machine]) -> Optional[Dict[str, Any]]:
    """How many more machines like the largest there is make it fit, or else the smallest device of one further machine that does."""
    devices = [d for m in machines for d in m.devices]
    if len(devices) >= MAX_DEVICES:
        return None
    model = max((m for m in machines if m.devices), key=lambda m: sum(d.free_mib for d in m.devices), default=None)
    if model is not None:
        for count in range(1, (MAX_DEVICES - len(devices)) // len(model.devices) + 1):
            more = [Machine("another%d" % n, tuple(replace(d, machine="another%d" % n) for d in model.devices)) for n in range(count)]
            if quick_fits(request, list(machines) + more):
                each = " + ".join("%.0f" % (d.free_mib / 1024) for d in model.devices)
                return {"change": "machine", "machines": count, "like": model.name, "free_mib": sum(d.free_mib for d in model.devices),
                        "text": "%d more machine%s like %s (%s GiB free%s)" % (
                            count, "" if count == 1 else "s", model.name, each, "" if count == 1 else " each")}
    kind = devices[0].kind if devices else "cuda"
    reserve = max((d.reserve_mib for d in devices), default=0)

    def works(gib: int) -> bool:
        extra = Machine("another", (Device("another", "device", kind, gib * 1024, gib * 1024, reserve),))
        return quick_fits(request, list(machines) + [extra])

    top = 1024
    if not works(top):
        return None
    need = top - largest(0, top - 1, lambda n: works(top - n))
    return {"change": "machine", "free_mib": need * 1024, "text": "one more machine with a device of %d GiB free" % need}
