# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside the model in a plan: what it adds to the model, where the rest of it lies, and llama-server's arguments for it.

A draft model and a projector each lie on one device: the head's own first one unless another is named, else in the head's RAM. On a device of
the head's no token that is drafted crosses the network, and the figures do not hang on the split.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.kind import kind_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import beside as plan_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import beside_memory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import KEYS
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import MAX_LAYERS, MemoryModelError, Model, describe_model, mib_up
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Beside, Machine, PlanError, accounts_of


class _Tensor(NamedTuple):
    name: str
    shape: Tuple[int, ...]
    type_name: str
    size_bytes: int


def _tensors(facts: Mapping[str, Any]) -> List[_Tensor]:
    try:
        return [_Tensor(str(t["name"]), tuple(int(n) for n in t["shape"]), str(t["type"]), int(t["size_bytes"])) for t in facts["tensors"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise PlanError("what stands beside the model needs the facts of gguf_info with its metadata and its tensors included") from exc


def _metadata(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = facts.get("metadata") if isinstance(facts, Mapping) else None
    if not isinstance(metadata, Mapping):
        raise PlanError("what stands beside the model needs the facts of gguf_info with its metadata and its tensors included")
    return metadata


def stand_beside(model: Model, facts: Mapping[str, Any], settings: RunSettings, machines: Sequence[Machine], head: str,
                 words: Optional[Mapping[str, Any]] = None, headers: Sequence[Mapping[str, Any]] = (),
                 draft_device: str = "", mmproj_device: str = "") -> Beside:
    """Add to model, settings and machines what stands beside them.

    ``words`` are llama_server's variables (_service/beside.py), ``headers`` what gguf_model says of the files, ``[{for, header, file}]``;
    devices are MACHINE/DEVICE. Raises PlanError.
    """
    found = Beside(model, settings, list(machines), words=dict(words or {}))
    try:
        for problem in plan_beside.problems(found.words):
            raise PlanError("%(problem)s. %(remedy)s" % problem)
        types = plan_beside.spec_types(found.words)
        if types:
            drafted = plan_beside.drafted_tokens(found.words)
            type_k, type_v = (str(found.words.get("draft_cache_type_" + which) or "f16") for which in "kv")
            # tools/server/server-context.cpp, server_output_limits: what was drafted is checked in one batch
            outputs = min(settings.batch, settings.parallel * (1 + drafted))
            rollback = drafted if any(name.startswith("draft-") and name != "draft-simple" for name in types) else 0
            found.settings = replace(settings, outputs=outputs, rollback=rollback, draft_type_k=type_k, draft_type_v=type_v)
            if plan_beside.own_layers_draft(found.words):
                found.model = beside_memory.with_own_drafting(found.model, _metadata(facts), _tensors(facts))
        for entry in headers:
            _add(found, str(entry.get("for")), entry.get("header") or {}, str(entry.get("file") or ""), head,
                 {"draft": draft_device, "mmproj": mmproj_device})
    except (plan_beside.BesideError, MemoryModelError) as exc:
        raise PlanError(str(exc)) from exc
    return found


def _add(found: Beside, what: str, header: Mapping[str, Any], file: str, head: str, devices: Mapping[str, str]) -> None:
    if what == "lora":
        found.model = beside_memory.with_adapter(found.model, _tensors(header))
        found.parts.append({"for": what, "file": file, "machine": "", "device": "", "mib": mib_up(sum(t.size_bytes for t in _tensors(header)))})
    elif what == "mmproj":
        _place(found, what, file, head, devices[what], beside_memory.projector(_metadata(header), int(header.get("file_size_bytes") or 0)))
    elif what == "draft":
        only = kind_of(_metadata(header), [tensor.name for tensor in _tensors(header)]).kind == "draft"
        metadata, tensors = _as_a_model(found.model, _metadata(header), _tensors(header)) if only else (_metadata(header), _tensors(header))
        # its own layers that draft are all there is to a file of them alone
        draft = describe_model(metadata, tensors, int(header.get("file_size_bytes") or 0))
        if not only and _metadata(header).get("%s.nextn_predict_layers" % draft.architecture) and "draft-mtp" in plan_beside.spec_types(found.words):
            draft = beside_memory.with_own_drafting(draft, _metadata(header), _tensors(header))
        run = beside_memory.draft_settings(found.settings)
        # Results of the model's layers that reach it: as they come, looked up, scaled and side by side (src/models/gemma4-assistant.cpp). And
        # tokens by the vocabulary twice: eagle3 and dflash reserve a result for every token, and again where it is sampled.
        more = 4 * run.tokens * (4 * found.model.n_embd + 2 * draft.n_vocab) if only else 0
        _place(found, what, file, head, devices[what], beside_memory.draft_model(accounts_of(draft, run), more))


def _as_a_model(model: Model, metadata: Mapping[str, Any], tensors: Sequence[_Tensor]) -> Tuple[Dict[str, Any], List[_Tensor]]:
    """The header of a file that only drafts for ``model``, such that a bound can be said of it as of any model.

    All its layers are loaded, those too of which it says that they predict further tokens (src/models/gemma4-assistant.cpp). What it lacks
    is the model's: embeddings of its vocabulary (src/models/eagle3.cpp, dflash.cpp), whose results count and which take nothing here, and
    keys, for which a bound counts caches all the same.
    """
    arch = str(metadata.get("general.architecture"))
    names = {tensor.name for tensor in tensors}
    width, count = metadata.get(arch + ".embedding_length"), metadata.get(arch + ".block_count")
    lent = [_Tensor("token_embd.weight", (width if isinstance(width, int) else 0, model.n_vocab), "F32", 0)] if "token_embd.weight" not in names else []
    for il in range(min(count if isinstance(count, int) else 0, MAX_LAYERS)):
        own = [name.split(".")[2] for name in names if name.startswith("blk.%d." % il)]
        if own and not any(name.startswith(KEYS) for name in own):
            lent.append(_Tensor("blk.%d.attn_k.weight" % il, (), "F32", 0))
    return {key: value for key, value in metadata.items() if key != arch + ".nextn_predict_layers"}, [*tensors, *lent]


def _place(found: Beside, what: str, file: str, head: str, wanted: str, lone: beside_memory.Lone) -> None:
    """Reserve a device's room for it, or the head's RAM."""
    own = next(m for m in found.machines if m.name == head).devices
    if not wanted and own:
        wanted = own[0].label
    device = next((d for m in found.machines for d in m.devices if d.label == wanted), None)
    if wanted and wanted != "none" and device is None:
        raise PlanError("the device %s for the %s is not among the devices (machine/device)" % (wanted, plan_beside.PART_NAMES[what]))
    if device is None:
        mib = mib_up(lone.alone_bytes)
        found.host_extra_mib += mib
        found.parts.append({"for": what, "file": file, "machine": head, "device": "", "mib": mib, "least_mib": min(mib, mib_up(lone.least_bytes))})
        return
    mib = mib_up(lone.device_bytes(device.kind))
    found.host_extra_mib += mib_up(lone.host_bytes)
    found.machines = [replace(m, devices=tuple(replace(d, reserve_mib=d.reserve_mib + mib) if d.label == wanted else d for d in m.devices))
                      for m in found.machines]
    found.parts.append({"for": what, "file": file, "machine": device.machine, "device": device.name, "mib": mib,
                        "least_mib": min(mib, mib_up(lone.least_bytes))})


def beside_facts(found: Beside, head: str, devices: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """The parts with llama.cpp's names for their devices, and llama_server's variables; ``devices`` are the plan's."""
    names = {(str(d["machine"]), str(d["device"])): str(d["llama_device"]) for d in devices}
    room = {(d.machine, d.name): {"free_mib": d.free_mib, "reserve_mib": d.reserve_mib} for m in found.machines for d in m.devices}
    words, parts = dict(found.words), []
    for part in found.parts:
        name = "" if part["for"] == "lora" else "none" if not part["device"] else names.get((part["machine"], part["device"]), "")
        if part["device"] and not name:
            if part["machine"] != head:
                raise PlanError("%s/%s is to hold the %s and holds no layers, so llama-server would not reach it; choose another device or none" % (
                    part["machine"], part["device"], plan_beside.PART_NAMES[part["for"]]))
            name = part["device"]
        parts.append(dict(part, llama_device=name, **room.get((part["machine"], part["device"]), {})))
        if part["for"] == "draft":
            words["draft_devices"] = [name]
        elif part["for"] == "mmproj":
            words["mmproj_device"] = name
    return {"parts": parts, "draft_devices": words.get("draft_devices") or [], "mmproj_device": words.get("mmproj_device") or "",
            "own_layers_draft": plan_beside.own_layers_draft(words)}
