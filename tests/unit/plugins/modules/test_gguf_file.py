# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gguf_file, whatever names it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

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
