# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For which GPUs a cluster's llama.cpp is compiled, and whether its machines get a build each or one for all.

A build for a machine's own processor has exactly its instruction sets. One for all processors (``GGML_BACKEND_DL`` and
``GGML_CPU_ALL_VARIANTS``) has every variant of ggml's CPU backend, of which the best is loaded where it runs: as quick, but longer to make.

The costs are counted in Ninja's steps, ``ninja -n TARGET | tail -n 1`` in a configured tree of b11434 (four of a head's are llama-fit-params):

=====================================  ===========  ===============
what                                          head ggml-rpc-server
=====================================  ===========  ===============
for one processor                              222               40
for all (14 variants)                          468              286
=====================================  ===========  ===============

Both together take two steps more than a head alone. Of these, 20 are the processor's own: with ccache only they are compiled again for
another processor. ``libggml-cuda`` for one architecture, without flash attention, is 144 more.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

Mapping = t.Mapping[str, t.Any]

HEAD_STEPS, WORKER_STEPS, BOTH_STEPS = 222, 40, 224
VARIANTS_STEPS = 246
PROCESSOR_STEPS = 20
CUDA_STEPS = 144

OWN, ALL = "own", "all"

_CAPABILITY = re.compile(r"^(\d+)[.](\d)$")


class TargetsError(ValueError):
    """What was seen on the machines is malformed. The text is a part of a sentence."""


def cuda_architectures(machines: t.Sequence[Mapping]) -> t.List[str]:
    """The architectures (CMAKE_CUDA_ARCHITECTURES) that all GPUs of these machines need, such as ``["86", "89"]``.

    ``machines``: for each its ``gpus`` as ``gpu_info`` returns them, and ``built``, the architectures of the build in use (``"86;89"``).
    Empty where a driver does not tell, which leaves it to llama.cpp. A build in use that serves all of them, and more, is kept: a machine
    that is away for a day must not cost an hour of compiling.
    """
    needed: t.Set[str] = set()
    for machine in machines:
        for gpu in machine.get("gpus") or []:
            match = _CAPABILITY.match(str(gpu.get("compute_capability") or ""))
            if not match:
                return []
            needed.add(match.group(1) + match.group(2))
    for machine in machines:
        built = {part for part in str(machine.get("built") or "").split(";") if part}
        if needed and built >= needed and all(part.isdigit() for part in built):
            needed = built
            break
    return sorted(needed, key=int)


@dataclass(frozen=True)
class Choice:
    """``own`` or ``all``, why in a sentence's part, and the steps of either that are still to be made."""

    variants: str
    reason: str
    own_steps: int
    all_steps: int


def _steps(components: t.Collection[str], cuda: bool) -> int:
    steps = BOTH_STEPS if len(components) > 1 else WORKER_STEPS if "worker" in components else HEAD_STEPS
    return steps + (CUDA_STEPS if cuda else 0)


def choose_variants(machines: t.Sequence[Mapping], ccache: bool) -> Choice:
    """Choose for the machines of a cluster what takes fewer steps.

    Each of ``machines`` has ``own`` and ``all``, the ids of the two builds that would serve it with those of their ``components`` that neither
    the machine nor the control node's cache has (``{"id": ..., "missing": [...]}``), and ``cuda``. What is there costs nothing, so a cluster
    stays with what it has. Where both cost the same, each machine gets its own.
    """
    wanted: t.Dict[str, t.Dict[str, t.Set[str]]] = {OWN: {}, ALL: {}}
    cuda: t.Set[str] = set()
    kinds: t.Set[str] = set()
    try:
        for machine in machines:
            kinds.add(str(machine[OWN]["id"]))
            for variants, builds in wanted.items():
                build = machine[variants]
                if build["missing"]:
                    builds.setdefault(str(build["id"]), set()).update(build["missing"])
                    if machine.get("cuda"):
                        cuda.add(str(build["id"]))
    except (KeyError, TypeError) as error:
        raise TargetsError("a machine's builds lack %s" % error) from error

    own_steps = 0
    # The longest first: the others find what they share in ccache.
    for number, steps in enumerate(sorted((_steps(parts, name in cuda) for name, parts in wanted[OWN].items()), reverse=True)):
        own_steps += PROCESSOR_STEPS if ccache and number else steps
    all_steps = sum(_steps(parts, name in cuda) + VARIANTS_STEPS for name, parts in wanted[ALL].items())

    what = "%d kinds of machines" % len(kinds)
    if own_steps <= all_steps:
        return Choice(OWN, "%s, one build for each: about %d steps%s, one for all of them would take %d" % (
            what, own_steps, " with ccache" if ccache else "", all_steps), own_steps, all_steps)
    return Choice(ALL, "%s, one build with all variants of the CPU backend: about %d steps, one for each would take %d%s" % (
        what, all_steps, own_steps, " with ccache" if ccache else ""), own_steps, all_steps)
