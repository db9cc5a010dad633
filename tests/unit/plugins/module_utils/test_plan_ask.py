# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of planning and asking, with a llama.cpp that is a table: what it says is known, and the planner's own estimates are wrong.

That the real one is asked rightly is shown by tests/integration/test_ask.py.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any, Dict, List, Sequence, Tuple

import pytest
import sampled
import sparse_gguf
from described_shapes import described
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask as plan_ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches as plan_caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import words
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds as plan_rounds
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import HEAD_PROCESS_MIB
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.planner import make_plan
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, PlanError, Request, accounts_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import Accounts

MIB = plan_model.MIB
RUN = plan_caches.RunSettings(context_size=8192, parallel=4, kv_unified=True)


class Table:
    """Says of a split what ``accounts`` of it are, rounded as llama.cpp rounds; remembers what it was asked."""

    def __init__(self, model: plan_model.Model, run: plan_caches.RunSettings, more_compute_mib: float = 0.0) -> None:
        self.model, self.run, self.more = model, run, more_compute_mib
        self.asked: List[Tuple[int, ...]] = []

    def ask(self, counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
        self.asked.append(tuple(counts))
        run = replace(self.run, context_size=context_size) if context_size else self.run
        accounts, at, devices = Accounts(self.model, run), 0, []
        for number, count in enumerate(counts):
            memory = accounts.device("cpu", at, at + count, len(counts) == 1)
            first = self.more if number == 0 else 0.0
            devices.append(plan_ask.Figures(memory.weight_bytes // MIB, memory.context_bytes // MIB, round(memory.compute_bytes / MIB + first, 2)))
            at += count
        host = accounts.host(len(counts) == 1) if counts else accounts.host_alone()
        more = 0.0 if counts else self.more
        return plan_ask.Answer(tuple(devices), plan_ask.Figures(host.weight_bytes // MIB, host.context_bytes // MIB, round(host.compute_bytes / MIB + more, 2)),
                               round(host.output_bytes / MIB, 2), build="b99999")


def request(model: plan_model.Model, frees: Sequence[int], policy: str = "fewest_machines", kind: str = "cpu") -> Request:
    workers = tuple(Machine("w%d" % n, (Device("w%d" % n, "D0", kind, free, free, 512),)) for n, free in enumerate(frees))
    return Request(model, RUN, (Machine("head", (), 60000),) + workers, "head", policy)


def counts_of(plan: Plan) -> Tuple[int, ...]:
    assert plan.split is not None
    return tuple(placed.n_slots for placed in plan.split.placed)


@pytest.mark.parametrize("shape", ["llama-8b", "gpt-oss-120b", "qwen3next-80b", "deepseek2-16b"])
def test_formulas_that_are_right_need_one_question(shape: str) -> None:
    model = described(shape)
    frees = [int(model.file_size_bytes / MIB / 2) + 2500] * 3
    table = Table(model, RUN)
    plan, asked = plan_rounds.plan_by_asking(request(model, frees), table.ask)
    assert plan.fits and asked.agreed and len(table.asked) == 1
    by_formulas = make_plan(request(model, frees))
    assert by_formulas.split is not None and plan.split is not None
    assert counts_of(plan) == counts_of(by_formulas) and abs(plan.split.headroom_mib - by_formulas.split.headroom_mib) <= 1
    assert plan_rounds.asked_context(plan, asked, table.ask) == by_formulas.largest_context and len(table.asked) == 1


@pytest.mark.parametrize("shape", ["llama-8b", "gemma3-27b", "falcon-h1-7b"])
@pytest.mark.parametrize("unknown", [False, True], ids=["formulas", "no formulas"])
@pytest.mark.parametrize("more_mib", [0.0, 700.0])
def test_the_plan_is_as_good_as_with_the_truth(shape: str, unknown: bool, more_mib: float) -> None:
    """``more_mib`` of the first device are in no formula, as in a llama.cpp newer than they are."""
    known = described(shape)
    model = replace(known, unknown=("pretended",)) if unknown else known
    frees = [int(known.file_size_bytes / MIB / 2) + 3000, int(known.file_size_bytes / MIB / 2) + 4000]
    table = Table(known, RUN, more_mib)
    plan, _asked = plan_rounds.plan_by_asking(request(model, frees, "all_machines"), table.ask)
    assert plan.split is not None and counts_of(plan) in table.asked

    best = -10 ** 9
    for cut in range(1, known.n_slots):
        said = table.ask((cut, known.n_slots - cut)).devices
        for order in (frees, frees[::-1]):
            best = max(best, min(int(free - 512 - d.weights_mib - d.kv_mib - d.compute_mib) for free, d in zip(order, said)))
    # weights and caches are said in whole MiB
    assert best - 4 <= plan.split.headroom_mib <= best + 1
    for placed, figures in zip(plan.split.placed, table.ask(counts_of(plan)).devices):
        assert 0 <= placed.memory.compute_bytes / MIB - figures.compute_mib < 0.02
        assert placed.memory.weight_bytes // MIB - figures.weights_mib in (0, 1)
        assert placed.memory.context_bytes // MIB - figures.kv_mib in (0, 1)


@pytest.mark.parametrize("policy", ["fewest_machines", "all_machines", "most_headroom"])
@settings(max_examples=sampled.examples(15), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_planned_was_asked_about(policy: str, data: st.DataObject) -> None:
    model = described("smollm2-135m")
    frees = data.draw(st.lists(st.integers(640, 1000), min_size=1, max_size=4))
    more = data.draw(st.sampled_from([0.0, 3.0, 40.0]))
    unknown = data.draw(st.booleans())
    table = Table(model, RUN, more)
    plan, asked = plan_rounds.plan_by_asking(request(replace(model, unknown=("pretended",)) if unknown else model, frees, policy), table.ask)
    assert counts_of(plan) in table.asked and asked.rounds <= plan_rounds.MAX_ROUNDS
    assert plan.split is not None
    truth = min(int(p.device.free_mib - 512 - f.weights_mib - f.kv_mib - f.compute_mib)
                for p, f in zip(plan.split.placed, table.ask(counts_of(plan)).devices))
    assert truth - 3 <= plan.split.headroom_mib <= truth
    assert plan.fits == (plan.split.headroom_mib >= 0)


def test_where_it_does_not_fit_the_truth_says_so() -> None:
    """An estimate that is too small must not be what decides."""
    model = described("llama-8b")
    frees = [int(model.file_size_bytes / MIB / 2) + 1400] * 2
    without, _asked = plan_rounds.plan_by_asking(request(model, frees), Table(model, RUN).ask)
    assert without.fits
    plan, _asked = plan_rounds.plan_by_asking(request(model, frees), Table(model, RUN, 3000.0).ask)
    assert not plan.fits and plan.shortfall is not None


def test_a_graphics_device_takes_what_the_formulas_say_it_takes_more() -> None:
    model = described("smollm2-135m")
    cpu, _asked = plan_rounds.plan_by_asking(request(model, [900, 900], "all_machines"), Table(model, RUN).ask)
    cuda, _asked = plan_rounds.plan_by_asking(request(model, [900, 900], "all_machines", "cuda"), Table(model, RUN).ask)
    assert cpu.split is not None and cuda.split is not None and counts_of(cpu) == counts_of(cuda)
    accounts, at = Accounts(model, RUN), 0
    for ours, theirs in zip(cpu.split.placed, cuda.split.placed):
        end = at + ours.n_slots
        more = accounts.device("cuda", at, end, False).weight_bytes - accounts.device("cpu", at, end, False).weight_bytes
        assert more > 0 and theirs.memory.weight_bytes - ours.memory.weight_bytes == more
        at = end


def earlier_plan(model: plan_model.Model, frees: Sequence[int], cuts: Sequence[int], table: Table) -> Dict[str, Any]:
    from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.keep import basis

    wanted = request(model, frees)
    return {"basis": basis(wanted), "answer": json.loads(json.dumps(plan_rounds.answer_as_dict(cuts, table.ask(cuts)))),
            "devices": [{"machine": "w%d" % n, "device": "D0", "kind": "cpu", "tensor_split": cut} for n, cut in enumerate(cuts)]}


def test_what_was_said_of_a_running_cluster_is_remembered() -> None:
    """The next plan goes by it before anything is built: a model without formulas is then not refused for its bound."""
    model, frees, cuts = described("smollm2-135m"), [900, 900], (20, 11)
    table = Table(model, RUN, 30.0)
    accounts = plan_rounds.accounts_told(request(model, frees), earlier_plan(model, frees, cuts, table))
    assert accounts is not None
    said = table.ask(cuts).devices
    assert accounts.device("cpu", 0, 20, False).compute_bytes == pytest.approx(said[0].compute_mib * MIB, abs=0.011 * MIB)
    assert plan_rounds.accounts_told(request(model, [900, 900, 900]), {"basis": "another"}) is None
    spoiled = earlier_plan(model, frees, cuts, table)
    spoiled["answer"]["devices"] = spoiled["answer"]["devices"][:1]
    assert plan_rounds.accounts_told(request(model, frees), spoiled) is None


def test_an_answer_is_the_same_after_it_was_kept() -> None:
    answer = replace(Table(described("smollm2-135m"), RUN).ask((20, 11)), beside=(plan_ask.Figures(1, 2, 3.5), plan_ask.Figures(0, 0, 0.0)),
                     beside_host=plan_ask.Figures(4, 0, 0.25))
    counts, again = plan_rounds.answer_from_dict(json.loads(json.dumps(plan_rounds.answer_as_dict((20, 11), answer))))
    assert counts == (20, 11) and again == answer


def test_what_layers_that_draft_take_besides_is_added() -> None:
    """Their context; their weights are the model's."""
    model = replace(described("smollm2-135m"), drafts=True)
    table = Table(model, RUN)

    def ask(counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
        answer = table.ask(counts, context_size)
        return replace(answer, beside=tuple(plan_ask.Figures(10, 5, 2.5) for _count in counts), beside_host=plan_ask.Figures(1, 0, 0.5))

    plan, asked = plan_rounds.plan_by_asking(request(model, [900, 900], "all_machines"), ask)
    assert plan.split is not None and not asked.agreed
    # 5 MiB are between 5 and 6
    assert [placed.memory.beside_bytes for placed in plan.split.placed] == [int(8.5 * MIB)] * 2
    assert [placed.memory.weight_bytes // MIB for placed in plan.split.placed] == [f.weights_mib for f in table.ask(counts_of(plan)).devices]


def truth_mib(plan: Plan, table: Table) -> int:
    assert plan.split is not None
    return min(math.floor(p.device.free_mib - p.device.reserve_mib - f.weights_mib - f.kv_mib - f.compute_mib)
               for p, f in zip(plan.split.placed, table.ask(counts_of(plan)).devices))


class Uneven(Table):
    """Says of each device up to so many MiB more than the formulas, by the split."""

    def __init__(self, model: plan_model.Model, upto_mib: float, seed: int) -> None:
        super().__init__(model, RUN)
        self.upto, self.seed = upto_mib, seed

    def ask(self, counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
        answer, rnd = super().ask(counts, context_size), random.Random(repr((self.seed, tuple(counts))))
        return replace(answer, devices=tuple(replace(f, compute_mib=round(f.compute_mib + rnd.uniform(0, self.upto), 2)) for f in answer.devices))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("unknown", [False, True])
def test_whether_it_fits_is_said_of_the_split_that_is_planned(seed: int, unknown: bool) -> None:
    """Whatever the estimates of other splits are: figures that follow no rule at all, on devices that are just large enough."""
    known = described("smollm2-135m")
    table, rnd = Uneven(known, 60.0, seed), random.Random(seed)
    frees = [rnd.randint(640, 720) for _number in range(3)]
    model = replace(known, unknown=("pretended",)) if unknown else known
    for policy in ("fewest_machines", "all_machines", "most_headroom"):
        plan, asked = plan_rounds.plan_by_asking(request(model, frees, policy), table.ask)
        assert plan.split is not None and counts_of(plan) in plan.accounts.answers  # type: ignore[attr-defined]
        assert plan.fits == (plan.split.headroom_mib >= 0) and plan.fits == (plan.shortfall is None)
        assert truth_mib(plan, table) - 3 <= plan.split.headroom_mib <= truth_mib(plan, table)
        assert plan.shortfall is None or plan.shortfall["missing_mib"] > 0
        assert not plan.fits or plan_rounds.asked_context(plan, asked, table.ask) >= RUN.context_size


def test_where_nothing_fits_it_is_said_what_is_missing_where() -> None:
    """The devices in the middle take more than the whole model was estimated to take."""
    class Middle(Table):
        def ask(self, counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
            answer = super().ask(counts, context_size)
            return replace(answer, devices=tuple(replace(f, compute_mib=f.compute_mib + 300.0) for f in answer.devices))

    model = described("smollm2-135m")
    plan, _asked = plan_rounds.plan_by_asking(request(model, [654, 1328, 1348, 641], "all_machines"), Middle(model, RUN).ask)
    assert not plan.fits and plan.split is not None and plan.shortfall is not None


def test_one_device_that_holds_it_all_is_not_overlooked() -> None:
    """A layer by itself was asked about as one of several devices, where each takes more."""
    known = described("llama-8b")
    alone = Table(known, RUN).ask((known.n_slots,)).devices[0]
    free = 512 + 3 + int(alone.weights_mib + alone.kv_mib + alone.compute_mib)
    plan, _asked = plan_rounds.plan_by_asking(request(replace(known, unknown=("pretended",)), [free, free]), Table(known, RUN).ask)
    assert plan.fits and counts_of(plan) == (known.n_slots,)


@pytest.mark.parametrize(("wrong", "said"), [({"type_k": "no-such-type"}, "no type of a KV cache"), ({"parallel": 300}, "at most 256 slots")])
def test_settings_that_llama_cpp_refuses_are_not_asked_about(wrong: Dict[str, Any], said: str) -> None:
    model = described("smollm2-135m")
    table = Table(model, RUN)
    with pytest.raises(PlanError, match=said):
        plan_rounds.plan_by_asking(replace(request(model, [900, 900]), settings=replace(RUN, **wrong)), table.ask)
    assert not table.asked


@pytest.mark.parametrize(("stay", "cuts"), [(False, (31,)), (True, (20, 11))])
def test_a_running_split_stays_wherever_it_fits_if_that_is_asked_for(stay: bool, cuts: Tuple[int, ...]) -> None:
    """One worker would do by now, and an upgrade changes nothing but the version."""
    from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.keep import keep_split

    model, frees = described("smollm2-135m"), [2000, 2000]
    table = Table(model, RUN)
    earlier = earlier_plan(model, frees, (20, 11), table)
    plan, _asked = plan_rounds.plan_by_asking(request(model, frees), table.ask, earlier)
    assert keep_split(plan, earlier, stay) == stay and counts_of(plan) == cuts
    crowded, _asked = plan_rounds.plan_by_asking(request(model, [2000, 520]), table.ask, earlier)
    assert not keep_split(crowded, earlier, stay)


class Slow(Table):
    """Has time for so many answers."""

    answers = 0

    def ask(self, counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
        if len(self.asked) >= self.answers:
            raise plan_ask.OutOfTime("the time is over")
        return super().ask(counts, context_size)


@pytest.mark.parametrize("more_mib", [0.0, 700.0])
def test_the_largest_context_fits_by_what_is_said_and_one_step_more_does_not(more_mib: float) -> None:
    """With formulas that are right it is theirs, and nothing is asked for it. Without time it is less, and fits as well."""
    model = described("llama-8b")
    frees = [int(model.file_size_bytes / MIB / 2) + 3000] * 2
    wanted, table = request(model, frees, "all_machines"), Table(model, RUN, more_mib)
    plan, asked = plan_rounds.plan_by_asking(wanted, table.ask)
    assert plan.fits and asked.agreed == (not more_mib)
    questions, largest = len(table.asked), plan_rounds.asked_context(plan, asked, table.ask)
    assert RUN.context_size < largest < 131072 and (len(table.asked) == questions) == asked.agreed
    if asked.agreed:
        return
    for context, fits in ((largest, True), (largest + 256, False)):
        assert (truth_mib(plan, Table(model, replace(RUN, context_size=context), more_mib)) >= 0) == fits
    found = []
    for answers in range(len(table.asked) - questions + 1):
        slow = Slow(model, RUN, more_mib)
        slow.answers = answers
        found.append(plan_rounds.asked_context(plan, asked, slow.ask))
    assert found == sorted(found) and found[0] == RUN.context_size and found[-1] == largest


@pytest.mark.parametrize("more_mib", [0.0, 500.0])
def test_the_largest_context_is_the_same_where_the_split_was_kept(more_mib: float) -> None:
    """Nothing that was said of a running split is forgotten: formulas that were wrong of it are wrong the second time too."""
    model = described("llama-8b")
    frees = [int(model.file_size_bytes / MIB / 2) + 3000] * 2
    wanted, table = request(model, frees), Table(model, RUN, more_mib)
    plan, asked = plan_rounds.plan_by_asking(wanted, table.ask)
    again, asked_again = plan_rounds.plan_by_asking(wanted, table.ask, earlier_plan(model, frees, counts_of(plan), table))
    assert counts_of(again) == counts_of(plan) and asked.agreed == asked_again.agreed == (not more_mib)
    assert plan_rounds.asked_context(again, asked_again, table.ask) == plan_rounds.asked_context(plan, asked, table.ask)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("more_mib", [0.0, 300.0])
def test_a_head_alone_is_asked_for_its_largest_context_where_formulas_are_not_right(unknown: bool, more_mib: float) -> None:
    known = described("llama-8b")
    free = int(known.file_size_bytes / MIB) + 4000
    machine = Machine("head", (), free)
    wanted = replace(request(replace(known, unknown=("pretended",)) if unknown else known, []), machines=(machine,), head_cpu=True)
    table = Table(known, RUN, more_mib)
    plan, asked = plan_rounds.plan_by_asking(wanted, table.ask)
    assert plan.fits and asked.agreed == (not unknown and not more_mib)
    largest = plan_rounds.asked_context(plan, asked, table.ask)
    assert (len(table.asked) == 1) == asked.agreed and RUN.context_size < largest < known.n_ctx_train
    for context, fits in ((largest, True), (largest + 256, False)):
        told = table.ask((), context)
        left_mib = free - HEAD_PROCESS_MIB - told.output_mib - told.host.weights_mib - told.host.kv_mib - told.host.compute_mib
        # what is said, and what is planned, is in whole MiB
        assert left_mib >= 0 if fits else left_mib < 4
    unlimited, questions = replace(wanted, machines=(replace(machine, ram_free_mib=None),)), len(table.asked)
    plan, asked = plan_rounds.plan_by_asking(unlimited, table.ask)
    assert plan_rounds.asked_context(plan, asked, table.ask) == known.n_ctx_train and len(table.asked) == questions + 1


def test_the_largest_context_of_a_running_split_is_no_smaller_than_its_own() -> None:
    """A bound does not fit, and what was said of the split does."""
    known, cuts = described("llama-8b"), (20, 13)
    frees = [int(sum(getattr(told, key) for key in ("weights_mib", "kv_mib", "compute_mib"))) + 520 for told in Table(known, RUN).ask(cuts).devices]
    wanted = request(replace(known, unknown=("pretended",)), frees)
    assert not make_plan(wanted).fits
    plan = make_plan(wanted, plan_rounds.accounts_told(wanted, earlier_plan(wanted.model, frees, cuts, Table(known, RUN))))
    assert plan.fits and plan.largest_context == RUN.context_size


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("answers", range(8))
def test_when_the_time_is_over_the_plan_is_the_best_of_what_was_asked_about(answers: int, unknown: bool) -> None:
    known = described("smollm2-135m")
    model = replace(known, unknown=("pretended",)) if unknown else known
    table, whole = Slow(known, RUN, 40.0), Table(known, RUN, 40.0)
    table.answers = answers
    wanted = request(model, [700, 700], "all_machines")
    plan_rounds.plan_by_asking(wanted, whole.ask)
    # a survey asks about no split that could be the plan: it has as many devices as there may be
    fewest = next(number for number, counts in enumerate(whole.asked, 1) if len(counts) == 2)
    assert fewest == (5 if unknown else 1)
    if answers < fewest:
        with pytest.raises(plan_ask.CannotBeAsked, match="the time is over"):
            plan_rounds.plan_by_asking(wanted, table.ask)
        return
    plan, asked = plan_rounds.plan_by_asking(wanted, table.ask)
    assert asked.complete == (answers >= len(whole.asked)) and counts_of(plan) in table.asked
    assert plan.fits == (truth_mib(plan, whole) >= 0) and plan.fits == (plan.shortfall is None)


def test_a_bound_stays_one_where_an_answer_about_other_layers_is_less() -> None:
    """A plan by what was said of a running cluster is called a bound, so nothing in it may be less than one, but for what was said itself."""
    known = described("llama-8b")
    model, frees, cuts = replace(known, unknown=("pretended",)), [9000, 9000], (20, 13)
    wanted = request(model, frees)
    accounts = plan_rounds.accounts_told(wanted, earlier_plan(model, frees, cuts, Table(known, RUN)))
    assert accounts is not None
    bound = accounts_of(model, RUN)
    assert accounts.device("cpu", 0, 20, False).compute_bytes < bound.device("cpu", 0, 20, False).compute_bytes, "the bound is no looser here"
    less = [(first, end) for first in range(known.n_slots) for end in range(first + 1, known.n_slots + 1)
            if accounts.device("cpu", first, end, False).total_bytes < bound.device("cpu", first, end, False).total_bytes]
    assert less == [(0, 20), (20, 33)]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_what_a_gpu_takes_besides_what_a_stand_in_says_is_called_a_formula(kind: str) -> None:
    machines: List[Dict[str, Any]] = [{"name": "head", "ram_free_mib": 60000}]
    machines += [{"name": "w%d" % n, "devices": [{"name": "D0", "kind": kind, "free_mib": 3000}]} for n in range(2)]
    facts = sparse_gguf.facts("smollm2-135m")
    made = report.asked_plan_from_facts(facts, machines, Table(described("smollm2-135m"), RUN).ask, host="head", policy="all_machines")
    said = "It was asked with CPU devices: what a GPU takes besides"
    assert (said in "\n".join(words.figures_lines(made))) == (kind == "cuda")
    made["figures"]["over_workers"] = True
    assert said not in "\n".join(words.figures_lines(made))


@pytest.mark.parametrize("unknown", [False, True])
def test_figures_of_a_running_split_are_llama_cpp_s_own_and_called_so(unknown: bool) -> None:
    """Before it is asked anew: neither formulas nor a bound."""
    facts, model = sparse_gguf.facts("smollm2-135m"), described("smollm2-135m")
    if unknown:
        metadata = {key.replace("llama.", "newcomer."): value for key, value in facts["metadata"].items()}
        facts = dict(facts, metadata=dict(metadata, **{"general.architecture": "newcomer"}))
    machines: List[Dict[str, Any]] = [{"name": "head", "ram_free_mib": 60000}]
    machines += [{"name": "w%d" % n, "devices": [{"name": "D0", "kind": "cpu", "free_mib": 800}]} for n in range(2)]
    options: Dict[str, Any] = {"host": "head", "policy": "all_machines", "kv_unified": True}
    first = report.asked_plan_from_facts(facts, machines, Table(model, RUN, 3.0).ask, **options)
    again = report.plan_from_facts(facts, machines, keep=first, **options)
    assert again["fits"] and again["kept"]
    assert again["figures"] == {"source": "asked", "build": "b99999", "rounds": 0, "as_formulas": False, "complete": True}
    assert [device["asked"] for device in again["devices"]] == [device["asked"] for device in first["devices"]]
    assert again["answer"] == first["answer"] and not again["confidence"]["bound"]
    assert "Every figure is what llama.cpp b99999 itself says, which was asked for the running plan." in words.figures_lines(again)
    # another split, of which nothing was said
    machines[1]["devices"][0]["free_mib"] = 660
    other = report.plan_from_facts(facts, machines, keep=first, **options)
    assert other["tensor_split"] != first["tensor_split"] and other["figures"]["source"] == ("bound" if unknown else "formulas")


def test_a_guess_about_a_projector_does_not_decide_after_the_build_either() -> None:
    """llama.cpp says nothing of a projector: who goes on beyond the bound gets a plan with its file's size."""
    header = {"for": "mmproj", "header": {"metadata": {"clip.vision.embedding_length": 1664}, "tensors": [], "file_size_bytes": 1300 * 10 ** 6}, "file": "p"}
    beside = {"words": {"mmproj": "p"}, "headers": [header], "mmproj_device": "w/D0"}

    def made(free: int, **options: Any) -> Dict[str, Any]:
        machines = [{"name": "head", "ram_free_mib": 60000}, {"name": "w", "devices": [{"name": "D0", "kind": "cpu", "free_mib": free}]}]
        return report.asked_plan_from_facts(sparse_gguf.facts("smollm2-135m"), machines, Table(described("smollm2-135m"), RUN).ask, host="head",
                                            beside=beside, **options)

    ample = made(8000)
    need, part = 8000 - ample["headroom_mib"], ample["beside"]["parts"][0]
    assert made(need, beyond_bound=True)["beside"]["parts"][0]["mib"] == part["mib"], "the bound fits"
    refused, gone_on = made(need - 300), made(need - 300, beyond_bound=True)
    assert not refused["fits"] and refused["may_fit"]
    assert gone_on["fits"] and gone_on["figures"]["source"] == "asked" and gone_on["beside"]["parts"][0]["mib"] == part["least_mib"] < part["mib"]
    assert gone_on["devices"][0]["reserve_mib"] == 512 + part["least_mib"]
    hopeless = made(need - part["mib"], beyond_bound=True)
    assert not hopeless["fits"] and not hopeless["may_fit"]


def test_the_word_about_a_draft_model_is_its_part_s() -> None:
    table = Table(described("smollm2-135m"), RUN)

    def ask(counts: Sequence[int], context_size: int = 0) -> plan_ask.Answer:
        return replace(table.ask(counts, context_size), beside_host=plan_ask.Figures(92, 180, 20.6))

    machines = [{"name": "head", "ram_free_mib": 60000}, {"name": "w", "devices": [{"name": "D0", "kind": "cpu", "free_mib": 8000}]}]
    facts = sparse_gguf.facts("smollm2-135m")
    made = report.asked_plan_from_facts(facts, machines, ask, host="head", beside={
        "words": {"draft_model": "d"}, "headers": [{"for": "draft", "header": facts, "file": "d"}]})
    assert made["beside"]["parts"][0]["asked"] == {"weights_mib": 92, "kv_mib": 180, "compute_mib": 20.6}
    assert made["beside"]["parts"][0]["mib"] >= 293
