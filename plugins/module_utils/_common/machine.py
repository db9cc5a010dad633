# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles that build and install llama.cpp have to know about a machine, read from the machine itself."""

from __future__ import annotations

import json
import os
import platform
import shutil
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.cpu import flags_from_cpuinfo, model_from_cpuinfo

STAMP_NAME = "stamp.json"


def read_text(path: str) -> str:
    """Return a text file's content, or nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def parse_os_release(text: str) -> t.Tuple[str, str]:
    """Return ID and the major part of VERSION_ID of an os-release file (os-release(5))."""
    values: t.Dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name] = value.strip("\"'")
    return values.get("ID", "linux"), values.get("VERSION_ID", "").split(".")[0]


def libc_version() -> str:
    """Return name and version of the C library, such as ``glibc 2.36``; nothing where it is another one."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def memory_mib(meminfo: str, field: str = "MemTotal") -> int:
    """Return a field of ``/proc/meminfo`` in MiB."""
    for line in meminfo.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) // 1024
    return 0


def free_mib(path: str) -> int:
    """Return the space a user may fill in the file system that would hold the path, which need not exist yet."""
    current = os.path.abspath(path)
    while not os.path.exists(current):
        current = os.path.dirname(current)
    usage = os.statvfs(current)
    return usage.f_bavail * usage.f_frsize // (1024 * 1024)


def cpu_count() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def read_stamp(path: str) -> t.Optional[t.Dict[str, t.Any]]:
    """Return what a build's stamp file says; nothing where there is none or it is not whole."""
    try:
        stamp = json.loads(read_text(path))
    except ValueError:
        return None
    if not isinstance(stamp, dict) or not stamp.get("id") or not isinstance(stamp.get("components"), list):
        return None
    return stamp


def installed_builds(prefix: str) -> t.List[t.Dict[str, t.Any]]:
    """Return the stamps of the builds below a prefix, the one installed last first.

    A directory without a whole stamp is what an interrupted run left: it does not count as a build.
    """
    root = os.path.join(prefix, "builds")
    try:
        names = os.listdir(root)
    except OSError:
        return []
    found = []
    for name in names:
        if name.startswith("."):
            continue
        path = os.path.join(root, name, STAMP_NAME)
        stamp = read_stamp(path)
        if stamp is not None and stamp["id"] == name:
            found.append((os.stat(path).st_mtime, name, stamp))
    return [stamp for dummy_time, dummy_name, stamp in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def linked_build(prefix: str, link: str) -> str:
    """Return the id of the build that ``current`` or ``previous`` points at; nothing where it points at none."""
    try:
        target = os.readlink(os.path.join(prefix, link))
    except OSError:
        return ""
    return os.path.basename(target.rstrip("/")) if os.path.exists(os.path.join(prefix, target)) else ""


def find_commands(names: t.Iterable[str]) -> t.Dict[str, str]:
    """Return the path of each command, empty where it is not there."""
    # A session without a login shell can have a PATH without the directories packages install to.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"])
    return {name: shutil.which(name, path=path) or "" for name in names}


def describe_machine(prefix: str, paths: t.Iterable[str], commands: t.Iterable[str]) -> t.Dict[str, t.Any]:
    """Return everything above for this machine."""
    cpuinfo, meminfo = read_text("/proc/cpuinfo"), read_text("/proc/meminfo")
    distribution, release = parse_os_release(read_text("/etc/os-release") or read_text("/usr/lib/os-release"))
    return {
        "architecture": platform.machine(),
        "builds": installed_builds(prefix) if prefix else [],
        "commands": find_commands(commands),
        "cpu_count": cpu_count(),
        "cpu_flags": flags_from_cpuinfo(cpuinfo),
        "cpu_model": model_from_cpuinfo(cpuinfo),
        "current": linked_build(prefix, "current") if prefix else "",
        "distribution": distribution,
        "distribution_release": release,
        "free_mib": {path: free_mib(path) for path in paths},
        "libc": libc_version(),
        "memory_available_mib": memory_mib(meminfo, "MemAvailable"),
        "memory_mib": memory_mib(meminfo),
        "previous": linked_build(prefix, "previous") if prefix else "",
        "user_id": os.geteuid(),
    }
