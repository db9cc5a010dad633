# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner against every possibility, on small cases, and on the cases people ask about."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import pytest
import sampled
import sparse_gguf
from described_shapes import described
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches as plan_caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.planner import make_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, PlanError, Request
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import find_split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ways_out import one_more_machine
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts

MIB = plan_model.MIB
# brute force is slow: a failing example is shown as it was found
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def tiny(weights: Sequence[int], output: int, context: Sequence[int]) -> plan_model.Model:
    """A model whose layers weigh the given MiB and whose K caches take the given number of MiB at 1024 tokens."""
    layers = tuple(
        plan_model.Layer(plan_model.LayerKind(q_dim=64, k_dim=k * 512, v_dim=64, out_dim=64, cache=1, head_k=64, head_v=64,
                                              ffn=(plan_model.Ffn(128 + 64 * (w % 3)),)),
                         {"cpu": w * MIB, "cuda": w * MIB}, k_row=k * 512, v_row=0)
        for w, k in zip(weights, context))
    return plan_model.Model(architecture="llama", n_layer=len(layers), n_embd=64, n_vocab=1000, n_ctx_train=4096, layers=layers,
                            input_bytes=MIB, output_bytes={"cpu": output * MIB, "cuda": output * MIB}, shared_bytes={"cpu": 0, "cuda": 0},
                            n_swa=0, file_size_bytes=sum(weights) * MIB)


def machine(name: str, *free: int, reserve: int = 0, ram: Optional[int] = None) -> Machine:
    return Machine(name, tuple(Device(name, "CUDA%d" % i, "cuda", f, f, reserve) for i, f in enumerate(free)), ram)


def every_split(accounts: Accounts, machines: Sequence[Machine], head: str) -> Iterator[Tuple[int, int, int]]:
    """(machines, best headroom, devices) of every subset and order, over all divisions into runs.

    Written without the planner's ideas: no bisection, no sets, no "the further the better".
    """
    n = accounts.model.n_slots
    kinds = {d.kind for m in machines for d in m.devices}
    needs = {(kind, a, b): accounts.total(kind, a, b, False) for kind in kinds for a in range(n) for b in range(a + 1, n + 1)}

    def grow(used: Tuple[Device, ...], row: dict, left: Sequence[Device]) -> Iterator[Tuple[int, int, int]]:
        # row: end slot -> the best smallest headroom of ``used`` when they hold the slots before it
        if len(used) > 1 and n in row:
            yield len({head} | {d.machine for d in used}), row[n], len(used)
        tried = set()
        for device in left:
            alike = (device.kind, device.capacity_mib, device.machine)
            if alike in tried or len(used) == n:
                continue
            tried.add(alike)
            after: dict = {}
            for start, worst in row.items():
                for end in range(start + 1, n + 1):
                    spare = min(worst, (device.capacity_mib * MIB - needs[device.kind, start, end]) // MIB)
                    if spare > after.get(end, -10**9):
                        after[end] = spare
            yield from grow(used + (device,), after, [d for d in left if d is not device])

    devices = [d for m in machines for d in m.devices]
    for device in devices:
        yield len({head, device.machine}), (device.capacity_mib * MIB - accounts.total(device.kind, 0, n, True)) // MIB, 1
    yield from grow((), {0: 10**9}, devices)


def best_of_all(policy: str, accounts: Accounts, machines: Sequence[Machine], head: str) -> Optional[Tuple[int, int]]:
    found = list(every_split(accounts, machines, head))
    if policy == "all_machines":
        found = [f for f in found if f[2] == sum(len(m.devices) for m in machines)]
    fitting = [f for f in found if f[1] >= 0]
    if not fitting:
        return None
    if policy == "fewest_machines":
        fewest = min(f[0] for f in fitting)
        return fewest, max(f[1] for f in fitting if f[0] == fewest)
    return 0, max(f[1] for f in fitting)


models = st.integers(2, 9).flatmap(lambda n: st.builds(
    tiny, st.lists(st.integers(1, 9), min_size=n, max_size=n), st.integers(1, 9), st.lists(st.integers(1, 3), min_size=n, max_size=n)))
clusters = st.lists(st.lists(st.integers(4, 60), min_size=0, max_size=2), min_size=1, max_size=4).filter(
    lambda m: 1 <= sum(map(len, m)) <= 4)


@settings(max_examples=sampled.examples(100), phases=NO_SHRINKING, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(models, clusters, st.sampled_from(["fewest_machines", "most_headroom", "all_machines"]))
def test_same_verdict_and_objective_as_brute_force(model: plan_model.Model, sizes: List[List[int]], policy: str) -> None:
    machines = tuple(machine("m%d" % i, *free) for i, free in enumerate(sizes))
    run = plan_caches.RunSettings(context_size=1024, ubatch=64)
    if policy == "all_machines" and sum(map(len, sizes)) > model.n_slots:
        return
    accounts = Accounts(model, run)
    expected = best_of_all(policy, accounts, machines, "m0")
    split = find_split(Request(model, run, machines, "m0", policy), Accounts(model, run), machines, 0)
    assert (split is None) == (expected is None)
    if expected is not None and split is not None:
        assert split.headroom_mib == expected[1]
        if policy == "fewest_machines":
            assert split.machines == expected[0]


@settings(max_examples=sampled.examples(6), phases=NO_SHRINKING, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 40), min_size=20, max_size=39), st.integers(1, 40),
       st.lists(st.sampled_from([120, 160, 200, 260]), min_size=5, max_size=6))
def test_six_devices_and_forty_layers(weights: List[int], output: int, sizes: List[int]) -> None:
    model = tiny(weights, output, [1 + w % 3 for w in weights])
    run = plan_caches.RunSettings(context_size=1024, ubatch=64)
    machines = tuple(machine("m%d" % i, free) for i, free in enumerate(sizes))
    best = max(headroom for _machines, headroom, _devices in every_split(Accounts(model, run), machines, "m0"))
    split = find_split(Request(model, run, machines, "m0", "most_headroom"), Accounts(model, run), machines, None)
    assert split is not None and split.headroom_mib == best


@settings(max_examples=sampled.examples(30), phases=NO_SHRINKING, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(8, 16), st.integers(5, 12), st.integers(0, 2), st.integers(1, 30), st.booleans(), st.data())
def test_different_devices_that_get_equally_far(n: int, weight: int, noise: int, output: int, headless: bool, data: st.DataObject) -> None:
    """Layers nearly equal and devices nearly so: where the search counts different devices as one and gives up early."""
    weights = [weight + data.draw(st.integers(0, noise)) for _n in range(n)]
    least = sum(weights) * 2 // 5
    sizes = data.draw(st.lists(st.integers(least, least + 3 * weight), min_size=4, max_size=5))
    model = tiny(weights, output, [1] * n)
    run = plan_caches.RunSettings(context_size=1024, ubatch=64)
    machines = tuple(machine("m%d" % i, *(() if headless and i == 0 else (free,))) for i, free in enumerate(sizes))
    for policy in ("fewest_machines", "most_headroom"):
        expected = best_of_all(policy, Accounts(model, run), machines, "m0")
        split = find_split(Request(model, run, machines, "m0", policy), Accounts(model, run), machines, 0)
        assert (split is None) == (expected is None)
        if expected is not None and split is not None:
            assert split.headroom_mib == expected[1]
            assert policy == "most_headroom" or split.machines == expected[0]


GUIDE = tuple(machine("m%d" % i, 24_000_000_000 // MIB, reserve=2_000_000_000 // MIB, ram=64000) for i in range(5))


@pytest.mark.parametrize(("shape", "machines"), [("llama-70b-q4", 2), ("llama-70b-q6", 3)])
def test_the_guide_s_two_examples(shape: str, machines: int) -> None:
    plan = make_plan(Request(described(shape), plan_caches.RunSettings(parallel=4, kv_unified=True), GUIDE, "m0"))
    assert plan.fits
    assert plan.split is not None and plan.split.machines == machines
    assert plan.largest_context >= 8192


def test_the_largest_context_fits_and_one_step_more_does_not() -> None:
    run = plan_caches.RunSettings(parallel=4, kv_unified=True)
    request = Request(described("llama-70b-q4"), run, GUIDE[:2], "m0")
    largest = make_plan(request).largest_context
    assert make_plan(replace(request, settings=replace(run, context_size=largest))).fits
    assert not make_plan(replace(request, settings=replace(run, context_size=largest + 256))).fits


def test_a_plan_that_does_not_fit_says_what_is_missing_and_three_ways_out() -> None:
    run = plan_caches.RunSettings(context_size=65536, parallel=4, kv_unified=True)
    request = Request(described("llama-70b-q4"), run, GUIDE[:2], "m0")
    plan = make_plan(request)
    assert not plan.fits and plan.shortfall is not None
    missing = plan.shortfall["missing_mib"]
    assert len(plan.ways_out) == 3
    # exactly that much more on every device is enough, one MiB less is not
    for extra, fits in ((missing, True), (missing - 1, False)):
        grown = tuple(replace(m, devices=tuple(replace(d, free_mib=d.free_mib + extra) for d in m.devices)) for m in GUIDE[:2])
        assert make_plan(replace(request, machines=grown)).fits is fits
    for way in plan.ways_out:
        changed = request
        if way["change"] == "kv_type":
            changed = replace(request, settings=replace(run, type_k=way["kv_type"], type_v=way["kv_type"]))
        elif way["change"] == "context_size":
            changed = replace(request, settings=replace(run, context_size=way["context_size"]))
        elif way["change"] == "machine":
            changed = replace(request, machines=request.machines + (machine("another", way["free_mib"], reserve=GUIDE[0].devices[0].reserve_mib),))
        else:
            continue
        assert make_plan(changed).fits, way


def test_one_more_machine_is_as_small_as_possible() -> None:
    run = plan_caches.RunSettings(parallel=4, kv_unified=True)
    small = (machine("m0", 3072, reserve=512), machine("m1", 2048, reserve=512))
    request = Request(described("llama-70b-q6"), run, small, "m0")
    way = one_more_machine(request, list(small))
    assert way is not None and "machines" not in way, "15 devices like these are too few"
    assert way["text"] == "one more machine with a device of %d GiB free" % (way["free_mib"] // 1024)
    for free, fits in ((way["free_mib"], True), (way["free_mib"] - 1024, False)):
        more = small + (machine("another", free, reserve=512),)
        assert make_plan(replace(request, machines=more, policy="most_headroom")).fits is fits


@pytest.mark.parametrize("shape", ["llama-70b-q6", "llama-405b"])
def test_how_many_more_machines_like_those_there_are(shape: str) -> None:
    request = Request(described(shape), plan_caches.RunSettings(parallel=4, kv_unified=True), GUIDE[:2], "m0")
    way = one_more_machine(request, list(GUIDE[:2]))
    assert way is not None and way["like"] in ("m0", "m1")
    like = next(m for m in GUIDE if m.name == way["like"]).devices[0]
    assert way["text"].startswith("%d more machine%s like %s (" % (way["machines"], "" if way["machines"] == 1 else "s", way["like"]))
    for count, fits in ((way["machines"], True), (way["machines"] - 1, False)):
        more = GUIDE[:2] + tuple(machine("another%d" % n, like.free_mib, reserve=like.reserve_mib) for n in range(count))
        assert make_plan(replace(request, machines=more, policy="most_headroom")).fits is fits


def test_named_machines_are_used_and_no_other() -> None:
    run = plan_caches.RunSettings(parallel=4, kv_unified=True)
    request = Request(described("llama-8b"), run, GUIDE, "m0", "named_machines", ("m2", "m3"))
    plan = make_plan(request)
    assert plan.split is not None and {p.device.machine for p in plan.split.placed} == {"m2", "m3"}


def test_the_head_s_ram_counts() -> None:
    small = (replace(GUIDE[0], ram_free_mib=500),) + GUIDE[1:]
    plan = make_plan(Request(described("llama-70b-q4"), plan_caches.RunSettings(), small, "m0"))
    assert plan.problems and "RAM" in plan.problems[0]


@pytest.mark.parametrize(("change", "message"), [
    ({"type_k": "q7_0"}, "no type of a KV cache"),
    ({"flash_attention": False, "type_v": "q8_0"}, "quantised V cache needs flash attention"),
    ({"parallel": 0}, "at least 1"),
    ({"parallel": 300}, "256 slots"),
])
def test_settings_llama_cpp_or_the_formulas_refuse(change: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan(Request(described("llama-8b"), plan_caches.RunSettings(**change), GUIDE, "m0"))


def test_latent_attention_wants_one_cache_type() -> None:
    with pytest.raises(PlanError, match="latent attention"):
        make_plan(Request(described("deepseek2-16b"), plan_caches.RunSettings(type_k="q8_0"), GUIDE, "m0"))


def test_without_flash_attention_a_plan_by_the_bound_asks_for_more() -> None:
    on = make_plan(Request(described("llama-8b"), plan_caches.RunSettings(), GUIDE, "m0"))
    off = make_plan(Request(described("llama-8b"), plan_caches.RunSettings(flash_attention=False), GUIDE, "m0"))
    assert on.split is not None and off.split is not None
    assert off.split.headroom_mib < on.split.headroom_mib


def test_more_than_fifteen_devices_are_never_used() -> None:
    many = tuple(machine("m%02d" % i, 24000) for i in range(18))
    plan = make_plan(Request(described("llama-405b"), plan_caches.RunSettings(), many, "m00", "most_headroom"))
    assert plan.split is not None and len(plan.split.placed) == 15
    with pytest.raises(PlanError, match="at most 15 devices"):
        make_plan(Request(described("llama-405b"), plan_caches.RunSettings(), many, "m00", "all_machines"))


FIFTEEN = {
    "equal": [24564] * 15,
    "three sizes": [24564] * 5 + [32607] * 5 + [20475] * 5,
    "fifteen sizes, ample": [20000 + 400 * i for i in range(15)],
    "fifteen sizes, scarce": [17500 + 137 * i for i in range(15)],
    "fifteen sizes, wide": [4000 + 2900 * i for i in range(15)],
    "fifteen sizes, too small": [8000 + 61 * i for i in range(15)],
}


@pytest.mark.parametrize("policy", ["fewest_machines", "most_headroom"])
@pytest.mark.parametrize("sizes", list(FIFTEEN.values()), ids=list(FIFTEEN))
def test_a_405b_over_fifteen_devices_takes_under_a_second(sizes: List[int], policy: str, tmp_path: Path) -> None:
    path = sparse_gguf.write(sparse_gguf.SHAPES["llama-405b"](), tmp_path / "model.gguf")
    machines = tuple(machine("m%02d" % i, s, reserve=1024, ram=64000) for i, s in enumerate(sizes))
    # the time of this process: other work on the machine does not count
    start = time.process_time()
    header = read_gguf_model(str(path))
    model = plan_model.describe_model(header.metadata, header.tensors)
    plan = make_plan(Request(model, plan_caches.RunSettings(parallel=4, kv_unified=True), machines, "m00", policy))
    took = time.process_time() - start
    assert plan.split is not None and plan.split.search == "exact" and plan.fits == (min(sizes) != 8000)
    # the goal is one second, and some 0.2 are usual; twice the goal for slow machines
    assert took < 2


def test_a_search_that_kept_only_the_best_sets_says_so() -> None:
    many = tuple(machine("m%02d" % i, 20000 + 400 * i) for i in range(20))
    plan = make_plan(Request(described("llama-405b"), plan_caches.RunSettings(), many, "m00", "most_headroom"))
    assert plan.fits and plan.split is not None and plan.split.search == "beam" and len(plan.split.placed) == 15
