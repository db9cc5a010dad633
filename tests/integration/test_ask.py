# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pinned llama-server is asked, and its word is what it really takes."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import architectures
import asking
import memory_cases
import pytest
import sampled
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._common import unprivileged
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import tensor_types
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask as plan_ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches as plan_caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import check
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import Device, Machine, Request
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import head_log

ROOT = Path(__file__).resolve().parents[2]
RUN = plan_caches.RunSettings(context_size=8192, parallel=4, kv_unified=True)


def machines(*frees: int, reserve: int = 512) -> tuple[Machine, ...]:
    """A head without a device and workers with a CPU each, of so many MiB."""
    return (Machine("head", (), 60000),) + tuple(
        Machine("w%d" % n, (Device("w%d" % n, "CPU", "cpu", free, free, reserve),)) for n, free in enumerate(frees, 1))


def request_for(path: Path, frees: tuple[int, ...], policy: str = "all_machines", as_unknown: bool = False, reserve: int = 512) -> Request:
    header = read_gguf_model(str(path))
    model = plan_model.describe_model(header.metadata, header.tensors, header.file_size_bytes)
    if as_unknown:
        model = replace(model, unknown=("pretended",))
    return Request(model, RUN, machines(*frees, reserve=reserve), "head", policy)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("shapes")
    return {name: sparse_gguf.write(sparse_gguf.SHAPES[name](), directory / (name + ".gguf")) for name in sparse_gguf.SHAPES}


def test_405b_on_15_devices_within_3_seconds(llama_cpp_bin: Path, files: dict[str, Path]) -> None:
    counts = (9,) * 11 + (7,) * 4
    began = time.monotonic()
    answer = asking.in_private(llama_cpp_bin, files["llama-405b"], asking.ARGUMENTS, lambda asker: asking.plain(asker.ask(counts)))
    took = time.monotonic() - began
    assert took < 3, "%.1f s" % took
    assert len(answer["devices"]) == 15 and answer["build"] == memory_cases.build_of(llama_cpp_bin)
    assert sum(device["weights_mib"] for device in answer["devices"]) == pytest.approx(sum(
        t.size_bytes for t in read_gguf_model(str(files["llama-405b"])).tensors if t.name != "token_embd.weight") / asking.MIB, abs=16)


SPLITS = ((31,), (16, 15), (10, 10, 11), (6, 6, 6, 6, 7))
SETTINGS: tuple[dict[str, Any], ...] = (
    {}, {"parallel": 1, "context_size": 4096}, {"parallel": 3, "kv_unified": False, "ubatch": 256}, {"type_k": "q8_0", "type_v": "q8_0"},
    {"flash_attention": False})


@pytest.mark.parametrize(("split", "settings"), [(split, settings) for number, settings in enumerate(SETTINGS) for split in sampled.some(SPLITS, number)],
                         ids=lambda s: str(s) if isinstance(s, tuple) else " ".join("%s=%s" % item for item in s.items()) or "as the lab")
def test_its_word_is_what_it_takes(llama_cpp_bin: Path, smollm2: Path, split: tuple[int, ...], settings: dict[str, Any]) -> None:
    def both(asker: plan_ask.Asker) -> list[str]:
        answer = asker.ask(split)
        return asking.twice(lambda: asking.differences(answer, asking.real(asker, split)), lambda found: not found)

    assert asking.in_private(llama_cpp_bin, smollm2, asking.arguments(**settings), both) == []


# On how many devices, where it has layers for so many, and with which settings.
PAIRS = tuple(itertools.product((2, 5), architectures.SETTINGS))


@pytest.mark.parametrize(("name", "devices", "settings"), [
    (name, devices, {} if name in architectures.REFUSED and "type_k" in settings else settings)
    for number, name in enumerate(architectures.names() if sampled.every() else architectures.varied())
    for devices, settings in sampled.some(PAIRS, number)], ids=lambda s: " ".join("%s=%s" % item for item in s.items()) if isinstance(s, dict) else str(s))
def test_its_word_is_what_it_takes_of_every_architecture(llama_cpp_bin: Path, tmp_path: Path, name: str, devices: int, settings: dict[str, Any]) -> None:
    """Planned over two devices, or as many as it has layers for, by asking, started by the plan and held against it; all weights are 0."""
    model = architectures.write(name, tmp_path / (name + ".gguf"))
    facts = describe(read_gguf_model(str(model)), include_tensors=True, include_metadata=True)
    devices = min(devices, report.model_from_facts(facts).n_slots)
    given = [{"name": "head", "ram_free_mib": 60000}] + [{"name": "w%d" % n, "devices": [{"name": "CPU", "free_mib": 8000}]} for n in range(devices)]

    def work(asker: plan_ask.Asker) -> Any:
        plan = report.asked_plan_from_facts(facts, given, asker.ask, host="head", policy="all_machines", **settings)
        # What is exact must be met on a CPU, and not only nearly.
        plan["figures"]["exact"] = asker.exact
        _counts, answer = rounds.answer_from_dict(plan["answer"])

        def look() -> list[Any]:
            log = asking.start(asker, plan["tensor_split"])
            proof = check.deviations(plan, asdict(head_log.parse_head(log)))
            # of less than a MiB it says 0, and of none at all the log says nothing
            none = tuple("KV cache of %s on " % row["llama_device"] for row in proof["rows"] if row["word_kv_mib"] == 0)
            unknown = [said for said in proof["unknown"] if not any(cache in said for cache in none)]
            return [asking.differences(answer, asking.buffers(log)), proof["problems"], proof["warnings"], unknown]

        return [plan["fits"], plan["figures"]["source"], asking.twice(look, lambda found: not any(found))]

    fits, source, found = asking.in_private(llama_cpp_bin, model, asking.arguments(**settings), work)
    assert fits and source == "asked" and found == [[], [], [], []]


def test_a_tensor_type_that_only_llama_cpp_knows_is_planned_by_its_word(llama_cpp_bin: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this collection were older than the type of SmolLM2's weights."""
    plans = []
    for forgotten in (False, True):
        if forgotten:
            monkeypatch.delitem(tensor_types.TENSOR_TYPES, 3)  # type: ignore[arg-type]
        facts = describe(read_gguf_model(str(smollm2)), include_tensors=True, include_metadata=True)
        assert ("TYPE_3" in facts["tensor_types_bytes"]) == forgotten and facts["complete"]
        given = [{"name": "head", "ram_free_mib": 60000}] + [{"name": "w%d" % n, "devices": [{"name": "CPU", "free_mib": 4000}]} for n in range(2)]
        plans.append(asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, lambda asker, facts=facts, given=given: report.asked_plan_from_facts(
            facts, given, asker.ask, host="head", policy="all_machines", beyond_bound=True)))
    known, newer = plans
    assert newer["fits"] and newer["figures"]["source"] == "asked" and "(TYPE_3)" in newer["confidence"]["unknown"][0]
    for plan in plans:
        assert sum(device["asked"]["weights_mib"] for device in plan["devices"]) == pytest.approx(92, abs=2)
    assert newer["tensor_split"] == known["tensor_split"] and [d["asked"] for d in newer["devices"]] == [d["asked"] for d in known["devices"]]


def test_without_the_measuring_library_it_says_more_than_it_takes(llama_cpp_bin: Path, smollm2: Path) -> None:
    """What the library is for: llama-server's own measurement counts an input more on every device but the first."""
    def both(asker: plan_ask.Asker) -> list[list[float]]:
        exact = asker.ask((16, 15))
        asker.exact = False
        plain = asker.ask((16, 15))
        return [[device.compute_mib for device in answer.devices] for answer in (exact, plain)]

    exact, plain = asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, both)
    # four copies of 576 numbers for each of 512 tokens
    assert plain[0] == exact[0] and plain[1] - exact[1] == pytest.approx(4 * 576 * 512 * 4 / asking.MIB, abs=0.02)


def test_the_best_split_of_all_is_found(llama_cpp_bin: Path, smollm2: Path) -> None:
    """By formulas, and by what each layer took."""
    frees = (800, 700)

    def search(asker: plan_ask.Asker) -> Any:
        found = []
        for as_unknown in (False, True):
            plan, _asked = rounds.plan_by_asking(request_for(smollm2, frees, as_unknown=as_unknown), asker.ask)
            assert plan.split is not None
            counts = [placed.n_slots for placed in plan.split.placed]
            found.append([plan.fits, plan.split.headroom_mib, tuple(counts) in plan.accounts.answers])  # type: ignore[attr-defined]
        best = -10.0 ** 6
        for cut in range(1, 31):
            devices = asker.ask((cut, 31 - cut)).devices
            for order in itertools.permutations(frees):
                best = max(best, min(free - 512 - d.weights_mib - d.kv_mib - d.compute_mib for free, d in zip(order, devices)))
        return [found, best]

    found, best = asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, search)
    # what llama.cpp says in whole MiB is rounded: a layer's cache by half a MiB, weights and caches of a device by one each
    for (fits, headroom, was_asked), rounded in zip(found, (3, 4)):
        assert fits and best - rounded <= headroom <= best
        assert was_asked, "a split was chosen that llama.cpp was not asked about"


@pytest.mark.parametrize("shape", sorted(sparse_gguf.SHAPES))
def test_every_shape_of_real_size_is_planned_by_asking(llama_cpp_bin: Path, files: dict[str, Path], shape: str) -> None:
    """On three devices of a third of the model each, about: the formulas say what llama.cpp says, so that one question is enough."""
    model = request_for(files[shape], ()).model
    third = sum(tensor.size_bytes for tensor in read_gguf_model(str(files[shape])).tensors) // (3 * asking.MIB)
    request = request_for(files[shape], (third * 9 // 8 + 3072,) * 3)

    def search(asker: plan_ask.Asker) -> Any:
        began = time.monotonic()
        plan, asked = rounds.plan_by_asking(request, asker.ask)
        took = time.monotonic() - began
        assert plan.split is not None
        counts = tuple(placed.n_slots for placed in plan.split.placed)
        told = plan.accounts.answers.get(counts)  # type: ignore[attr-defined]
        return [plan.fits, asked.agreed, asker.questions, took, counts, [placed.memory.compute_bytes / asking.MIB for placed in plan.split.placed],
                [figures.compute_mib for figures in told.devices] if told else None]

    fits, agreed, questions, took, counts, planned, told = asking.in_private(llama_cpp_bin, files[shape], asking.ARGUMENTS, search, 3)
    assert fits and len(counts) == 3 and sum(counts) == model.n_slots
    assert told is not None, "the split was not asked about"
    # another build may say something else than the formulas
    assert (agreed and questions == 1) or memory_cases.build_of(llama_cpp_bin) != plan_model.COMPARED_BUILD
    assert planned == pytest.approx(told, abs=0.01)
    assert took < 10, "%.1f s" % took


def test_a_version_newer_than_the_formulas_is_planned_as_well(llama_cpp_bin: Path, smollm2: Path) -> None:
    """The formulas made wrong: the plan still has what llama.cpp says."""
    request = request_for(smollm2, (800, 700))
    wrong = replace(request, model=replace(request.model, n_embd=request.model.n_embd * 3))

    def search(asker: plan_ask.Asker) -> Any:
        found = []
        for each in (request, wrong):
            plan, asked = rounds.plan_by_asking(each, asker.ask)
            assert plan.split is not None
            found.append([asked.agreed, [[p.n_slots, p.memory.compute_bytes] for p in plan.split.placed]])
        return found

    right, other = asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, search)
    assert right[0] and not other[0]
    assert right[1] == other[1]


ASK_FOR_LONG = """
import os, sys, time
sys.path[:0] = {paths!r}
import asking
from pathlib import Path

def work(asker):
    answer = asker.ask((16, 15))
    print(asker.worker.pid, asker.directory, flush=True)
    time.sleep(60)

asking.in_private(Path({bin_dir!r}), Path({model!r}), asking.ARGUMENTS, work)
"""


@pytest.fixture
def asking_for_long(llama_cpp_bin: Path, smollm2: Path) -> Any:
    """A process that asks and then lets its stand-ins wait; with what it says of them."""
    script = ASK_FOR_LONG.format(paths=[str(ROOT / "playbooks/collections"), str(ROOT / "tests/support")], bin_dir=str(llama_cpp_bin), model=str(smollm2))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, directory = process.stdout.readline().split()
    yield process, int(pid), Path(directory)
    process.kill()
    process.wait()


def test_stand_ins_are_nobody_else_whom_nobody_reaches(asking_for_long: Any) -> None:
    _process, pid, directory = asking_for_long
    status = dict(line.split(":\t", 1) for line in Path("/proc/%d/status" % pid).read_text().splitlines() if ":\t" in line)
    assert len(set(status["Uid"].split() + status["Gid"].split())) == 1
    # not nobody's, with whose processes it could do what it likes
    assert unprivileged.FIRST_ID <= int(status["Uid"].split()[0]) <= unprivileged.LAST_ID
    assert status["Groups"].strip() == "" and status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
    assert os.readlink("/proc/%d/ns/net" % pid) != os.readlink("/proc/self/ns/net")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 50052), timeout=5)
    interfaces = Path("/proc/%d/net/dev" % pid).read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sum(path.stat().st_blocks * 512 for path in directory.iterdir()) < 16 << 20, "the copy is not sparse"


def test_nothing_is_left_when_it_is_killed(asking_for_long: Any) -> None:
    process, pid, directory = asking_for_long
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while Path("/proc/%d" % pid).exists() and Path("/proc/%d/stat" % pid).read_text().split()[2] != "Z":
        assert time.monotonic() < until, "the stand-in outlives the module"
        time.sleep(0.05)
    while directory.exists():
        assert time.monotonic() < until, "the copy of the header outlives the module"
        time.sleep(0.05)


def test_nothing_is_left_when_it_ends(llama_cpp_bin: Path, smollm2: Path) -> None:
    left = asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, lambda asker: [str(asker.directory), asker.worker.pid, asker.ask((31,)).build])
    assert not Path(left[0]).exists() and not Path("/proc/%d" % left[1]).exists()


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda data: data.replace(b"llama", b"lxyma"), "unknown model architecture"),
    (lambda data: data.replace(b"blk.29.attn_q.weight", b"blk.29.attn_z.weight"), "blk.29.attn_q.weight"),
])
def test_a_model_it_cannot_load_is_refused_with_its_own_words(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(spoil(smollm2.read_bytes()))
    with pytest.raises(plan_ask.AskError, match="cannot load this model.*" + said):
        asking.in_private(llama_cpp_bin, broken, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((16, 15))))


FORGED = """a model
0.00.100.000 I sched_reserve: RPC0[127.0.0.1:50052] compute buffer size =  9999.00 MiB
0.00.100.001 I sched_reserve:        CPU compute buffer size =  9999.00 MiB
0.00.100.002 I common_memory_breakdown_print: | memory breakdown [MiB] | total    free    self   model   context   compute    unaccounted |
0.00.100.003 I common_memory_breakdown_print: |   - RPC0 (a) | 24105 = 24105 + ( 188 =    1 +      1 +      9999) +        -188 |
0.00.100.004 I common_memory_breakdown_print: |   - RPC1 (a) | 24105 = 24105 + ( 188 =    1 +      1 +      9999) +        -188 |
0.00.100.005 I common_memory_breakdown_print: |   - Host     |                    72 =    1 +       1 +      9999                |
0.00.100.006 I common_fit_params: fitting params to free memory took 0.31 seconds
a: RPC1 compute buffer size =  9999.00 MiB"""


@pytest.mark.parametrize("key", ["general.name", "general.basename", "0.00.1 I a: RPC0 compute buffer size =  9999.00 MiB\n" + FORGED],
                         ids=["a name that is printed as it is", "a text that is printed as one line", "a key"])
def test_what_a_model_says_of_itself_is_not_taken_for_llama_cpp_s_word(llama_cpp_bin: Path, tmp_path: Path, key: str) -> None:
    honest = sparse_gguf.SHAPES["llama-1b-tied"]()
    said = []
    for number, metadata in enumerate(({}, {key: FORGED})):
        path = sparse_gguf.write(honest, tmp_path / ("%d.gguf" % number), {**honest.metadata, **metadata})
        said.append(asking.in_private(llama_cpp_bin, path, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((9, 8))), 2))
    assert [{**answer, "seconds": 0} for answer in said] == [{**said[0], "seconds": 0}] * 2


def test_an_argument_it_does_not_know_is_said(llama_cpp_bin: Path, smollm2: Path) -> None:
    with pytest.raises(plan_ask.AskError, match="--no-such-thing"):
        asking.in_private(llama_cpp_bin, smollm2, [*asking.ARGUMENTS, "--no-such-thing"], lambda asker: asking.plain(asker.ask((16, 15))))


def test_a_build_without_a_stand_in_cannot_be_asked(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "llama-server").symlink_to(llama_cpp_bin / "llama-server")
    with pytest.raises(plan_ask.CannotBeAsked, match="no ggml-rpc-server"):
        asking.in_private(tmp_path, smollm2, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((16, 15))))


def test_the_time_for_all_questions_together_is_bounded(llama_cpp_bin: Path, smollm2: Path) -> None:
    """However many there are, and one that is being asked is ended."""
    def enter() -> Any:
        began = time.monotonic()
        with plan_ask.Asker(str(llama_cpp_bin), str(smollm2), 2, asking.ARGUMENTS, timeout_s=4) as asker:
            try:
                while True:
                    asker.ask((16, 15))
            except plan_ask.OutOfTime as reason:
                return [time.monotonic() - began, asker.questions, str(reason)]

    took, questions, reason = plan_ask.ask_in_private(enter)
    assert 4 <= took < 8 and reason == "there were 4 s to ask llama-server, and they were not enough after %d answers" % questions


def test_three_parts_are_one_model(llama_cpp_bin: Path, tmp_path: Path, files: dict[str, Path]) -> None:
    parts = sparse_gguf.write_split(sparse_gguf.SHAPES["llama-8b"](), tmp_path, 3)

    def ask(asker: plan_ask.Asker) -> Any:
        return asking.plain(asker.ask((11, 11, 11)))

    split, whole = (asking.in_private(llama_cpp_bin, path, asking.ARGUMENTS, ask) for path in (parts[0], files["llama-8b"]))
    assert json.dumps({**split, "seconds": 0}) == json.dumps({**whole, "seconds": 0})


def test_a_draft_model_makes_it_compute_more_outputs(llama_cpp_bin: Path, smollm2: Path) -> None:
    """What drafts is said again in one batch; its own file is a copy of its header too, for root alone may read the original."""
    def ask(asker: plan_ask.Asker) -> Any:
        return asking.plain(asker.ask((16, 15)))

    # so few tokens at a time that the results are the most of it
    plain, drafted = (asking.in_private(llama_cpp_bin, smollm2, [*asking.arguments(ubatch=64), *more], ask) for more in (
        [], ["--spec-type", "draft-simple", "--model-draft", str(smollm2), "--spec-draft-n-max", "15", "--device-draft", "RPC7"]))
    # 64 outputs instead of 4, of 49,152 numbers each
    assert drafted["devices"][1]["compute_mib"] - plain["devices"][1]["compute_mib"] == pytest.approx(60 * 49152 * 4 / asking.MIB, rel=0.1)
    assert drafted["beside"] and drafted["devices"][0]["weights_mib"] == plain["devices"][0]["weights_mib"]


def test_numbers_in_the_environment_are_words_and_secrets_stay_where_they_are(llama_cpp_bin: Path, smollm2: Path) -> None:
    """Other processes of its user could read it."""
    def work(asker: plan_ask.Asker) -> Any:
        asker.ask((31,))
        assert asker.worker is not None
        return Path("/proc/%d/environ" % asker.worker.pid).read_bytes().decode().split("\0")

    def enter() -> Any:
        given = {"OMP_NUM_THREADS": 1, "HF_TOKEN": "hidden", "LLAMA_API_KEY": "hidden", "LLAMA_ARG_API_KEY_FILE": "/hidden"}
        with plan_ask.Asker(str(llama_cpp_bin), str(smollm2), 1, asking.ARGUMENTS, given) as asker:
            return work(asker)

    words = plan_ask.ask_in_private(enter)
    assert "OMP_NUM_THREADS=1" in words and not [word for word in words if "hidden" in word]


def test_root_writes_to_nothing_and_gives_away_nothing_where_another_may_write(
        llama_cpp_bin: Path, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory becomes another user's, and a process of his may be quick: what it puts there leads nowhere."""
    victim, given_away = tmp_path / "victim", tmp_path / "given away"
    for path in (victim, given_away):
        path.write_text("as it was")
    chown = os.chown

    def chown_and_be_quick(path: Any, user: int, group: int, **how: Any) -> None:
        chown(path, user, group, **how)
        if Path(path).name.startswith("herd-ask-"):
            (Path(path) / "stand-ins.log").symlink_to(victim)
            for copy in Path(path).glob("*.gguf"):
                copy.rename(copy.with_suffix(".moved"))
                copy.symlink_to(given_away)

    monkeypatch.setattr(os, "chown", chown_and_be_quick)
    with pytest.raises(plan_ask.AskError, match="cannot load this model"):
        asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((16, 15))), 2)
    assert victim.read_text() == "as it was" and given_away.stat().st_uid == 0


def test_it_is_asked_where_only_root_may_go(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some machines give each user, root too, a TMPDIR of its own."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((16, 15))), 2)
    assert len(answer["devices"]) == 2


def test_a_build_that_not_everybody_may_run_cannot_be_asked(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    """Below somebody's home, say, where the service's own user may go."""
    tmp_path.chmod(0o700)
    own = tmp_path / "bin"
    own.symlink_to(llama_cpp_bin)
    with pytest.raises(plan_ask.CannotBeAsked, match="a user without privileges cannot run .*/bin/ggml-rpc-server.*Permission denied"):
        asking.in_private(own, smollm2, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask((16, 15))), 2)
    with pytest.raises(plan_ask.CannotBeAsked, match="a user without privileges cannot run .*/bin/llama-server.*Permission denied"):
        asking.in_private(own, smollm2, asking.ARGUMENTS, lambda asker: asking.plain(asker.ask(())), 0)


@pytest.mark.parametrize(("more", "said"), [
    (["--cache-type-k", "no-such-type"], "cache-type-k.*Unsupported cache type: no-such-type"),
    (["--ctx-size", "many"], "--ctx-size"), (["--no-such-thing"], "invalid argument: --no-such-thing"),
])
def test_an_argument_it_does_not_take_is_the_reason_it_gives(llama_cpp_bin: Path, smollm2: Path, more: list[str], said: str) -> None:
    with pytest.raises(plan_ask.AskError, match="^llama-server does not take its arguments: .*" + said):
        asking.in_private(llama_cpp_bin, smollm2, [*asking.ARGUMENTS, *more], lambda asker: asking.plain(asker.ask((16, 15))), 2)


def test_files_that_only_its_own_user_may_read_are_left_out(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for name in ("grammar", "schema.json", "ui.json"):
        (tmp_path / name).write_text("{}")
    more = ["--media-path", str(tmp_path), "--grammar-file", str(tmp_path / "grammar"), "-jf", str(tmp_path / "schema.json"),
            "--ui-config-file", str(tmp_path / "ui.json"), "--hf-token", "secret"]
    answer = asking.in_private(llama_cpp_bin, smollm2, [*asking.ARGUMENTS, *more], lambda asker: asking.plain(asker.ask((16, 15))), 2)
    assert len(answer["devices"]) == 2


class Meagre(plan_ask.Asker):
    """Its stand-ins get no more than 350 MiB of addresses."""

    def _start_stand_ins(self) -> None:
        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (350 << 20, hard))
        try:
            super()._start_stand_ins()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def test_compute_buffers_that_this_machine_cannot_promise_are_asked_about_without_them(llama_cpp_bin: Path, smollm2: Path) -> None:
    """Workers may have more memory than the head, on which they are stood in for."""
    def enter() -> Any:
        with Meagre(str(llama_cpp_bin), str(smollm2), 2, asking.arguments(ubatch=4096)) as asker:
            return [asking.plain(asker.ask((16, 15))), asker.exact]

    answer, exact = plan_ask.ask_in_private(enter)
    assert answer["devices"][0]["compute_mib"] > 200 and not exact


def test_a_library_that_cannot_be_named_is_not_said_to_measure(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    own = tmp_path / "with spaces"
    own.symlink_to(llama_cpp_bin)
    assert plan_ask.Asker(str(llama_cpp_bin), str(smollm2), 2, []).exact and not plan_ask.Asker(str(own), str(smollm2), 2, []).exact


def test_no_more_than_the_header_is_copied(tmp_path: Path) -> None:
    """A file may say that its weights begin at a multiple of 2 GiB."""
    key = b"general.alignment"
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 2) + b"".join(
        struct.pack("<Q", len(name)) + name + value for name, value in (
            (key, struct.pack("<II", 4, 1 << 30)), (b"general.architecture", struct.pack("<IQ", 8, 5) + b"llama")))
    header += struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 32, 0, 0)
    model = tmp_path / "far.gguf"
    model.write_bytes(header)
    os.truncate(str(model), (1 << 30) + 128)
    (tmp_path / "copy").mkdir()
    copy = plan_ask.sparse_copy(str(model), tmp_path / "copy")
    assert copy.stat().st_size == model.stat().st_size and copy.stat().st_blocks * 512 < 1 << 20


def test_a_machine_with_no_room_for_a_header_cannot_be_asked(llama_cpp_bin: Path, smollm2: Path) -> None:
    def enter() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        with plan_ask.Asker(str(llama_cpp_bin), str(smollm2), 2, asking.ARGUMENTS):
            pass

    with pytest.raises(plan_ask.CannotBeAsked, match="no copy of the model's header can be made: .*File too large"):
        plan_ask.ask_in_private(enter)
