# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and files of this computer, and how several runs keep out of each other's way."""
from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator


class LabError(Exception):
    """One sentence for the user."""


def run(*argv: str, check: bool = True, timeout: float = 60, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command without a terminal or a locale; its error text becomes the LabError. ``timeout`` is in seconds."""
    env = dict(os.environ, LC_ALL="C", **kwargs.pop("env", {}))
    try:
        done = subprocess.run(
            argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, timeout=timeout, env=env, check=False, **kwargs
        )
    except FileNotFoundError as err:
        raise LabError("the command %s is not installed" % argv[0]) from err
    except subprocess.TimeoutExpired as err:
        raise LabError("%s did not finish within %d s" % (" ".join(argv), timeout)) from err
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError("%s failed: %s" % (" ".join(argv), said[-1] if said else "exit code %d" % done.returncode))
    return done


def read(path: str) -> str:
    """The text of a file, or nothing when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def write(path: str, text: str, mode: int = 0o644) -> bool:
    """Make the file have this text. The file is rewritten in place only when it differs; says whether it did."""
    if os.path.isfile(path) and not os.path.islink(path) and read(path) == text:
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = "%s.%d.tmp" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    return True


@contextlib.contextmanager
def locked(path: str, timeout: float) -> Iterator[int]:
    """Hold a lock file, waiting ``timeout`` seconds for it. Its descriptor is for children that may outlive an interrupted run."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as err:
                if time.monotonic() > deadline:
                    raise LabError("another run holds %s; wait until it has ended" % path) from err
                time.sleep(0.5)
        yield fd
    finally:
        os.close(fd)


def in_parallel(calls: Dict[str, Callable[[], Any]]) -> Dict[str, Any]:
    """What each call returns, side by side; all that went wrong in one sentence, once all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        tasks = {name: pool.submit(call) for name, call in calls.items()}
    wrong = [str(task.exception()) for task in tasks.values() if task.exception()]
    if wrong:
        raise LabError("; ".join(wrong))
    return {name: task.result() for name, task in tasks.items()}
