# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding conda, mamba or micromamba, asking it, and understanding what it answers.

The answers are those of ``--json``. conda 24.7 prints ``{"actions": {"LINK": [...], "UNLINK": [...]}, "success": true}``, or
``{"message": ...}`` alone where nothing is to do, and ``{name: [...]}`` to a search; micromamba answers a search with
``{"result": {"pkgs": [...]}}``. What went wrong is in ``exception_name`` and ``message`` (conda) or in the text before (micromamba).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.versions import version_tuple

KINDS = ("conda", "mamba", "micromamba")

# Where installers put it when it is not on PATH.
_USUAL_PLACES = ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "miniforge", "micromamba", ".local")
_USUAL_ROOTS = ("~", "/opt", "/usr/local")

# What defines the function `module` for a shell: Tcl modules and Lmod, where distributions and sites have them.
MODULE_INITS = (
    "$MODULESHOME/init/sh",
    "$LMOD_PKG/init/sh",
    "/etc/profile.d/modules.sh",
    "/etc/profile.d/lmod.sh",
    "/etc/profile.d/z00_lmod.sh",
    "/usr/share/modules/init/sh",
    "/usr/share/Modules/init/sh",
    "/usr/share/lmod/lmod/init/sh",
    "/usr/local/Modules/init/sh",
    "/opt/apps/lmod/lmod/init/sh",
)

# The environment of the shell after the modules were loaded, behind a line that nothing else prints.
_BEGIN = "herd.llama_cpp environment begins here"
_MODULE_SCRIPT = """
for init in %(inits)s; do
    if [ -r "$init" ]; then . "$init" >/dev/null 2>&1; command -v module >/dev/null 2>&1 && break; fi
done
if ! command -v module >/dev/null 2>&1; then exit 101; fi
for name in "$@"; do
    module load "$name" || exit 102
    # Tcl modules before version 5 fail without saying so in the exit status.
    case ":$LOADEDMODULES:" in *":$name:"*|*":$name/"*) ;; *) exit 103 ;; esac
done
printf '%%s\\n' '%(begin)s'
exec env -0
"""

_NOT_FOUND = re.compile(r"nothing provides requested (\S+(?: \S*[=<>*]\S*)*)|^\s*- (\S+)$|└─ (\S+(?: \S+)?) (?:does not exist|is not)", re.MULTILINE)


class CondaError(Exception):
    """What went wrong, one sentence without the final full stop. ``touched`` tells whether the environment may have been changed."""

    def __init__(self, text: str, touched: bool = False) -> None:
        super().__init__(text)
        self.touched = touched


@dataclass(frozen=True)
class Conda:
    """A command that manages environments."""

    executable: str
    kind: str
    version: str
    environment: t.Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Package:
    """One package, as it is in a channel or in an environment."""

    name: str
    version: str
    build: str = ""
    channel: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.name, self.version, self.build) if part)


@dataclass(frozen=True)
class Transaction:
    """What conda did, or would do: nothing where both are empty."""

    link: t.Tuple[Package, ...] = ()
    unlink: t.Tuple[Package, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.link or self.unlink)


# ---------------------------------------------------------------------------------------------------------------------
# finding it


def parse_version(output: str) -> t.Tuple[str, str]:
    """Kind and version in the output of ``--version``; both empty where it is something else."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        match = re.match(r"^(conda|mamba|micromamba) (\d+(?:\.\d+)+\S*)$", line)
        if match and not (match.group(1) == "conda" and any(other.startswith("mamba ") for other in lines)):
            return match.group(1), match.group(2)
    # mamba 2 and micromamba say the number alone.
    if len(lines) == 1 and re.match(r"^\d+(\.\d+)+\S*$", lines[0]):
        return "mamba", lines[0]
    return "", ""


def parse_module_environment(output: bytes, before: t.Mapping[str, str]) -> t.Dict[str, str]:
    """The variables that loading modules has set, out of what the script printed."""
    dummy_head, found, tail = output.rpartition(_BEGIN.encode() + b"\n")
    if not found:
        return {}
    after = dict(entry.split("=", 1) for entry in tail.decode("utf-8", "replace").split("\0") if "=" in entry)
    noise = ("SHLVL", "PWD", "OLDPWD", "_", "LINES", "COLUMNS")
    return {
        name: value for name, value in sorted(after.items()) if before.get(name) != value and name not in noise and not name.startswith("BASH_FUNC_")
    }


def load_modules(names: t.Sequence[str], inits: t.Sequence[str] = MODULE_INITS) -> t.Dict[str, str]:
    """What loading these environment modules sets. A session that is no login has no ``module`` until a file defines it."""
    shell = shutil.which("bash") or "/bin/sh"
    script = _MODULE_SCRIPT % {"inits": " ".join('"%s"' % path for path in inits), "begin": _BEGIN}
    wanted = ", ".join(names)
    try:
        done = subprocess.run(
            [shell, "-c", script, "herd.llama_cpp", *names], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            timeout=300,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CondaError("loading the environment modules %s took more than 5 minutes; try 'module load' on the machine" % wanted) from error
    if done.returncode == 101:
        raise CondaError(
            "the environment modules %s cannot be loaded, because the machine has no module system (looked for %s); empty"
            " cuda_toolkit_modules, or set MODULESHOME" % (wanted, ", ".join(inits))
        )
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    if done.returncode or _BEGIN.encode() not in done.stdout:
        raise CondaError(
            "the environment modules %s cannot be loaded%s; see with 'module avail' on the machine what there is"
            % (wanted, " (%s)" % said if said else "")
        )
    return parse_module_environment(done.stdout, os.environ)


def candidates(executable: str, path: str, home: str, prefix: str = "") -> t.List[str]:
    """Every place to look at, the first to be preferred: what was named, ours, PATH, where installers put it."""
    if executable:
        expanded = os.path.expanduser(executable)
        if os.sep in expanded:
            if os.path.isdir(expanded):
                return [os.path.join(expanded, directory, kind) for directory in ("bin", "condabin") for kind in KINDS]
            return [expanded]
        return [os.path.join(directory, expanded) for directory in path.split(os.pathsep) if directory]
    found = [os.path.join(directory, kind) for directory in path.split(os.pathsep) if directory for kind in KINDS]
    if prefix:
        found = [os.path.join(prefix, "bin", kind) for kind in KINDS] + found
    for root in _USUAL_ROOTS:
        place = home if root == "~" else root
        found += [os.path.join(place, name, "bin", kind) for name in _USUAL_PLACES for kind in KINDS]
    return found


def find_conda(
    executable: str = "", modules: t.Sequence[str] = (), prefix: str = "", environment: t.Optional[t.Mapping[str, str]] = None
) -> t.Optional[Conda]:
    """The command to use, or None. ``prefix`` is where we would have installed one ourselves."""
    changes = load_modules(modules) if modules else {}
    surroundings = dict(os.environ if environment is None else environment, **changes)
    path = surroundings.get("PATH", "")
    if not modules:
        # A session that is no login may lack where administrators install to.
        path = os.pathsep.join([path, "/usr/local/bin", "/usr/bin", "/bin"])
    for place in candidates(executable, path, os.path.expanduser("~"), "" if modules else prefix):
        if not (os.path.isfile(place) and os.access(place, os.X_OK)):
            continue
        try:
            done = subprocess.run(
                [place, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                env=_clean(surroundings), timeout=120,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        kind, version = parse_version(done.stdout.decode("utf-8", "replace"))
        if done.returncode == 0 and kind:
            if kind == "mamba" and os.path.basename(place) == "micromamba":
                kind = "micromamba"
            return Conda(place, kind, version, changes)
    return None


def _clean(environment: t.Mapping[str, str]) -> t.Dict[str, str]:
    """Without what makes a conda's own Python look elsewhere, and with messages in one language."""
    kept = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "PYTHONHOME", "LANGUAGE")}
    return dict(kept, LC_ALL="C.UTF-8", MAMBA_NO_BANNER="1", CONDA_REPORT_ERRORS="false")


# ---------------------------------------------------------------------------------------------------------------------
# asking it


def _channels(channels: t.Sequence[str]) -> t.List[str]:
    arguments = ["--override-channels"]
    for channel in channels:
        if channel != shown_channel(channel):
            raise CondaError(
                "the channel %s is given with a password or token, which conda would show to every user of the machine in its list of processes; "
                "give its address a name there, in custom_channels of that user's .condarc, and name it here" % shown_channel(channel)
            )
        arguments += ["-c", channel]
    return arguments


def search_arguments(spec: str, channels: t.Sequence[str]) -> t.List[str]:
    return ["search", "--json", *_channels(channels), spec]


def change_arguments(prefix: str, specs: t.Sequence[str], channels: t.Sequence[str], create: bool, dry_run: bool = False) -> t.List[str]:
    """What to tell conda. ``create`` only for a place where there is no environment: conda would empty it without asking."""
    if create and os.path.exists(os.path.join(prefix, "conda-meta", "history")):
        raise CondaError("%s is an environment, and 'conda create' would empty it; this is a mistake of the collection" % prefix)
    arguments = ["create" if create else "install", "-p", prefix, "-y", "--json", *_channels(channels)]
    return arguments + (["--dry-run"] if dry_run else []) + list(specs)


def parse_json(output: str) -> t.Optional[t.Dict[str, t.Any]]:
    """The last JSON object in what was printed: a progress line or a warning may come before it."""
    for match in re.finditer(r"^\{", output, re.MULTILINE):
        try:
            answer, dummy_end = json.JSONDecoder().raw_decode(output, match.start())
        except ValueError:
            continue
        if isinstance(answer, dict):
            return answer
    return None


def _package(entry: t.Any) -> t.Optional[Package]:
    if not isinstance(entry, dict) or not entry.get("name"):
        return None
    build = entry.get("build_string") or entry.get("build") or ""
    return Package(str(entry["name"]), str(entry.get("version", "")), str(build), str(entry.get("channel") or ""))


def _packages(entries: t.Any) -> t.Tuple[Package, ...]:
    found = (_package(entry) for entry in entries or ())
    return tuple(package for package in found if package)


def parse_search(answer: t.Mapping[str, t.Any]) -> t.List[Package]:
    """The packages in the answer to a search, of either kind, the newest last."""
    if isinstance(answer.get("result"), dict):
        entries = answer["result"].get("pkgs") or []
    else:
        entries = [entry for group in answer.values() if isinstance(group, list) for entry in group]
    return sorted(_packages(entries), key=lambda package: (package.name, version_tuple(package.version), package.build))


def parse_transaction(answer: t.Mapping[str, t.Any]) -> Transaction:
    """What an answer says was done, or would be."""
    actions = answer.get("actions") or {}
    # conda 4 has a list of these, one for each platform.
    if isinstance(actions, list):
        actions = actions[0] if actions else {}
    return Transaction(_packages(actions.get("LINK")), _packages(actions.get("UNLINK")))


def explain(answer: t.Optional[t.Mapping[str, t.Any]], text: str, channels: t.Sequence[str]) -> str:
    """Why it failed, in one sentence."""
    answer = answer or {}
    name = str(answer.get("exception_name") or "")
    message = str(answer.get("message") or answer.get("error") or "")
    problems = answer.get("solver_problems") or []
    whole = "\n".join([message, *[str(problem) for problem in problems], text])
    where = ", ".join(shown_channel(channel) for channel in channels)
    if name.startswith("PackagesNotFound") or "nothing provides requested" in whole or "does not exist" in whole and "Could not solve" in whole:
        wanted = [str(package) for package in answer.get("packages") or []]
        if not wanted:
            wanted = [next(group for group in groups if group) for groups in _NOT_FOUND.findall(whole)]
        what = ", ".join(dict.fromkeys(wanted)) or "something that was asked for"
        return "the channels %s do not have %s; correct its name or version, or add a channel that has it" % (where, what)
    if name.startswith("UnavailableInvalidChannel"):
        return "the channel %s cannot be had (%s); correct it" % (shown_channel(str(answer.get("channel_url") or where)), _first_line(message))
    if name.startswith(("CondaHTTPError", "CondaSSLError", "ProxyError")) or "Download error" in whole or "Could not resolve host" in whole:
        return "the channels %s cannot be reached from the machine (%s); see to its network or name a mirror" % (where, _first_line(message or text))
    if name.startswith(("Unsatisfiable", "LibMambaUnsatisfiable", "SpecsConfiguration")) or "Could not solve" in whole:
        return "the packages that were asked for do not go together (%s); ask for other versions" % _short(message or whole)
    if "No space left" in whole or name.startswith("NoSpaceLeft"):
        return "the disk is full; free some space for the environment and for the package cache"
    if name.startswith(("NotWritable", "EnvironmentNotWritable", "NoWritable")):
        return "the user cannot write there (%s); choose a path that is the user's own" % _short(message)
    return _short(message or text) or "it ended without a word"


def _first_line(text: str) -> str:
    return next((line.strip().rstrip(".") for line in text.splitlines() if line.strip()), "no message")


def _short(text: str) -> str:
    return " ".join(text.split())[:400].rstrip(".")


def shown_channel(channel: str) -> str:
    """A channel as it may be shown and kept: without user and password, and without anaconda.org's token (``/t/TOKEN/``)."""
    return re.sub(r"/t/(?!\*\*\*)[^/]+", "/t/***", without_secrets(channel))


def ask(conda: Conda, arguments: t.Sequence[str], channels: t.Sequence[str], timeout_s: float = 7200.0) -> t.Dict[str, t.Any]:
    """Run it and return its answer; an error says why there is none."""
    try:
        done = subprocess.run(
            [conda.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            env=_clean(dict(os.environ, **conda.environment)), timeout=timeout_s, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise CondaError("%s cannot be run: %s" % (conda.executable, error.strerror)) from error
    except subprocess.TimeoutExpired as error:
        raise CondaError("%s %s took more than %d s" % (conda.executable, arguments[0], timeout_s), touched=True) from error
    answer = parse_json(done.stdout)
    said = done.stderr if answer is not None else done.stdout + "\n" + done.stderr
    failed = done.returncode != 0 or answer is None or answer.get("success") is False or "exception_name" in (answer or {})
    # What is wrong with the request shows before anything is done; only then is the environment certainly as before.
    name = str((answer or {}).get("exception_name") or "")
    early = name.startswith(("PackagesNotFound", "Unsatisfiable", "LibMambaUnsatisfiable", "UnavailableInvalidChannel", "SpecsConfiguration",
                             "CondaHTTPError", "CondaSSLError")) or "Could not solve" in said  # fmt: skip
    if failed:
        raise CondaError(explain(answer, said, channels), touched=not early)
    return answer or {}


def search(conda: Conda, spec: str, channels: t.Sequence[str]) -> t.List[Package]:
    """The packages of the channels that match, none where there are none."""
    try:
        return parse_search(ask(conda, search_arguments(spec, channels), channels, timeout_s=900.0))
    except CondaError as error:
        if " do not have " in str(error):
            return []
        raise


def installed(prefix: str) -> t.List[Package]:
    """What an environment holds, read from its own records."""
    directory = os.path.join(prefix, "conda-meta")
    found = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as stream:
                package = _package(json.load(stream))
        except (OSError, ValueError):
            continue
        if package:
            found.append(Package(package.name, package.version, package.build))
    return sorted(found, key=lambda package: package.name)
