# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a build is, from real logs cut off in the middle, and when it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._build.progress import (
    Progress,
    Sample,
    current_file,
    duration,
    pause_s,
    read_progress,
    remaining_s,
    report,
)
from hypothesis import given
from hypothesis import strategies as st

LOGS = Path(__file__).absolute().parents[3] / "fixtures" / "logs" / "build"


def steps(done: int, total: int = 100, what: str = "") -> Progress:
    return Progress(done, total, True, what)


@pytest.mark.parametrize(
    ("log", "progress"),
    [
        ("", None),
        ("ninja: Entering directory `build'\n", None),
        ("[27/230] Building CXX object src/CMakeFiles/llama.dir/llama-vocab.cpp.o\n", Progress(27, 230, True, "src/llama-vocab.cpp")),
        ("[  8%] Building CUDA object ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/acc.cu.o", Progress(8, 100, False, "ggml/src/ggml-cuda/acc.cu")),
        ("[1/2] A\n/a/b.cpp:3:1: warning: [2/2] is not a step\n", Progress(1, 2, True, "A")),
        ("\x1b[32m[100%] Built target llama\x1b[0m\n", Progress(100, 100, False, "Built target llama")),
        ("[0/0] nothing\n[ 5%] Something\n", Progress(5, 100, False, "Something")),
    ],
)
def test_the_last_step_counts(log, progress):
    assert read_progress(log) == progress


@pytest.mark.parametrize("name", sorted(path.name for path in LOGS.glob("*.txt")))
def test_a_log_cut_off_anywhere_goes_up_and_never_over(name):
    lines = (LOGS / name).read_text(encoding="utf-8", errors="replace").splitlines()
    seen = [read_progress("\n".join(lines[:end])) for end in range(0, len(lines) + 1, 7)]
    assert all(progress is None or 0 <= progress.done <= progress.total for progress in seen)


def test_a_whole_log_of_ninja_ends_at_its_last_step():
    assert read_progress((LOGS / "ninja_218.txt").read_text(encoding="utf-8")).percent == 100


@pytest.mark.parametrize(
    ("step", "file"),
    [
        ("Building CXX object ggml/src/CMakeFiles/ggml-cpu.dir/ggml-cpu/ops.cpp.o", "ggml/src/ggml-cpu/ops.cpp"),
        ("Building CXX object CMakeFiles/x.dir/main.cpp.o", "main.cpp"),
        ("Linking CXX executable bin/llama-server", "linking bin/llama-server"),
        ("Linking CXX shared library bin/libllama.so", "linking bin/libllama.so"),
        ("Generating build details from Git", "Generating build details from Git"),
    ],
)
def test_the_file_of_a_step(step, file):
    assert current_file(step) == file


def test_the_rest_by_the_pace_of_the_second_half():
    cached_start = [Sample(0, steps(0)), Sample(10, steps(50)), Sample(20, steps(55)), Sample(40, steps(65))]
    # from 20 s on 10 steps in 20 s: 35 more steps take 70 s, and not the 22 s of the pace since the start
    assert remaining_s(cached_start) == 70


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [Sample(5, None)],
        [Sample(15, steps(10))],
        [Sample(15, steps(10)), Sample(30, steps(10))],
        [Sample(15, steps(10, 30)), Sample(30, steps(20, 230))],
        [Sample(30, steps(10)), Sample(30, steps(20))],
    ],
)
def test_no_estimate_where_there_is_nothing_to_rest_it_on(samples):
    assert remaining_s(samples) is None


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=1e5), st.integers(min_value=0, max_value=500)), max_size=30))
def test_an_estimate_is_never_negative(points):
    samples = [Sample(elapsed, steps(min(done, 500), 500)) for elapsed, done in sorted(points)]
    rest = remaining_s(samples)
    assert rest is None or rest >= 0


def test_often_at_first_then_once_a_minute():
    pauses = [pause_s(reports) for reports in range(12)]
    assert pauses[:4] == [15, 15, 15, 15]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60
    # an hour of building is some sixty lines, not seven hundred
    assert sum(pauses) >= 8 * 60


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (65, "1 min 5 s"), (600, "10 min"), (3725, "1 h 2 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_a_line():
    samples = [Sample(15, steps(20, 220)), Sample(30, steps(40, 220, "src/llama-vocab.cpp"))]
    assert report("head", "b11434", samples) == "head: building b11434: step 40 of 220 (18 %), src/llama-vocab.cpp, 30 s so far, about 2 min 15 s left"
    assert report("head", "b11434", [Sample(3, None)]) == "head: building b11434: no step done yet, 3 s so far"
    assert report("w", "x", [Sample(61, Progress(8, 100, False, ""))]) == "w: building x: 8 %, 1 min 1 s so far"
