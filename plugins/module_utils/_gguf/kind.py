# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GGUF file is: a model that llama-server can serve, or something that stands beside one.

By what llama.cpp b11434 itself writes and asks for: general.type of adapters (src/llama-adapter.cpp) and importance matrices
(tools/imatrix/imatrix.cpp), the architectures clip (tools/mtmd/clip.cpp), controlvector (tools/cvector-generator) and those of models
that only draft for another one (src/models/eagle3.cpp, dflash.cpp, gemma4-assistant.cpp), and the tensors.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

KINDS = ("model", "projector", "adapter", "draft", "imatrix", "vocabulary", "control_vector", "unknown")

_DRAFT_ARCHITECTURES = ("eagle3", "dflash", "gemma4-assistant")
# Models with an encoder have enc.blk.N. and dec.blk.N.
_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.([0-9]{1,9})\.")
_WHOLE_FILE = "Give the model's own file instead"


class FileKind(t.NamedTuple):
    """The kind, and for anything but a model what is wrong with it as one, a sentence without its full stop, and what to do."""

    kind: str
    problem: str = ""
    remedy: str = ""


def kind_of(metadata: t.Mapping[str, t.Any], names: t.Iterable[str]) -> FileKind:
    """What a file is by its metadata and the names of its tensors, of all parts together for a split one."""
    names = list(names)
    said, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if architecture == "clip" or said == "mmproj":
        return FileKind("projector", "the file is a projector (mmproj), which lets a model see or hear, and no model",
                        _WHOLE_FILE + ", and the projector as llama_server_mmproj")
    if said == "adapter" or any(name.endswith((".lora_a", ".lora_b")) for name in names):
        return FileKind("adapter", "the file is an adapter (LoRA), which changes a model, and no model",
                        _WHOLE_FILE + ", and the adapter in llama_server_lora")
    if said == "imatrix" or architecture == "imatrix":
        return FileKind("imatrix", "the file is an importance matrix (imatrix), which serves to quantise a model, and no model", _WHOLE_FILE)
    if architecture == "controlvector" or (names and all(name.startswith("direction.") for name in names)):
        return FileKind("control_vector", "the file is a control vector, which steers a model, and no model", _WHOLE_FILE)
    if architecture in _DRAFT_ARCHITECTURES:
        return FileKind("draft", "the file is a draft model (%s), which guesses ahead for another model and cannot answer alone" % architecture,
                        _WHOLE_FILE + ", and the draft model in the variables that begin with llama_server_draft")
    return _kind_of_model(metadata, names)


def _kind_of_model(metadata: t.Mapping[str, t.Any], names: t.Sequence[str]) -> FileKind:
    """A model, unless tensors are missing that every model has."""
    if not names:
        if any(key.startswith("tokenizer.") for key in metadata):
            return FileKind("vocabulary", "the file is a vocabulary without any weights, and no model", _WHOLE_FILE)
        return FileKind("unknown", "the file has no tensors, so it is no model", _WHOLE_FILE)
    layers = {int(match.group(1)) for match in map(_LAYER.match, names) if match}
    if not layers:
        return FileKind("unknown", "the file has tensors and none of a layer (blk.0 and so on), so it is no model that llama.cpp can serve", _WHOLE_FILE)
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        return FileKind("unknown", "the file does not say its architecture (general.architecture), so it is no model that llama.cpp can serve",
                        _WHOLE_FILE)
    count, further = metadata.get("%s.block_count" % architecture), metadata.get("%s.nextn_predict_layers" % architecture)
    # Layers that predict further tokens may be left out, and a layer in between may have no weights (src/models/deci.cpp).
    least = _number(count) - _number(further)
    if max(layers) + 1 < least:
        return FileKind("unknown", "the file ends with layer %d, and its header (%s) promises %d layers" % (
            max(layers), printable(architecture), _number(count)), "Get the whole model again, all of its parts")
    if "token_embd.weight" not in names:
        return FileKind("unknown", "the file has no token_embd.weight, without which llama.cpp serves no model", "Get the whole model again")
    return FileKind("model")


def _number(value: t.Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
