# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from apt and written for it."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.apt_closure import (
    apt_options,
    apt_reason,
    index_entry,
    release_architecture,
    uri_files,
)

# apt-get 2.6.1 --print-uris install
URIS = """\
'http://deb.example.org/pool/gcc-12-base_12.2.0-14%2bdeb12u1_amd64.deb' gcc-12-base_12.2.0-14+deb12u1_amd64.deb 37596 MD5Sum:8e7e741807b1e1939df8f58323affdcb
'file:/var/cache/x/./zlib1g_1%253a1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb 86712 SHA256:00
"""


def test_files():
    assert uri_files(URIS) == ["gcc-12-base_12.2.0-14+deb12u1_amd64.deb", "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"]


@pytest.mark.parametrize(("release", "architecture"), [("debian-12-amd64", "amd64"), ("ubuntu-24.04-arm64", "arm64"), ("debian", ""), ("-12-", ""), ("", "")])
def test_release(release, architecture):
    assert release_architecture(release) == architecture


def test_own_sources_are_left_out_only_where_others_are_given():
    assert not [word for word in apt_options("/w", "amd64", "") if "Dir::Etc" in word]
    assert "Dir::Etc::SourceParts=-" in apt_options("/w", "amd64", "/w/sources.list")


def test_reason():
    assert apt_reason("W: x\nE: Unable to locate package nothing\n") == "Unable to locate package nothing"
    unmet = "The following packages have unmet dependencies:\n libc6-dev : Depends: libc6 (= 2.36-9) but 2.37-1 is to be installed\nE: held broken packages.\n"
    assert apt_reason(unmet) == "libc6-dev : Depends: libc6 (= 2.36-9) but 2.37-1 is to be installed"
    assert apt_reason("") == "no message"


def test_index(tmp_path):
    path = tmp_path / "a_1%3a2_all.deb"
    path.write_bytes(b"content")
    entry = index_entry("Package: a\nVersion: 1:2\n", str(path))
    digest = hashlib.sha256(b"content").hexdigest()
    assert entry == f"Package: a\nVersion: 1:2\nFilename: ./a_1%3a2_all.deb\nSize: 7\nSHA256: {digest}\n"
