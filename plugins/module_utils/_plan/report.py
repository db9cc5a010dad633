# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain data in, plain data out: what the planner is asked, and its answer as facts for playbooks."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.advisories import parse_build_number
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.kind import kind_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import CannotBeAsked
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.caches import RunSettings
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import COMPARED_BUILD, MemoryModelError, Model, describe_model, mib_up
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import host_mib
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.least import least_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.planner import make_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, PlanError, Request, unsure_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.rounds import (
    Ask, Asked, accounts_told, answer_as_dict, asked_context, plan_by_asking,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.keep import basis, keep_split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.place_beside import beside_facts, stand_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.llama_server import decided, started

DEVICE_KINDS = ("cuda", "cpu")
# What a device loses besides the counted buffers: on NVIDIA the driver's context, kernels and cuBLAS workspaces. Each process took 590 MiB
# besides on an H200 (docs/planner.md). Kept free by llama.cpp's own --fit as well (common/common.h, fit_params_target: 1024 MiB).
DEFAULT_RESERVE_MIB = {"cuda": 1024, "cpu": 512}


class _Tensor(NamedTuple):
    name: str
    shape: Tuple[int, ...]
    type_name: str
    size_bytes: int


def _whole(value: Any, what: str, least: int = 0) -> int:
    if isinstance(value, bool):
        raise PlanError("%s must be a whole number, not %r" % (what, value))
    try:
        number = int(str(value))
    except ValueError as exc:
        raise PlanError("%s must be a whole number, not %r" % (what, value)) from exc
    if number < least:
        raise PlanError("%s must be at least %d, not %d" % (what, least, number))
    return number


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError("%s must be true or false, not %r" % (what, value))
    return value


def model_from_facts(facts: Mapping[str, Any]) -> Model:
    """A model from what gguf_info returns with its metadata and tensors."""
    if not isinstance(facts, Mapping) or not isinstance(facts.get("metadata"), Mapping) or not isinstance(facts.get("tensors"), (list, tuple)):
        raise PlanError("the plan needs the facts of gguf_info with its metadata and its tensors included")
    try:
        tensors = [_Tensor(str(t["name"]), tuple(int(n) for n in t["shape"]), str(t["type"]), int(t["size_bytes"])) for t in facts["tensors"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise PlanError("a tensor of the GGUF facts lacks its name, shape, type or size") from exc
    kind = kind_of(facts["metadata"], [tensor.name for tensor in tensors])
    if kind.problem:
        raise PlanError("%s. %s" % (kind.problem, kind.remedy))
    try:
        return describe_model(facts["metadata"], tensors, int(facts.get("file_size_bytes") or 0))
    except MemoryModelError as exc:
        raise PlanError(str(exc)) from exc


def machines_from_facts(items: Sequence[Mapping[str, Any]], head: str, reserve_mib: Optional[Any]) -> List[Machine]:
    """Machines from a list of ``{name, devices: [{name, kind, free_mib, total_mib, reserve_mib, shared_memory}], ram_free_mib}``.

    A device without a kind is a CPU when its name begins like llama.cpp's names for one, else a GPU. The memory of one with
    ``shared_memory`` is the machine's RAM, and so is that of a GPU for which nothing is said and that has as much free as the RAM, to the
    MiB: two figures of one pool.
    """
    if not isinstance(items, (list, tuple)):
        raise PlanError("the machines must be a list")
    machines: List[Machine] = []
    for item in items:
        if not isinstance(item, Mapping) or not item.get("name"):
            raise PlanError("a machine of the list has no name")
        name = str(item["name"])
        if any(m.name == name for m in machines):
            raise PlanError("the machine %s is listed twice" % name)
        ram = None if item.get("ram_free_mib") is None else _whole(item["ram_free_mib"], name + ": ram_free_mib")
        devices = []
        for number, entry in enumerate(item.get("devices") or []):
            label = "%s, device %d" % (name, number)
            if not isinstance(entry, Mapping):
                raise PlanError("%s is not a mapping such as {name: CUDA0, total_mib: 24564, free_mib: 24000}" % label)
            kind = str(entry.get("kind") or ("cpu" if str(entry.get("name") or "").startswith("CPU") else "cuda")).lower()
            if kind not in DEVICE_KINDS:
                raise PlanError("%s: '%s' is no kind of device; choose cuda or cpu" % (label, kind))
            if kind == "cpu" and name == head:
                raise PlanError("%s: the head's own CPU is no device llama.cpp can split over; leave it out" % label)
            if "free_mib" not in entry and "total_mib" not in entry:
                raise PlanError("%s: neither free_mib nor total_mib is given" % label)
            total = _whole(entry.get("total_mib", entry.get("free_mib")), label + ": total_mib", 1)
            free = _whole(entry.get("free_mib", total), label + ": free_mib")
            shared = _flag(entry.get("shared_memory", kind != "cpu" and free == ram), label + ": shared_memory")
            reserve = entry.get("reserve_mib", reserve_mib if reserve_mib is not None else DEFAULT_RESERVE_MIB[kind])
            devices.append(Device(name, str(entry.get("name") or "%s%d" % (kind.upper(), number)), kind, total, free,
                                  _whole(reserve, label + ": reserve_mib"), str(entry.get("description") or ""), shared))
        machines.append(Machine(name, tuple(_one_of_pool(devices)), ram))
    return machines


def _one_of_pool(devices: Sequence[Device]) -> List[Device]:
    """Without those whose memory is already another's: beside a GPU that shares the RAM, a second such GPU or the CPU holds nothing more."""
    first = next((d for d in devices if d.shared_memory), None)
    return [d for d in devices if first is None or d is first or not (d.shared_memory or d.kind == "cpu")]


def with_server(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The options of a plan with what ``server`` among them says, the settings of the role llama_server (Start).

    Of these, what is not set is left to llama.cpp, whose own values RunSettings has.
    """
    out = {key: value for key, value in options.items() if key != "server"}
    if options.get("server") is None:
        return out
    try:
        given = started(options["server"])
    except (KeyError, TypeError) as exc:
        raise PlanError("llama-server's settings cannot be read: %s" % exc) from exc
    sizes = {"type_k": given.cache_type_k, "type_v": given.cache_type_v, "batch": given.batch_size, "ubatch": given.ubatch_size}
    return dict(out, context_size=given.context_size, parallel=given.parallel, kv_unified=given.kv_unified, flash_attention=given.flash_attention != "off",
                cache_ram_mib=given.cache_ram_mib, ctx_checkpoints=given.ctx_checkpoints,
                beside=dict(out.get("beside") or {}, words=given.beside), **{key: value for key, value in sizes.items() if value})


def request_from_facts(facts: Mapping[str, Any], machines: Sequence[Mapping[str, Any]], *, host: str, context_size: Any = 8192, parallel: Any = 4,
                       kv_unified: bool = True, type_k: str = RunSettings.type_k, type_v: str = RunSettings.type_v, batch: Any = RunSettings.batch,
                       ubatch: Any = RunSettings.ubatch, flash_attention: bool = True, policy: str = "fewest_machines", named: Sequence[str] = (),
                       reserve_mib: Any = None, headroom_mib: Any = 0, unknown: str = "bound", head_cpu: bool = False,
                       beside: Optional[Mapping[str, Any]] = None, build_number: Any = 0, cache_ram_mib: Any = 2048, ctx_checkpoints: Any = 4) -> Request:
    """What is asked for; ``beside`` are the last arguments of place_beside.stand_beside, what stands beside the model."""
    if unknown not in ("bound", "refuse"):
        raise PlanError("unknown must be 'bound' or 'refuse', not '%s'" % unknown)
    model = model_from_facts(facts)
    settings = RunSettings(context_size=_whole(context_size, "context_size", 1), parallel=_whole(parallel, "parallel", 1),
                           kv_unified=bool(kv_unified), type_k=str(type_k), type_v=str(type_v), batch=_whole(batch, "batch", 1),
                           ubatch=_whole(ubatch, "ubatch", 1), flash_attention=bool(flash_attention))
    unsure = unsure_of(model, settings)
    if unsure and unknown == "refuse":
        raise PlanError("%s; set cluster_plan_unknown to 'bound' for a plan by an upper bound" % "; ".join(unsure))
    parsed = machines_from_facts(machines, host, reserve_mib)
    if not any(m.name == host for m in parsed):
        raise PlanError("the head %s is not among the machines" % host)
    around = stand_beside(model, facts, settings, parsed, host, **(beside or {}))
    return Request(around.model, around.settings, tuple(around.machines), host, policy, tuple(named), _whole(headroom_mib, "headroom_mib"),
                   around.host_extra_mib, _flag(head_cpu, "head_cpu"), around, parse_build_number(build_number) == parse_build_number(COMPARED_BUILD),
                   _whole(cache_ram_mib, "cache_ram_mib"), _whole(ctx_checkpoints, "ctx_checkpoints"))


def plan_from_facts(facts: Mapping[str, Any], machines: Sequence[Mapping[str, Any]], *, keep: Optional[Mapping[str, Any]] = None,
                    stay: bool = False, **options: Any) -> Dict[str, Any]:
    """The whole way from facts to facts, without asking llama.cpp; ``options`` are those of with_server and request_from_facts."""
    request = request_from_facts(facts, machines, **with_server(options))
    try:
        plan = make_plan(request, accounts_told(request, keep or {}))
    except MemoryModelError as exc:
        # a bound reads more of the header than the formulas do
        raise PlanError(str(exc)) from exc
    kept = keep_split(plan, keep or {}, stay)
    # of the split of a running cluster llama.cpp's word is known
    return with_answer(plan_as_dict(plan, kept), plan, Asked(0, False))


def asked_plan_from_facts(facts: Mapping[str, Any], machines: Sequence[Mapping[str, Any]], ask: Ask, *, keep: Optional[Mapping[str, Any]] = None,
                          stay: bool = False, beyond_bound: bool = False, **options: Any) -> Dict[str, Any]:
    """The same by llama.cpp's own figures; ``ask`` is Asker.ask. Raises PlanError and AskError.

    With ``beyond_bound`` no more of what stands beside the model counts than is known exactly, where it fits in no other way.
    """
    request = request_from_facts(facts, machines, **with_server(options))
    try:
        plan, asked = plan_by_asking(request, ask, keep)
        known = least_beside(request)
        if known is not request and not (plan.fits and not plan.problems):
            # it says nothing of a projector, and of a draft model only where that is the head's RAM
            with contextlib.suppress(CannotBeAsked):
                other, how = plan_by_asking(known, ask, keep)
                plan.may_fit = other.fits and not other.problems
                if plan.may_fit and beyond_bound:
                    plan, asked = other, how
    except MemoryModelError as exc:
        raise PlanError(str(exc)) from exc
    kept = keep_split(plan, keep or {}, stay)
    plan.largest_context = asked_context(plan, asked, ask)
    return with_word(with_answer(plan_as_dict(plan, kept), plan, asked), keep or {})


def with_answer(result: Dict[str, Any], plan: Plan, asked: Asked) -> Dict[str, Any]:
    """A plan as facts with what llama.cpp said of its split."""
    counts = tuple(placed.n_slots for placed in plan.split.placed) if plan.split is not None else ()
    answer = getattr(plan.accounts, "answers", {}).get(counts)
    if answer is None:
        # it was not asked about: no division of the layers is possible, or it is not the one that runs
        return result
    for entry, figures in zip(result["devices"], answer.devices):
        entry["asked"] = asdict(figures)
    result["host"]["asked"] = asdict(answer.host)
    for part in (result.get("beside") or {}).get("parts") or []:
        if part["for"] == "draft" and answer.beside_host is not None:
            # it was asked with the draft model in the RAM, whole
            part["asked"] = asdict(answer.beside_host)
    result["figures"] = {"source": "asked", "build": answer.build, "rounds": asked.rounds, "as_formulas": asked.agreed,
                         "complete": asked.complete}
    result["answer"] = answer_as_dict(counts, answer)
    result["confidence"].update(weights="asked", kv="asked", compute="asked", llama_cpp_version=answer.build, compute_tolerance_factor=1.25, bound=False)
    return result


def with_word(result: Dict[str, Any], earlier: Mapping[str, Any]) -> Dict[str, Any]:
    """A plan that was kept, with what the same llama.cpp said of it over the workers themselves before it was started."""
    before = earlier.get("figures") or {}
    if result["kept"] and before.get("over_workers") and before.get("build") == result["figures"]["build"]:
        for entry, known in zip([*result["devices"], result["host"]], [*earlier["devices"], earlier["host"]]):
            entry["asked"] = dict(known["asked"])
        result["figures"]["over_workers"] = True
    return result


def plan_as_dict(plan: Plan, kept: bool = False) -> Dict[str, Any]:
    """A plan as facts: what to start where, and how sure each figure is."""
    request, split = plan.request, plan.split
    model, settings = request.model, request.settings
    devices: List[Dict[str, Any]] = []
    rpc: List[Dict[str, Any]] = []
    names: List[str] = []
    for placed in split.placed if split is not None else ():
        device, memory = placed.device, placed.memory
        local = device.machine == request.head
        llama_name = device.name if local else "RPC%d" % len(rpc)
        if not local:
            rpc.append({"machine": device.machine, "device": device.name})
        names.append(llama_name)
        # layers that predict further tokens hold slots and are none of those that the model's own context is spread over
        layers = max(0, min(memory.end_slot, model.n_layer) - memory.first_slot)
        devices.append({
            "machine": device.machine, "device": device.name, "kind": device.kind, "description": device.description,
            "llama_device": llama_name, "n_layers": layers, "first_layer": memory.first_slot if layers else None,
            "last_layer": memory.first_slot + layers - 1 if layers else None, "output": memory.end_slot == model.n_slots,
            "tensor_split": placed.n_slots, "weights_mib": mib_up(memory.weight_bytes), "kv_mib": mib_up(memory.context_bytes),
            "compute_mib": mib_up(memory.compute_bytes), "beside_mib": mib_up(memory.beside_bytes), "needed_mib": mib_up(memory.total_bytes),
            "reserve_mib": device.reserve_mib, "free_mib": device.free_mib, "total_mib": device.total_mib, "headroom_mib": placed.headroom_mib,
            "shared_memory": device.shared_memory, "host_mib": device.host_mib,
        })
    serving = {request.head} | {d["machine"] for d in devices}
    tensor_split = [d["tensor_split"] for d in devices]
    result: Dict[str, Any] = {
        "fits": plan.fits and not plan.problems,
        "may_fit": plan.may_fit,
        "policy": request.policy,
        "basis": basis(request),
        "kept": kept,
        "figures": {"source": "bound" if unsure_of(model, settings) else "formulas", "build": ""},
        "search": split.search if split is not None else "exact",
        "architecture": model.architecture,
        "n_layers": len(model.layers),
        "context_size": settings.context_size,
        "context_per_slot": settings.sequence_context,
        "requests": requests(settings, model.n_ctx_train),
        "settings": {
            "context_size": settings.context_size, "parallel": settings.parallel, "kv_unified": settings.kv_unified,
            "batch": settings.batch, "ubatch": settings.ubatch, "flash_attention": settings.flash_attention,
            "type_k": settings.type_k.lower(), "type_v": settings.type_v.lower(),
        },
        "host": dict(host_mib(plan), machine=request.head),
        "machines": [m.name for m in request.machines if m.name in serving],
        "unused_machines": [m.name for m in request.machines if m.name not in serving],
        "devices": devices,
        "rpc": rpc,
        "device_option": ",".join(names),
        "tensor_split": tensor_split,
        "n_gpu_layers": "all",
        "headroom_mib": split.headroom_mib if split is not None else plan.headroom_mib,
        "largest_context": plan.largest_context,
        "problems": list(plan.problems),
        "shortfall": plan.shortfall,
        "ways_out": plan.ways_out,
        "confidence": confidence(plan),
    }
    if request.beside is not None:
        result["beside"] = beside_facts(request.beside, request.head, devices)
        if any(part["for"] == "draft" for part in request.beside.parts):
            # the draft's caches were counted for this context
            result["largest_context"] = min(result["largest_context"], settings.context_size)
    if plan.shortfall and split is not None:
        result["problems"].insert(0, "%(machine)s: %(device)s is %(missing_mib)d MiB short in the best split" % plan.shortfall)
    result["failure"] = failure(result)
    return result


def requests(settings: RunSettings, n_ctx_train: int = 0) -> str:
    """How many requests of how many tokens the context is for, in a sentence.

    By what llama-server b11434 does (tools/server/server-context.cpp): a prompt beyond its slot's context gets 400, an answer ends there, a
    request without a free slot waits, and where a shared cache has no room left all requests at work get 500. A slot has no more than the
    model was trained for.
    """
    tokens, several = settings.sequence_context, settings.parallel > 1
    if several and settings.kv_unified:
        return ("%d requests at a time share %d tokens for prompts and answers; where they need more together, all of them fail with HTTP 500"
                " (llama_server_kv_unified)." % (settings.parallel, tokens))
    if n_ctx_train:
        tokens = min(tokens, n_ctx_train)
    return "%s%d tokens for prompt and answer; further ones wait, and a longer prompt is refused with HTTP 400." % (
        "%d requests at a time, each of up to " % settings.parallel if several else "1 request at a time, of up to ", tokens)


def failure(result: Mapping[str, Any]) -> str:
    """Why a plan does not fit and what would make it fit; empty for a plan that fits."""
    if result["fits"]:
        return ""
    problems = "; ".join(problem.rstrip(".") for problem in result["problems"]) or "the model does not fit"
    ways = "; or ".join(way["text"] for way in result["ways_out"])
    said = "%s. What would make it fit: %s." % (problems, ways) if ways else "%s." % problems if not result["shortfall"] else (
        "%s. No single change makes it fit: add machines, or take a smaller model." % problems)
    if result.get("may_fit"):
        beside = any("least_mib" in part for part in (result.get("beside") or {}).get("parts") or [])
        by = "an upper bound" if result["confidence"]["bound"] or beside else "formulas of llama.cpp %s, not of the one that will run" % COMPARED_BUILD
        said += (" That is by %s, and what is known exactly does fit: set cluster_plan_beyond_bound to true to go on to the build,"
                 " after which llama.cpp itself says what it needs%s." % (by, "; of what stands beside the model only the weights count then, and the proof"
                                                                          " after the start says what it takes" if beside else ""))
    return said


def starts_otherwise(result: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether a plan, carried out, starts another thing than an earlier one, or starts nothing."""
    if not earlier or not result["fits"]:
        return True
    return (decided(result), result["machines"], result["rpc"]) != (decided(earlier), earlier["machines"], earlier["rpc"])


def _compute_factor(plan: Plan) -> float:
    """How much too large a compute buffer may be planned: 1.25, and 1.4 for a lone layer of latent attention.

    Formulas are equal for the build that they were compared with: what is left of the factor is for another one.
    """
    layers = plan.request.model.layers
    lone = plan.split is not None and any(
        p.memory.end_slot - p.memory.first_slot == 1 and p.memory.first_slot < len(layers) and layers[p.memory.first_slot].kind.mla
        for p in plan.split.placed)
    return 1.4 if lone else 1.25


def confidence(plan: Plan) -> Dict[str, Any]:
    """How the figures were checked, and the difference from the real ones beyond which something is wrong."""
    model = plan.request.model
    unsure = unsure_of(model, plan.request.settings)
    exact = not unsure
    placed = plan.split.placed if plan.split is not None else ()
    return {
        "weights": "exact",
        "kv": "exact" if not model.unknown else "upper bound",
        "compute": "upper bound" if not exact else "estimate" if plan.on_head else "compared with llama.cpp %s" % COMPARED_BUILD,
        "reserve": "given",
        "host_process": "estimate",
        # asked with CPU devices, llama-server says nothing of what a GPU of its own leaves to its CPU
        "head_gpu": any(p.device.machine == plan.request.head and p.device.kind != "cpu" for p in placed),
        "unknown": list(unsure),
        "llama_cpp_version": COMPARED_BUILD,
        # against a running llama-server: the log's figures are rounded to hundredths; compute may be over by this factor
        "tolerance_mib": 1,
        "compute_tolerance_factor": _compute_factor(plan),
        # what is larger than real is no sign of anything then
        "bound": not exact,
    }
