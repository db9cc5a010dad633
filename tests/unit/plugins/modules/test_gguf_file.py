# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gguf_file, whatever names it is given."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.store import STAMPS, Store
from ansible_collections.herd.llama_cpp.plugins.modules import gguf_file
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make


@pytest.mark.parametrize("name", ["", "other.gguf"])
@pytest.mark.parametrize("file", ["../../precious.gguf", "a/../../../precious.gguf", "{}/precious.gguf"])
def test_a_name_that_leads_out_moves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str, name: str) -> None:
    """Such a one comes from a hub's listing, and what it named was moved as if it had been downloaded."""
    precious = tmp_path / "precious.gguf"
    precious.write_bytes(make.gguf_bytes(make.standard_pairs(), make.standard_tensors()))
    arguments = {"directory": str(tmp_path), "source": {"x": 1}, "files": [file.format(tmp_path)], "move": True, "name": name}
    (tmp_path / ".incoming").mkdir()
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gguf_file.main()
    result = json.loads(capsys.readouterr().out)
    assert result.get("failed") and "is no name of a file below" in result["msg"], result
    assert precious.is_file() and not (tmp_path / "other.gguf").exists()
    assert not (tmp_path / ".stamps").exists()


def test_the_directory_s_mode_is_set_where_it_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = tmp_path / "models"

    def changed(**more: object) -> bool:
        with patch_module_args({"directory": str(directory), "source": {"x": 1}, **more}), pytest.raises(SystemExit):
            gguf_file.main()
        return bool(json.loads(capsys.readouterr().out)["changed"])

    assert not changed(directory_mode="0755"), "where there is none"
    directory.mkdir(mode=0o700)
    assert not changed() and changed(directory_mode="0755", _ansible_check_mode=True) and directory.stat().st_mode & 0o777 == 0o700
    assert changed(directory_mode="0755") and directory.stat().st_mode & 0o777 == 0o755
    assert not changed(directory_mode="0755")


def test_what_is_only_seen_of_a_model_in_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its header and whether its rights are right, in one look that changes nothing."""
    def result(**more: object) -> dict:
        with patch_module_args({"directory": str(tmp_path), "source": {"x": 1}, **more}), pytest.raises(SystemExit):
            gguf_file.main()
        return dict(json.loads(capsys.readouterr().out))

    seen = {"rights": "seen", "header": True}
    nothing = result(mode="0644", **seen)
    assert not nothing["present"] and not nothing["rights_differ"] and "gguf" not in nothing
    model = tmp_path / "m.gguf"
    model.write_bytes(make.gguf_bytes(make.standard_pairs(), make.standard_tensors()))
    model.chmod(0o644)
    assert result(files=[model.name], sha256={model.name: hashlib.sha256(model.read_bytes()).hexdigest()})["present"]
    for mode, directory_mode, differ in (("0644", "", False), ("0600", "", True), ("0644", "0711", True)):
        found = result(mode=mode, directory_mode=directory_mode, **seen)
        assert (found["rights_differ"], found["changed"], model.stat().st_mode & 0o777) == (differ, False, 0o644)
        assert found["gguf"]["path"] == found["path"] and found["gguf"]["kind"] == "model" and found["gguf"]["tensors"] and found["gguf"]["metadata"]
    assert "rights_differ" not in result(mode="0600") and model.stat().st_mode & 0o777 == 0o600


def test_a_header_that_cannot_be_read_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "m.gguf"
    broken.write_bytes(b"no model")
    store = Store(str(tmp_path))
    (tmp_path / STAMPS).mkdir()
    looks = broken.stat()
    entry = {"path": str(broken), "size_bytes": looks.st_size, "mtime_ns": str(looks.st_mtime_ns), "sha256": ""}
    Path(store.stamp_path({"x": 1})).write_text(json.dumps({"source": {"x": 1}, "files": [entry]}))
    with patch_module_args({"directory": str(tmp_path), "source": {"x": 1}, "header": True}), pytest.raises(SystemExit):
        gguf_file.main()
    found = json.loads(capsys.readouterr().out)
    assert found["present"] and "gguf" not in found and str(broken) in found["header_problem"] and found["header_problem"].endswith(".")
