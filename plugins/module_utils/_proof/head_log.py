# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server (the head) says of itself when it starts.

Formats: ``tools/server/server.cpp``, ``tools/server/server-http.cpp`` (socket) and ``common/fit.cpp``; of the first llama.cpp with RPC, build
9095 (``server is listening on``), 0.5.0 and build 11434 (``listening on``). What is of memory is read by ``head_memory.py``.

At the default verbosity (3) a head of 0.5.0 or b11434 prints none of the memory lines, at ``-lv 4`` all of them.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.failures import FIT_SHRANK, Warn, add_warnings, find_failure
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_memory import HeadDevice, Memory
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.log_lines import Line, last_head_start, read_lines

_ASSIGNED = re.compile(r"load_tensors: layer\s+(\d+) assigned to device ([^\s,]+)")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUILD = re.compile(r"\bbuild(?: =|:)? (\d+) \(([0-9A-Za-z]+)\)|build_info: b(\d+)-([0-9A-Za-z]+)")
_NUMBER = re.compile(r"(?:^|:\s+)(n_layer_all|n_layer|n_ctx_train|n_ctx)\s+= (\d+)\b")
_ARCHITECTURE = re.compile(r"(?:print_info|llm_load_print_meta): arch\s+= (\S+)")
_SLOTS = re.compile(r"n_slots = (\d+)(?:, n_ctx_slot = (\d+), kv_unified = '(\w+)')?")
_SLOT_CONTEXT = re.compile(r"new slot,? (?:n_ctx|n_ctx_slot) = (\d+)")
# Builds that say it in one of the last two ways do so before they load the model: it counts once that is done.
_LISTENING = (
    re.compile(r"listening on ((?:https?|unix)://\S+)"),
    re.compile(r"server is listening on ([\w.:\[\]-]+:\d+)"),
    re.compile(r"HTTP server (?:is )?listening, hostname: (\S+), port: (\d+)"),
    re.compile(r"HTTP server listening \|(?=.{0,200}? hostname=\"([^\"]+)\")(?=.{0,200}? port=\"(\d+)\")"),
)
_KEYS = re.compile(r"api_keys: (?:\*\*\*\*|(\d+) keys loaded)")


@dataclass
class HeadLog:
    """The last start of the head."""

    devices: t.List[HeadDevice] = field(default_factory=list)
    listening_url: t.Optional[str] = None
    model_loaded: bool = False
    stopped: bool = False
    build_number: t.Optional[int] = None
    build_commit: t.Optional[str] = None
    verbosity: t.Optional[int] = None
    model_path: t.Optional[str] = None
    architecture: t.Optional[str] = None
    n_layer: t.Optional[int] = None
    n_ctx: t.Optional[int] = None
    n_ctx_train: t.Optional[int] = None
    n_ctx_slot: t.Optional[int] = None
    n_slots: t.Optional[int] = None
    kv_unified: t.Optional[bool] = None
    offloaded_layers: t.Optional[int] = None
    offloadable_layers: t.Optional[int] = None
    layers_source: t.Optional[str] = None
    fit_context_before: t.Optional[int] = None
    fit_context_after: t.Optional[int] = None
    api_key_set: t.Optional[bool] = None
    warnings: t.List[Warn] = field(default_factory=list)
    failure: t.Optional[Failure] = None

    def to_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


class _Reader:
    def __init__(self) -> None:
        self.log = HeadLog()
        self.memory = Memory()
        self.n_layer_all: t.Optional[int] = None
        self.running_from: t.Optional[int] = None
        self.bound_url: t.Optional[str] = None

    def read(self, index: int, line: Line) -> None:
        words, log = line.text, self.log
        assigned = _ASSIGNED.search(words)
        if assigned and not self.memory.part:
            self.memory.assigned[int(assigned.group(1))] = assigned.group(2)
            return
        # At -lv 5 the trial loads of --fit print what would be there; common/fit.cpp lowers them to level D.
        if line.level == "D":
            return
        if self.memory.read(words):
            return
        for pattern in _LISTENING:
            found = pattern.search(words)
            if found:
                groups = found.groups()
                where = groups[0] if len(groups) == 1 else "%s:%s" % groups
                self.bound_url = where if "://" in where else "http://" + where
                log.model_loaded = log.model_loaded or len(groups) == 1
                break
        number = None if self.memory.part else _NUMBER.search(words)
        if number:
            name, value = number.group(1), int(number.group(2))
            if name == "n_layer_all":
                self.n_layer_all = value
            else:
                setattr(log, name, value)
            return
        self._read_rest(words)
        if log.model_loaded and self.bound_url and self.bound_url != log.listening_url:
            log.listening_url, self.running_from = self.bound_url, index
        add_warnings(log.warnings, line, "head")

    def _read_rest(self, words: str) -> None:
        log = self.log
        build = _BUILD.search(words)
        if build and log.build_number is None:
            log.build_number, log.build_commit = int(build.group(1) or build.group(3)), build.group(2) or build.group(4)
        verbosity = re.search(r"verbosity = (\d+) \(adjust", words)
        if verbosity:
            log.verbosity = int(verbosity.group(1))
        model = re.search(r"loading model '(.*)'$", words)
        if model:
            log.model_path = model.group(1)
        architecture = _ARCHITECTURE.search(words)
        if architecture and not self.memory.part:
            log.architecture = architecture.group(1)
        offloaded = _OFFLOADED.search(words)
        if offloaded and not self.memory.part:
            log.offloaded_layers, log.offloadable_layers = int(offloaded.group(1)), int(offloaded.group(2))
        slots = _SLOTS.search(words)
        if slots:
            log.n_slots = int(slots.group(1))
            if slots.group(2):
                log.n_ctx_slot = int(slots.group(2))
                log.kv_unified = slots.group(3) == "true"
        slot = _SLOT_CONTEXT.search(words)
        if slot and log.n_ctx_slot is None:
            log.n_ctx_slot = int(slot.group(1))
        shrank = FIT_SHRANK.search(words)
        if shrank:
            log.fit_context_before, log.fit_context_after = int(shrank.group(1)), int(shrank.group(2))
        keys = _KEYS.search(words)
        if keys:
            log.api_key_set = keys.group(1) != "0"
        if "no API key is set" in words:
            log.api_key_set = False
        if re.search(r"model loaded(?: \||$)|starting the main loop", words):
            log.model_loaded = True
        if "cleaning up before exit" in words:
            log.stopped = True


def parse_head(text: str) -> HeadLog:
    """The last start of a llama-server in its log, of any llama.cpp that has RPC."""
    lines = last_head_start(read_lines(text))
    reader = _Reader()
    for index, line in enumerate(lines):
        if line.text:
            reader.read(index, line)
    log, memory = reader.log, reader.memory
    log.devices, log.layers_source = memory.place(log.n_layer, reader.n_layer_all, log.offloaded_layers)
    if log.n_layer is None:
        log.n_layer = reader.n_layer_all
    log.failure = find_failure(lines, "head", reader.running_from, memory.label)
    return log
