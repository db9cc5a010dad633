# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Run ansible-test sanity on an installed copy of the collection, with no network but a Python package index.

ansible-test wants its collection at ansible_collections/NAMESPACE/NAME and does not follow links, hence the copy. It keeps its
virtual environments below HOME: a private HOME in the cache leaves the user's own clean and a second run fast.
Further arguments go to ansible-test, for instance --test pep8.
"""

from __future__ import annotations

import ast
import configparser
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_test

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "herd.llama_cpp" / "sanity"
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

# ansible-test runs this in an empty virtual environment, as `get-pip.py [options] pip==VERSION`, where it would otherwise
# download one from a server of its own.
GET_PIP = """\
import subprocess
import sys

python = [sys.executable, "-m"]
pip = python + ["pip", "--disable-pip-version-check"]
# A process of its own: ensurepip switches pip's configuration off for the one it runs in.
subprocess.check_call(python + ["ensurepip"], stdout=subprocess.DEVNULL)
subprocess.check_call(pip + ["install"] + [argument for argument in sys.argv[1:] if not argument.startswith("--no-")])
# Older ensurepips bring it along, and an import test must not find it.
subprocess.check_call(pip + ["uninstall", "--yes", "setuptools"])
"""


def write_get_pip(home: Path) -> None:
    """Put a pip bootstrap script where this ansible-test looks for a downloaded one."""
    source = (Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py").read_text(encoding="utf-8")
    versions = re.findall(r"\bpip=['\"]([0-9.]+)['\"]", source)
    if not versions:
        sys.exit("make test-sanity: this ansible-test does not say which pip it wants; tools/run_sanity.py has to learn its new way.")
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP, encoding="utf-8")


def write_pip_config(home: Path) -> None:
    """Carry the user's pip settings over: ansible-test drops the environment and the private HOME hides the files."""
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    settings = {}
    for line in listing.splitlines():
        name, sep, value = line.partition("=")
        section, dot, key = name.rpartition(".")
        if sep and dot:
            settings[("global" if section.startswith(":env:") else section, key)] = str(ast.literal_eval(value))
    for variable, key in (("https_proxy", "proxy"), ("HTTPS_PROXY", "proxy"), ("REQUESTS_CA_BUNDLE", "cert")):
        if variable in os.environ:
            settings.setdefault(("global", key), os.environ[variable])
    settings[("global", "cache-dir")] = str(CACHE / "pip")
    settings[("global", "quiet")] = "2"
    parser = configparser.RawConfigParser()
    for (section, key), value in settings.items():
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, key, value)
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        parser.write(stream)


def link_pythons(folder: Path) -> list[str]:
    """Fill a folder for PATH with links to the real interpreters found here; a version manager's shims are none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = []
    for version in PYTHONS:
        result = subprocess.run([str(ROOT / "tools" / "find-python"), version], stdout=subprocess.PIPE, text=True, check=False)
        interpreter = result.stdout.strip()
        usable = interpreter and subprocess.run([interpreter, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False).returncode == 0
        if usable:
            (folder / f"python{version}").symlink_to(interpreter)
            found.append(version)
    return found


def main() -> int:
    """Install a copy, run every test on it, say how many there were."""
    tools = Path(sys.executable).parent
    home = CACHE / "home"
    home.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / "lock").open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX)
    write_get_pip(home)
    write_pip_config(home)
    pythons = link_pythons(CACHE / "pythons")

    with tempfile.TemporaryDirectory(prefix="herd-sanity-") as temporary:
        environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": os.pathsep.join((str(tools), str(CACHE / "pythons"), "/usr/bin", "/bin")),
        }
        # ansible-test wants no configuration of the user's, and the installed copy, not the link.
        for variable in [name for name in environment if name.startswith("ANSIBLE_")]:
            del environment[variable]
        subprocess.run(
            [str(tools / "ansible-galaxy"), "collection", "install", str(ROOT), "--force", "--offline", "-p", temporary],
            env={**environment, "ANSIBLE_COLLECTIONS_PATH": temporary},
            cwd=temporary,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        copy = Path(temporary) / "ansible_collections" / "herd" / "llama_cpp"
        print(f"Sanity tests with the Pythons found here: {', '.join(pythons)}", flush=True)
        command = [str(tools / "ansible-test"), "sanity", "--color", "no", *sys.argv[1:]]
        # One stream, so that a finding stands below the test it belongs to.
        process = subprocess.Popen(command, cwd=copy, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ran = 0
        assert process.stdout is not None
        for line in process.stdout:
            ran += line.startswith("Running sanity test ")
            sys.stdout.write(line)
            sys.stdout.flush()
        status = process.wait()
    if status == 0 and ran == 0:
        print("make test-sanity: ansible-test ran no test at all.")
        return 1
    print(f"sanity: {ran} checks, {'all passed' if status == 0 else 'some failed, see above'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
