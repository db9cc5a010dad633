# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role made is gone, and nothing else."""

from __future__ import annotations

testinfra_hosts = ["ansible://builder"]


def test_ours_is_gone(host):
    assert host.check_output("find /home/maker/.local/share -name '*cuda*'") == ""
    assert not host.file("/home/maker/.local/share/herd.llama_cpp/toolchain").exists


def test_what_is_not_ours_stays(host):
    assert host.check_output("find /home/maker/from-installer -mindepth 1") == "/home/maker/from-installer/notes.txt"
    assert host.check_output("/opt/apps/anaconda3-2023.09/bin/conda --version") == "conda 24.7.1"
