# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing the one model that a name or pattern means."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.filter.gguf_shards import FilterModule as Shards
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import SelectError, hub_files, select_model

SPLIT = [f"Q8_0/big-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
NAMES = ["README.md", "small.Q4_K_M.gguf", "small.Q4_K_S.gguf", "mmproj-small.gguf", *SPLIT]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("small.Q4_K_M.gguf", ["small.Q4_K_M.gguf"]),
        ("*Q4_K_S*", ["small.Q4_K_S.gguf"]),
        ("Q8_0/*", SPLIT),
        (SPLIT[2], SPLIT),
        # Without its folder.
        ("big-00001-of-00003.gguf", SPLIT),
        ("big-*", SPLIT),
    ],
)
def test_one_model(pattern, chosen):
    assert select_model(NAMES, pattern, "here") == chosen


@pytest.mark.parametrize(
    ("names", "pattern", "words"),
    [
        (NAMES, "*Q4_K*", r"'\*Q4_K\*' means 2 models of here: small.Q4_K_M.gguf, small.Q4_K_S.gguf"),
        (NAMES, "absent.gguf", "here has no file 'absent.gguf'; it has Q8_0/big-00001-of-00003.gguf, .* and 1 more"),
        (NAMES, "README.md", "here has no file 'README.md'"),
        (["README.md"], "*", "here has no .gguf file"),
        (["b.gguf", "a.gguf.part1of2", "a.gguf.part2of2"], "a.gguf", r"only as raw parts .*a.gguf.part1of2, a.gguf.part2of2.*cat a.gguf.part\* > a.gguf"),
        (["d/a.gguf.part-aa"], "*a*", "raw parts that are no GGUF files"),
        (["b.gguf", "a.gguf.part1of2"], "*c*", "has no file '\\*c\\*'; it has b.gguf"),
        (["m.Q4_K_M.gguf", "m.Q8_0.gguf"], "*q4_k_m*", "upper and lower case count: did you mean m.Q4_K_M.gguf"),
        (SPLIT[:2], "*", "in here, part big-00003-of-00003.gguf of a model in 3 files is missing"),
        # The very part that was asked for is the missing one.
        (SPLIT[1:], SPLIT[0], "in here, part big-00001-of-00003.gguf of a model in 3 files is missing"),
    ],
)
def test_not_one_whole_model(names, pattern, words):
    with pytest.raises(SelectError, match=words):
        select_model(names, pattern, "here")


def test_gguf_shards():
    shards = Shards().filters()["gguf_shards"]
    assert shards("https://host/a-00002-of-00002.gguf?download=true") == [
        "https://host/a-00001-of-00002.gguf?download=true",
        "https://host/a-00002-of-00002.gguf?download=true",
    ]
    assert shards("model.gguf") == ["model.gguf"]
    with pytest.raises(AnsibleFilterError, match="not a list"):
        shards([])


def test_hub_files():
    large = {"sha256": "AB" * 32, "size": 7, "pointerSize": 134}
    answer = {"sha": "c0", "siblings": [{"rfilename": "a.gguf", "size": 7, "lfs": large}, {"rfilename": "b.gguf"}, "odd", {"x": 1}]}
    assert hub_files(answer, "a.gguf", "owner/repo") == [{"name": "a.gguf", "size_bytes": 7, "sha256": "ab" * 32}]
    assert hub_files(answer, "b.gguf", "owner/repo") == [{"name": "b.gguf", "size_bytes": 0, "sha256": ""}]
    with pytest.raises(SelectError, match="owner/repo has no file 'c.gguf'; it has a.gguf, b.gguf"):
        hub_files(answer, "c.gguf", "owner/repo")
    for odd in ({}, {"siblings": None}, {"siblings": "x"}):
        with pytest.raises(SelectError, match="the repository has no .gguf file"):
            hub_files(odd, "*", "the repository")


@pytest.mark.parametrize("size", [-5, "7", None, [7]])
@pytest.mark.parametrize("digest", ["ab", "x" * 64, None, ["ab" * 32], 5])
def test_a_listing_is_not_believed(size, digest):
    """A size below nothing would be no bound, and a checksum that is none would be compared with nothing."""
    answer = {"siblings": [{"rfilename": "a.gguf", "size": size, "lfs": {"sha256": digest}}]}
    assert hub_files(answer, "a.gguf", "owner/repo") == [{"name": "a.gguf", "size_bytes": 0, "sha256": ""}]


@pytest.mark.parametrize(
    "name", ["../a.gguf", "/a.gguf", "x/../../a.gguf", "x//a.gguf", "./a.gguf", "x\\..\\a.gguf", "a\n.gguf", "a\u202e.gguf", "a\x1b[2J.gguf"]
)
def test_unsafe_names_are_refused(name):
    with pytest.raises(SelectError, match="owner/repo has a file whose name is not safe") as raised:
        hub_files({"siblings": [{"rfilename": name}]}, "*", "owner/repo")
    assert str(raised.value).isprintable()


def test_names_that_are_listed_are_cleaned():
    with pytest.raises(SelectError) as raised:
        hub_files({"siblings": [{"rfilename": "\x1b]0;x\x07\u202eb.gguf"}]}, "a.gguf", "owner/repo")
    assert str(raised.value) == "owner/repo has no file 'a.gguf'; it has ?b.gguf"
