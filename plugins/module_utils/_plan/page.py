# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page of a plan shows: a picture to scale, the figures, the commands. templates/plan.html.j2 of the role cluster_plan prints it."""

from __future__ import annotations

import typing as t
import unicodedata
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import device_names
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.words import (
    beside_lines, device_name, devices_with_parts, layer_range, shared_device, sureness,
)

Mapping = t.Mapping[str, t.Any]
Endpoints = t.Mapping[t.Tuple[str, str], str]

# The picture, in its own units (pixels at full width); where its words stand beside its boxes is the template's.
WIDTH = 1000
MARGIN = 12
CARD_WIDTH = 388
PAD = 16
HEADER_HEIGHT = 46
ROW_HEIGHT = 84
BAR_HEIGHT = 28
CARD_GAP = 18
LEGEND_HEIGHT = 40
# What is missing may be many times a device: beyond this the bar is cut off, and its text has the figure.
LONGEST_OVERRUN = 0.6

PARTS = {
    "weights": "weights", "kv": "KV cache", "compute": "compute buffers", "beside": "beside the model", "host": "llama-server", "reserve": "reserve",
    "left": "left free", "used": "in use already",
}
# Those whose colour the figures on them need to be dark for.
_DARK = ("weights", "kv", "compute", "host")
POLICIES = {
    "fewest_machines": "as few machines as possible",
    "most_headroom": "as much room left as possible",
    "all_machines": "all machines",
    "named_machines": "the machines that were named",
}


def plain(value: t.Any) -> t.Any:
    """The same data with texts that are fit for a page: without control or direction characters. Escaping them is the template's."""
    if isinstance(value, str):
        # Cc: control; Cf: format, among them the ones that turn the direction of what follows; Cs: surrogates, not encodable
        return "".join(" " if c in "\t\n\r" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in value)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def number(value: t.Any) -> str:
    """A whole number in groups of three, with a real minus."""
    return "{:,}".format(int(value)).replace(",", "\u202f").replace("-", "\u2212")


def mib(value: t.Any) -> str:
    return number(value) + "\u00a0MiB"


def shortened(value: t.Any, length: int) -> str:
    """Text of at most so many characters; what was cut off stands in a title beside it."""
    full = str(value)
    return full if len(full) <= length else full[:length - 1] + "\u2026"


def counted(count: int, word: str) -> str:
    return "%d %s%s" % (count, word, "" if count == 1 else "s")


@dataclass
class Segment:
    """A part of a bar: what it is, its size in words, and the figure on it where there is room."""

    part: str
    title: str
    x: float
    width: float
    figure: str = ""
    dark: bool = False
    cut: bool = False


@dataclass
class Bar:
    """One device as it is drawn; sizes in MiB, the rest in units of the picture. ``llama_name`` is empty where it is not needed."""

    name: str
    llama_name: str
    description: str
    total: int
    parts: t.Sequence[t.Tuple[str, int]]
    missing: int
    layers: str
    left: str
    endpoint: str
    title: str = ""
    hint: str = ""
    kind: str = ""
    total_text: str = ""
    x: float = 0.0
    y: float = 0.0
    right: float = 0.0
    width: float = 0.0
    segments: t.List[Segment] = field(default_factory=list)
    over: t.Optional[Segment] = None


@dataclass
class Card:
    """One machine as it is drawn."""

    name: str
    role: str
    kind: str
    note: str
    bars: t.List[Bar]
    shown: str = ""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def height(self) -> int:
        """Of the box, in units of the picture."""
        return HEADER_HEIGHT + ROW_HEIGHT * max(1, len(self.bars)) - 6 + (18 if self.note else 0)


def device_bar(device: Mapping, endpoint: str) -> Bar:
    """A planned device. What others hold stands at the right end, so that all bars begin with the model."""
    free, total, left = (int(device[key + "_mib"]) for key in ("free", "total", "headroom"))
    parts = [(part, int(device.get(part + "_mib") or 0)) for part in ("weights", "kv", "compute", "beside", "host")]
    parts += [("left", max(0, left)), ("reserve", int(device["reserve_mib"])), ("used", max(0, total - free))]
    return Bar(str(device["device"]), str(device["llama_device"]), str(device.get("description") or ""), total, parts, max(0, -left),
               layer_range(device), mib(left) + " left", endpoint)


def idle_bar(name: str, entry: Mapping) -> Bar:
    """A device that the plan does without."""
    total = int(entry.get("total_mib", entry.get("free_mib", 0)))
    free = int(entry.get("free_mib", total))
    return Bar(name, "", str(entry.get("description") or ""), total, [("left", min(free, total)), ("used", max(0, total - free))], 0, "not needed",
               mib(free) + " free", "")


def cards_of(plan: Mapping, machines: t.Sequence[Mapping], endpoints: Endpoints) -> t.List[Card]:
    """The head, the workers in the order of the plan, then what is not needed."""
    head = str(plan["host"]["machine"])
    planned: t.Dict[str, t.List[Bar]] = {}
    for device in devices_with_parts(plan):
        key = (str(device["machine"]), str(device["device"]))
        planned.setdefault(key[0], []).append(device_bar(device, endpoints.get(key, "")))
    by_name = {str(machine["name"]): machine for machine in machines}
    cards = []
    for name in dict.fromkeys([head, *planned, *by_name]):
        machine = by_name.get(name, {})
        bars = list(planned.get(name, []))
        drawn = {gauge.name for gauge in bars}
        bars += [idle_bar(label, entry) for label, entry in zip(device_names(machine), machine.get("devices") or []) if label not in drawn]
        if name == head:
            ram, shared = machine.get("ram_free_mib"), shared_device(plan)
            note = "RAM: %s of llama-server's own%s" % (mib(plan["host"]["total_mib"]), ", the same as %s's" % shared["device"] if shared else (
                ", of %s free" % mib(ram) if ram is not None else ""))
            cards.append(Card(name, "head \u00b7 llama-server", "head", note, bars))
        elif name in planned:
            count = len(planned[name])
            cards.append(Card(name, "worker \u00b7 %s" % ("rpc-server" if count == 1 else "%d \u00d7 rpc-server" % count), "worker", "", bars))
        else:
            cards.append(Card(name, "not needed", "idle", "", bars))
    return cards


def place_bar(gauge: Bar, x: float, y: float, width: float, scale: float) -> None:
    """Say where on the picture a device and its parts are; ``scale`` is by MiB."""
    gauge.x, gauge.y, gauge.right, gauge.width = x, y, x + width, max(1.0, gauge.total * scale)
    title = gauge.name if not gauge.llama_name or gauge.llama_name == gauge.name else "%s as %s" % (gauge.name, gauge.llama_name)
    gauge.total_text = mib(gauge.total)
    gauge.hint = ", ".join(word for word in (title, gauge.description, gauge.total_text) if word)
    gauge.title = shortened(title, 24)
    room = int(width / 8.2) - 12 - min(len(title), 24)
    kind = gauge.description
    if len(kind) > room and kind.startswith("NVIDIA "):
        kind = kind[len("NVIDIA "):]
    gauge.kind = shortened(kind, room) if kind and room > 6 else ""
    at = x
    for part, size in gauge.parts:
        # what is far beyond the device is cut off
        wide = min(size * scale, gauge.right - at)
        if size <= 0 or wide <= 0:
            continue
        figure = number(size) if wide >= 7.4 * len(number(size)) + 6 else ""
        gauge.segments.append(Segment(part, "%s: %s" % (PARTS[part], mib(size)), at, max(wide, 1.2), figure, part in _DARK, wide > 6 and part != "left"))
        at += wide
    if gauge.missing:
        wide = gauge.missing * scale
        gauge.left = "%s missing%s" % (mib(gauge.missing), " (bar cut off)" if wide > width - gauge.width + 1 else "")
        gauge.over = Segment("missing", "missing: " + mib(gauge.missing), x + gauge.width, max(min(wide, width - gauge.width), 2))


def picture(plan: Mapping, machines: t.Sequence[Mapping], endpoints: Endpoints) -> t.Dict[str, t.Any]:
    """The head on the left, its workers on the right, below them what is not needed; what leads from one to the other, and the colours in words."""
    cards = cards_of(plan, machines, endpoints)
    head, others = cards[0], cards[1:]
    card_width = CARD_WIDTH if others else WIDTH - 2 * MARGIN
    bars = [gauge for card in cards for gauge in card.bars]
    longest = max([gauge.total for gauge in bars] or [1])
    reach = max([gauge.total + min(gauge.missing, longest * LONGEST_OVERRUN) for gauge in bars] or [1])
    scale = (card_width - 2 * PAD) / max(1.0, reach)
    body = max(head.height, sum(card.height for card in others) + CARD_GAP * max(0, len(others) - 1))
    right_x, trunk, middle = WIDTH - MARGIN - card_width, MARGIN + card_width + 22, HEADER_HEIGHT + 20 + BAR_HEIGHT / 2
    links, y = [], float(MARGIN)
    for card in cards:
        card.shown, card.width = shortened(card.name, 20), card_width
        card.x, card.y = (float(MARGIN), float(MARGIN)) if card is head else (right_x, y)
        for position, gauge in enumerate(card.bars):
            place_bar(gauge, card.x + PAD, card.y + HEADER_HEIGHT + ROW_HEIGHT * position, card_width - 2 * PAD, scale)
            if card is not head and gauge.llama_name:
                label = gauge.endpoint or "RPC"
                links.append({"y": y + middle + ROW_HEIGHT * position, "label": shortened(label, 22),
                              "title": "%s to %s, %s: %s" % (head.name, card.name, gauge.name, label)})
        y += 0 if card is head else card.height + CARD_GAP
    shown = set(PARTS) - ({"beside", "host"} - {part for gauge in bars for part, size in gauge.parts if size})
    colours, x = [], float(MARGIN)
    for part, label in [*PARTS.items(), ("missing", "missing")]:
        if part in shown or (part == "missing" and any(gauge.missing for gauge in bars)):
            colours.append({"part": part, "label": label, "x": x})
            x += 20 + 7.4 * len(label) + 24
    described = ["%s, %s: %s, %s." % (d["machine"], d["device"], layer_range(d), "%d MiB %s" % (
        abs(d["headroom_mib"]), "missing" if d["headroom_mib"] < 0 else "left")) for d in plan["devices"]]
    return {
        "width": WIDTH, "height": MARGIN * 2 + body + LEGEND_HEIGHT, "bar_height": BAR_HEIGHT, "pad": PAD, "header_height": HEADER_HEIGHT,
        "description": " ".join(["%s and %s to scale in memory, coloured by what they hold." % (
            counted(len(cards), "machine"), counted(len(bars), "device")), *described]),
        "links": links, "left": MARGIN + card_width, "top": MARGIN + middle, "trunk": trunk, "right": right_x,
        "cards": [dict(asdict(card), height=card.height) for card in cards], "colours": colours, "colours_y": MARGIN + body + 22,
    }


def size_of(size_bytes: t.Any) -> str:
    return "%.1f\u00a0GB" % (int(size_bytes) / 1e9) if int(size_bytes) >= 1e8 else "%.1f\u00a0MB" % (int(size_bytes) / 1e6)


def facts_line(plan: Mapping, model: Mapping) -> str:
    parts = [str(plan["architecture"])]
    if model.get("n_parameters"):
        parts.append("%.1f billion weights" % (int(model["n_parameters"]) / 1e9))
    if model.get("file_type"):
        parts.append(str(model["file_type"]))
    if model.get("file_size_bytes"):
        parts.append(size_of(model["file_size_bytes"]))
    parts += [counted(int(plan["n_layers"]), "layer"), "a context of %s tokens" % number(plan["context_size"])]
    return " \u00b7 ".join(parts)


def verdict(plan: Mapping) -> t.Dict[str, t.Any]:
    """Whether it fits, in paragraphs, and what would make it fit."""
    if plan["fits"]:
        where = " on %s with %s: %s." % (counted(len(plan["machines"]), "machine"), counted(len(plan["devices"]), "device"), ", ".join(plan["machines"]))
        if plan["devices"]:
            left = "The fullest device has %s left beyond its reserve." % mib(plan["headroom_mib"])
        else:
            left = "No machine has a device: the head\u2019s CPU runs every layer, and %s." % (
                "how much RAM it has free is not known" if plan["headroom_mib"] is None else "%s of its free RAM are left" % mib(plan["headroom_mib"]))
        lines = ["%s %s could hold a context of up to %s tokens." % (
            left, "These machines" if len(plan["machines"]) > 1 else "This machine", number(plan["largest_context"]))]
        if plan["unused_machines"]:
            lines.append("Not needed: %s." % ", ".join(plan["unused_machines"]))
        return {"fits": True, "where": where, "lines": lines, "ways_out": []}
    lines = [str(problem).rstrip(".") + "." for problem in plan["problems"]]
    short = plan.get("shortfall")
    if short and short["total_missing_mib"] > short["missing_mib"]:
        lines.append("%s are missing in all." % mib(short["total_missing_mib"]))
    return {"fits": False, "where": "", "lines": lines, "ways_out": [way["text"] for way in plan["ways_out"]]}


def table(plan: Mapping, endpoints: Endpoints) -> t.Dict[str, t.Any]:
    """The figures of each device in MiB: the titles of words, those of numbers, and the rows."""
    columns = {"weights_mib": "weights", "kv_mib": "KV", "compute_mib": "compute", "beside_mib": "beside", "host_mib": "llama-server",
               "reserve_mib": "reserve", "free_mib": "was free"}
    devices = devices_with_parts(plan)
    columns = {key: label for key, label in columns.items() if key not in ("beside_mib", "host_mib") or any(device.get(key) for device in devices)}
    return {
        "words": ["machine", "device", "endpoint", "layers"], "numbers": [*columns.values(), "left"],
        "rows": [{
            "machine": str(device["machine"]),
            "words": [device_name(device), endpoints.get((str(device["machine"]), str(device["device"])), "") or "\u2013", layer_range(device)],
            "numbers": [number(device.get(key) or 0) for key in columns],
            "left": number(device["headroom_mib"]), "minus": device["headroom_mib"] < 0,
        } for device in devices],
    }


def ram_line(plan: Mapping) -> str:
    """What the head's own RAM is for."""
    host, shared = plan["host"], shared_device(plan)
    ram = ", ".join("%s %s" % (label, mib(host[key])) for label, key in (
        ("input embeddings" if plan["devices"] else "weights", "weights_mib"), ("KV cache", "kv_mib"), ("compute buffers", "compute_mib"),
        ("results", "output_mib"), ("process", "process_mib"), ("prompt cache", "prompt_cache_mib"),
        ("context checkpoints", "checkpoints_mib"), ("beside the model", "extra_mib")) if host.get(key))
    return "%s needs %s of RAM%s: %s. Chosen: %s." % (
        "llama-server itself" if shared else "Besides, %s" % host["machine"], mib(host["total_mib"]),
        ", of the memory its device shares" if shared else "", ram, POLICIES.get(plan["policy"], plan["policy"]))


def plan_page(plan: Mapping, machines: t.Sequence[Mapping], commands: t.Sequence[Mapping] = (), model: t.Optional[Mapping] = None,
              source: str = "") -> t.Dict[str, t.Any]:
    """All that the template prints, in texts that it has to escape."""
    model = model or {}
    endpoints = {(str(c["machine"]), str(c["device"])): str(c["endpoint"]) for c in commands if c.get("device")}
    name = str(model.get("name") or "") or source.rstrip("/").rpartition("/")[2] or "a model"
    page: t.Dict[str, t.Any] = plain({
        "title": "Plan for %s" % name,
        "facts": facts_line(plan, model),
        "source": source,
        "verdict": verdict(plan),
        "picture": picture(plan, machines, endpoints),
        "table": table(plan, endpoints),
        "beside": [*beside_lines(plan), ram_line(plan)],
        "commands": [{"of": " \u00b7 ".join(filter(None, [str(c["unit"]), str(c.get("device") or "")])), "machine": str(c["machine"]),
                      "lines": str(c["text"]).splitlines()} for c in commands],
        "no_commands": "the commands were not given" if plan["fits"] else "the model does not fit",
        "sure": sureness(plan),
    })
    return page
