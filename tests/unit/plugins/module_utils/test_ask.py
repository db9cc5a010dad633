# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read out of llama-server's log when it is asked (tests/fixtures/logs/ask), and what it is asked with and about.

That the real one is asked rightly is shown by tests/integration/test_ask.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

import pinned
import pytest
import sparse_gguf

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import Answer, Figures

BUILD = pinned.version()
LOGS = Path(__file__).parents[3] / "fixtures" / "logs" / "ask"
TWO = Answer((Figures(33, 96, 59.05), Figures(58, 84, 48.91)), Figures(28, 0, 43.32), 0.75, build=BUILD)
DRAFTED = Answer((Figures(33, 96, 59.05), Figures(58, 84, 48.92)), Figures(28, 0, 43.32), 0.75, (Figures(0, 0, 0.0),) * 2, Figures(92, 180, 22.64), BUILD)
SAID: Dict[str, Answer] = {
    "two_devices": TWO,
    "one_device": Answer((Figures(92, 180, 21.51),), Figures(28, 0, 12.52), 0.75, build=BUILD),
    "no_device": Answer((), Figures(92, 180, 22.64), 0.75, build=BUILD),
    "draft": DRAFTED,
    "mtp": Answer((Figures(0, 3, 34.68), Figures(0, 1, 32.91)), Figures(0, 0, 33.32), 0.0,
                  (Figures(0, 0, 0.0), Figures(0, 1, 33.79)), Figures(0, 0, 32.67), BUILD),
}
# A model of one tensor.
SMALL = sparse_gguf.Model("small", "llama", {"general.architecture": "llama"}, [("token_embd.weight", (32, 2), "F32")])
READ = (ask._TABLE, ask._ROW, ask._COMPUTE, ask._OUTPUT, ask._MEASURED, ask._FAILED, ask._BUILD)  # noqa: SLF001


def lines_of(name: str) -> List[str]:
    return (LOGS / (name + ".txt")).read_text(encoding="utf-8").splitlines()


def without(lines: Sequence[str], *parts: str, number: int = 0) -> List[str]:
    """The log without its ``number``-th line that has all of ``parts`` in it."""
    found = [index for index, line in enumerate(lines) if all(part in line for part in parts)]
    return [line for index, line in enumerate(lines) if index != found[number]]


@pytest.mark.parametrize("name", sorted(SAID))
def test_what_it_says(name: str) -> None:
    assert ask.parse(lines_of(name), len(SAID[name].devices)) == SAID[name]


@pytest.mark.parametrize(("name", "said"), [
    ("unknown_architecture", "llama-server cannot load this model: error loading model: unknown model architecture: 'lxyma'"),
    ("missing_tensor", "llama-server cannot load this model: error loading model: check_tensor_dims: tensor 'blk.29.attn_q.weight' not found"),
    ("unknown_argument", "llama-server does not take its arguments: invalid argument: --no-such-thing"),
])
def test_what_it_cannot_do(name: str, said: str) -> None:
    with pytest.raises(ask.AskError):
        ask.parse(lines_of(name), 2)
    assert ask.Asker._why(lines_of(name), "no table") == said  # noqa: SLF001


# of a build with CUDA that was shown no GPU
NO_GPU = "0.00.012.001 E ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"


@pytest.mark.parametrize("line", [
    "quantized V cache requires flash_attn to be enabled",
    "K cache type q8_0 with block size 32 does not divide n_embd_head_k=80",
])
def test_the_gpu_that_it_is_not_shown_is_no_reason(line: str) -> None:
    lines = [NO_GPU, "0.04.540.787 W llama_init_from_model: flash_attn is not compatible with Grok - forcing off",
             "0.04.540.800 E llama_init_from_model: " + line, "0.04.540.802 E cmn  common_init_: failed to create context with model 'model.gguf'"]
    assert ask.Asker._why(lines, "no table") == "llama-server cannot load this model: " + line  # noqa: SLF001


def test_what_it_refuses_may_come_after_the_beginning_of_another_line() -> None:
    """Its log is written by a thread of its own."""
    lines = ["0.00.001.234 W error while handling argument \"--ctx-size\": stoi", "", "DEPRECATED: argument '--ctx-size' specified multiple times"]
    assert ask.Asker._why(lines, "no table") == "llama-server does not take its arguments: \"--ctx-size\": stoi"  # noqa: SLF001


def test_buffers_in_the_heads_own_ram_are_the_heads_and_those_of_its_gpu_are_not() -> None:
    """Whatever the device is called; llama.cpp's names for a device of the head's own: CUDA0, and CUDA_Host for RAM it may read."""
    lines = [line.replace("RPC1[127.0.0.1:50052]", "CUDA0").replace("RPC1", "CUDA0") for line in lines_of("two_devices")]
    assert ask.parse(lines, 2) == TWO


def test_each_worker_counts_its_devices_by_itself() -> None:
    """The table counts them all: its RPC1 is the RPC0 of the second worker."""
    lines = [line.replace("RPC1[127.0.0.1:50052]", "RPC0[127.0.0.2:50052]").replace("RPC1 (127.0.0.1:50052)", "RPC1 (127.0.0.2:50052)")
             for line in lines_of("two_devices")]
    assert ask.parse(lines, 2) == TWO


def test_over_workers_nothing_is_hidden_and_everything_is_named_as_in_the_service() -> None:
    workers = ask.Workers("10.0.0.1:50052,10.0.0.2:50052", ("CUDA0", "RPC0", "RPC1"), 990, 991)
    asker = ask.Asker("/opt/bin", "/m.gguf", 3, ["--rpc", "others:1", "--device", "none", "--ctx-size", "512"], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
                      workers=workers)
    asker._binary = lambda *names: names[0]  # type: ignore[method-assign]  # noqa: SLF001
    asker.directory = Path("/tmp/x")
    words = asker.command((3, 2, 1))
    assert [words[words.index(name) + 1] for name in ("--rpc", "--device", "--tensor-split", "--fit")] == [
        "10.0.0.1:50052,10.0.0.2:50052", "CUDA0,RPC0,RPC1", "3,2,1", "on"]
    assert words.count("--rpc") == words.count("--device") == 1 and (asker.user_id, asker.group_id) == (990, 991)
    environment = asker._environment()  # noqa: SLF001
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID" and "CUDA_VISIBLE_DEVICES" not in environment


@pytest.mark.parametrize("name", sorted(set(SAID) - {"no_device"}))
@pytest.mark.parametrize("row", ["- RPC0 ", "- Host "])
def test_a_row_that_got_lost_is_no_answer(name: str, row: str) -> None:
    """Least of all with a second table after it, which is whole and about something else."""
    with pytest.raises(ask.AskError, match="table of memory"):
        ask.parse(without(lines_of(name), row), len(SAID[name].devices))


@pytest.mark.parametrize("row", ["- RPC0 ", "- RPC1 ", "- Host "])
def test_a_row_that_got_lost_of_what_drafts_is_no_answer(row: str) -> None:
    with pytest.raises(ask.AskError, match="table of memory"):
        ask.parse(without(lines_of("mtp"), row, number=1), 2)


def test_without_a_device_a_draft_model_is_not_taken_for_the_model() -> None:
    model, draft = lines_of("no_device"), [line for line in lines_of("draft") if "RPC" not in line]
    assert ask.parse(draft, 0).beside_host == DRAFTED.beside_host
    with pytest.raises(ask.AskError, match="table of memory"):
        ask.parse(without(draft, "- Host "), 0)
    assert ask.parse(model, 0).beside_host is None


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_log_that_ends_before_the_head_is_no_answer(name: str) -> None:
    lines = lines_of(name)
    first = next(number for number, line in enumerate(lines) if "- Host " in line)
    for end in range(first + 1):
        with pytest.raises(ask.AskError):
            ask.parse(lines[:end], len(SAID[name].devices))


@pytest.mark.parametrize("asked", [1, 3, 15])
def test_a_table_about_other_devices_is_no_answer(asked: int) -> None:
    with pytest.raises(ask.AskError, match="table of memory"):
        ask.parse(lines_of("two_devices"), asked)


@pytest.mark.parametrize(("buffer", "where"), [("RPC0[", 0), ("RPC1[", 1), ("    CPU compute", 2)])
def test_hundredths_that_are_not_those_of_the_table_give_way_to_its_next_whole_mib(buffer: str, where: int) -> None:
    """A line that got lost, or that says something else: the table is rounded down, so one more is never too little."""
    lines = lines_of("two_devices")
    expected = [*TWO.devices, TWO.host]
    figures = expected[where]
    expected[where] = Figures(figures.weights_mib, figures.kv_mib, int(figures.compute_mib) + 1.0)
    other = [line.replace("%.2f MiB" % figures.compute_mib, "7.31 MiB") if buffer in line else line for line in lines]
    for damaged in (other, without(lines, buffer, "compute buffer size")):
        assert damaged != lines
        told = ask.parse(damaged, 2)
        assert [*told.devices, told.host] == expected


# general.name of a model's file, which llama-server prints as it is
NAMED = "0.00.200.001 D print_info: general.name          = %s"


@pytest.mark.parametrize("name", sorted(SAID))
@pytest.mark.parametrize("said", [
    "a: RPC0[127.0.0.1:50052] compute buffer size =  9999.00 MiB", "a:        GPU compute buffer size =  9999.00 MiB",
    "a: CPU  output buffer size =  9999.00 MiB", "a: | memory breakdown [MiB] |", "common_memory_breakdown_print: |   - Host |  72 =  28 +  0 +  43 |",
    "0.00.1 I common_memory_breakdown_print: |   - RPC0 (a) | 1 = 1 + ( 1 = 1 + 1 + 1) + 1 |", "a: build 1 (a) with b",
])
def test_what_a_file_says_in_a_line_of_llama_cpp_s_is_not_its_word(name: str, said: str) -> None:
    lines = lines_of(name)
    for number in range(len(lines)):
        assert ask.parse([*lines[:number], NAMED % said, *lines[number:]], len(SAID[name].devices)) == SAID[name]


@pytest.mark.parametrize("name", sorted(SAID))
def test_no_line_that_is_read_can_begin_in_a_text_of_a_file(tmp_path: Path, name: str) -> None:
    """With any number of its characters of a text, and the rest of what llama.cpp prints after it."""
    (tmp_path / "copy").mkdir()
    for line in lines_of(name):
        if any(expression.search(line) for expression in READ):
            original = sparse_gguf.write(SMALL, tmp_path / "forging.gguf", {**SMALL.metadata, "general.name": "a\n" + line})
            copy = ask.sparse_copy(str(original), tmp_path / "copy")
            assert read_gguf(str(copy)).metadata["general.name"] == "a " + line
            assert read_gguf(str(copy)).tensors == read_gguf(str(original)).tensors


@pytest.mark.parametrize("word", ["\n", "\n\n", "\r\n", "\n    ", "a\nb"])
def test_words_of_a_vocabulary_stay_as_they_are(tmp_path: Path, word: str) -> None:
    (tmp_path / "copy").mkdir()
    words = {"tokenizer.ggml.tokens": [word, "and a word of more characters than others"]}
    original = sparse_gguf.write(SMALL, tmp_path / "words.gguf", {**SMALL.metadata, **words})
    assert ask.sparse_copy(str(original), tmp_path / "copy").read_bytes() == original.read_bytes()


def test_a_version_that_is_not_said_is_not_known() -> None:
    assert ask.parse(without(lines_of("two_devices"), "build " + BUILD[1:]), 2).build == ""


@pytest.mark.parametrize(("words", "kept"), [
    (["--ctx-size", "8192", "--parallel", "4", "--kv-unified"], ["--ctx-size", "8192", "--parallel", "4", "--kv-unified"]),
    (["--model", "m.gguf", "--rpc", "10.0.0.2:50052", "--device", "RPC0", "-ts", "3,4", "-ub", "64"], ["-ub", "64"]),
    (["--api-key-file=/etc/key", "--flash-attn=on", "--host=0.0.0.0", "--no-kv-unified", "--port", "1"], ["--flash-attn=on", "--no-kv-unified"]),
    (["--no-warmup", "--ctx-size", "8192", "-v", "--kv-unified"], ["--ctx-size", "8192", "--kv-unified"]),
    (["--fit", "off", "--log-verbosity", "2", "--mmproj", "p.gguf", "--no-mmproj-offload", "--lora", "a.gguf", "-c", "1"], ["-c", "1"]),
    (["--spec-type", "draft-simple", "--model-draft", "d.gguf", "--device-draft", "RPC1"], ["--spec-type", "draft-simple", "--model-draft", "d.gguf"]),
    (["--mcp-servers-config", "/etc/mcp.json", "--mcp_servers_json={}", "--tools", "all", "--tools-runtime", "docker:a", "--agent", "-c", "1"], ["-c", "1"]),
    (["-ag", "--log-prompts-dir", "/var/prompts", "--api_key", "a", "-c", "1"], ["-c", "1"]),
    (["--ctx-size", 8192, "--port"], ["--ctx-size", "8192"]),
    ([], []),
], ids=lambda words: " ".join(map(str, words)))
def test_what_a_question_shares_with_the_service(words: Sequence[str], kept: Sequence[str]) -> None:
    assert ask.asked_arguments(words) == kept


def test_a_question_starts_nothing_by_its_environment() -> None:
    """MCP servers and tools are started before the model is loaded, and llama-server ends where it cannot."""
    variables = {"LLAMA_ARG_MCP_SERVERS_CONFIG": "/etc/mcp.json", "LLAMA_ARG_MCP_SERVERS_JSON": "{}", "LLAMA_ARG_TOOLS": "all",
                 "LLAMA_ARG_TOOLS_RUNTIME": "docker:a", "LLAMA_ARG_AGENT": "1", "LLAMA_ARG_CTX_SIZE": "8192"}
    assert ask.Asker("/opt/bin", "/m.gguf", 2, [], variables).environment == {"LLAMA_ARG_CTX_SIZE": "8192"}


def blocks_of(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize("parts", [1, 3])
def test_a_copy_is_as_large_and_takes_no_room(tmp_path: Path, parts: int) -> None:
    """Given any part: llama.cpp is told the first."""
    place = tmp_path / "copy"
    place.mkdir()
    model = sparse_gguf.SHAPES["llama-8b"]()
    originals = sparse_gguf.write_split(model, tmp_path, parts) if parts > 1 else [sparse_gguf.write(model, tmp_path / "whole.gguf")]
    for original in originals:
        offset = read_gguf(str(original)).data_offset_bytes
        with open(original, "r+b") as stream:
            stream.seek(offset)
            stream.write(b"weights!" * 4096)
    copy = ask.sparse_copy(str(originals[-1]), place)
    assert copy == place / originals[0].name
    assert sorted(path.name for path in place.iterdir()) == [path.name for path in originals]
    for original in originals:
        made, offset = place / original.name, read_gguf(str(original)).data_offset_bytes
        with open(made, "rb") as ours, open(original, "rb") as theirs:
            assert ours.read(offset) == theirs.read(offset)
            assert ours.read(1 << 16) == b"\0" * (1 << 16), "weights were copied"
        assert made.stat().st_size == original.stat().st_size and blocks_of(made) < offset + 8192


@pytest.mark.parametrize("content", [b"", b"This is no model.\n" * 100, b"GGUF\3\0\0\0\1\0\0\0"], ids=["empty", "text", "cut"])
def test_what_is_no_model_is_not_copied(tmp_path: Path, content: bytes) -> None:
    place, broken = tmp_path / "copy", tmp_path / "broken.gguf"
    place.mkdir()
    broken.write_bytes(content)
    with pytest.raises(GgufError):
        ask.sparse_copy(str(broken), place)
    assert not list(place.iterdir())
