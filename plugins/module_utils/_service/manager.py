# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What supervises a machine's services: what it knows of them, and its own look at the files that it reads.

``Supervisor`` is what a second one has to have, and all that the modules know of it; ``supervisor`` says which one a machine has.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import (
    SHOW_PROPERTIES,
    Ignored,
    SystemdError,
    UnitState,
    is_unit_file,
    parse_show,
    parse_verify,
    read_process,
)

# A command's exit code, output and messages; and the path of a program, None where there is none.
Run = t.Callable[[t.Sequence[str]], t.Tuple[int, str, str]]
Find = t.Callable[[str], t.Optional[str]]


class Supervisor(t.Protocol):
    """What starts services, keeps them running, and says what runs."""

    def runs(self) -> bool:
        """Whether the machine has it and runs by it."""

    def look(self, units: t.Sequence[str], environment: t.Collection[str] = (),
             credentials: t.Optional[t.Mapping[str, t.Mapping[str, str]]] = None) -> t.List[t.Dict[str, t.Any]]:
        """The services, each once, as the module unit_process_info returns them. Raises SystemdError."""

    def reads(self, path: str) -> bool:
        """Whether a file is one that it reads, so that it has to read its files again where that was changed."""

    def reload(self) -> None:
        """Have it read its files again. Raises SystemdError."""

    def ignored(self, paths: t.Iterable[str]) -> t.List[Ignored]:
        """What it does not heed in these of its files."""


class Systemd:
    """systemd's manager of the machine."""

    def __init__(self, run: Run, find: Find, runtime_dir: str = "/run") -> None:
        self._run, self._runtime_dir = run, runtime_dir
        self._systemctl, self._analyze = find("systemctl"), find("systemd-analyze")

    def runs(self) -> bool:
        # sd_booted(3): systemd may be installed without being what runs the machine.
        return self._systemctl is not None and os.path.isdir(os.path.join(self._runtime_dir, "systemd", "system"))

    def look(self, units: t.Sequence[str], environment: t.Collection[str] = (),
             credentials: t.Optional[t.Mapping[str, t.Mapping[str, str]]] = None) -> t.List[t.Dict[str, t.Any]]:
        if not units or not self.runs():
            return []
        said = self._systemctl_says("could not show the units", "show", "--property=" + ",".join(SHOW_PROPERTIES), "--", *units)
        states = {state.unit: state for state in parse_show(said)}
        return [self._seen(state, environment, (credentials or {}).get(state.unit) or {}) for state in states.values()]

    def reads(self, path: str) -> bool:
        return is_unit_file(path)

    def reload(self) -> None:
        self._systemctl_says("could not have systemd read its files again", "daemon-reload")

    def ignored(self, paths: t.Iterable[str]) -> t.List[Ignored]:
        files = [path for path in paths if os.path.isfile(path)]
        if self._analyze is None or not files:
            return []
        # Its exit code says whether all would start, which is another question.
        return parse_verify(self._run([self._analyze, "verify", "--man=no", *files])[2], files)

    def _systemctl_says(self, complaint: str, *arguments: str) -> str:
        rc, out, err = self._run([str(self._systemctl), "--no-pager", *arguments])
        if rc != 0:
            raise SystemdError("systemctl %s: %s" % (complaint, err.strip() or "exit code %d" % rc))
        return out

    def _seen(self, state: UnitState, environment: t.Collection[str], credentials: t.Mapping[str, str]) -> t.Dict[str, t.Any]:
        process = read_process(state.main_pid, environment) if state.main_pid else None
        return {
            "unit": state.unit,
            "load_state": state.load_state,
            "active_state": state.active_state,
            "sub_state": state.sub_state,
            "enabled": state.enabled,
            "in_service": state.in_service,
            "need_daemon_reload": state.need_daemon_reload,
            "restarts": state.restarts,
            "running": state.running and process is not None,
            "main_pid": state.main_pid,
            "process": process.name if process else "",
            "executable": process.executable if process else "",
            "executable_deleted": process.executable_deleted if process else False,
            "anonymous_mib": process.anonymous_mib if process else 0,
            "environment": process.environment if process else {},
            "stale_credentials": self._stale(state.unit, credentials),
        }

    def _stale(self, unit: str, files: t.Mapping[str, str]) -> t.List[str]:
        """The names of the credentials that the unit has not loaded as they are in their files (systemd.exec(5), Credentials)."""
        loaded = {name: _content(os.path.join(self._runtime_dir, "credentials", unit, name)) for name in files}
        return [name for name, path in files.items() if loaded[name] is None or loaded[name] != _content(path)]


def supervisor(run: Run, find: Find) -> Supervisor:
    """What supervises the services of this machine."""
    return Systemd(run, find)


def in_service(units: t.Iterable[t.Mapping[str, t.Any]]) -> t.List[str]:
    """The names of those that are active and start at boot, so that nothing is to be done for them as long as they run what they should."""
    return [unit["unit"] for unit in units if unit["in_service"]]


def _content(path: str) -> t.Optional[bytes]:
    """What a file holds; None where there is none that can be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None
