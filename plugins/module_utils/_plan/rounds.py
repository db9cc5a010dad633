# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan, ask llama.cpp, correct, until both agree.

The search wants to know what any run of layers takes on a device; llama.cpp tells what the devices of one split take. So the search goes
by estimates (formulas, or for an architecture without them what each layer was seen to take by itself), the split it finds is asked
about, the answer corrects the estimates, and the search is made again, until it finds a split that was asked about. Every figure of that
split is llama.cpp's own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import Answer, CannotBeAsked, Figures, OutOfTime
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.model import MIB
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES, Accounts, DeviceMemory, HostMemory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.context import estimated_context, largest_context
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.head_ram import head_spare_mib
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.plan import Plan, Split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.planner import make_plan, settle
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Machine, Request, accounts_of, candidates, check_settings, unsure_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.splits import exactly, find_split, least_bad_split
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.keep import earlier_devices

# Rounds after which the best of the splits asked about is taken. Two are enough where the estimates are formulas.
MAX_ROUNDS = 12

# What is asked: the slots of each device, and the context where it is not that of the settings.
Ask = Callable[..., Answer]
Counts = Tuple[int, ...]


class _Place(NamedTuple):
    """What a device's compute buffer depends on besides the layers it holds."""

    alone: bool
    first: bool
    last: bool


class AskedAccounts(Accounts):
    """Accounts with llama.cpp's own figures for each run of slots it was asked about, and estimates corrected by them for the others.

    A stand-in is a CPU. What another kind of device takes besides is what ``base`` says it takes more than a CPU.
    """

    def __init__(self, base: Accounts) -> None:
        super().__init__(base.model, base.settings)
        self.base = base
        self.answers: Dict[Counts, Answer] = {}
        self._known: Dict[Tuple[int, int, bool], Figures] = {}
        # MiB of the context of layers that draft
        self._drafting: Dict[Tuple[int, int, bool], float] = {}
        self._more: Dict[_Place, float] = {}
        # by layer, where each was asked about by itself: caches and compute buffer
        self._layer_kv: List[float] = []
        self._layer_compute: List[float] = []
        self._asked_rows: Dict[Tuple[str, int], List[int]] = {}

    @property
    def surveyed(self) -> bool:
        return bool(self._layer_compute)

    # -- learning ----------------------------------------------------------------------------------------------------

    def learn(self, counts: Sequence[int], answer: Answer) -> None:
        """Take what llama.cpp said of a split."""
        self.answers[tuple(counts)] = answer
        alone, at = len(counts) == 1, 0
        for number, count in enumerate(counts):
            figures = answer.devices[number]
            if count:
                if answer.beside and self.model.drafts:
                    # its table repeats the weights of the model, which it shares
                    self._drafting[at, at + count, alone] = answer.beside[number].kv_mib + 1 + answer.beside[number].compute_mib
                self._known[at, at + count, alone] = figures
                place = _Place(alone, at == 0, at + count == self.model.n_slots)
                more_mib = figures.compute_mib - self._estimate_mib(at, at + count, alone)
                self._more[place] = max(more_mib, self._more.get(place, more_mib))
            at += count
        self._asked_rows.clear()

    def survey(self, ask: Ask, n_devices: int) -> None:
        """Ask about each layer by itself, on a device between two others that hold the rest."""
        n, wide = self.model.n_slots, min(n_devices, MAX_DEVICES) - 2
        kv = [0.0] * n
        compute = [0.0] * n
        if wide < 1 or n < 3:
            return
        told: List[Tuple[Counts, Answer]] = []
        for first in range(1, n - 1, wide):
            width = min(wide, n - 1 - first)
            counts = (first,) + (1,) * width + (n - first - width,)
            answer = ask(counts)
            told.append((counts, answer))
            for number in range(1, width + 1):
                figures = answer.devices[number]
                # said in whole MiB, rounded down
                kv[first + number - 1] = figures.kv_mib + (0.5 if figures.kv_mib else 0.0)
                compute[first + number - 1] = figures.compute_mib
        head, tail = told[0][1].devices[0], told[-1][1].devices[-1]
        kv[0], compute[0] = head.kv_mib + (0.5 if head.kv_mib else 0.0), compute[1]
        kv[n - 1], compute[n - 1] = float(tail.kv_mib), 0.0
        self._layer_kv, self._layer_compute = kv, compute
        # what was learnt before was held against other estimates
        self._more.clear()
        for counts, answer in list(self.answers.items()) + told:
            self.learn(counts, answer)
        # one device that holds them all has no copies of what goes in
        self.learn((n,), ask((n,)))

    def agrees(self, counts: Sequence[int], answer: Answer) -> bool:
        """Whether the base says of a split what llama.cpp says, compute buffers to 0.1 MiB."""
        if answer.beside or not self.holds(counts, answer):
            return False
        if not counts:
            ours, told = self.base.host_alone(), answer.host
            return answer.beside_host is None and abs(ours.compute_bytes / MIB - told.compute_mib) <= 0.1 and (
                ours.weight_bytes // MIB, ours.context_bytes // MIB) == (told.weights_mib, told.kv_mib)
        at = 0
        for count, figures in zip(counts, answer.devices):
            if count and abs(self.base.exact("cpu", at, at + count, len(counts) == 1).compute_bytes / MIB - figures.compute_mib) > 0.1:
                return False
            at += count
        return True

    def holds(self, counts: Sequence[int], answer: Answer) -> bool:
        """Whether weights and caches of a split are what the base says."""
        at = 0
        for number, count in enumerate(counts):
            ours = self.base.device("cpu", at, at + count, len(counts) == 1) if count else DeviceMemory(at, at, 0, 0, 0)
            told = answer.devices[number]
            if (ours.weight_bytes // MIB, ours.context_bytes // MIB) != (told.weights_mib, told.kv_mib):
                return False
            at += count
        return True

    # -- estimates ---------------------------------------------------------------------------------------------------

    def _estimate_mib(self, first: int, end: int, alone: bool) -> float:
        if self._layer_compute:
            return max(self._layer_compute[first:end])
        return self.base.device("cpu", first, end, alone).compute_bytes / MIB

    def device(self, kind: str, first: int, end: int, alone: bool) -> DeviceMemory:
        weights, context = self._summed("cpu", first, end)
        known = self._known.get((first, end, alone))
        if known is not None:
            weights, context = _whole_bytes(known.weights_mib, weights), _whole_bytes(known.kv_mib, context)
            # hundredths, rounded
            compute = math.ceil((known.compute_mib + 0.005) * MIB) if known.compute_mib else 0
        else:
            if self._layer_kv:
                context = int(sum(self._layer_kv[first:end]) * MIB)
            more = self._more.get(_Place(alone, first == 0, end == self.model.n_slots), 0.0)
            if isinstance(self.base, BoundAccounts) and not self.surveyed:
                # that a bound was too large for one run says nothing of another
                more = max(0.0, more)
            compute = max(0, math.ceil((self._estimate_mib(first, end, alone) + more) * MIB))
        if kind != "cpu":
            ours, theirs = self.base.device("cpu", first, end, alone), self.base.device(kind, first, end, alone)
            weights += max(0, theirs.weight_bytes - ours.weight_bytes)
            context += max(0, theirs.context_bytes - ours.context_bytes)
            compute += max(0, theirs.compute_bytes - ours.compute_bytes)
        return DeviceMemory(first, end, weights, context, compute, self._beside_bytes(kind, first, end, alone))

    def _beside_bytes(self, kind: str, first: int, end: int, alone: bool) -> int:
        """Of what stands beside the model: as told for layers that draft, else the base's bounds."""
        if not self.model.beside and not self.model.drafts:
            return 0
        told = self._drafting.get((first, end, alone))
        if told is None:
            return self.base.device(kind, first, end, alone).beside_bytes
        adapters = sum(self.model.beside[first:end]) + 2 * 4 * self.settings.tokens * self.model.beside_width
        return adapters + math.ceil(told * MIB)

    # what it says is of these very layers already
    exact = device

    def _summed(self, kind: str, first: int, end: int) -> Tuple[int, int]:
        """Weights and caches as the base has them, without its compute buffer, which takes it long."""
        weights, contexts = self.base.prefix(kind)
        shared = self.model.shared_bytes[kind] if first < len(self.model.layers) else 0
        return weights[end] - weights[first] + shared, contexts[end] - contexts[first]

    def most(self, kind: str) -> int:
        """Corrected by its place, a run may take more than one that it is part of."""
        return max(self.row(kind, first)[-1] for first in range(self.model.n_slots))

    def row(self, kind: str, first: int, room: Optional[int] = None) -> List[int]:
        """Never shrinks from one run to the next, which the search relies on."""
        key = (kind, first)
        if key not in self._asked_rows:
            row: List[int] = []
            for end in range(first + 1, self.model.n_slots + 1):
                row.append(max(row[-1] if row else 0, self.device(kind, first, end, False).total_bytes))
            self._asked_rows[key] = row
        row = self._asked_rows[key]
        return row if room is None else row[:bisect_right(row, room) + 1]

    def checkpoint_bytes(self) -> int:
        return self.base.checkpoint_bytes()

    def host(self, alone: bool) -> HostMemory:
        """The head's CPU does not depend on the split, only on whether there is one."""
        told = [answer for counts, answer in self.answers.items() if counts and (len(counts) == 1) == alone]
        return _host_memory(self.base.host(alone), told)

    def host_alone(self) -> HostMemory:
        return _host_memory(self.base.host_alone(), [answer for counts, answer in self.answers.items() if not counts])


def _host_memory(ours: HostMemory, told: Sequence[Answer]) -> HostMemory:
    if not told:
        return ours
    answer = max(told, key=lambda a: a.host.compute_mib)
    return HostMemory(_whole_bytes(answer.host.weights_mib, ours.weight_bytes), math.ceil((answer.host.compute_mib + 0.005) * MIB),
                      math.ceil(answer.output_mib * MIB), _whole_bytes(answer.host.kv_mib, ours.context_bytes), ours.beside_bytes)


def _whole_bytes(told_mib: int, ours: int) -> int:
    """Bytes of a figure that llama.cpp rounds down to MiB: our own where it says the same, else the most that it can be."""
    return ours if ours // MIB == told_mib else (told_mib + 1) * MIB if told_mib else 0


# -- the loop -----------------------------------------------------------------------------------------------------------

class Asked(NamedTuple):
    """How a plan came about: its rounds, whether the formulas said the same all along, and whether there was time for all questions."""

    rounds: int
    agreed: bool
    complete: bool = True


def plan_by_asking(request: Request, ask: Ask, earlier: Optional[Mapping[str, Any]] = None) -> Tuple[Plan, Asked]:
    """The best plan by llama.cpp's own figures, without its largest context (``asked_context``).

    Where the time is over (OutOfTime) it is the best of the splits that were asked about. Raises PlanError as make_plan does, AskError where
    llama.cpp gives no answer, and CannotBeAsked where there was no time for one.
    """
    check_settings(request.model, request.settings)
    accounts = AskedAccounts(accounts_of(request.model, request.settings))
    asked: Dict[Counts, Split] = {}
    how = Asked(0, not unsure_of(request.model, request.settings))
    try:
        for reached in _rounds(request, ask, earlier or {}, accounts, asked):
            how = reached
    except OutOfTime as error:
        if not asked:
            raise CannotBeAsked(str(error)) from error
        how = how._replace(complete=False)
    plan = make_plan(request, accounts, with_context=False)
    plan.may_fit = False
    if plan.split is not None and _counts(plan.split) in accounts.answers:
        asked[_counts(plan.split)] = plan.split
    told = {counts: _told(request, accounts, split) for counts, split in asked.items()}
    if told:
        # whatever the estimates of other splits say
        best = told.get(_counts(plan.split)) if plan.fits and plan.split is not None else None
        if best is None or best.headroom_mib < request.headroom_mib:
            best = _best_of(request, list(told.values()))
        settle(plan, _told(request, accounts, best))
    return plan, how


def _rounds(request: Request, ask: Ask, earlier: Mapping[str, Any], accounts: AskedAccounts, asked: Dict[Counts, Split]) -> Iterator[Asked]:
    """Ask and correct until the best split is one that was asked about; ``asked`` gets those that were, in turn."""
    machines = candidates(request)
    if not any(machine.devices for machine in machines):
        accounts.learn((), ask(()))
        yield Asked(1, not unsure_of(request.model, request.settings) and accounts.agrees((), accounts.answers[()]))
        return
    kept = tuple(count for _device, count in earlier_devices(request, earlier))
    if kept:
        accounts.learn(kept, ask(kept))
    agreed = not unsure_of(request.model, request.settings)
    if not agreed or (kept and not accounts.holds(kept, accounts.answers[kept])):
        accounts.survey(ask, MAX_DEVICES)
    agreed = agreed and (not kept or accounts.agrees(kept, accounts.answers[kept]))
    for number in range(1, MAX_ROUNDS + 1):
        yield Asked(number, agreed)
        split = _best(request, accounts, machines)
        if split is None or _counts(split) in accounts.answers:
            return
        counts = _counts(split)
        answer = ask(counts)
        agreed = agreed and accounts.agrees(counts, answer)
        surveyed = accounts.surveyed
        accounts.learn(counts, answer)
        asked[counts] = split
        yield Asked(number, agreed)
        if not surveyed and not accounts.holds(counts, answer):
            accounts.survey(ask, MAX_DEVICES)


def asked_context(plan: Plan, asked: Asked, ask: Ask) -> int:
    """The largest context with which the plan's split, or the head alone, still fits by llama.cpp's word, as far as there is time to ask.

    Where the formulas said what it says, and where the head's RAM is not known, theirs.
    """
    request, split = plan.request, plan.split
    if not plan.fits:
        return 0
    if asked.agreed or (split is None and plan.headroom_mib is None):
        return estimated_context(plan)

    def works(context_size: int) -> bool:
        accounts = AskedAccounts(accounts_of(request.model, replace(request.settings, context_size=context_size)))
        counts = _counts(split) if split is not None else ()
        try:
            accounts.learn(counts, ask(counts, context_size=context_size))
        except OutOfTime:
            return False
        if split is None:
            spare = head_spare_mib(request, accounts)
            return spare is not None and spare >= request.headroom_mib
        return exactly(request, accounts, split).headroom_mib >= request.headroom_mib

    return largest_context(request, works, request.settings.context_size)


def accounts_told(request: Request, earlier: Mapping[str, Any]) -> Optional[Accounts]:
    """Accounts that remember what llama.cpp said of the earlier plan's split; None where that is no answer to this request."""
    if not earlier_devices(request, earlier) or not earlier.get("answer"):
        return None
    try:
        counts, answer = answer_from_dict(earlier["answer"])
    except (KeyError, TypeError, ValueError):
        return None
    if counts != tuple(count for _device, count in earlier_devices(request, earlier)):
        return None
    accounts = AskedAccounts(accounts_of(request.model, request.settings))
    accounts.learn(counts, answer)
    return accounts


def _counts(split: Split) -> Counts:
    return tuple(placed.n_slots for placed in split.placed)


def _best(request: Request, accounts: Accounts, machines: Sequence[Machine]) -> Optional[Split]:
    """The split that make_plan would take, the least bad one where none fits."""
    return find_split(request, accounts, machines, request.headroom_mib) or least_bad_split(request, accounts, machines)


def _told(request: Request, accounts: AskedAccounts, split: Split) -> Split:
    """A split that was asked about with what was said of it, which of the same run in another split may differ."""
    accounts.learn(_counts(split), accounts.answers[_counts(split)])
    return exactly(request, accounts, split)


def _best_of(request: Request, told: Sequence[Split]) -> Split:
    """Of splits that were asked about the best for the policy, by what was said of them."""
    fitting = [split for split in told if split.headroom_mib >= request.headroom_mib]
    if fitting and request.policy == "fewest_machines":
        return min(fitting, key=lambda s: (s.machines, -s.headroom_mib))
    return max(fitting or told, key=lambda s: (s.headroom_mib, -s.machines))


def answer_as_dict(counts: Sequence[int], answer: Answer) -> Dict[str, Any]:
    """An answer as plain data, for a plan that is kept."""
    return {"counts": list(counts), "build": answer.build, "output_mib": answer.output_mib, "host": list(_plain(answer.host)),
            "devices": [list(_plain(figures)) for figures in answer.devices], "beside": [list(_plain(figures)) for figures in answer.beside],
            "beside_host": list(_plain(answer.beside_host)) if answer.beside_host else None}


def answer_from_dict(data: Mapping[str, Any]) -> Tuple[Counts, Answer]:
    """The other way; raises KeyError, TypeError or ValueError for what was not written by it."""
    counts = tuple(int(count) for count in data["counts"])
    answer = Answer(tuple(_figures(entry) for entry in data["devices"]), _figures(data["host"]), float(data["output_mib"]),
                    tuple(_figures(entry) for entry in data["beside"]), _figures(data["beside_host"]) if data["beside_host"] else None,
                    str(data["build"]))
    if len(answer.devices) != len(counts):
        raise ValueError("an answer about %d devices has %d" % (len(counts), len(answer.devices)))
    return counts, answer


def _plain(figures: Figures) -> Tuple[int, int, float]:
    return figures.weights_mib, figures.kv_mib, figures.compute_mib


def _figures(entry: Sequence[Any]) -> Figures:
    weights, kv, compute = entry
    return Figures(int(weights), int(kv), float(compute))
