# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that root tries run as nobody in particular: with a user ID that is nobody else's for as long as they run.

Processes of one user may signal, read and trace each other, and ``nobody`` is whoever a machine runs as nobody. An ID needs no account.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import random
import resource
import signal
import typing as t

# The range that systemd takes the IDs of DynamicUser= from (UIDS-GIDS.md of systemd); Debian gives none of it to an account without asking.
FIRST_ID, LAST_ID = 61184, 65519
_DYNAMIC = "/run/systemd/dynamic-uid"
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


class NoUserError(Exception):
    """Every ID of the range is taken."""


def _running() -> t.Set[int]:
    """The IDs of users and groups that processes have at this moment, of any of the four sorts (proc(5), status)."""
    found: t.Set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/status" % name, encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    if line.startswith(("Uid:", "Gid:")):
                        found.update(int(word) for word in line.split()[1:])
        except OSError:
            # it has ended
            continue
    return found


def _has_name(number: int) -> bool:
    """Whether an account or a group has it, wherever the machine looks accounts up (nsswitch.conf(5)), or systemd gave it to a service."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
            return True
        except KeyError:
            continue
    return os.path.exists("%s/%d" % (_DYNAMIC, number))


def own_user_id() -> t.Optional[int]:
    """A user and group ID that no account and no process has; None for who is not root and cannot become another user.

    Chosen at random, so that two who choose at once do not choose the same. Raises NoUserError.
    """
    if os.geteuid() != 0:
        return None
    running = _running()
    for number in random.SystemRandom().sample(range(FIRST_ID, LAST_ID + 1), LAST_ID + 1 - FIRST_ID):
        if number not in running and not _has_name(number):
            return number
    raise NoUserError("every user ID from %d to %d is in use" % (FIRST_ID, LAST_ID))


def libc() -> t.Any:
    """The C library, for what Python has no function for."""
    return ctypes.CDLL(None, use_errno=True)


def unprivileged(user_id: t.Optional[int], group_id: t.Optional[int] = None) -> t.Callable[[], None]:
    """What a child does before it becomes another program (``preexec_fn``): it gives up what it may do, and ends with its parent.

    Its group has the number of its user where none is given.
    """
    library = libc()

    def give_up() -> None:
        if user_id is not None:
            os.setgroups([])
            os.setgid(user_id if group_id is None else group_id)
            os.setuid(user_id)
        # after the change of user, which takes it back (prctl(2))
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return give_up
