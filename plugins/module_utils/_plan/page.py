# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as one HTML page: a picture to scale, the figures, the commands. No script, no network, no date."""

from __future__ import annotations

import html
import typing as t
import unicodedata

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.commands import device_names

Mapping = t.Mapping[str, t.Any]

# The picture, in its own units (pixels at full width).
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

PARTS = (
    ("weights", "weights"),
    ("kv", "KV cache"),
    ("compute", "compute buffers"),
    ("beside", "beside the model"),
    ("host", "llama-server"),
    ("reserve", "reserve"),
    ("left", "left free"),
    ("used", "in use already"),
)
LABELS = dict(PARTS)
POLICIES = {
    "fewest_machines": "as few machines as possible",
    "most_headroom": "as much room left as possible",
    "all_machines": "all machines",
    "named_machines": "the machines that were named",
}

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --text: #1f2328; --soft: #57606a; --card: #f6f8fa; --edge: #d0d7de; --empty: #ffffff; --link: #8250df;
  --weights: #4493e0; --kv: #ec8f3c; --compute: #3fa86b; --beside: #d2b93f; --host: #b98bd9; --reserve: #b6bec8; --used: #7d8590; --missing: #cf222e;
  --on: #0b1016; --good: #1a7f37; --goodback: #dafbe1; --bad: #a40e26; --badback: #ffebe9; --code: #f6f8fa }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --text: #e6edf3; --soft: #a2acb7; --card: #161b22; --edge: #3d444d; --empty: #0d1117; --link: #b388ff;
  --weights: #4a96e8; --kv: #e3873a; --compute: #43ab6e; --beside: #d2b93f; --host: #b98bd9; --reserve: #59636e; --used: #3d444d; --missing: #f85149;
  --on: #05080c; --good: #56d364; --goodback: #12261e; --bad: #ff7b72; --badback: #2d1416; --code: #161b22 } }
@media print { :root { color-scheme: light;
  --page: #ffffff; --text: #000000; --soft: #444c56; --card: #ffffff; --edge: #8c959f; --empty: #ffffff; --link: #6639ba;
  --weights: #4493e0; --kv: #ec8f3c; --compute: #3fa86b; --beside: #d2b93f; --host: #b98bd9; --reserve: #b6bec8; --used: #7d8590; --missing: #cf222e;
  --on: #0b1016; --good: #1a7f37; --goodback: #ffffff; --bad: #a40e26; --badback: #ffffff; --code: #ffffff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif }
main { max-width: 1048px; margin: 0 auto; padding: 28px 24px 48px }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere }
h2 { font-size: 18px; margin: 32px 0 10px }
p { margin: 0 0 10px } .soft { color: var(--soft) } .facts { overflow-wrap: anywhere }
.verdict { display: block; margin: 16px 0 20px; padding: 10px 16px; border-left: 5px solid; border-radius: 6px }
.verdict p:last-child, .verdict ul:last-child { margin-bottom: 0 }
.verdict strong { font-size: 17px } .verdict ul { margin: 6px 0; padding-left: 22px }
.yes { border-color: var(--good); background: var(--goodback) } .yes strong { color: var(--good) }
.no { border-color: var(--bad); background: var(--badback) } .no strong { color: var(--bad) }
figure { margin: 0 } figure svg { display: block; width: 100%; height: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { padding: 5px 8px; border-bottom: 1px solid var(--edge); text-align: left; white-space: nowrap }
th { color: var(--soft); font-weight: 600 } .n { text-align: right }
tbody th { color: var(--text) } td.minus { color: var(--bad); font-weight: 600 }
h3 { font-size: 14px; margin: 16px 0 4px; overflow-wrap: anywhere } h3 span { color: var(--soft); font-weight: 400 }
pre { margin: 0; padding: 10px 12px; background: var(--code); border: 1px solid var(--edge); border-radius: 6px;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre-wrap; overflow-wrap: anywhere }
ul { padding-left: 22px; margin: 0 } li { margin: 2px 0 }
.card { fill: var(--card); stroke: var(--edge) } .head .card { stroke: var(--text); stroke-width: 1.5 }
.idle .card { fill: none; stroke-dasharray: 5 5 }
.box { fill: var(--empty); stroke: none } .frame { fill: none; stroke: var(--text); stroke-width: 1.25 } .idle .frame { stroke: var(--soft) }
.weights { fill: var(--weights) } .kv { fill: var(--kv) } .compute { fill: var(--compute) }
.beside { fill: var(--beside) } .host { fill: var(--host) } .reserve { fill: var(--reserve) }
.used { fill: var(--used) } .left { fill: var(--empty) }
.missing { fill: url(#stripes); stroke: var(--missing); stroke-width: 1.25 } .stripe { fill: var(--missing) } .over { fill: var(--card); opacity: .45 }
.swatch { stroke: var(--text); stroke-width: .75 }
.cut { stroke: var(--page); stroke-width: 1 }
svg text { fill: var(--text); font-size: 13px } svg .name { font-size: 16px; font-weight: 600 } svg .small { fill: var(--soft); font-size: 12.5px }
svg .on { fill: var(--on); font-size: 12px; font-weight: 600 } svg .in { font-size: 12px }
svg .strong { font-weight: 600 } svg .minus { fill: var(--bad); font-weight: 600 }
svg .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: 12px }
svg .end { text-anchor: end } svg .mid { text-anchor: middle }
.link { fill: none; stroke: var(--link); stroke-width: 2 } .tip { fill: var(--link) }
@media (max-width: 700px) { main { padding: 16px 12px 32px } figure { overflow-x: auto } figure svg { min-width: 760px } }
@media print { @page { margin: 12mm } body { font-size: 10.5pt } main { max-width: none; padding: 0 }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact }
  figure, tr, pre, .verdict { break-inside: avoid } h2, h3 { break-after: avoid } .wide { overflow: visible }
  table { font-size: 8.5pt } th, td { padding: 3px 5px } figure svg { max-height: 180mm } pre { font-size: 8pt } }
"""


def text(value: t.Any) -> str:
    """Anything from outside, fit for an element's text or an attribute: escaped, without control or direction characters."""
    # Cc: control; Cf: format, among them the ones that turn the direction of what follows; Cs: surrogates, not encodable
    plain = "".join(" " if c in "\t\n\r" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in str(value))
    return html.escape(plain, quote=True)


def number(value: t.Any) -> str:
    """A whole number in groups of three, with a real minus."""
    return "{:,}".format(int(value)).replace(",", "\u202f").replace("-", "\u2212")


def mib(value: t.Any) -> str:
    return number(value) + "\u00a0MiB"


def shortened(value: t.Any, length: int) -> str:
    """Escaped text of at most so many characters; what was cut off stands in a title beside it."""
    full = str(value)
    return text(full if len(full) <= length else full[:length - 1] + "\u2026")


def layer_range(device: Mapping) -> str:
    """The layers of a device in words."""
    count, output = int(device["n_layers"]), bool(device["output"])
    if not count:
        return "output only" if output else "no layer"
    first, last = device["first_layer"], device["last_layer"]
    words = "layer %d" % first if count == 1 else "layers %d\u2013%d" % (first, last)
    return words + " + output" if output else words


def shared_device(plan: Mapping) -> t.Optional[Mapping]:
    """The head's device out of whose memory llama-server's own comes, None where that is RAM besides."""
    return next((device for device in plan["devices"] if device.get("host_mib")), None)


def devices_with_parts(plan: Mapping) -> t.List[t.Dict[str, t.Any]]:
    """The plan's devices, with what lies there by itself (a draft model, a projector) beside the model and not as reserved."""
    devices = []
    for device in plan["devices"]:
        lone = sum(int(part["mib"]) for part in (plan.get("beside") or {}).get("parts") or []
                   if (part["machine"], part["device"]) == (device["machine"], device["device"]))
        devices.append(dict(device, beside_mib=int(device.get("beside_mib") or 0) + lone, reserve_mib=int(device["reserve_mib"]) - lone))
    return devices


def beside_lines(plan: Mapping) -> t.List[str]:
    """What stands beside the model, one line each: what it is, where it lies, what it takes."""
    lines = []
    for part in (plan.get("beside") or {}).get("parts") or []:
        what = "%s %s" % ({"draft": "Draft model", "mmproj": "Projector"}.get(part["for"], "Adapter"), str(part["file"]).rpartition("/")[2])
        if part["for"] == "lora":
            lines.append("%s: beside the layers that it changes, %d MiB and its part of their compute buffers." % (what.rstrip(), part["mib"]))
            continue
        sure = "its weights alone" if part["mib"] == part.get("least_mib") else "a bound"
        word = "; llama.cpp says %.0f MiB of RAM" % sum(part["asked"].values()) if part.get("asked") else ""
        lines.append("%s: %s of %s, %d MiB, %s%s." % (what.rstrip(), part["device"] or "the RAM", part["machine"], part["mib"], sure, word))
    if (plan.get("beside") or {}).get("own_layers_draft"):
        lines.append("The model's own layers that draft: a context of their own, beside the model where they lie.")
    return lines


class Bar(t.NamedTuple):
    """One device as it is drawn."""

    name: str
    llama_name: str
    description: str
    total: int
    parts: t.Tuple[t.Tuple[str, int], ...]
    missing: int
    layers: str
    left: int
    endpoint: str


class Card(t.NamedTuple):
    """One machine as it is drawn."""

    name: str
    role: str
    kind: str
    note: str
    bars: t.Tuple[Bar, ...]

    @property
    def height(self) -> int:
        """Of the box, in units of the picture."""
        return HEADER_HEIGHT + ROW_HEIGHT * max(1, len(self.bars)) - 6 + (18 if self.note else 0)


def device_bar(device: Mapping, endpoint: str) -> Bar:
    """A planned device. What others hold stands at the right end, so that all bars begin with the model."""
    free, total = int(device["free_mib"]), int(device["total_mib"])
    left = int(device["headroom_mib"])
    parts = [(part, int(device[part + "_mib"])) for part in ("weights", "kv", "compute", "beside")]
    parts += [("host", int(device.get("host_mib") or 0)), ("left", max(0, left)), ("reserve", int(device["reserve_mib"])), ("used", max(0, total - free))]
    return Bar(str(device["device"]), str(device["llama_device"]), str(device.get("description") or ""), total, tuple(parts),
               max(0, -left), layer_range(device), left, endpoint)


def idle_bar(name: str, entry: Mapping) -> Bar:
    """A device that the plan does without."""
    total = int(entry.get("total_mib", entry.get("free_mib", 0)))
    free = int(entry.get("free_mib", total))
    return Bar(name, "", str(entry.get("description") or ""), total, (("left", min(free, total)), ("used", max(0, total - free))), 0,
               "not needed", free, "")


def cards_of(plan: Mapping, machines: t.Sequence[Mapping], endpoints: t.Mapping[t.Tuple[str, str], str]) -> t.List[Card]:
    """The head, the workers in the order of the plan, then what is not needed."""
    head = str(plan["host"]["machine"])
    planned: t.Dict[str, t.List[Bar]] = {}
    for device in devices_with_parts(plan):
        key = (str(device["machine"]), str(device["device"]))
        planned.setdefault(key[0], []).append(device_bar(device, endpoints.get(key, "")))
    by_name = {str(machine["name"]): machine for machine in machines}
    names = [head] + [name for name in planned if name != head] + [name for name in by_name if name != head and name not in planned]
    cards = []
    for name in names:
        machine = by_name.get(name, {})
        bars = list(planned.get(name, []))
        drawn = {gauge.name for gauge in bars}
        bars += [idle_bar(label, entry) for label, entry in zip(device_names(machine), machine.get("devices") or []) if label not in drawn]
        if name == head:
            ram = machine.get("ram_free_mib")
            own, shared = mib(plan["host"]["total_mib"]), shared_device(plan)
            note = "RAM: %s of llama-server's own%s" % (
                own, ", the same as %s's" % text(shared["device"]) if shared else ", of %s free" % mib(ram) if ram is not None else "")
            cards.append(Card(name, "head \u00b7 llama-server", "head", note, tuple(bars)))
        elif name in planned:
            count = len(planned[name])
            cards.append(Card(name, "worker \u00b7 %s" % ("rpc-server" if count == 1 else "%d \u00d7 rpc-server" % count), "worker", "", tuple(bars)))
        else:
            cards.append(Card(name, "not needed", "idle", "", tuple(bars)))
    return cards


def draw_bar(gauge: Bar, x: float, y: float, width: float, scale: float) -> t.List[str]:
    """One device: a line of text, the bar, a line of text."""
    title = gauge.name if not gauge.llama_name or gauge.llama_name == gauge.name else "%s as %s" % (gauge.name, gauge.llama_name)
    room = int(width / 8.2) - 12 - min(len(title), 24)
    kind = gauge.description
    if len(kind) > room and kind.startswith("NVIDIA "):
        kind = kind[len("NVIDIA "):]
    out = ["<g>", "<title>%s</title>" % text(", ".join(word for word in (title, gauge.description, mib(gauge.total)) if word)),
           '<text x="%.1f" y="%.1f"><tspan class="strong">%s</tspan>%s</text>' % (
               x, y + 12, shortened(title, 24), ' <tspan class="small">\u00b7 %s</tspan>' % shortened(kind, room) if kind and room > 6 else ""),
           '<text class="small end" x="%.1f" y="%.1f">%s</text>' % (x + width, y + 12, mib(gauge.total))]
    top = y + 20
    box = max(1.0, gauge.total * scale)
    out.append('<rect class="box" x="%.1f" y="%.1f" width="%.1f" height="%d"/>' % (x, top, box, BAR_HEIGHT))
    at = x
    for part, size in gauge.parts:
        # what is far beyond the device is cut off
        wide = min(size * scale, x + width - at)
        if size <= 0 or wide <= 0:
            continue
        label = number(size)
        out.append('<g><title>%s: %s</title><rect class="%s%s" x="%.2f" y="%.1f" width="%.2f" height="%d"/>' % (
            LABELS[part], mib(size), part, " cut" if wide > 6 and part != "left" else "", at, top, max(wide, 1.2), BAR_HEIGHT))
        if wide >= 7.4 * len(label) + 6:
            out.append('<text class="%s mid" x="%.1f" y="%.1f">%s</text>' % (
                "on" if part in ("weights", "kv", "compute", "host") else "in", at + wide / 2, top + 18.5, label))
        out.append("</g>")
        at += wide
    if gauge.missing:
        over = '<rect class="%%s" x="%.1f" y="%.1f" width="%.1f" height="%d"/>' % (
            x + box, top, max(min(gauge.missing * scale, width - box), 2), BAR_HEIGHT)
        out.append("<g><title>missing: %s</title>%s%s</g>" % (mib(gauge.missing), over % "over", over % "missing"))
    out.append('<rect class="frame" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2"/>' % (x, top, box, BAR_HEIGHT))
    below = top + BAR_HEIGHT + 16
    out.append('<text class="%s" x="%.1f" y="%.1f">%s</text>' % ("strong" if gauge.llama_name else "small", x, below, text(gauge.layers)))
    if gauge.missing:
        cut = " (bar cut off)" if gauge.missing * scale > width - box + 1 else ""
        out.append('<text class="minus end" x="%.1f" y="%.1f">%s missing%s</text>' % (x + width, below, mib(gauge.missing), cut))
    else:
        out.append('<text class="small end" x="%.1f" y="%.1f">%s %s</text>' % (
            x + width, below, mib(gauge.left), "left" if gauge.llama_name else "free"))
    out.append("</g>")
    return out


def draw_card(card: Card, x: float, y: float, width: float, scale: float) -> t.List[str]:
    """One machine: its name, what it does, its devices."""
    out = ['<g class="%s">' % card.kind, "<title>%s, %s</title>" % (text(card.name), text(card.role)),
           '<rect class="card" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="8"/>' % (x, y, width, card.height),
           '<text class="name" x="%.1f" y="%.1f">%s</text>' % (x + PAD, y + 27, shortened(card.name, 20)),
           '<text class="small end" x="%.1f" y="%.1f">%s</text>' % (x + width - PAD, y + 27, text(card.role))]
    for position, gauge in enumerate(card.bars):
        out += draw_bar(gauge, x + PAD, y + HEADER_HEIGHT + ROW_HEIGHT * position, width - 2 * PAD, scale)
    if not card.bars:
        out.append('<text class="small" x="%.1f" y="%.1f">no device here holds layers</text>' % (x + PAD, y + HEADER_HEIGHT + 22))
    if card.note:
        out.append('<text class="small" x="%.1f" y="%.1f">%s</text>' % (x + PAD, y + card.height - 14, card.note))
    out.append("</g>")
    return out


def draw(plan: Mapping, machines: t.Sequence[Mapping], endpoints: t.Mapping[t.Tuple[str, str], str]) -> str:
    """The picture: the head on the left, its workers on the right, below them what is not needed."""
    cards = cards_of(plan, machines, endpoints)
    head = cards[0]
    others = cards[1:]
    card_width = CARD_WIDTH if others else WIDTH - 2 * MARGIN
    bars = [gauge for card in cards for gauge in card.bars]
    longest = max([gauge.total for gauge in bars] or [1])
    reach = max([gauge.total + min(gauge.missing, longest * LONGEST_OVERRUN) for gauge in bars] or [1])
    scale = (card_width - 2 * PAD) / max(1.0, reach)
    right_height = sum(card.height for card in others) + CARD_GAP * max(0, len(others) - 1)
    body = max(head.height, right_height)
    height = MARGIN * 2 + body + LEGEND_HEIGHT
    right_x = WIDTH - MARGIN - card_width
    trunk = MARGIN + card_width + 22
    middle = HEADER_HEIGHT + 20 + BAR_HEIGHT / 2
    links, drawn, y = [], [], float(MARGIN)
    for card in others:
        links += [(y + middle + ROW_HEIGHT * position, card, gauge) for position, gauge in enumerate(card.bars) if gauge.llama_name]
        drawn += draw_card(card, right_x, y, card_width, scale)
        y += card.height + CARD_GAP
    out = []
    if links:
        out.append('<path class="link" d="M%.1f %.1fH%.1fV%.1f"/>' % (MARGIN + card_width, MARGIN + middle, trunk, links[-1][0]))
    for at, card, gauge in links:
        label = gauge.endpoint or "RPC"
        out.append("<g><title>%s to %s, %s: %s</title>" % (text(head.name), text(card.name), text(gauge.name), text(label)))
        out.append('<path class="link" d="M%.1f %.1fH%.1f"/><path class="tip" d="M%.1f %.1fl-9 -5v10z"/>' % (trunk, at, right_x - 8, right_x, at))
        out.append('<text class="mono mid" x="%.1f" y="%.1f">%s</text></g>' % ((trunk + right_x) / 2 - 2, at - 7, shortened(label, 22)))
    out += draw_card(head, MARGIN, MARGIN, card_width, scale) + drawn
    absent = {"beside", "host"} - {part for gauge in bars for part, size in gauge.parts if size}
    out += legend(MARGIN, MARGIN + body + 22, any(gauge.missing for gauge in bars), absent)
    words = "%s and %s to scale in memory, coloured by what they hold." % (
        counted(len(cards), "machine"), counted(len(bars), "device"))
    words += " " + " ".join("%s, %s: %s, %s." % (d["machine"], d["device"], layer_range(d), (
        "%s MiB missing" % -d["headroom_mib"]) if d["headroom_mib"] < 0 else "%s MiB left" % d["headroom_mib"]) for d in plan["devices"])
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="picture-title picture-desc">'
            '<title id="picture-title">The planned cluster</title><desc id="picture-desc">%s The table below has all figures.</desc>'
            '<defs><pattern id="stripes" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect class="stripe" width="5" height="8"/></pattern></defs>\n%s\n</svg>') % (
                WIDTH, height, text(words), "\n".join(out))


def legend(x: float, y: float, missing: bool, absent: t.Container[str]) -> t.List[str]:
    """The colours in words."""
    out = []
    for part, label in [entry for entry in PARTS if entry[0] not in absent] + ([("missing", "missing")] if missing else []):
        out.append('<rect class="%s swatch" x="%.1f" y="%.1f" width="14" height="14" rx="2"/><text x="%.1f" y="%.1f">%s</text>' % (
            part, x, y, x + 20, y + 12, label))
        x += 20 + 7.4 * len(label) + 24
    return out


def counted(count: int, word: str) -> str:
    return "%d %s%s" % (count, word, "" if count == 1 else "s")


def size_of(size_bytes: t.Any) -> str:
    return "%.1f\u00a0GB" % (int(size_bytes) / 1e9) if int(size_bytes) >= 1e8 else "%.1f\u00a0MB" % (int(size_bytes) / 1e6)


def facts_line(plan: Mapping, model: Mapping) -> str:
    parts = [text(plan["architecture"])]
    if model.get("n_parameters"):
        parts.append("%.1f billion weights" % (int(model["n_parameters"]) / 1e9))
    if model.get("file_type"):
        parts.append(text(model["file_type"]))
    if model.get("file_size_bytes"):
        parts.append(size_of(model["file_size_bytes"]))
    parts += [counted(int(plan["n_layers"]), "layer"), "a context of %s tokens" % number(plan["context_size"])]
    return " \u00b7 ".join(parts)


def verdict(plan: Mapping) -> str:
    devices = counted(len(plan["devices"]), "device")
    if plan["fits"]:
        lines = ["<p><strong>It fits</strong> on %s with %s: %s.</p>" % (
            counted(len(plan["machines"]), "machine"), devices, text(", ".join(plan["machines"])))]
        if plan["devices"]:
            left = "The fullest device has %s left beyond its reserve." % mib(plan["headroom_mib"])
        elif plan["headroom_mib"] is None:
            left = "No machine has a device: the head\u2019s CPU runs every layer, and how much RAM it has free is not known."
        else:
            left = "No machine has a device: the head\u2019s CPU runs every layer, and %s of its free RAM are left." % mib(plan["headroom_mib"])
        lines.append("<p>%s %s could hold a context of up to %s tokens.</p>" % (
            left, "These machines" if len(plan["machines"]) > 1 else "This machine", number(plan["largest_context"])))
        if plan["unused_machines"]:
            lines.append("<p>Not needed: %s.</p>" % text(", ".join(plan["unused_machines"])))
        return '<section class="verdict yes" aria-label="Result">%s</section>' % "".join(lines)
    lines = ["<p><strong>It does not fit.</strong></p>"]
    lines += ["<p>%s.</p>" % text(str(problem).rstrip(".")) for problem in plan["problems"]]
    short = plan.get("shortfall")
    if short and short["total_missing_mib"] > short["missing_mib"]:
        lines.append("<p>%s are missing in all.</p>" % mib(short["total_missing_mib"]))
    if plan["ways_out"]:
        lines.append("<p>%s</p><ul>%s</ul>" % (
            "Each of these alone would make it fit:" if len(plan["ways_out"]) > 1 else "This would make it fit:",
            "".join("<li>%s</li>" % text(way["text"]) for way in plan["ways_out"])))
    return '<section class="verdict no" role="alert" aria-label="Result">%s</section>' % "".join(lines)


def table(plan: Mapping, endpoints: t.Mapping[t.Tuple[str, str], str]) -> str:
    heads: t.Tuple[t.Tuple[str, str], ...] = (
        ("machine", ""), ("device", ""), ("endpoint", ""), ("layers", ""), ("weights", "n"), ("KV", "n"), ("compute", "n"), ("reserve", "n"),
        ("was free", "n"), ("left", "n"),
    )
    keys = ["weights_mib", "kv_mib", "compute_mib", "reserve_mib", "free_mib"]
    devices = devices_with_parts(plan)
    for key, label in (("host_mib", "llama-server"), ("beside_mib", "beside")):
        if any(device.get(key) for device in devices):
            heads = heads[:7] + ((label, "n"),) + heads[7:]
            keys.insert(3, key)
    out = ['<table><thead><tr>%s</tr></thead><tbody>' % "".join(
        '<th scope="col"%s>%s</th>' % (' class="n"' if kind else "", label) for label, kind in heads)]
    for device in devices:
        endpoint = endpoints.get((str(device["machine"]), str(device["device"])), "")
        name = str(device["device"]) if device["device"] == device["llama_device"] else "%s as %s" % (device["device"], device["llama_device"])
        out.append('<tr><th scope="row">%s</th><td>%s</td><td>%s</td><td>%s</td>%s<td class="n%s">%s</td></tr>' % (
            text(device["machine"]), text(name), text(endpoint) or "\u2013", text(layer_range(device)),
            "".join('<td class="n">%s</td>' % number(device.get(key) or 0) for key in keys),
            " minus" if device["headroom_mib"] < 0 else "", number(device["headroom_mib"])))
    out.append("</tbody></table>")
    return "".join(out)


def figures_lines(plan: Mapping) -> t.List[str]:
    """Whose the figures are: llama.cpp's own, formulas compared with one version of it, or a bound and what will become of it."""
    bounds = any(part["mib"] != part.get("least_mib") for part in (plan.get("beside") or {}).get("parts") or [])
    return _figures_of_model(plan) + (["What stands beside the model is planned by upper bounds."] if bounds else [])


def _figures_of_model(plan: Mapping) -> t.List[str]:
    sure, figures = plan["confidence"], plan.get("figures") or {}
    more = ["The head has a GPU of its own: what that has no kernel for is left to the head's CPU, and both then take more than planned."] if (
        sure.get("head_gpu")) else []
    if figures.get("source") == "asked":
        asked = "%d times" % figures["questions"] if figures.get("questions", 1) > 1 else "once" if figures["rounds"] else "for the running plan"
        if not figures.get("over_workers") and any(device.get("kind") != "cpu" for device in plan["devices"]):
            more.append("It was asked with CPU devices: what a GPU takes besides (alignment, padded rows, copies of a quantised cache) is a formula.")
        return more + ["Every figure is what llama.cpp %s itself says, which was asked %s%s%s." % (
            figures["build"] or "of this build", asked,
            "" if figures.get("complete", True) else "; there was no time to ask about further splits, of which one may be better",
            "" if figures.get("exact", True) else "; without libllama-measure.so it says a little more than it takes")]
    if not sure.get("bound"):
        return more + ["The figures are formulas, compared with llama.cpp %s. Once llama.cpp is built it is asked itself." % sure["llama_cpp_version"]]
    return more + ["KV cache and compute buffers are upper bounds, not llama.cpp's own figures: %s. Once llama.cpp is built it is asked, which makes them"
                   " exact." % "; ".join(str(reason) for reason in sure["unknown"])]


def sureness(plan: Mapping) -> t.List[str]:
    sure = plan["confidence"]
    lines = ["Weights: %s. KV cache: %s." % (sure["weights"], sure["kv"]),
             "Compute buffers: %s%s." % (sure["compute"], "; the real ones may differ by a factor of %g at most" % sure["compute_tolerance_factor"]
                                         if sure["compute"] == "estimate" else ""),
             "The head's own memory is an estimate; reserves are as given."]
    if plan.get("requests"):
        lines.append("It serves " + plan["requests"])
    lines += figures_lines(plan)
    if plan.get("search") == "beam":
        lines.append("There were too many different sets of devices to try all: a better split may exist.")
    return lines


def plan_page(plan: Mapping, machines: t.Sequence[Mapping], commands: t.Sequence[Mapping] = (), model: t.Optional[Mapping] = None,
              source: str = "") -> str:
    """The whole page."""
    model = model or {}
    endpoints = {(str(c["machine"]), str(c["device"])): str(c["endpoint"]) for c in commands if c.get("device")}
    name = str(model.get("name") or "") or source.rstrip("/").rpartition("/")[2] or "a model"
    host = plan["host"]
    shown = []
    for command in commands:
        shown.append("<h3>%s <span>\u00b7 %s%s</span></h3><pre><code>%s</code></pre>" % (
            text(command["machine"]), text(command["unit"]), " \u00b7 " + text(command["device"]) if command.get("device") else "",
            "\n".join(text(line) for line in str(command["text"]).splitlines())))
    ram = ", ".join("%s %s" % (label, mib(host[key])) for label, key in (
        ("input embeddings" if plan["devices"] else "weights", "weights_mib"), ("KV cache", "kv_mib"), ("compute buffers", "compute_mib"),
        ("results", "output_mib"), ("process", "process_mib"), ("beside the model", "extra_mib")) if host.get(key))
    title = "Plan for %s" % name
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # nothing is loaded and nothing runs, whatever an inventory has in it
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">',
        '<meta name="color-scheme" content="light dark">',
        "<title>%s</title>" % text(title), "<style>%s</style>" % STYLE, "</head>", "<body>", "<main>",
        "<h1>%s</h1>" % text(title),
        '<p class="soft facts">%s</p>' % facts_line(plan, model),
        '<p class="soft facts">Read from %s</p>' % text(source) if source else "",
        verdict(plan),
        "<figure>%s</figure>" % draw(plan, machines, endpoints),
        '<section aria-labelledby="figures"><h2 id="figures">Figures, in MiB</h2><div class="wide" tabindex="0">%s</div>' % table(plan, endpoints),
        "".join('<p class="soft" style="margin-top:10px">%s</p>' % text(line) for line in beside_lines(plan)),
        '<p class="soft" style="margin-top:10px">%s needs %s of RAM%s: %s. Chosen: %s.</p></section>' % (
            "Besides, " + text(host["machine"]) if not shared_device(plan) else "llama-server itself", mib(host["total_mib"]),
            ", of the memory its device shares" if shared_device(plan) else "", ram, text(POLICIES.get(plan["policy"], plan["policy"]))),
        '<section aria-labelledby="commands"><h2 id="commands">What will run</h2>%s</section>' % (
            "".join(shown) or '<p class="soft">Nothing: %s.</p>' % ("the commands were not given" if plan["fits"] else "the model does not fit")),
        '<section aria-labelledby="sure"><h2 id="sure">How sure this is</h2><ul>%s</ul></section>' % (
            "".join("<li>%s</li>" % text(line) for line in sureness(plan))),
        "</main>", "</body>", "</html>", ""])
