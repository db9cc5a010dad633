# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server loads beside its model: what drafts for it, a multimodal projector, LoRA adapters.

From settings to llama-server's arguments, the files it must be able to read, and all that is wrong. Names and defaults are those of
common/arg.cpp, common/common.h and common/speculative.cpp of llama.cpp b11434.
"""

from __future__ import annotations

import typing as t

# common/speculative.cpp, common_speculative_type_from_name_map; the tokens each drafts at most (common_speculative_n_max), None: draft_max.
SPEC_TYPES: t.Dict[str, t.Optional[int]] = {
    "none": 0, "draft-simple": None, "draft-eagle3": None, "draft-mtp": None, "draft-dflash": None, "draft-dspark": None,
    "ngram-simple": 48, "ngram-map-k": 48, "ngram-map-k4v": 48, "ngram-mod": 64, "ngram-cache": 8,
}
# Those with a model of their own; draft-mtp may also use the served model's own layers.
_WITH_MODEL = ("draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark")
# common_params_speculative_draft
DRAFT_MAX = 3
# What a part beside the model is called.
PART_NAMES = {"draft": "draft model", "mmproj": "projector", "lora": "adapter"}
# parse_csv_row and the colon of --lora-scaled have no way to quote these
_UNSPEAKABLE = (",", ":", '"')


class BesideError(ValueError):
    """What was given are no such settings."""


def _text(settings: t.Mapping[str, t.Any], key: str) -> str:
    return str(settings.get(key) or "")


def _number(settings: t.Mapping[str, t.Any], key: str) -> t.Optional[int]:
    value = settings.get(key)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise BesideError("%s is %r, which is no number" % (key, value)) from error


def _list(settings: t.Mapping[str, t.Any], key: str) -> t.List[t.Any]:
    value = settings.get(key) or []
    if not isinstance(value, (list, tuple)):
        raise BesideError("%s is %r, which is no list" % (key, value))
    return list(value)


def spec_types(settings: t.Mapping[str, t.Any]) -> t.List[str]:
    """How tokens are drafted, by llama.cpp's names; nothing where none are.

    llama-server loads a draft model for nothing where no type is said (common_speculative_init): it is draft-simple then.
    """
    named = [name.strip() for name in _text(settings, "spec_type").split(",") if name.strip()]
    if not named and _text(settings, "draft_model"):
        named = ["draft-simple"]
    return [name for name in named if name != "none"]


def drafted_tokens(settings: t.Mapping[str, t.Any]) -> int:
    """How many tokens a step drafts at most (common_speculative_n_max)."""
    given = _number(settings, "draft_max")
    longest = [SPEC_TYPES.get(name) for name in spec_types(settings)]
    return max([DRAFT_MAX if given is None else given if n is None else n for n in longest] or [0]) if longest else 0


def own_layers_draft(settings: t.Mapping[str, t.Any]) -> bool:
    """Whether the served model's own layers draft (multi-token prediction)."""
    return "draft-mtp" in spec_types(settings) and not _text(settings, "draft_model")


def arguments(settings: t.Mapping[str, t.Any]) -> t.List[t.List[str]]:
    """llama-server's arguments, each with its value."""
    out: t.List[t.List[str]] = []
    types = spec_types(settings)
    if types:
        out.append(["--spec-type", ",".join(types)])
    if _text(settings, "draft_model"):
        out.append(["--model-draft", _text(settings, "draft_model")])
        if _list(settings, "draft_devices"):
            out.append(["--device-draft", ",".join(str(name) for name in _list(settings, "draft_devices"))])
    if types:
        for key, flag in (("draft_max", "--spec-draft-n-max"), ("draft_min", "--spec-draft-n-min")):
            if _number(settings, key) is not None:
                out.append([flag, str(_number(settings, key))])
        for key, flag in (("draft_cache_type_k", "--cache-type-k-draft"), ("draft_cache_type_v", "--cache-type-v-draft")):
            if _text(settings, key):
                out.append([flag, _text(settings, key)])
    if _text(settings, "mmproj"):
        out.append(["--mmproj", _text(settings, "mmproj")])
        device = _text(settings, "mmproj_device")
        if device:
            # Builds that do not know --mmproj-device yet know this.
            out.append(["--no-mmproj-offload"] if device == "none" else ["--mmproj-device", device])
    adapters = ["%s:%g" % (entry.get("path") or "", float(entry.get("scale", 1))) for entry in _list(settings, "lora")]
    if adapters:
        out.append(["--lora-scaled", ",".join(adapters)])
    return out


def files(settings: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, str]]:
    """The files it reads: what each is, the variable that names it, and its path."""
    named = [("draft model", "llama_server_draft_model", _text(settings, "draft_model")),
             ("projector", "llama_server_mmproj", _text(settings, "mmproj"))]
    named += [("adapter", "llama_server_lora", str(entry.get("path") or "")) for entry in _list(settings, "lora")]
    return [{"what": what, "variable": variable, "path": path} for what, variable, path in named if path]


def problems(settings: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, str]]:
    """All that is wrong, each with what to do."""
    found: t.List[t.Tuple[str, str]] = []
    for entry in _list(settings, "lora"):
        path = entry.get("path") if isinstance(entry, t.Mapping) else None
        if not isinstance(path, str) or not path:
            found.append(("llama_server_lora has %r, which has no path" % (entry,), "Write it like {path: /srv/adapter.gguf, scale: 1.0}"))
        elif any(sign in path for sign in _UNSPEAKABLE):
            found.append(("llama_server_lora has %s, and llama.cpp cannot be told a path with a comma, a colon or a quotation mark" % path,
                          "Give the file another name"))
        else:
            try:
                float(entry.get("scale", 1))
            except (TypeError, ValueError):
                found.append(("llama_server_lora has the scale %r for %s" % (entry.get("scale"), path), "Set it to a number, 1.0 for the whole of it"))
    draft = _text(settings, "draft_model")
    named = [name.strip() for name in _text(settings, "spec_type").split(",") if name.strip()]
    types = spec_types(settings)
    for name in named:
        if name not in SPEC_TYPES:
            found.append(("llama_server_spec_type has %s, which llama.cpp does not know" % name, "Choose of " + ", ".join(SPEC_TYPES)))
    needing = [name for name in types if name in _WITH_MODEL]
    if needing and not draft:
        found.append(("llama_server_spec_type is %s, which needs a model of its own, and there is none" % needing[0],
                      "Name it in gguf_model_beside or llama_server_draft_model, or set llama_server_spec_type to draft-mtp or an ngram type"))
    if draft and not any(name.startswith("draft-") for name in types):
        found.append(("the draft model %s would be loaded and never asked, because llama_server_spec_type is %s" % (draft, ",".join(named)),
                      "Set llama_server_spec_type to draft-simple or to what the model was made for, or leave the draft model out"))
    if _list(settings, "draft_devices") and not draft:
        found.append(("llama_server_draft_devices is set and there is no draft model",
                      "Leave it out: layers of the model's own lie on the model's devices"))
    most, least = _number(settings, "draft_max"), _number(settings, "draft_min")
    if most is not None and most < 1:
        found.append(("llama_server_draft_max is %d" % most, "Set it to the tokens to draft at a time, 1 or more"))
    if least is not None and least > (DRAFT_MAX if most is None else most):
        found.append(("llama_server_draft_min is %d, more than the %d of llama_server_draft_max" % (least, DRAFT_MAX if most is None else most),
                      "Set it to that or less"))
    return [{"problem": problem, "remedy": remedy} for problem, remedy in found]
