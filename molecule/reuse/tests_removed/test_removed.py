# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing the two roles takes what they brought and leaves the stranger's own files."""

from __future__ import annotations

testinfra_hosts = ["ansible://all"]


def test_no_unit_left(host):
    assert host.run("systemctl list-unit-files --no-legend 'llama*'").stdout.strip() == ""
    assert host.run("systemctl list-units --all --no-legend 'llama*'").stdout.strip() == ""


def test_the_strangers_files_stay(host):
    assert host.file("/srv/llm/current").is_symlink
