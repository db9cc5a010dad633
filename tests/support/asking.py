# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a llama.cpp build in a test, and see what it really takes: the same llama-server with ``--fit off``, which loads the model."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any, Callable, Sequence

import healthy
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds

MIB = 1 << 20
# Stand-ins serve one question at a time.
PORTS = (50052, 50053)
# What the lab and the tests start llama-server with, as far as memory depends on it.
ARGUMENTS = ("--ctx-size", "8192", "--n-gpu-layers", "all", "--parallel", "4", "--kv-unified", "--flash-attn", "on")

_BUFFER = re.compile(r": +(\S+?)(?:\[\S+)? +(model|compute|output|[\w ]+?) buffer size = +([0-9.]+) MiB")
# not CUDA_Host, which is RAM
_DEVICE = re.compile(r"(?:RPC|CUDA)\d+$")


def arguments(context_size: int = 8192, parallel: int = 4, ubatch: int = 512, kv_unified: bool = True, type_k: str = "f16", type_v: str = "f16",
              flash_attention: bool = True) -> list[str]:
    """The arguments of these settings, by the names of RunSettings."""
    return ["--ctx-size", str(context_size), "--n-gpu-layers", "all", "--parallel", str(parallel), "--kv-unified" if kv_unified else "--no-kv-unified",
            "--ubatch-size", str(ubatch), "--cache-type-k", type_k, "--cache-type-v", type_v, "--flash-attn", "on" if flash_attention else "off"]


def in_private(bin_dir: Path, model: Path, words: Sequence[str], work: Callable[[ask.Asker], Any], n_devices: int = 15) -> Any:
    """What ``work`` makes of an Asker, as JSON, in a process with a network of its own."""
    def enter() -> Any:
        with ask.Asker(str(bin_dir), str(model), n_devices, words) as asker:
            return work(asker)

    return ask.ask_in_private(enter)


def answers(bin_dir: Path, model: Path, questions: Sequence[tuple[dict[str, Any], Sequence[int]]], n_devices: int) -> list[ask.Answer | str]:
    """What llama.cpp says of each question (settings by the names of ``arguments``, slots of each device), or why it does not; two at a time."""
    def work() -> list[Any]:
        free: Queue[ask.Asker] = Queue()

        def answer(question: tuple[dict[str, Any], Sequence[int]]) -> Any:
            settings, counts = question
            asker = free.get()
            try:
                asker.arguments = arguments(**settings)
                return rounds.answer_as_dict(counts, asker.ask(counts))
            except ask.AskError as reason:
                return str(reason)
            finally:
                free.put(asker)

        with ExitStack() as stack:
            for port in PORTS:
                free.put(stack.enter_context(ask.Asker(str(bin_dir), str(model), n_devices, (), port=port)))
            with ThreadPoolExecutor(len(PORTS)) as pool:
                return list(pool.map(answer, questions))

    return [said if isinstance(said, str) else rounds.answer_from_dict(said)[1] for said in ask.ask_in_private(work)]


def twice(look: Callable[[], Any], well: Callable[[Any], bool]) -> Any:
    """What ``look`` finds in the log of a start: llama-server loses a line of its log now and then, so what is not well is looked at again."""
    found = look()
    return found if well(found) else look()


def plain(answer: ask.Answer) -> dict[str, Any]:
    return asdict(answer)


def start(asker: ask.Asker, counts: Sequence[int], timeout_s: float = 120) -> str:
    """The log of a llama-server that loads the model on the stand-ins, until it has."""
    api = Path(str(asker.directory)) / "api.sock"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(asker.command(counts, fit=False), stdout=log, stderr=log, cwd=str(asker.directory), env=asker._environment(),
                                   preexec_fn=ask.unprivileged(asker.user_id))

        def said() -> str:
            # By its own offset: what is written goes on at the end.
            return os.pread(log.fileno(), 1 << 26, 0).decode("utf-8", "replace")

        try:
            healthy.wait(api, process, said, timeout_s)
            # It writes its log in the background, and all of it by its end.
            process.terminate()
            process.wait(30)
            return said()
        finally:
            process.kill()
            process.wait()
            if api.exists():
                os.unlink(api)


def real(asker: ask.Asker, counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """What it says of its buffers; see ``buffers``."""
    return buffers(start(asker, counts))


def buffers(log: str) -> dict[str, dict[str, float]]:
    """{device: {model, compute, output, cache}} in MiB; llama-server's own RAM is ``CPU``."""
    found: dict[str, dict[str, float]] = {}
    for match in _BUFFER.finditer(log):
        name = match.group(1) if _DEVICE.match(match.group(1)) else "CPU"
        what = match.group(2) if match.group(2) in ("model", "compute", "output") else "cache"
        sizes = found.setdefault(name, {})
        sizes[what] = round(sizes.get(what, 0.0) + float(match.group(3)), 2)
    return found


def differences(word: ask.Answer, told: dict[str, dict[str, float]]) -> list[str]:
    """Where llama.cpp's word is not what it really took: compute to the hundredth, the others to the MiB they are said in."""
    found = []
    rows = [("RPC%d" % number, figures) for number, figures in enumerate(word.devices)] + [("CPU", word.host)]
    for name, figures in rows:
        sizes = told.get(name, {})
        if abs(figures.compute_mib - sizes.get("compute", 0.0)) > 0.011:
            found.append("%s: compute %.2f said, %.2f real" % (name, figures.compute_mib, sizes.get("compute", 0.0)))
        if name != "CPU" and figures.weights_mib != int(sizes.get("model", 0.0)):
            found.append("%s: weights %d said, %.2f real" % (name, figures.weights_mib, sizes.get("model", 0.0)))
        # buffers of several caches are each rounded before they are added here
        if abs(figures.kv_mib - sizes.get("cache", 0.0)) >= 1.03 or figures.kv_mib > sizes.get("cache", 0.0) + 0.03:
            found.append("%s: caches %d said, %.2f real" % (name, figures.kv_mib, sizes.get("cache", 0.0)))
    return found
