# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of every architecture, and shapes of real size, before the build against what the pinned llama.cpp says.

The compared architectures are exact, of all others and of all without flash attention nothing is less than llama.cpp's own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import architectures
import asking
import pytest
import sampled
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.bound import BoundAccounts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import model_from_facts

MIB = 1 << 20
SETTINGS, REFUSED = architectures.SETTINGS, architectures.REFUSED
MORE: Tuple[Dict[str, Any], ...] = ({"context_size": 65536, "parallel": 1}, {"context_size": 16384, "parallel": 16, "ubatch": 128})
WITHOUT_FLASH = {"context_size": 16384, "parallel": 4, "flash_attention": False}
# llama.cpp prints hundredths of a MiB, rounded.
ROUNDING = 0.006

ARCHITECTURES = architectures.names()
INDEXED = [name for name in ARCHITECTURES if architectures.facts(name)["metadata"][architectures.model(name).key("attention.indexer.key_length")]]


class Over(NamedTuple):
    """How many times the real figure was planned, on one device; 0 where it is too small to say."""

    kv: float
    compute: float
    total: float


OVER: Dict[str, List[Over]] = {}


def splits(n_slots: int, n_devices: int) -> List[Tuple[int, ...]]:
    """An even split and the two most lopsided ones; a single one where there are too few slots for every device to have one."""
    if n_slots < n_devices:
        return [(1,) * (n_slots - 1) + (0,) * (n_devices - n_slots) + (1,)]
    most = n_slots - n_devices + 1
    even = tuple(n_slots // n_devices + (index < n_slots % n_devices) for index in range(n_devices))
    return sorted({even, (most,) + (1,) * (n_devices - 1), (1,) * (n_devices - 1) + (most,)})


def run_settings(settings: Dict[str, Any]) -> caches.RunSettings:
    return caches.RunSettings(**dict({"kv_unified": True}, **settings))


def compare(name: str, accounts: placement.Accounts, split: Tuple[int, ...], real: ask.Answer, exact: bool) -> List[str]:
    devices, host = placement.split_memory(accounts, split, ["cpu"] * len(split))
    rows = [(d.weight_bytes, d.context_bytes, d.compute_bytes) for d in devices] + [(0, 0, host.compute_bytes)]
    wrong = []
    for number, (planned, told) in enumerate(zip(rows, real.devices + (real.host,))):
        where = "%s, device %d of %s with %s" % (name, number, split, accounts.settings)
        weights, kv, compute = (figure / MIB for figure in planned)
        if number < len(split) and int(weights) != told.weights_mib:
            wrong.append("%s: weights %.2f MiB, llama.cpp says %d" % (where, weights, told.weights_mib))
        if int(kv) < told.kv_mib or exact and int(kv) != told.kv_mib:
            wrong.append("%s: KV cache %.2f MiB, llama.cpp says %d" % (where, kv, told.kv_mib))
        if compute + ROUNDING < told.compute_mib or exact and compute - ROUNDING > told.compute_mib:
            wrong.append("%s: compute buffer %.2f MiB, llama.cpp says %.2f" % (where, compute, told.compute_mib))
        if number < len(split) and told.compute_mib >= 1 and not exact:
            times_kv = kv / told.kv_mib if told.kv_mib >= 1 else 0
            held = told.weights_mib + told.kv_mib + told.compute_mib
            OVER.setdefault(name, []).append(Over(times_kv, compute / told.compute_mib, sum(planned) / MIB / held))
    return wrong


def compared(name: str, model: plan_model.Model, bin_dir: Path, path: Path, questions: Sequence[Tuple[Dict[str, Any], Any]],
             exact: bool) -> List[str]:
    """What is wrong, for every question: with the bound, and where there are formulas with them."""
    wrong: List[str] = []
    kept: Dict[Any, List[Tuple[bool, placement.Accounts]]] = {}
    for (settings, split), real in zip(questions, asking.answers(bin_dir, path, questions, 5)):
        if isinstance(real, str):
            if "type_v" not in settings or REFUSED.get(name, "?") not in real:
                wrong.append("%s with %s is not loaded: %s" % (name, settings, real[-300:]))
            continue
        run = run_settings(settings)
        if run not in kept:
            kept[run] = [(False, BoundAccounts(replace(model, unknown=("bound",)), run))]
            if exact and run.flash_attention:
                kept[run].append((True, placement.Accounts(model, run)))
        for by_formula, accounts in kept[run]:
            wrong += compare(name, accounts, split, real, by_formula)
    return wrong


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(llama_cpp_bin: Path, tmp_path: Path, name: str) -> None:
    model = model_from_facts(architectures.facts(name))
    path = architectures.write(name, tmp_path / (name + ".gguf"))
    questions = sampled.some([(settings, split) for devices in (2, 5) for settings in SETTINGS for split in splits(model.n_slots, devices)],
                             ARCHITECTURES.index(name), 2)
    questions.append((WITHOUT_FLASH, splits(model.n_slots, 2)[0]))
    wrong = compared(name, model, llama_cpp_bin, path, questions, not model.unknown)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("name", INDEXED)
def test_indexers_that_choose_as_few_cells_as_real_ones(llama_cpp_bin: Path, tmp_path: Path, name: str) -> None:
    """The test program's let the indexer choose every cell, which hides what the choice itself needs."""
    changed(llama_cpp_bin, tmp_path, name, "attention.indexer.top_k", 2048)


@pytest.mark.parametrize(("name", "window"), [("smallthinker-moe", 32), ("llama4-moe", 32), ("llama4-moe", None), ("exaone4-dense", None)])
def test_windows_that_llama_cpp_sets_itself(llama_cpp_bin: Path, tmp_path: Path, name: str, window: Optional[int]) -> None:
    """Whatever the header says, and where it says nothing."""
    changed(llama_cpp_bin, tmp_path, name, "attention.sliding_window", window)


def changed(llama_cpp_bin: Path, tmp_path: Path, name: str, suffix: str, value: Optional[int]) -> None:
    """Compare a model of which one number of the header is another, or is not there."""
    made, facts = architectures.model(name), architectures.facts(name)
    key = made.key(suffix)
    metadata, said = dict(made.metadata), dict(facts["metadata"])
    del metadata[key], said[key]
    if value is not None:
        metadata[key], said[key] = sparse_gguf.Typed("u32", value), value
    path = sparse_gguf.write(made, tmp_path / (name + ".gguf"), metadata)
    model = model_from_facts(dict(facts, metadata=said))
    questions = sampled.some([(settings, splits(model.n_slots, 2)[-1]) for settings in SETTINGS + MORE], ARCHITECTURES.index(name), 2)
    wrong = compared(name, model, llama_cpp_bin, path, questions, False)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("shape", sorted(sparse_gguf.SHAPES))
def test_shapes_of_real_size_as_if_unknown(llama_cpp_bin: Path, tmp_path: Path, shape: str) -> None:
    model = model_from_facts(sparse_gguf.facts(shape))
    path = sparse_gguf.write(sparse_gguf.SHAPES[shape](), tmp_path / (shape + ".gguf"))
    questions = [(settings, split) for settings in SETTINGS + (WITHOUT_FLASH,) for split in splits(model.n_slots, 2)]
    questions += [(settings, splits(model.n_slots, 5)[1]) for settings in SETTINGS[:2]]
    questions = sampled.some(questions, sorted(sparse_gguf.SHAPES).index(shape), 2)
    wrong = compared(shape, model, llama_cpp_bin, path, questions, False)
    assert not wrong, "\n".join(wrong[:20])


def test_how_far_over_the_bound_is(capsys: pytest.CaptureFixture) -> None:
    """A table, the loosest first: times the real figure, from the least to the most over all devices."""
    if not OVER:
        pytest.skip("no model was compared in this run")

    def span(values: Sequence[float]) -> str:
        known = sorted(value for value in values if value)
        return "%.2f (%.2f to %.2f)" % (known[len(known) // 2], known[0], known[-1]) if known else "-"

    with capsys.disabled():
        print("\n%-24s%-26s%-26s%s" % ("bound / real, middle", "KV cache", "compute", "device"))
        for name, rows in sorted(OVER.items(), key=lambda item: -max(row.total for row in item[1])):
            print("%-24s%-26s%-26s%s" % (name, *(span([row[column] for row in rows]) for column in range(3))))
    assert min(row.total for rows in OVER.values() for row in rows) >= 0.99
