# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages with all they depend on, for a machine on which nothing is installed.

apt decides, but with a record of installed packages of its own, which is empty: what it then fetches is enough for any machine of
that release, whatever that one lacks, and whatever security update one has and another has not.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.checksum import file_sha256

INDEX = "Packages"
_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>[^ ]+\.deb) (?P<size>[0-9]+) ")
_RELEASE = re.compile(r"(?P<name>[a-z0-9]+-[0-9.]+)-(?P<architecture>[a-z0-9]+)")


def release_architecture(release: str) -> str:
    """The architecture in a release's name such as debian-12-amd64, or nothing where it is no such name."""
    match = _RELEASE.fullmatch(release)
    return match.group("architecture") if match else ""


def apt_options(work: str, architecture: str, sources: str) -> t.List[str]:
    """Options that keep apt off this machine's own state. An empty ``sources`` means this machine's own sources."""
    settings = [
        ("Dir::State", os.path.join(work, "state")),
        ("Dir::State::status", os.path.join(work, "status")),
        ("Dir::Cache", os.path.join(work, "cache")),
        ("APT::Architecture", architecture),
        ("APT::Architectures", architecture),
        ("APT::Sandbox::User", "root"),
        ("Acquire::Languages", "none"),
        ("Debug::NoLocking", "true"),
    ]
    if sources:
        settings += [("Dir::Etc::SourceList", sources), ("Dir::Etc::SourceParts", "-")]
    return [word for name, value in settings for word in ("-o", "%s=%s" % (name, value))]


def uri_files(output: str) -> t.List[str]:
    """The names of the files that ``apt-get --print-uris install`` would fetch."""
    return [match.group("file") for match in map(_URI_LINE.match, output.splitlines()) if match]


def apt_reason(output: str) -> str:
    """Why apt-get failed: its own lines that say so, as one text."""
    said = [line[3:].strip() for line in output.splitlines() if line.startswith("E: ")]
    unmet = [" ".join(line.split()) for line in output.splitlines() if re.match(r" +\S+ : (Pre)?Depends: ", line)]
    return "; ".join((unmet or said)[:3]) or (output.strip().splitlines() or ["no message"])[-1]


def index_entry(control: str, path: str) -> str:
    """One package's part of the index of a directory of packages: what it says of itself, and which file it is."""
    where = ["Filename: ./%s" % os.path.basename(path), "Size: %d" % os.path.getsize(path), "SHA256: %s" % file_sha256(path)]
    return "\n".join([control.strip()] + where) + "\n"
