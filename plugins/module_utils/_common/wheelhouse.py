# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python packages for another machine's Python, fetched here by pip and packed into one archive."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.file_limit import file_size_limit, room
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets

# Last member of an archive: where it is, everything before it is.
COMPLETE_MARK = ".complete"

# pip chooses wheels for another Python when told so, but evaluates environment markers ("python_version < '3.11'") with the
# one it runs on, and would leave out a dependency that only the other one needs. Where a pip has its markers elsewhere,
# it goes on without.
_PIP_LAUNCHER = """
import json, runpy, sys
environment = json.loads(sys.argv.pop(1))
try:
    from pip._vendor.packaging import markers
    markers.default_environment
except (ImportError, AttributeError):
    pass
else:
    markers.default_environment = lambda: dict(environment)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class WheelhouseError(Exception):
    """The wheelhouse cannot be made. One sentence without the final full stop."""


def marker_environment() -> t.Dict[str, str]:
    """The environment markers of the running Python, as the packaging specifications name them."""
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": platform.python_version(),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def platform_tags(machine: str, libc: str, libc_version: str) -> t.List[str]:
    """The platform tags of wheels that run there, the most specific first (PEP 600, PEP 656)."""
    numbers = [int(part) for part in re.findall(r"[0-9]+", libc_version)[:2]]
    tags = []
    if libc == "glibc" and len(numbers) == 2 and numbers[0] == 2:
        tags += ["manylinux_2_%d_%s" % (minor, machine) for minor in range(numbers[1], 4, -1)]
        # The names from before PEP 600, which older wheels carry alone.
        tags += ["%s_%s" % (name, machine) for minor, name in ((17, "manylinux2014"), (12, "manylinux2010"), (5, "manylinux1"))
                 if numbers[1] >= minor]
    elif libc == "musl" and len(numbers) == 2:
        tags += ["musllinux_%d_%d_%s" % (numbers[0], minor, machine) for minor in range(numbers[1], -1, -1)]
    return tags + ["linux_%s" % machine]


def libc_of_python(executable: str) -> t.Tuple[str, str]:
    """The C library of the running Python: its name and version, both empty where it cannot be told."""
    try:
        name, dash, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if name == "glibc" and version:
            return name, version
    except (AttributeError, OSError, ValueError):
        pass
    # musl says its version when its loader is run without a program.
    for loader in sorted(os.listdir("/lib")) if os.path.isdir("/lib") else []:
        if loader.startswith("ld-musl-"):
            said = subprocess.run(["/lib/" + loader], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            match = re.search(rb"Version ([0-9.]+)", said.stdout)
            return "musl", match.group(1).decode() if match else ""
    name, version = platform.libc_ver(executable)
    return name, version


def describe_environment() -> t.Dict[str, t.Any]:
    """All that pip on another machine has to know of this Python."""
    libc, libc_version = libc_of_python(sys.executable)
    markers = marker_environment()
    return {
        "executable": sys.executable,
        "implementation": markers["implementation_name"],
        "version": markers["python_version"],
        "full_version": markers["python_full_version"],
        "machine": platform.machine(),
        "libc": libc,
        "libc_version": libc_version,
        "platform_tags": platform_tags(platform.machine(), libc, libc_version),
        "markers": markers,
        "user_id": os.geteuid(),
        "home": os.path.expanduser("~"),
    }


def wheelhouse_name(requirements: t.Sequence[str], environment: t.Mapping[str, t.Any]) -> str:
    """A name that is the same exactly when the packages and the kind of machine are."""
    wanted = sorted(" ".join(item.split()) for item in requirements)
    identity = [wanted, environment["implementation"], environment["version"], environment["platform_tags"]]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    first = re.match(r"[A-Za-z0-9._-]*", wanted[0].strip()) if wanted else None
    return "%s-py%s-%s" % ((first.group(0) if first else "") or "wheelhouse", environment["version"], digest)


def pip_arguments(requirements: t.Sequence[str], environment: t.Mapping[str, t.Any], target: str) -> t.List[str]:
    """What to tell pip, without its name."""
    arguments = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile", "--no-warn-script-location"]
    arguments += ["--target", target, "--only-binary", ":all:", "--python-version", environment["version"]]
    if environment["implementation"] == "cpython":
        arguments += ["--implementation", "cp"]
    for tag in environment["platform_tags"]:
        arguments += ["--platform", tag]
    return arguments + ["--"] + list(requirements)


def last_words(output: str) -> str:
    """The line in which pip says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[len("ERROR:"):].strip() for line in lines if line.startswith("ERROR:")]
    # pip's first error names the cause, its last one only the package.
    chosen = errors[0] if errors else (lines[-1] if lines else "no message")
    return printable(chosen.rstrip("."), 400)


# Options that name a server, which may want a password.
_PIP_ADDRESSES = {
    "-i": "INDEX_URL", "--index-url": "INDEX_URL", "--pypi-url": "INDEX_URL", "--extra-index-url": "EXTRA_INDEX_URL",
    "-f": "FIND_LINKS", "--find-links": "FIND_LINKS", "--proxy": "PROXY",
}


def secret_options(arguments: t.Sequence[str]) -> t.Tuple[t.List[str], t.Dict[str, str]]:
    """pip's arguments without the addresses that have a password or query in them, and these as pip's own variables of the environment.

    A command line is for every user of the machine to see, the environment of a process for its own user alone (proc(5)).
    """
    kept: t.List[str] = []
    environment: t.Dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        option, equals, value = argument.partition("=")
        whole = [argument]
        if option in _PIP_ADDRESSES and not equals and rest:
            value = rest.pop(0)
            whole.append(value)
        if option in _PIP_ADDRESSES and value != without_secrets(value):
            name = "PIP_" + _PIP_ADDRESSES[option]
            # pip takes several with a space between them.
            before = environment.get(name, os.environ.get(name, "")) if option in ("--extra-index-url", "-f", "--find-links") else ""
            environment[name] = (before + " " + value).strip()
        else:
            kept += whole
    return kept, environment


def run_pip(executable: str, arguments: t.Sequence[str], environment: t.Mapping[str, t.Any] | None = None) -> str:
    """Runs pip of that Python and returns what it said. The markers are those of the environment, if one is given."""
    if environment is None:
        command = [executable, "-m", "pip"]
    else:
        command = [executable, "-c", _PIP_LAUNCHER, json.dumps(environment["markers"])]
    given, secrets = secret_options(arguments)
    try:
        done = subprocess.run(
            command + given,
            env={**os.environ, **secrets},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as exc:
        raise WheelhouseError("%s cannot be run: %s" % (executable, exc.strerror)) from exc
    if done.returncode:
        if "No module named pip" in done.stdout:
            raise WheelhouseError("%s has no pip: install pip for it on the control node" % executable)
        if os.strerror(errno.EFBIG) in done.stdout:
            # pip prints a traceback for it.
            raise WheelhouseError("%s: what it fetches is larger than it may be" % os.strerror(errno.EFBIG))
        raise WheelhouseError(last_words(done.stdout))
    return done.stdout


def make_wheelhouse(executable: str, requirements: t.Sequence[str], environment: t.Mapping[str, t.Any], directory: str,
                    pip_options: t.Sequence[str] = ()) -> str:
    """Fetches the packages and packs them; returns the archive's path. An interrupted run leaves nothing under that name."""
    archive = os.path.join(directory, wheelhouse_name(requirements, environment) + ".tar.gz")
    os.makedirs(directory, exist_ok=True)
    work = tempfile.mkdtemp(prefix=".making-", dir=directory)
    try:
        tree = os.path.join(work, "tree")
        arguments = pip_arguments(requirements, environment, tree)
        arguments[1:1] = list(pip_options)
        try:
            with file_size_limit(room(work)):
                run_pip(executable, arguments, environment)
        except WheelhouseError as exc:
            raise WheelhouseError(
                "pip on the control node cannot get %s for Python %s on %s %s: %s"
                % (", ".join(requirements), environment["version"], environment["machine"], environment["libc"], exc)
            ) from exc
        # Their first line names this machine's Python.
        shutil.rmtree(os.path.join(tree, "bin"), ignore_errors=True)
        os.makedirs(tree, exist_ok=True)
        mark = os.path.join(work, COMPLETE_MARK)
        with open(mark, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(requirements)) + "\n")
        packed = os.path.join(work, "packed")
        with tarfile.open(packed, "w:gz", compresslevel=3) as tar:
            for name in sorted(os.listdir(tree)):
                tar.add(os.path.join(tree, name), arcname=name, filter=_belongs_to_root)
            tar.add(mark, arcname=COMPLETE_MARK, filter=_belongs_to_root)
        os.replace(packed, archive)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return archive


def _belongs_to_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Readable by all, whatever the umask of whoever made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
