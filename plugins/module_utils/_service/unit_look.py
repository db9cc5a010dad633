# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service needs of its machine: its user, its programs, the files it reads, packages, and what is left of an earlier configuration."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
import subprocess
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.unprivileged import own_user_id

#: By which file a package of the distribution is known to be there.
PACKAGE_FILES = {
    "nginx": "/usr/sbin/nginx",
    "libnginx-mod-stream": "/usr/lib/nginx/modules/ngx_stream_module.so",
    "nftables": "/usr/sbin/nft",
    "openssl": "/usr/bin/openssl",
    "stunnel4": "/usr/bin/stunnel4",
}
_READABLE = 'for path; do if test -r "$path"; then echo yes; else echo no; fi; done'


class LookError(ValueError):
    """The machine cannot be looked at as it was asked. One sentence without its final full stop."""


def missing_packages(names: t.Iterable[str]) -> t.List[str]:
    """Those of these packages that the machine lacks."""
    wanted = list(names)
    unknown = [name for name in wanted if name not in PACKAGE_FILES]
    if unknown:
        raise LookError("Nobody knows by which file %s is known to be there" % " and ".join(unknown))
    return [name for name in wanted if not os.path.exists(PACKAGE_FILES[name])]


def executable(paths: t.Iterable[str]) -> str:
    """The first of these that is there, links resolved; empty where none is."""
    for path in paths:
        if os.path.exists(path):
            return os.path.realpath(path)
    return ""


def user(name: str) -> t.Dict[str, t.Any]:
    """Whether the user exists, and its comment, by which one that a role has made is known again."""
    try:
        return {"exists": True, "comment": pwd.getpwnam(name).pw_gecos}
    except KeyError:
        return {"exists": False, "comment": ""}


def files(paths: t.Sequence[str], reader: str) -> t.Dict[str, t.Dict[str, t.Any]]:
    """Of each path whether it is a regular file, its size in bytes, when it was changed (seconds since 1970), and whether the user may read it.

    Links are followed. A user that does not exist yet is taken for one of the group of that
    name, where there is one, and with no right of its own.
    """
    may_read = dict(zip(paths, _readable(paths, reader)))
    found = {}
    for path in paths:
        try:
            seen = os.stat(path)
        except OSError:
            found[path] = {"regular": False, "size_bytes": 0, "changed_s": 0, "readable": False}
            continue
        found[path] = {
            "regular": stat.S_ISREG(seen.st_mode), "size_bytes": seen.st_size, "changed_s": int(seen.st_mtime), "readable": may_read[path],
        }
    return found


def _readable(paths: t.Sequence[str], reader: str) -> t.List[bool]:
    """What the user himself finds, so that access lists and the directories above count too."""
    if not paths:
        return []
    rights: t.Dict[str, t.Any] = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam(reader)
            rights = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(reader, account.pw_gid)}
        except KeyError:
            stranger = own_user_id()
            rights = {"user": stranger, "group": _group(reader, stranger), "extra_groups": []}
    done = subprocess.run(["/bin/sh", "-c", _READABLE, "sh", *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, cwd="/", **rights)
    said = done.stdout.splitlines()
    if done.returncode != 0 or len(said) != len(paths):
        raise LookError("What %s may read could not be tried: %s" % (reader, done.stderr.strip() or "exit code %d" % done.returncode))
    return [line == "yes" for line in said]


def _group(name: str, otherwise: t.Optional[int]) -> t.Optional[int]:
    """The ID of a group that a user will be a member of, because it has his name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return otherwise


def found(patterns: t.Iterable[str]) -> t.List[str]:
    """What there is by these shell-style patterns."""
    return [path for pattern in patterns for path in sorted(glob.glob(pattern))]
