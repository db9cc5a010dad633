# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd and /proc know of a service and its process: parsing, quoting, and noticing that a unit died.

Nothing here runs a command; callers pass the text that systemctl and journalctl printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable

SHOW_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "NeedDaemonReload",
    "Result",
    "ExecMainCode",
    "ExecMainStatus",
    "InvocationID",
)

# A unit, or a drop-in of one (systemd.unit(5)).
_UNIT_FILE = re.compile(r"(?:.*/)?[^/]+[.](?:service|socket|path|timer|target|mount|slice)(?:[.]d/[^/]+[.]conf)?")
# ExecMainCode is the CLD_* code of waitid(2).
_EXIT_CODES = {1: "exited", 2: "killed", 3: "dumped"}


class SystemdError(ValueError):
    """The output of a systemd tool is not what it should be."""


@dataclass(frozen=True)
class UnitState:
    """A service unit at one moment."""

    unit: str
    load_state: str = "not-found"
    active_state: str = "inactive"
    sub_state: str = "dead"
    unit_file_state: str = ""
    main_pid: int = 0
    restarts: int = 0
    need_daemon_reload: bool = False
    result: str = ""
    exit_code: str = ""
    exit_status: int = 0
    invocation_id: str = ""

    @property
    def running(self) -> bool:
        return self.active_state in ("active", "reloading") and self.main_pid > 0

    @property
    def enabled(self) -> bool:
        return self.unit_file_state == "enabled"

    @property
    def in_service(self) -> bool:
        """Whether nothing is to be done for it, as long as it runs what it should."""
        return self.enabled and self.active_state == "active"

    @property
    def how_it_ended(self) -> str:
        """How the main process ended, for a sentence: ``exited with code 0``, ``was killed by signal 9``."""
        if self.exit_code == "exited":
            return "exited with code %d" % self.exit_status
        if self.exit_code in ("killed", "dumped"):
            return "was killed by signal %d" % self.exit_status
        return "ended (%s)" % (self.result or "no reason given")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def parse_show(text: str) -> t.List[UnitState]:
    """The units in the output of ``systemctl show --property=... UNIT...``, in its order."""
    units = []
    for block in text.split("\n\n"):
        values = {}
        for line in block.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name] = value
        if not values:
            continue
        if "Id" not in values:
            raise SystemdError("systemctl show printed a unit without its name: %r" % block[:120])
        code = _number(values.get("ExecMainCode", ""))
        units.append(
            UnitState(
                unit=values["Id"],
                load_state=values.get("LoadState", ""),
                active_state=values.get("ActiveState", ""),
                sub_state=values.get("SubState", ""),
                unit_file_state=values.get("UnitFileState", ""),
                main_pid=_number(values.get("MainPID", "")),
                restarts=_number(values.get("NRestarts", "")),
                need_daemon_reload=values.get("NeedDaemonReload") == "yes",
                result=values.get("Result", ""),
                exit_code=_EXIT_CODES.get(code, ""),
                exit_status=_number(values.get("ExecMainStatus", "")),
                invocation_id=values.get("InvocationID", ""),
            )
        )
    return units


def is_unit_file(path: str) -> bool:
    """Whether systemd reads the file as a unit or as a drop-in of one, by its name."""
    return _UNIT_FILE.fullmatch(path) is not None


def unit_of_cgroup(text: str) -> str:
    """The unit that /proc/PID/cgroup's text puts a process in; empty when it is in none.

    The unified hierarchy's line counts first, then systemd's own of the old ones.
    """
    paths = {}
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            paths[fields[1]] = fields[2]
    for hierarchy in ("", "name=systemd"):
        for part in reversed(paths.get(hierarchy, "").split("/")):
            # A name that would clash with a cgroup attribute is written with a leading underscore.
            name = part[1:] if part.startswith("_") else part
            if name.endswith((".service", ".scope")):
                return name
    return ""


def read_unit_of_process(pid: int, proc: str = "/proc") -> str:
    """The unit of a process; empty when it has none or is gone."""
    try:
        with open(os.path.join(proc, str(pid), "cgroup"), encoding="utf-8", errors="replace") as stream:
            return unit_of_cgroup(stream.read())
    except OSError:
        return ""


@dataclass(frozen=True)
class ProcessFacts:
    """What a running process really is, whatever its unit file says by now."""

    name: str
    executable: str
    executable_deleted: bool
    environment: t.Dict[str, str]
    anonymous_mib: int = 0


def anonymous_mib(status: str) -> int:
    """RssAnon of /proc/PID/status's text in MiB: what becomes free when the process ends; mapped files are free already."""
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return _number(line.split()[1]) // 1024
    return 0


def read_process(pid: int, environment: t.Collection[str] = (), proc: str = "/proc") -> t.Optional[ProcessFacts]:
    """Name, executable and the *named* environment variables of a process; None when it is gone.

    Only the variables asked for are returned: others may be secret.
    """
    base = os.path.join(proc, str(pid))
    try:
        with open(os.path.join(base, "comm"), encoding="utf-8", errors="replace") as stream:
            name = stream.read().rstrip("\n")
        executable = os.readlink(os.path.join(base, "exe"))
        with open(os.path.join(base, "environ"), "rb") as stream:
            pairs = stream.read().split(b"\0")
        with open(os.path.join(base, "status"), encoding="utf-8", errors="replace") as stream:
            status = stream.read()
    except OSError:
        return None
    deleted = executable.endswith(" (deleted)")
    found = {}
    for pair in pairs:
        key, equals, value = pair.decode("utf-8", "replace").partition("=")
        if equals and key in environment:
            found[key] = value
    return ProcessFacts(
        name=name,
        executable=executable[: -len(" (deleted)")] if deleted else executable,
        executable_deleted=deleted,
        environment=found,
        anonymous_mib=anonymous_mib(status),
    )


class UnitWatch:
    """Notices that a unit which was just started died, also when ``Restart=always`` brings it back at once.

    An rpc-server whose port is taken exits with code 0, and systemd has started the next one a moment later: its state alone
    never says "failed".
    """

    def __init__(self) -> None:
        self._first: t.Optional[UnitState] = None
        self._pid = 0

    def death(self, state: UnitState) -> str:
        """Why the unit counts as dead, as the end of a sentence that begins with its name; empty while it lives."""
        if state.load_state == "not-found":
            return "does not exist on this machine"
        if state.load_state in ("bad-setting", "error", "masked"):
            return "cannot be started (systemd's load state is %s)" % state.load_state
        if self._first is None:
            self._first = state
        if state.active_state in ("failed", "inactive") or state.sub_state == "auto-restart":
            return "does not stay up: its process %s" % state.how_it_ended
        if state.restarts > self._first.restarts:
            return "does not stay up: systemd had to start it again"
        if state.main_pid:
            if self._pid and state.main_pid != self._pid:
                return "does not stay up: its process was replaced by another"
            self._pid = state.main_pid
        return ""


@dataclass(frozen=True)
class Ignored:
    """A line of a unit file that systemd does not heed."""

    file: str
    line: int
    reason: str


# "/etc/systemd/system/x.service:7: Unknown key 'Y' in section [Service], ignoring." as systemd 252 says it.
# systemd 247 colours it whatever SYSTEMD_COLORS says.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_VERIFY_LINE = re.compile(r"(?P<file>/.*?):(?P<line>[0-9]+): (?P<reason>.*\bignoring\b.*)", re.IGNORECASE)


def parse_verify(text: str, files: t.Collection[str]) -> t.List[Ignored]:
    """What ``systemd-analyze verify`` says is ignored in these unit files or their drop-ins. It also talks of the units they need."""
    found = []
    for match in map(_VERIFY_LINE.fullmatch, map(str.strip, _COLOUR.sub("", text).splitlines())):
        if match and any(match["file"] == file or match["file"].startswith(file + ".d/") for file in files):
            found.append(Ignored(match["file"], int(match["line"]), match["reason"]))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class JournalRun:
    """What one start of a unit wrote to the journal, and what systemd wrote about it."""

    invocation_id: str
    text: str
    about: str


# How journalctl has to be asked for what parse_journal reads.
JOURNALCTL = ("journalctl", "--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE,INVOCATION_ID,_SYSTEMD_INVOCATION_ID,_PID")


def parse_journal(text: str) -> t.List[JournalRun]:
    """The starts of a unit in the output of ``JOURNALCTL``, the oldest first.

    Each line carries the start it belongs to; one that carries none belongs to the start of the line before it.
    """
    own: t.Dict[str, t.List[str]] = {}
    about: t.Dict[str, t.List[str]] = {}
    key = ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        message = entry.get("MESSAGE") if isinstance(entry, dict) else None
        if isinstance(message, list):
            # What is not UTF-8, or has control characters in it, comes as a list of bytes.
            message = bytes(value & 0xFF for value in message if isinstance(value, int)).decode("utf-8", "replace")
        if not isinstance(message, str):
            continue
        by_systemd = entry.get("_PID") == "1"
        # systemd's own lines about a unit name its start in another field: their own is the start of PID 1.
        key = entry.get("INVOCATION_ID" if by_systemd else "_SYSTEMD_INVOCATION_ID") or key
        own.setdefault(key, [])
        about.setdefault(key, [])
        (about if by_systemd else own)[key].append(message)
    return [JournalRun(start, "\n".join(own[start]), "\n".join(about[start])) for start in own]


def quote_exec(argument: str) -> str:
    """One argument of a unit's ``Exec...=`` line, to be taken by systemd exactly as it is.

    systemd.service(5), "Command lines": C-style escapes in double quotes, ``%`` for specifiers, ``$`` for variables.
    """
    text = argument.replace("%", "%%").replace("$", "$$")
    if text and all(c.isalnum() or c in "_@%$+=:,./-" for c in text):
        return text
    return _double_quoted(text)


def quote_path(path: str) -> str:
    """The rest of a directive that is a path and nothing else, such as what follows ``LoadCredential=ID:``, where ``%`` alone is special.

    systemd.syntax(7): a line ends with its line break, white space around a value is dropped, and a backslash at the end goes on.
    """
    if path != path.strip() or path.endswith("\\") or not path or any(letter in path for letter in "\0\n\r"):
        raise SystemdError("a unit file cannot hold the path %s" % printable(path, 200))
    return path.replace("%", "%%")


def unit_name(text: str) -> str:
    """A name for a file, a credential or an instance that stands for any text, and for that text alone.

    Letters, digits, ``.``, ``_`` and ``-`` stay, so that an ordinary machine keeps its name; of all else each byte becomes ``+`` and two
    hexadecimal digits. systemd wants of a credential's name printable ASCII without ``:`` and ``/`` (systemd.exec(5), LoadCredential=).
    """
    if not text:
        raise SystemdError("a name is empty")
    kept = text if text.strip(".") else ""
    written = "".join(
        c if kept and c.isascii() and (c.isalnum() or c in "._-") else "".join("+%02X" % byte for byte in c.encode("utf-8", "surrogateescape"))
        for c in text
    )
    # A file's name has 255 bytes at most, and there is something before this one.
    return written if len(written) <= 200 else "%s+%s" % (written[:135], hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest())


def quote_environment(name: str, value: str) -> str:
    """One assignment of an ``Environment=`` line, where ``%`` is special and ``$`` is not."""
    return _double_quoted("%s=%s" % (name, value.replace("%", "%%")))


def _double_quoted(text: str) -> str:
    if "\0" in text:
        raise SystemdError("a unit file cannot hold a NUL character")
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"%s"' % "".join(escapes.get(c, c if c.isprintable() else "".join("\\x%02x" % b for b in c.encode())) for c in text)


_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39, "s": 32}


def exec_arguments(unit: str) -> t.List[str]:
    """The words of a unit file's first ``ExecStart=`` as the program gets them; none where there is no such line.

    The inverse of :func:`quote_exec`. A variable in braces stays as it is written.
    """
    logical, found = "", False
    for line in unit.splitlines():
        if not found and not line.startswith("ExecStart="):
            continue
        if found and line.lstrip().startswith(("#", ";")):
            continue
        found = True
        continued = line.endswith("\\")
        logical += (line[:-1] if continued else line) + " "
        if not continued:
            break
    return [_unquoted(word) for word in _words(logical.partition("=")[2])]


def environment_of(unit: str) -> t.Dict[str, str]:
    """The variables of a unit file's ``Environment=`` lines: the inverse of :func:`quote_environment`."""
    lines = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("Environment=")]
    pairs = [_unquoted(word).partition("=") for line in lines for word in _words(line)]
    return {name: value for name, _equals, value in pairs}


def _words(text: str) -> t.List[str]:
    """Split at white space outside of double quotes, quotes and escapes left as they are."""
    words, word, quoted, escaped = [], "", False, False
    for char in text:
        if char in " \t" and not quoted and not escaped:
            if word:
                words.append(word)
            word = ""
            continue
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
        word += char
    if quoted:
        raise SystemdError("a quote is not closed")
    return words + ([word] if word else [])


def _unquoted(word: str) -> str:
    raw, rest = bytearray(), word
    while rest:
        if rest[0] == '"':
            rest = rest[1:]
        elif rest[0] != "\\":
            raw += rest[0].encode()
            rest = rest[1:]
        elif rest[1:2] == "x":
            raw.append(int(rest[2:4], 16))
            rest = rest[4:]
        elif rest[1:2] in _ESCAPES:
            raw.append(_ESCAPES[rest[1:2]])
            rest = rest[2:]
        else:
            raise SystemdError("an escape that systemd does not know")
    return raw.decode(errors="surrogateescape").replace("%%", "%").replace("$$", "$")
