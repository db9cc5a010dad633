# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
import sparse_gguf
from ansible.errors import AnsibleFilterError
from markupsafe import escape

from ansible_collections.herd.llama_cpp.plugins.filter.plan_page import FilterModule as PageFilters
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import plan_commands
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.page import number, plain, shortened
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import plan_from_facts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.words import beside_lines, layer_range
from plan_page import SERVER, TEMPLATE, addressed, rendered

data_of = PageFilters().filters()["plan_page"]

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert('x')</script><!-- ]]>&lt; \u202e\x00\x1b[31m"


def machines(count: int, gpus: int = 1, **device: Any) -> list:
    return [{"name": "head" if i == 0 else "worker%d" % i, "ram_free_mib": 64000, "devices": [
        dict({"name": "CUDA%d" % g, "total_mib": 24564, "free_mib": 24000, "description": "NVIDIA GeForce RTX 4090"}, **device)
        for g in range(gpus)]} for i in range(count)]


def made(shape: str, them: list, **options: Any) -> tuple:
    plan = plan_from_facts(sparse_gguf.facts(shape, 40_000_000_000), them, host=them[0]["name"], **options)
    them, server = addressed(them), {**SERVER, "model": "/models/my model.gguf"}
    page = rendered(data_of(plan, them, server, model=sparse_gguf.facts(shape, 40_000_000_000), source="https://models.example/a.gguf"))
    return plan, plan_commands(plan, server, them), page


class Checker(HTMLParser):
    """Elements that are opened and closed in order, and what would reach the network or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list = []
        self.seen: list = []
        self.attributes: list = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert not {"script", "link", "img", "iframe", "object", "foreignobject", "image", "use"} & set(checker.seen)
    assert not [a for a in checker.attributes if a[1].startswith("on") or a[1] in ("href", "src", "xlink:href")]
    # url() only points into the page
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {"#stripes"} and "@import" not in page
    return checker


def picture(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search(r"<svg .*</svg>", page, re.S).group())


CASES = {
    "alone": ("llama-8b", machines(1), {}),
    "three": ("llama-70b-q6", machines(3), {}),
    "left-out": ("llama-70b-q4", machines(4), {}),
    "two-gpus-each": ("llama-405b", machines(7, 2), {"policy": "all_machines"}),
    "does-not-fit": ("llama-70b-q6", machines(2), {}),
    "not-at-all": ("llama-405b", machines(1), {}),
    "head-without-gpu": ("llama-70b-q4", [dict(machines(1)[0], devices=[])] + machines(3)[1:], {}),
}
each_case = pytest.mark.parametrize("case", CASES)


def case_of(case: str) -> tuple:
    shape, them, options = CASES[case]
    return (them,) + made(shape, them, **options)


@each_case
def test_the_page_is_whole_and_alone(case: str) -> None:
    them, plan, _commands, page = case_of(case)
    checked(page)
    svg = picture(page)
    assert svg.get("role") == "img"
    ids = {element.get("id") for element in svg.iter()}
    assert set(svg.get("aria-labelledby").split()) <= ids
    assert svg.find(SVG + "title").text and svg.find(SVG + "desc").text
    for machine in them:
        assert machine["name"] in page
    assert "may differ by a factor" not in page, "formulas are equal"
    assert ("It fits" in page) is plan["fits"] and ("It does not fit" in page) is not plan["fits"]
    assert "prefers-color-scheme: dark" in page and "@media print" in page


@each_case
def test_the_picture_is_to_scale_and_inside_its_frame(case: str) -> None:
    _them, plan, _commands, page = case_of(case)
    svg = picture(page)
    _x, _y, width, height = (float(n) for n in svg.get("viewBox").split())
    for rect in svg.iter(SVG + "rect"):
        if rect.get("x") is None:
            continue
        assert float(rect.get("x")) >= 0 and float(rect.get("x")) + float(rect.get("width")) <= width
        assert float(rect.get("y")) + float(rect.get("height")) <= height
    frames = [float(r.get("width")) for r in svg.iter(SVG + "rect") if r.get("class") == "frame"]
    assert max(frames) - min(frames) < 0.2, "equal devices are drawn equally wide"
    per_mib = frames[0] / 24564
    weights = [float(r.get("width")) for r in svg.iter(SVG + "rect") if (r.get("class") or "").split()[:2] == ["weights", "cut"]]
    assert len(weights) == len(plan["devices"])
    if case != "not-at-all":
        assert sorted(weights) == pytest.approx(sorted(d["weights_mib"] * per_mib for d in plan["devices"]), abs=0.2)


@each_case
def test_the_commands_are_those_of_the_plan(case: str) -> None:
    _them, plan, commands, page = case_of(case)
    if not plan["fits"]:
        assert commands == [] and "Nothing: the model does not fit" in page
        return
    server, workers = commands[0], commands[1:]
    assert server["unit"] == "llama-server.service" and server["machine"] == "head"
    assert [(w["machine"], w["device"]) for w in workers] == [(r["machine"], r["device"]) for r in plan["rpc"]]
    assert len({w["endpoint"] for w in workers}) == len(workers)
    argv = server["argv"]
    if workers:
        assert argv[argv.index("--rpc") + 1] == ",".join(w["endpoint"] for w in workers)
        assert argv.index("--rpc") < argv.index("--device"), "llama-server looks devices up as it reads their names"
    else:
        assert "--rpc" not in argv
    for command in commands:
        assert shlex.split(command["text"].replace("\\\n", " ")) == command["argv"]
    for worker in workers:
        assert page.count(worker["endpoint"]) >= 3, "in the picture, in the table and in the command"


def test_a_shortfall_and_the_ways_out_are_said() -> None:
    plan, _commands, page = made("llama-70b-q6", machines(2))
    assert number(plan["shortfall"]["missing_mib"]) + "\u00a0MiB missing" in page
    assert all(str(escape(way["text"])) in page for way in plan["ways_out"]) and plan["ways_out"]


@pytest.mark.parametrize(("gpus_of_head", "own"), [(1, True), (0, False)])
def test_a_gpu_of_the_heads_own_may_leave_work_to_its_cpu(gpus_of_head: int, own: bool) -> None:
    them = machines(2)
    them[0]["devices"] = them[0]["devices"][:gpus_of_head]
    plan, _commands, page = made("llama-8b", them)
    assert plan["confidence"]["head_gpu"] is own
    assert ("The head has a GPU of its own" in page) is own


def test_machines_that_are_not_needed_are_drawn_as_such() -> None:
    plan, _commands, page = made("llama-70b-q4", machines(4))
    assert plan["unused_machines"] == ["worker2", "worker3"]
    idle = [group for group in picture(page).iter(SVG + "g") if group.get("class") == "idle"]
    assert [group.find(SVG + "title").text for group in idle] == ["worker2, not needed", "worker3, not needed"]


def test_the_same_plan_makes_the_same_page() -> None:
    assert made("llama-70b-q6", machines(3))[2] == made("llama-70b-q6", machines(3))[2]


def test_nothing_from_an_inventory_becomes_markup() -> None:
    them = machines(3, description=HOSTILE)
    for machine in them[1:]:
        machine["name"] += HOSTILE
    them[0]["devices"][0]["name"] = HOSTILE
    plan = plan_from_facts(sparse_gguf.facts("llama-70b-q6"), them, host="head")
    them = [dict(machine, address=HOSTILE, worker={"bin_dir": HOSTILE, "extra_args": [HOSTILE]}) for machine in them]
    server = {**SERVER, "model": HOSTILE, "alias": HOSTILE, "extra_args": [HOSTILE], "bin_dir": HOSTILE}
    page = rendered(data_of(plan, them, server, model={"name": HOSTILE, "file_type": HOSTILE}, source=HOSTILE))
    checked(page)
    picture(page)
    assert "<script" not in page and "\u202e" not in page and "\x00" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page
    page.encode("utf-8")


def test_nothing_is_printed_without_being_escaped() -> None:
    printed = re.findall(r"\{\{.*?\}\}", TEMPLATE.read_text(encoding="utf-8"))
    assert len(printed) > 50 and [one for one in printed if not re.fullmatch(r"\{\{ [^{}]+ \| e \}\}", one)] == []


def test_surrogates_do_not_break_the_encoding() -> None:
    assert plain("a\udcffb\tc") == "a\ufffdb c"


def test_long_names_are_cut_and_still_there() -> None:
    assert shortened("x" * 50, 10) == "x" * 9 + "\u2026"
    them = machines(3)
    them[1]["name"] = "a-machine-with-a-very-long-name.of.some.company.example"
    assert them[1]["name"] in made("llama-70b-q6", them)[2]


@pytest.mark.parametrize(("device", "words"), [
    ({"n_layers": 3, "first_layer": 0, "last_layer": 2, "output": False}, "layers 0\u20132"),
    ({"n_layers": 1, "first_layer": 7, "last_layer": 7, "output": True}, "layer 7 + output"),
    ({"n_layers": 0, "first_layer": None, "last_layer": None, "output": True}, "output only"),
])
def test_layers_in_words(device: dict, words: str) -> None:
    assert layer_range(device) == words


def test_ports_follow_the_machines_list_and_can_be_given() -> None:
    them = machines(2, 3)
    plan = plan_from_facts(sparse_gguf.facts("llama-70b-q6"), them, host="head", policy="all_machines")
    found = plan_commands(plan, SERVER, addressed(them, worker1={"port": 6000}))
    ports = {c["device"]: c["endpoint"] for c in found if c["device"]}
    assert ports == {"CUDA%d" % n: "198.18.0.11:%d" % (6000 + n) for n in range(3)}


def test_what_cannot_be_done_is_an_error_of_the_filter() -> None:
    them = machines(3)
    plan = plan_from_facts(sparse_gguf.facts("llama-70b-q6"), them, host="head")
    with pytest.raises(AnsibleFilterError, match="address of worker1 is not given"):
        data_of(plan, them, SERVER)
    with pytest.raises(AnsibleFilterError, match="what cluster_plan returns"):
        data_of("a plan", them)
    with pytest.raises(AnsibleFilterError, match="as a list"):
        data_of(plan, "head")


@pytest.mark.parametrize(("ram", "words"), [
    (64000, "of its free RAM are left"), (None, "how much RAM it has free is not known"), (3000, "MiB more than are free")])
def test_a_machine_without_any_device(ram: int | None, words: str) -> None:
    """The head's CPU runs the model: no device to draw, and a RAM that may not be known."""
    head = dict({"name": "head", "devices": []}, **({} if ram is None else {"ram_free_mib": ram}))
    plan, commands, page = made("llama-8b", [head], head_cpu=True)
    assert plan["fits"] is (ram != 3000)
    assert words in page and "fullest device" not in page and "KV cache" in page
    assert [command["unit"] for command in commands] == (["llama-server.service"] if plan["fits"] else [])


@pytest.mark.parametrize("head_device", [True, False])
def test_what_stands_beside_the_model_is_on_the_page(head_device: bool) -> None:
    them = machines(3)
    if not head_device:
        them[0]["devices"] = []
    headers = [{"for": "draft", "header": sparse_gguf.facts("smollm2-135m"), "file": HOSTILE + "/d&.gguf"},
               {"for": "lora", "header": {"metadata": {}, "tensors": [
                   {"name": "blk.1.ffn_up.weight.lora_b", "shape": [16, 8192], "type": "F16", "size_bytes": 1 << 20}]}, "file": "/m/a.gguf"}]
    plan, _commands, page = made("llama-70b-q4", them, beside={"words": {"draft_model": "d"}, "headers": headers})
    checked(page)
    part = plan["beside"]["parts"][0]
    where = "CUDA0 of head" if head_device else "the RAM of head"
    assert "<p class=\"soft\" style=\"margin-top:10px\">Draft model d&amp;.gguf: %s, %d MiB, a bound.</p>" % (where, part["mib"]) in page
    assert "projector" not in page and "What stands beside the model is planned by upper bounds." in page
    if not head_device:
        assert "beside the model %s\u00a0MiB" % number(plan["host"]["extra_mib"]) in page
    shares = [element for element in picture(page).iter(SVG + "rect") if "beside" in element.get("class", "").split()]
    assert '<th scope="col" class="n">beside</th>' in page and len(shares) >= 1
    plain = made("llama-70b-q4", machines(3))[2]
    assert "beside the model" not in plain and '<th scope="col" class="n">beside</th>' not in plain


def test_a_draft_model_s_line_has_the_word_of_llama_cpp() -> None:
    part = {"for": "draft", "file": "d.gguf", "machine": "head", "device": "CUDA0", "mib": 320, "least_mib": 92,
            "asked": {"weights_mib": 92, "kv_mib": 180, "compute_mib": 20.6}}
    assert beside_lines({"beside": {"parts": [part]}}) == ["Draft model d.gguf: CUDA0 of head, 320 MiB, a bound; llama.cpp says 293 MiB of RAM."]
    del part["asked"]
    assert beside_lines({"beside": {"parts": [dict(part, mib=92)], "own_layers_draft": True}}) == [
        "Draft model d.gguf: CUDA0 of head, 92 MiB, its weights alone.",
        "The model's own layers that draft: a context of their own, beside the model where they lie."]
