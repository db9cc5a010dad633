# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a machine's services as it was, in one archive, and back.

It holds keys, so that it is for root alone. What is no part of a snapshot did not exist when it was taken, and goes when it is put back.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import shutil
import stat
import tarfile
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.whole_file import make_public, write_whole

#: All that the roles rpc_server, llama_server and watchdog write and that decides how their services run.
PATTERNS = (
    "etc/llama-rpc-server", "etc/llama-server", "etc/llama-watchdog", "usr/local/lib/llama-server", "usr/local/lib/llama-watchdog",
    "etc/systemd/system/llama-*.*", "etc/systemd/system/*.wants/llama-*.*", "etc/systemd/system/nftables.service.d/llama-*.conf",
)
#: In the archive only: the units that ran, the names of further files that belong to the configuration, and when the cluster's record was written.
UNITS, FURTHER, RECORDED = "units.json", "further.json", "recorded.json"


class SnapshotError(Exception):
    """The archive cannot be used. One sentence without its final full stop."""


def files(root: str = "/", further: t.Sequence[str] = ()) -> t.List[str]:
    """What there is of the configuration by now, directories before what is in them, relative to ``root``.

    ``further``: names, relative to ``root`` too, that are part of it as long as they are regular files that only root can put there.
    """
    return _with(_own(root), root, [name for name in further if _is_guarded(root, name)])


def _own(root: str) -> t.List[str]:
    found: t.List[str] = []
    for pattern in PATTERNS:
        for path in sorted(glob.glob(os.path.join(root, pattern))):
            found.append(path)
            if os.path.isdir(path) and not os.path.islink(path):
                found += [os.path.join(top, name) for top, dirs, names in os.walk(path) for name in sorted(dirs + names)]
    return [os.path.relpath(path, root) for path in found]


def _with(names: t.List[str], root: str, guarded: t.Iterable[str]) -> t.List[str]:
    return list(dict.fromkeys([*names, *(name for name in guarded if _is_regular(os.path.join(root, name)))]))


def _is_regular(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _is_guarded(root: str, name: str) -> bool:
    """Whether nobody but who runs this can put another file or a link there: each directory from ``root`` on is his own, and for him alone to change."""
    parts = os.path.dirname(name).split(os.sep)
    for number in range(len(parts) + 1):
        try:
            here = os.lstat(os.path.join(root, *parts[:number]))
        except FileNotFoundError:
            # What is not there is made below one that is.
            return True
        if not stat.S_ISDIR(here.st_mode) or here.st_uid != os.geteuid() or here.st_mode & 0o022:
            return False
    return True


def take(archive: str, units: t.Sequence[str], root: str = "/", paths: t.Sequence[str] = (), recorded: str = "") -> None:
    """Write the configuration and the names of the units that run into an archive, in one step. ``recorded``: when the record of it was written.

    ``paths``: further files of the configuration, absolute. Where there is something else than a regular file, or somebody else may change one of
    the directories above, it is no part of it: whoever may could have root read or write another file in its place.
    """
    make_public(os.path.dirname(archive))
    names = [os.path.relpath(path, "/") for path in paths if path]
    further = [name for name in names if _is_guarded(root, name)
               and (_is_regular(os.path.join(root, name)) or not os.path.lexists(os.path.join(root, name)))]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, words in ((UNITS, units), (FURTHER, further), (RECORDED, [recorded])):
            text = json.dumps(list(words)).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
        for name in files(root, further):
            tar.add(os.path.join(root, name), arcname=name, recursive=False)
    write_whole(archive, stream.getvalue())


@contextlib.contextmanager
def _opened(archive: str) -> t.Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise SnapshotError("%s is not whole (%s)" % (archive, error)) from error


def _words(tar: tarfile.TarFile, name: str) -> t.List[str]:
    if name != UNITS and name not in tar.getnames():
        # an archive of a time before there were any
        return []
    return [str(word) for word in json.load(t.cast(t.IO[bytes], tar.extractfile(name)))]


def _members(tar: tarfile.TarFile) -> t.Dict[str, tarfile.TarInfo]:
    return {member.name: member for member in tar.getmembers() if member.name not in (UNITS, FURTHER, RECORDED)}


def units_of(archive: str) -> t.List[str]:
    """The units that ran."""
    with _opened(archive) as tar:
        return _words(tar, UNITS)


def is_of(archive: str, recorded: str) -> bool:
    """Whether it was made by the record that was written then, as far as both say so: what a switch has left that has ended is of an older one."""
    with _opened(archive) as tar:
        return len({recorded, *_words(tar, RECORDED)} - {""}) < 2


def put_back(archive: str, root: str = "/") -> None:
    """Make the configuration what it was."""
    with _opened(archive) as tar:
        # Ours, and with links to absolute paths, as systemd makes them.
        tar.extraction_filter = lambda member, path: member
        members, further = _members(tar), _words(tar, FURTHER)
        guarded = [name for name in further if not os.path.isdir(os.path.join(root, name)) and _is_guarded(root, name)]
        for name in set(further) - set(guarded):
            # As it was when it was taken no more; it is not for root to follow.
            members.pop(name, None)
        for name in reversed(_with(_own(root), root, guarded)):
            if name not in members:
                _remove(os.path.join(root, name))
        for name, member in members.items():
            path = os.path.join(root, name)
            if os.path.lexists(path) and not (member.isdir() and os.path.isdir(path)):
                _remove(path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if member.isfile():
                _write(path, t.cast(t.IO[bytes], tar.extractfile(member)).read(), member)
            else:
                tar.extract(member, root, numeric_owner=True)


def differs(archive: str, root: str = "/") -> bool:
    """Whether the configuration is another than it was, by names, kinds, modes and contents."""
    with _opened(archive) as tar:
        members = _members(tar)
        return set(members) != set(files(root, _words(tar, FURTHER))) or any(
            not _same(tar, member, os.path.join(root, name)) for name, member in members.items())


def _same(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bool:
    here = os.lstat(path)
    if member.issym():
        return os.path.islink(path) and os.readlink(path) == member.linkname
    if stat.S_IMODE(here.st_mode) != member.mode or member.isdir() != stat.S_ISDIR(here.st_mode):
        return False
    if not member.isfile():
        return True
    with open(path, "rb") as stream:
        return stream.read() == t.cast(t.IO[bytes], tar.extractfile(member)).read()


def _write(path: str, content: bytes, member: tarfile.TarInfo) -> None:
    """A file with its owner and mode, which nobody else can open before it has them: tarfile makes it first and sets its mode afterwards."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
        stream.write(content)
        os.fchown(stream.fileno(), member.uid, member.gid)
        os.fchmod(stream.fileno(), member.mode)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def forget(archive: str) -> bool:
    """Remove the archive, and its directory where nothing else is in it; whether there was one."""
    try:
        os.unlink(archive)
    except FileNotFoundError:
        return False
    try:
        os.rmdir(os.path.dirname(archive))
    except OSError:
        # Something else is in it.
        pass
    return True
