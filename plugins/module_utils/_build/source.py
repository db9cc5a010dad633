# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of llama.cpp, whatever they come from, as one kind of archive.

Every source ends as ``NAME.tar.gz`` with the tree below the directory ``llama.cpp/``. What a build needs is then always
the same, and a machine that builds needs neither git, pip nor a way to the outside.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import typing as t
import zlib

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.checksum import file_sha256
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import user_and_password, without_secrets

TREE = "llama.cpp"

# git archive (and with it the big hosting sites) writes the commit here: git-get-tar-commit-id(1).
_COMMIT_HEADER = "comment"
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class SourceError(ValueError):
    """The source cannot be had; the message is one sentence without its full stop."""


def check_sha256(path: str, expected: str, name: str) -> None:
    """Raise where a file is not the one that was meant."""
    found = file_sha256(path)
    if found != expected.lower():
        raise SourceError("the SHA-256 of %s is %s, not %s" % (name, found, expected.lower()))


def commit_of(path: str) -> str:
    """Return the commit an archive was made of, or nothing where it does not say."""
    try:
        with tarfile.open(path) as archive:
            archive.next()
            commit = archive.pax_headers.get(_COMMIT_HEADER, "")
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return ""
    return commit if _COMMIT.match(commit) else ""


def _inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _link_stays_inside(member: tarfile.TarInfo, relative: str) -> bool:
    target = os.path.normpath(os.path.join(os.path.dirname(relative), member.linkname))
    return not member.linkname.startswith("/") and not target.startswith("..")


def repack(source: str, target: str, subdir: str, name: str) -> None:
    """Write the llama.cpp tree inside an archive as an archive of its own.

    The tree is what lies in ``subdir`` below the archive's one top directory.
    """
    top = ""
    whole = False
    wanted = [part for part in subdir.split("/") if part not in ("", ".")]
    try:
        with tarfile.open(source) as archive:
            members = iter(archive)
            first = next(members, None)
            headers = {}
            if _COMMIT.match(archive.pax_headers.get(_COMMIT_HEADER, "")):
                headers[_COMMIT_HEADER] = archive.pax_headers[_COMMIT_HEADER]
            with tarfile.open(
                target, "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT, pax_headers=headers
            ) as output:
                member = first
                while member is not None:
                    parts = [part for part in member.name.split("/") if part not in ("", ".")]
                    if not _inside(member.name):
                        raise SourceError("%s holds the unsafe name %s" % (name, printable(member.name, 200)))
                    if parts:
                        top = top or parts[0]
                        if parts[0] != top:
                            raise SourceError(
                                "%s has more than one top directory (%s and %s)" % (name, printable(top), printable(parts[0]))
                            )
                    relative = parts[1:]
                    # A .git in a release archive belongs to a repository that is not there: it only confuses
                    # the version that CMake asks git for.
                    if relative[: len(wanted)] == wanted and relative[len(wanted):][:1] != [".git"]:
                        rest = "/".join(relative[len(wanted):])
                        whole = whole or rest == "CMakeLists.txt"
                        _copy_member(archive, output, member, rest, name)
                    member = next(members, None)
    # tarfile takes its numbers from the archive as they are: one that is none, or too large, ends in an error of Python's.
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ArithmeticError, LookupError, ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise SourceError("%s cannot be unpacked: %s" % (name, error.strerror)) from error
        raise SourceError("%s is not a whole tar archive (%s)" % (name, printable(str(error), 200))) from error
    if not whole:
        where = printable("/".join([top or "."] + wanted), 200)
        raise SourceError("%s has no %s/CMakeLists.txt, so llama.cpp is not there" % (name, where))


def _copy_member(
    archive: tarfile.TarFile, output: tarfile.TarFile, member: tarfile.TarInfo, rest: str, name: str
) -> None:
    copy = tarfile.TarInfo("/".join([TREE, rest]) if rest else TREE)
    copy.mtime = member.mtime
    copy.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    if member.isdir():
        copy.type = tarfile.DIRTYPE
        output.addfile(copy)
    elif member.issym():
        if not _link_stays_inside(member, rest):
            raise SourceError("%s holds the link %s, which points out of it" % (name, printable(member.name, 200)))
        copy.type = tarfile.SYMTYPE
        copy.linkname = member.linkname
        output.addfile(copy)
    elif member.isfile():
        copy.size = member.size
        output.addfile(copy, archive.extractfile(member))
    elif member.islnk():
        # A hard link's content is that of the file it names, which comes before it.
        named = next((other for other in archive.getmembers() if other.name == member.linkname and other.offset < member.offset), None)
        if named is None or not named.isfile():
            raise SourceError(
                "%s holds the link %s to %s, which is not in it" % (name, printable(member.name, 200), printable(member.linkname, 200))
            )
        copy.size = named.size
        output.addfile(copy, archive.extractfile(named))


def git_address(url: str) -> t.Tuple[str, str]:
    """A repository's address as git may be told it on its command line, and the line for git-credential-store(1) with what it must not have.

    Of ``https://`` and ``http://`` addresses user and password are taken; ``ssh://git@host`` has a name there and no secret. The line
    holds for that server alone, so that git gives it to no other that it is redirected to.
    """
    if not re.match("https?://", url):
        return url, ""
    user, address = user_and_password(url), without_secrets(url)
    if url != (address if not user else address.replace("://", "://%s@" % user, 1)):
        raise SourceError(
            "%s has a query, which git would show in the list of processes; give user and password before the host instead" % address
        )
    # Without a colon it is a user without a password, which git would ask for.
    return address, address.replace("://", "://%s@" % (user if ":" in user else user + ":"), 1) + "\n" if user else ""


def pip_failure(output: str, requirement: str, sha256: str) -> str:
    """Return in one sentence why pip did not deliver a source distribution."""
    if "DO NOT MATCH THE HASHES" in output:
        got = re.search(r"\bGot\s+([0-9a-f]{64})", output)
        return "the SHA-256 of %s is %s, not %s" % (requirement, got.group(1) if got else "another", sha256)
    if "No module named pip" in output:
        return "the Python that runs Ansible has no pip, which fetches %s" % requirement
    if "No matching distribution found" in output or "Could not find a version" in output:
        return "pip finds no source distribution %s in the package index it is set up to use" % requirement
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    said = (errors or lines or ["it said nothing"])[-1]
    return "pip could not fetch %s: %s" % (requirement, printable(said.replace("ERROR: ", "", 1).rstrip("."), 300))


def git_failure(output: str, url: str, version: str) -> str:
    """Return in one sentence why git did not deliver a version."""
    if "couldn't find remote ref" in output or "not our ref" in output:
        return "%s has no tag, branch or commit %s" % (url, version)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("fatal:")]
    said = (fatal or lines or ["it said nothing"])[0]
    return "git could not fetch %s from %s: %s" % (version, url, printable(said.replace("fatal: ", "", 1).rstrip("."), 300))


def requirement_line(name: str, version: str, sha256: str) -> str:
    """Return the line of a requirements file that accepts this one file only."""
    return "%s==%s --hash=sha256:%s\n" % (name, version, sha256.lower())


def only_file(directory: str, requirement: str) -> str:
    """Return the one file pip left in a directory."""
    names: t.List[str] = sorted(os.listdir(directory))
    if len(names) != 1:
        raise SourceError("pip left %d files for %s instead of one" % (len(names), requirement))
    return os.path.join(directory, names[0])
