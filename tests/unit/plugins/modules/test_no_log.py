# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules with an argument that may hold a secret show of it, and that none of them needs it."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.modules import conda_environment, conda_info, python_wheelhouse, python_wheel_member

# Where nothing can be made: what is no directory.
WHEEL = {"package": "p", "version": "1", "sha256": "0" * 64, "directory": "/dev/null/cache", "executable": "/nowhere/python"}
BUNDLE = {"requirements": [], "environment": dict.fromkeys(("implementation", "libc", "machine", "markers", "platform_tags", "version"), ""),
          "directory": "/dev/null/cache", "executable": "/nowhere/python"}
CONDA = {"prefix": "/nowhere/environment", "packages": ["ninja"], "executable": "/nowhere/conda"}
CASES = [
    (conda_info, {}, "channels"), (conda_environment, CONDA, "channels"),
    (python_wheelhouse, BUNDLE, "pip_options"), (python_wheel_member, WHEEL, "pip_options"),
]


def said(module, capsys, **params):
    with patch_module_args(params), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("module", "params", "name"), CASES, ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2])
def test_it_may_be_left_out(capsys, module, params, name):
    assert "msg" in said(module, capsys, **params) or module is conda_info


@pytest.mark.parametrize(("module", "params", "name"), CASES, ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2])
def test_a_secret_in_it_is_masked(capsys, module, params, name):
    assert "hidden" not in json.dumps(said(module, capsys, **params, **{name: ["https://me:hidden@h.example/c"]}))


def test_a_channel_without_a_secret_is_named_in_what_is_wrong_with_it(capsys, tmp_path):
    conda = tmp_path / "conda"
    conda.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo conda 24.1.2; exit; }\n'
                     'echo \'{"exception_name": "PackagesNotFoundError", "packages": ["ninja"], "error": "x"}\'; exit 1\n')
    conda.chmod(0o755)
    given = {"packages": ["ninja"], "executable": str(conda), "prefix": str(tmp_path / "environment")}
    plain = said(conda_environment, capsys, **given, channels=["https://h.example/c"])
    assert "the channels https://h.example/c do not have ninja" in plain["msg"].lower(), plain
    secret = said(conda_environment, capsys, **given, channels=["https://h.example/t/hidden/c"])
    assert "custom_channels" in secret["msg"] and "hidden" not in json.dumps(secret), secret
