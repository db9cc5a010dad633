# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""A running cluster beside its plan: real logs of llama.cpp, and every way to differ."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.plan_deviations import FilterModule
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import Answer, Figures
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.check import by_word
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import parse_head

compare = FilterModule().filters()["plan_deviations"]
LOGS = Path(__file__).parents[3] / "fixtures" / "logs" / "head"


def log(name: str) -> dict:
    return parse_head((LOGS / name).read_text(encoding="utf-8")).to_dict()


def planned(machine: str, llama_device: str, layers: int, weights: int, kv: int, compute: int, first: int = 0, output: bool = False) -> dict:
    return {"machine": machine, "device": "CPU", "llama_device": llama_device, "n_layers": layers, "first_layer": first,
            "last_layer": first + layers - 1, "output": output, "weights_mib": weights, "kv_mib": kv, "compute_mib": compute,
            "free_mib": weights + kv + compute + 512 + 100, "reserve_mib": 512, "headroom_mib": 100}


def plan_of(found: dict) -> dict:
    """The plan that a log's own figures would be the result of."""
    devices, first = [], 0
    for number, device in enumerate(d for d in found["devices"] if not d["host"]):
        layers = device["layers"]
        devices.append(planned("worker%d" % (number + 1), device["name"], layers, -int(-device["weights_mib"] // 1), -int(-device["kv_mib"] // 1),
                               -int(-device["compute_mib"] // 1), first, bool(device["holds_output"])))
        first += layers
    own = next(device for device in found["devices"] if device["host"])
    host = {"machine": "head", "weights_mib": 29, "kv_mib": 0, "compute_mib": -int(-own["compute_mib"] // 1), "output_mib": 1}
    return {"devices": devices, "host": host, "n_layers": first, "context_size": found["n_ctx"],
            "confidence": {"tolerance_mib": 1, "compute_tolerance_factor": 1.25}}


@pytest.fixture
def real() -> dict:
    return log("2workers.txt")


def test_a_cluster_that_is_as_planned(real: dict) -> None:
    result = compare(plan_of(real), real)
    assert result["problems"] == [] and result["unknown"] == []
    assert result["warnings"] == []
    assert [row["weights_mib"] for row in result["rows"]] == [d["weights_mib"] for d in real["devices"]]


@pytest.mark.parametrize(("key", "change", "what"), [
    ("weights_mib", 3, "weights"), ("weights_mib", -3, "weights"), ("kv_mib", 3, "KV cache"), ("kv_mib", -3, "KV cache"),
    ("layers", 1, "layers"),
])
def test_every_figure_can_fail_with_both_in_the_sentence(real: dict, key: str, change: int, what: str) -> None:
    plan = plan_of(real)
    device = next(d for d in real["devices"] if d["name"] == "RPC1")
    device[key] += change
    problem = compare(plan, real)["problems"][0]
    wanted = plan["devices"][1]["n_layers" if key == "layers" else key]
    assert problem["machine"] == "worker2" and what in problem["problem"] and "RPC1" in problem["problem"]
    assert str(device[key]) in problem["problem"] and "(%s planned)" % wanted in problem["problem"], problem


@pytest.mark.parametrize("change", [3, 99, -15])
def test_a_compute_buffer_that_differs_and_does_no_harm_is_a_warning_with_both_figures(real: dict, change: int) -> None:
    plan = plan_of(real)
    device = next(d for d in real["devices"] if d["name"] == "RPC1")
    device["compute_mib"] += change
    result = compare(plan, real)
    assert result["problems"] == []
    warning = result["warnings"][0]
    assert warning["machine"] == "worker2" and warning["remedy"] and len(result["warnings"]) == 1
    assert warning["problem"].endswith("%s MiB of compute buffer (%d planned)" % (round(device["compute_mib"], 2), plan["devices"][1]["compute_mib"]))


def test_a_compute_buffer_may_be_a_little_smaller(real: dict) -> None:
    plan = plan_of(real)
    for device in plan["devices"]:
        device["compute_mib"] = int(device["compute_mib"] * 1.2)
    result = compare(plan, real)
    assert result["problems"] == [] and result["warnings"] == []


def asked(plan: dict, kind: str = "cpu", **more: Any) -> dict:
    """The plan as it is once llama.cpp was asked, which said of each device what the log says."""
    devices = [dict(device, kind=kind) for device in plan["devices"]]
    told = [[device["weights_mib"] - 1, device["kv_mib"], device["compute_mib"] - 0.4] for device in devices]
    return dict(plan, devices=devices, answer={"devices": told}, figures=dict({"source": "asked", "build": "b11434", "exact": True}, **more))


def test_of_an_asked_cpu_a_compute_buffer_may_not_be_smaller(real: dict) -> None:
    plan = asked(plan_of(real))
    assert compare(plan, real)["warnings"] == []
    for device in plan["devices"]:
        device["compute_mib"] += 1
    result = compare(plan, real)
    assert result["problems"] == [] and [warning["machine"] for warning in result["warnings"]] == ["worker1", "worker2"]
    row, device = result["rows"][0], plan["devices"][0]
    assert "%s MiB of compute buffer (%d planned)" % (row["compute_mib"], device["compute_mib"]) in result["warnings"][0]["problem"]


@pytest.mark.parametrize("estimate", [
    {"kind": "cuda"}, {"exact": False}, {"exact": None}, {"source": "formulas", "exact": None},
], ids=["a GPU, by formula", "without libllama-measure.so", "a plan that was kept before", "formulas"])
def test_of_an_estimate_it_may_be_a_little_smaller(real: dict, estimate: dict) -> None:
    plan = asked(plan_of(real), **estimate)
    for device in plan["devices"]:
        device["compute_mib"] = int(device["compute_mib"] * 1.2)
    assert compare(plan, real)["warnings"] == []


def test_a_whole_number_may_be_of_a_lost_line(real: dict) -> None:
    """What stands for it in llama.cpp's table is rounded down, so that one MiB was added."""
    plan = asked(plan_of(real))
    plan["devices"][1]["compute_mib"] += 1
    plan["answer"]["devices"][1][2] = float(plan["devices"][1]["compute_mib"] - 1)
    assert compare(plan, real)["warnings"] == []


def test_an_answer_about_fewer_devices_is_a_sentence(real: dict) -> None:
    plan = asked(plan_of(real))
    del plan["answer"]["devices"][1]
    with pytest.raises(AnsibleFilterError, match="plan_deviations filter"):
        compare(plan, real)


def test_a_device_within_its_margin_fails_with_what_filled_it(real: dict) -> None:
    plan = plan_of(real)
    device = next(d for d in real["devices"] if d["name"] == "RPC1")
    device["compute_mib"] += 103
    result = compare(plan, real)
    assert result["warnings"] == [] and len(result["problems"]) == 1
    problem = result["problems"][0]["problem"]
    assert "reserve of 512 MiB" in problem and "(%d planned)" % plan["devices"][1]["compute_mib"] in problem
    assert "%.2f MiB in all" % (device["weights_mib"] + device["kv_mib"] + device["compute_mib"]) in problem
    # the margin counts with what the log does not tell, as planned
    device["weights_mib"] = None
    assert "reserve of 512 MiB" in compare(plan, real)["problems"][0]["problem"]


def test_the_margin_of_shared_memory_leaves_room_for_llama_server_too(real: dict) -> None:
    plan = plan_of(real)
    plan["devices"][0].update(host_mib=60)
    device = next(d for d in real["devices"] if d["name"] == "RPC0")
    device["compute_mib"] += 30
    assert compare(plan, real)["problems"] == []
    device["compute_mib"] += 20
    assert "reserve" in compare(plan, real)["problems"][0]["problem"]


def test_rows_have_planned_asked_and_real_for_devices_and_the_head_s_cpu(real: dict) -> None:
    plan = plan_of(real)
    plan["host"]["compute_mib"] = 14
    plan["devices"][0]["asked"] = {"weights_mib": 33.823, "kv_mib": 24, "compute_mib": 24.91}
    plan["host"]["asked"] = {"weights_mib": 28.69, "kv_mib": 0.0, "compute_mib": 13.6719}
    first, second, cpu = compare(plan, real)["rows"]
    devices, own = [d for d in real["devices"] if not d["host"]], next(d for d in real["devices"] if d["host"])
    assert (first["planned_weights_mib"], first["word_weights_mib"], first["weights_mib"]) == (34, 33.82, devices[0]["weights_mib"])
    assert (first["planned_layers"], first["layers"], first["word_kv_mib"], first["word_compute_mib"]) == (16, 16, 24.0, 24.91)
    assert second["word_weights_mib"] is None and second["weights_mib"] == devices[1]["weights_mib"]
    assert (cpu["machine"], cpu["device"], cpu["planned_layers"], cpu["layers"]) == ("head", "CPU", 0, 0)
    assert (cpu["planned_compute_mib"], cpu["word_compute_mib"], cpu["compute_mib"], cpu["kv_mib"]) == (14, 13.67, own["compute_mib"], None)


def test_a_head_that_computes_alone_has_its_row() -> None:
    found = log("0workers.txt")
    host = {"machine": "head", "weights_mib": 93, "kv_mib": 45, "compute_mib": 16, "output_mib": 1}
    plan = dict(plan_of(found), host=host, n_layers=30)
    result = compare(plan, found)
    assert result["problems"] == [] and [(row["planned_layers"], row["layers"], row["weights_mib"]) for row in result["rows"]] == [(30, 30, 92.1)]


def on_head(**more: float) -> tuple[dict, dict]:
    """A head that computes alone as planned, with 100 MiB of RAM left, but for what its log says more."""
    found = log("0workers.txt")
    for key, mib in more.items():
        found["devices"][0][key] = round(found["devices"][0][key] + mib, 2)
    host = {"machine": "head", "weights_mib": 93, "kv_mib": 45, "compute_mib": 17, "output_mib": 1}
    return dict(plan_of(found), host=host, n_layers=30, headroom_mib=100), found


@pytest.mark.parametrize(("more", "problem", "warning"), [
    ({}, "", ""), ({"weights_mib": 5000.0}, "", ""),
    ({"compute_mib": 50.0}, "", "66.64 MiB of compute buffer (17 planned)"),
    ({"kv_mib": 45.0}, "90.0 MiB of KV cache (45 planned)", ""),
    ({"compute_mib": 120.0}, "119.64 MiB more than planned, which left 100 MiB of the RAM that was free", "136.64 MiB of compute buffer (17 planned)"),
], ids=str)
def test_a_head_that_computes_alone_is_judged(more: dict[str, float], problem: str, warning: str) -> None:
    """By all but its weights, which a log has twice where llama.cpp repacks mapped ones."""
    plan, found = on_head(**more)
    result = compare(plan, found)
    for said, wanted in ((result["problems"], problem), (result["warnings"], warning)):
        assert [entry["problem"] for entry in said] == ["llama-server itself, on the CPU, holds " + wanted] * bool(wanted)
        assert all(entry["machine"] == "head" and entry["remedy"] for entry in said)
    if not problem:
        assert compare(dict(plan, headroom_mib=None), found) == result


def test_a_head_that_computes_alone_and_has_layers_elsewhere_is_not_as_planned() -> None:
    plan, found = on_head()
    other = dict(found["devices"][0], name="CUDA0", host=False, layers=30)
    found["devices"][0].update(layers=0, kv_mib=None)
    found["devices"].insert(0, other)
    assert "0 layers (30 planned)" in compare(plan, found)["problems"][0]["problem"]


def test_what_llama_server_itself_holds_more_is_a_warning_and_counts_in_a_pool_that_is_its_ram(real: dict) -> None:
    plan = plan_of(real)
    next(device for device in real["devices"] if device["host"])["compute_mib"] += 150
    result = compare(plan, real)
    assert result["problems"] == [] and [warning["machine"] for warning in result["warnings"]] == ["head"]
    assert "169.32 MiB of compute buffer (20 planned)" in result["warnings"][0]["problem"]
    plan["devices"][0].update(host_mib=60, free_mib=plan["devices"][0]["free_mib"] + 60)
    assert [problem["machine"] for problem in compare(plan, real)["problems"]] == ["worker1"]


def test_layers_on_the_cpu_fail_with_both_figures() -> None:
    found = log("ngl10.txt")
    plan = plan_of(log("2workers.txt"))
    problems = compare(plan, found)["problems"]
    text = " ".join(p["problem"] for p in problems)
    assert "on the CPU of llama-server" in text and "all 30 were planned on devices" in text
    assert any("9 layers (16 planned)" in p["problem"] for p in problems), problems


def test_a_context_that_shrank(real: dict) -> None:
    plan = dict(plan_of(real), context_size=100000)
    assert "and 100000 were planned" in compare(plan, real)["problems"][0]["problem"]


def test_what_the_log_does_not_say_is_unknown_and_no_problem(real: dict) -> None:
    plan = plan_of(real)
    silent = copy.deepcopy(real)
    silent["devices"] = [d for d in silent["devices"] if d["name"] != "RPC0"]
    result = compare(plan, silent)
    assert result["problems"] == [] and len(result["unknown"]) == 3 and all("worker1" in u for u in result["unknown"])


@pytest.mark.parametrize(("word", "unsaid"), [(0, []), (1, ["KV cache"])])
def test_a_log_has_no_line_for_what_llama_cpp_said_is_nothing(real: dict, word: int, unsaid: list[str]) -> None:
    plan = plan_of(real)
    plan["devices"][0].update(kv_mib=1, asked={"kv_mib": word})
    for name in ("kv_mib", "recurrent_mib"):
        real["devices"][0][name] = None
    result = compare(plan, real)
    assert result["problems"] == []
    assert [what for what in ("weights", "KV cache", "compute buffer") if any(what in u for u in result["unknown"])] == unsaid


@pytest.mark.parametrize("broken", [{}, {"devices": []}, "text", None])
def test_nonsense_is_a_sentence(broken: Any, real: dict) -> None:
    with pytest.raises(AnsibleFilterError, match="plan_deviations filter"):
        compare(broken, real)


@pytest.fixture
def drafting() -> tuple[dict, dict]:
    """A real log with a draft model on RPC1, its adapter left out on RPC0, and the plan that it would be the result of."""
    found = log("beside_draft.txt")
    plan = plan_of(found)
    for entry in found["devices"]:
        if entry["name"] == "RPC0":
            entry["beside_mib"] = None
    device = next(device for device in plan["devices"] if device["llama_device"] == "RPC1")
    mib = next(int(entry["beside_mib"]) + 1 for entry in found["devices"] if entry["name"] == "RPC1")
    device["reserve_mib"] += mib
    device["free_mib"] += mib
    plan["beside"] = {"parts": [{"for": "draft", "file": "d.gguf", "machine": device["machine"], "device": device["device"], "mib": mib}]}
    return plan, found


def test_a_draft_model_where_it_was_planned(drafting: tuple[dict, dict]) -> None:
    result = compare(*drafting)
    assert (result["problems"], result["warnings"], result["unknown"]) == ([], [], [])
    part = drafting[0]["beside"]["parts"][0]
    held = {row["machine"]: (row["planned_beside_mib"], row["beside_mib"]) for row in result["rows"]}
    assert held[part["machine"]][0] == part["mib"] and 0 < part["mib"] - held[part["machine"]][1] <= 1


def test_a_draft_model_elsewhere_than_planned_fails_and_says_so_of_both_devices(drafting: tuple[dict, dict]) -> None:
    plan, found = drafting
    part = plan["beside"]["parts"][0]
    other = next(device for device in plan["devices"] if device["machine"] != part["machine"])
    was, part["machine"] = part["machine"], other["machine"]
    result = compare(plan, found)
    assert [problem["machine"] for problem in result["problems"]] == [was] and "MiB beside the model (0 planned)" in result["problems"][0]["problem"]
    assert result["unknown"] == ["the head's log does not tell the draft model or projector of %s on %s" % (other["llama_device"], other["machine"])]


def test_a_draft_model_larger_than_its_bound_fails_where_it_takes_from_the_reserve(drafting: tuple[dict, dict]) -> None:
    plan, found = drafting
    part = plan["beside"]["parts"][0]
    device = next(device for device in plan["devices"] if device["machine"] == part["machine"])
    part["mib"] -= 50
    device["reserve_mib"] -= 50
    warned = compare(plan, found)
    assert warned["problems"] == [] and [warning["machine"] for warning in warned["warnings"]] == [device["machine"]]
    assert "MiB beside the model (%d planned)" % part["mib"] in warned["warnings"][0]["problem"]
    device["free_mib"] -= 110
    failed = compare(plan, found)
    assert [problem["machine"] for problem in failed["problems"]] == [device["machine"]] and "reserve of 512 MiB" in failed["problems"][0]["problem"]


def test_a_draft_model_on_a_device_without_layers_is_compared(drafting: tuple[dict, dict]) -> None:
    plan, found = drafting
    found["devices"] = [entry for entry in found["devices"] if entry["host"]] + [
        dict(entry, beside_mib=None) for entry in found["devices"] if not entry["host"]]
    part = plan["beside"]["parts"][0]
    part.update(machine="head", device="CUDA0", llama_device="CUDA0", mib=300, free_mib=7800, reserve_mib=1024 + 300)
    untold = compare(plan, found)
    assert untold["unknown"] == ["the head's log does not tell the draft model or projector of CUDA0 on head"]
    lone = dict.fromkeys(found["devices"][0], None)
    found["devices"].append(dict(lone, name="CUDA0", host=False, beside_mib=299.5))
    result = compare(plan, found)
    assert (result["problems"], result["warnings"], result["unknown"]) == ([], [], [])
    row = next(row for row in result["rows"] if row["llama_device"] == "CUDA0")
    assert (row["machine"], row["planned_layers"], row["planned_beside_mib"], row["beside_mib"]) == ("head", 0, 300, 299.5)
    found["devices"][-1]["beside_mib"] = 400.0
    assert [warning["machine"] for warning in compare(plan, found)["warnings"]] == ["head"]
    part["free_mib"] = 1400
    assert "reserve of 1024 MiB" in compare(plan, found)["problems"][0]["problem"]
    found["devices"][-1]["layers"] = 3
    assert "3 layers (0 planned)" in compare(plan, found)["problems"][0]["problem"]


def test_what_layers_take_besides_counts_against_the_margin(real: dict) -> None:
    """Adapters, and the context of layers that draft, lie with the layers: nothing is reserved for them."""
    plan = plan_of(real)
    plan["devices"][0]["beside_mib"] = 150
    assert compare(plan, real)["problems"], "150 MiB more than there is room for"
    real["devices"][0]["beside_mib"] = 90.0
    assert compare(plan, real)["problems"] == []


# -- what llama.cpp says over the workers, before the start -----------------------------------------------------------------

def answer_of(plan: dict, **more: float) -> Answer:
    """What llama.cpp says of a plan, rounded down, with more on the second device."""
    figures = [Figures(d["weights_mib"] - 1, d["kv_mib"], d["compute_mib"] - 0.4) for d in plan["devices"]]
    figures[1] = Figures(*(value + int(more.get(key, 0)) for key, value in zip(("weights", "kv", "compute"), dataclasses.astuple(figures[1]))))
    return Answer(tuple(figures), Figures(29, 0, 14.0), 0.75, build="b11434")


@pytest.fixture
def plan(real: dict) -> dict:
    return dict(plan_of(real), figures={"source": "asked", "build": "b11434"})


def test_a_word_that_is_as_planned_is_the_word_of_the_plan(plan: dict, real: dict) -> None:
    said = by_word(plan, answer_of(plan))
    assert (said["problems"], said["notes"]) == ([], [])
    assert said["plan"]["figures"] == {"source": "asked", "build": "b11434", "over_workers": True}
    row = compare(said["plan"], real)["rows"][1]
    assert row["word_weights_mib"] == plan["devices"][1]["weights_mib"] - 1 and row["planned_weights_mib"] == plan["devices"][1]["weights_mib"]
    assert "asked" not in plan["devices"][1], "what was given was changed"


@pytest.mark.parametrize("what", ["weights", "kv", "compute"])
def test_a_word_that_is_more_and_fits_is_a_warning(plan: dict, what: str) -> None:
    said = by_word(plan, answer_of(plan, **{what: 40}))
    assert said["problems"] == [] and len(said["notes"]) == 1
    warning = said["notes"][0]
    assert warning["machine"] == "worker2" and "(%d planned)" % plan["devices"][1][what + "_mib"] in warning["problem"] and warning["remedy"]


@pytest.mark.parametrize("what", ["weights", "kv", "compute"])
def test_a_word_that_leaves_no_margin_is_a_problem_with_both_figures(plan: dict, what: str) -> None:
    said = by_word(plan, answer_of(plan, **{what: 110}))
    assert said["notes"] == [] and len(said["problems"]) == 1
    problem = said["problems"][0]["problem"]
    planned_mib = sum(plan["devices"][1][key + "_mib"] for key in ("weights", "kv", "compute"))
    assert "(%d planned)" % plan["devices"][1][what + "_mib"] in problem and "MiB in all (%d planned)" % planned_mib in problem
    assert "when its reserve of 512 MiB is kept" in problem and "RPC1" in problem


def test_a_word_of_more_in_the_head_s_own_ram_is_a_note_and_counts_in_a_pool_that_is_its_ram(plan: dict) -> None:
    answer = dataclasses.replace(answer_of(plan), host=Figures(29, 0, 170.0))
    said = by_word(plan, answer)
    assert said["problems"] == [] and [(note["machine"], note["problem"]) for note in said["notes"]] == [
        ("head", "llama-server itself would hold 170.0 MiB of compute buffer (20 planned)")]
    plan["devices"][0].update(host_mib=60, free_mib=plan["devices"][0]["free_mib"] + 60)
    assert [problem["machine"] for problem in by_word(plan, answer)["problems"]] == ["worker1"]


@pytest.mark.parametrize(("kind", "noted"), [("cpu", True), ("cuda", False)])
def test_a_word_of_less_compute_is_a_note_where_nothing_was_by_formula(plan: dict, kind: str, noted: bool) -> None:
    said = by_word(asked(plan, kind), answer_of(plan, compute=-2))
    assert said["problems"] == [] and [note["machine"] for note in said["notes"]] == ["worker2"] * noted


def test_what_stands_beside_the_model_counts_in_the_margin(plan: dict) -> None:
    assert by_word(plan, answer_of(plan, compute=60))["problems"] == []
    plan["devices"][1]["beside_mib"] = 50
    assert len(by_word(plan, answer_of(plan, compute=60))["problems"]) == 1


def test_what_was_said_over_the_workers_fails_no_cluster_that_holds_it(plan: dict, real: dict) -> None:
    """Real weights that only the workers could tell of: a warning where they were said, a failure where they were not."""
    next(d for d in real["devices"] if d["name"] == "RPC1")["weights_mib"] += 40
    assert "weights" in compare(plan, real)["problems"][0]["problem"]
    result = compare(by_word(plan, answer_of(plan, weights=40))["plan"], real)
    assert result["problems"] == [] and "weights" in result["warnings"][0]["problem"]
    assert compare(by_word(plan, answer_of(plan, weights=20))["plan"], real)["problems"]
    # stand-ins can say nothing of the kind
    asked = by_word(plan, answer_of(plan, weights=40))["plan"]
    del asked["figures"]["over_workers"]
    assert compare(asked, real)["problems"]
