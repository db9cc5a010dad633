# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units, processes and journals out of what real tools printed; quoting, read back the way systemd does."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import (
    Ignored,
    SystemdError,
    UnitState,
    UnitWatch,
    is_unit_file,
    parse_journal,
    parse_show,
    parse_verify,
    quote_environment,
    quote_exec,
    read_process,
    unit_of_cgroup,
)
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[3] / "fixtures" / "systemd"


@pytest.fixture
def units():
    return {unit.unit: unit for unit in parse_show((FIXTURES / "show.txt").read_text(encoding="utf-8"))}


def test_a_killed_unit_that_waits_for_its_restart(units):
    worker = units["llama-rpc-server@0.service"]
    assert (worker.active_state, worker.sub_state, worker.main_pid, worker.running) == ("activating", "auto-restart", 0, False)
    assert worker.how_it_ended == "was killed by signal 9"
    assert worker.unit_file_state == "enabled"


def test_a_unit_that_does_not_exist(units):
    assert units["nowhere.service"].load_state == "not-found"
    assert not units["nowhere.service"].running


def test_a_running_unit(units):
    journald = units["systemd-journald.service"]
    assert journald.running and journald.main_pid == 17 and journald.restarts == 0


def test_a_oneshot_unit_is_active_without_a_process(units):
    assert units["llama-rpc-firewall.service"].active_state == "active"
    assert not units["llama-rpc-firewall.service"].running


def test_show_of_nothing_and_of_nonsense():
    assert parse_show("") == []
    with pytest.raises(SystemdError):
        parse_show("ActiveState=active\n")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/llama-server.service\n", "llama-server.service"),
        ("0::/system.slice/system-llama\\x2drpc\\x2dserver.slice/llama-rpc-server@0.service\n", "llama-rpc-server@0.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope\n", "run-1.scope"),
        ("0::/system.slice/docker.service/sub/group\n", "docker.service"),
        ("9:name=systemd:/system.slice/ssh.service\n4:memory:/\n0::/\n", "ssh.service"),
        ("0::/system.slice/_cgroup.service\n", "cgroup.service"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_unit_of_a_process(text, unit):
    assert unit_of_cgroup(text) == unit


def make_process(proc: Path, executable: str) -> None:
    directory = proc / "7"
    directory.mkdir()
    (directory / "comm").write_text("llama-server\n", encoding="utf-8")
    (directory / "environ").write_bytes(b"HERD_CONFIG_ID=9b1c\0HF_TOKEN=secret\0EMPTY=\0broken\0")
    (directory / "status").write_text("Name:\tllama-server\nVmRSS:\t 300000 kB\nRssAnon:\t  204800 kB\n", encoding="utf-8")
    os.symlink(executable, directory / "exe")


def test_a_process_tells_only_what_was_asked(tmp_path):
    make_process(tmp_path, "/opt/llama.cpp/builds/1/bin/llama-server")
    process = read_process(7, ["HERD_CONFIG_ID", "EMPTY", "ABSENT"], str(tmp_path))
    assert process.environment == {"HERD_CONFIG_ID": "9b1c", "EMPTY": ""}
    assert (process.name, process.executable_deleted) == ("llama-server", False)
    assert process.anonymous_mib == 200


def test_a_process_whose_file_was_replaced(tmp_path):
    make_process(tmp_path, "/opt/llama-server (deleted)")
    process = read_process(7, [], str(tmp_path))
    assert (process.executable, process.executable_deleted) == ("/opt/llama-server", True)


def test_a_process_that_is_gone(tmp_path):
    assert read_process(7, [], str(tmp_path)) is None


ALIVE = UnitState("u.service", "loaded", "active", "running", main_pid=10)


def watch(*states: UnitState) -> list[str]:
    seen = UnitWatch()
    return [seen.death(state) for state in states]


def changed(**values) -> UnitState:
    return dataclasses.replace(ALIVE, **values)


def test_a_unit_that_stays_is_alive():
    assert watch(changed(active_state="activating", sub_state="start", main_pid=0), ALIVE, ALIVE) == ["", "", ""]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (changed(active_state="failed", sub_state="failed", main_pid=0, exit_code="exited", exit_status=1), "exited with code 1"),
        (changed(active_state="activating", sub_state="auto-restart", main_pid=0, exit_code="exited"), "exited with code 0"),
        (changed(active_state="inactive", sub_state="dead", main_pid=0, result="success"), "ended (success)"),
        (changed(exit_code="dumped", exit_status=6, active_state="failed"), "killed by signal 6"),
        (changed(main_pid=11, restarts=1), "start it again"),
        (changed(main_pid=11), "replaced"),
        (changed(load_state="not-found"), "does not exist"),
        (changed(load_state="bad-setting"), "bad-setting"),
    ],
)
def test_a_unit_that_dies_is_noticed(state, says):
    first, second = watch(ALIVE, state)
    assert first == ""
    assert says in second


def test_restarts_of_an_earlier_time_do_not_count():
    assert watch(changed(restarts=4), changed(restarts=4)) == ["", ""]


def test_journal_by_start():
    runs = parse_journal((FIXTURES / "journal.jsonl").read_text(encoding="utf-8"))
    assert len(runs) == 2
    assert runs[0].text.splitlines()[0] == "Starting RPC server v7.0.0"
    assert "code=killed" in runs[0].about and "code=killed" not in runs[0].text
    assert runs[1].text.splitlines()[-1] == "  transport      : TCP"
    assert runs[1].about.splitlines()[-1] == "Started llama-rpc-server@0.service - llama.cpp RPC worker 0."


def test_journal_with_bytes_and_nonsense():
    text = 'not json\n[1]\n{"_SYSTEMD_INVOCATION_ID": "a", "MESSAGE": [27, 91, 104, 105]}\n{"MESSAGE": "same start"}\n{"MESSAGE": null}\n'
    assert [(run.invocation_id, run.text) for run in parse_journal(text)] == [("a", "\x1b[hi\nsame start")]


def read_like_systemd(text: str, exec_line: bool) -> str:
    """What systemd.syntax(7) and systemd.service(5) make of one word."""
    if text.startswith('"'):
        assert text.endswith('"') and len(text) >= 2
        inside, out, position = text[1:-1], bytearray(), 0
        while position < len(inside):
            char = inside[position]
            assert char != '"' and char != "\n"
            if char != "\\":
                out += char.encode()
                position += 1
                continue
            escape = inside[position + 1]
            if escape == "x":
                out.append(int(inside[position + 2 : position + 4], 16))
                position += 4
            else:
                out += {"\\": b"\\", '"': b'"', "n": b"\n", "t": b"\t", "r": b"\r"}[escape]
                position += 2
        word = out.decode()
    else:
        assert not set(text) & set(" \t\n\"'\\;")
        word = text
    assert "%" not in word.replace("%%", "")
    word = word.replace("%%", "%")
    if exec_line:
        assert "$" not in word.replace("$$", "")
        word = word.replace("$$", "$")
    return word


words = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(words)
def test_an_argument_arrives_as_it_is(text):
    assert read_like_systemd(quote_exec(text), exec_line=True) == text


@given(words)
def test_an_environment_variable_arrives_as_it_is(text):
    assert read_like_systemd(quote_environment("NAME", text), exec_line=False) == "NAME=" + text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("/models/a.gguf", "/models/a.gguf"),
        ("a b", '"a b"'),
        ("", '""'),
        (";", '";"'),
        ("$HOME/%h", "$$HOME/%%h"),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\\b", '"a\\\\b"'),
    ],
)
def test_quoted_by_hand(text, quoted):
    assert quote_exec(text) == quoted


def test_a_nul_cannot_be_written():
    with pytest.raises(SystemdError):
        quote_exec("a\0b")


UNIT, OTHER = "/etc/systemd/system/x@.service", "/etc/systemd/system/x@.service.d/10.conf"


def test_what_systemd_ignores_is_found_by_file_and_line():
    text = (FIXTURES / "verify.txt").read_text(encoding="utf-8")
    assert [(one.line, one.reason.split("gnoring")[0][-12:]) for one in parse_verify(text, [UNIT])] == [
        (3, "on [Unit], i"),
        (7, "[Service], i"),
        (8, "tion mode, i"),
        (9, "ss family, i"),
        (10, "all group, i"),
        (11, "on 'Moon'. I"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # systemd 247's words, and a drop-in.
        (f"{UNIT}:7: Unknown key name 'A' in section 'Service', ignoring.\n", [(UNIT, 7)]),
        # As systemd 247.3 of Debian 11 wrote it with SYSTEMD_COLORS=0 and no terminal.
        (f"\x1b[0;1;38;5;185m{UNIT}:64: Unknown key name 'PrivateIPC' in section 'Service', ignoring.\x1b[0m\n", [(UNIT, 64)]),
        (f"{OTHER}:2: Unknown key 'A' in section [Service], ignoring.\n", [(OTHER, 2)]),
        (f"{UNIT}:7: Unknown key 'A' in section [Service], ignoring.\n" * 2, [(UNIT, 7)]),
        # Of another unit, or about something else.
        ("/etc/systemd/system/other.service:7: Unknown key 'A' in section [Service], ignoring.\n", []),
        (f"{UNIT}:7: Command /no/such is not executable: No such file or directory\n", []),
        ("x@i.service: Failed to create x@i.service/start: Unit y.service not found.\n", []),
        ("", []),
    ],
)
def test_only_what_is_ignored_in_the_files_asked_for(text, found):
    assert [(one.file, one.line) for one in parse_verify(text, [UNIT])] == found
    assert all(isinstance(one, Ignored) for one in parse_verify(text, [UNIT]))


@pytest.mark.parametrize(("path", "is_one"), [
    ("/etc/systemd/system/llama-rpc-server@.service", True),
    ("/home/u/.config/systemd/user/llama-rpc-tls@0.socket", True),
    ("/etc/systemd/system/llama-watchdog-restart@.path", True),
    ("/etc/systemd/system/nftables.service.d/llama-rpc-firewall.conf", True),
    ("/etc/llama-rpc-server/0.env", False),
    ("/etc/llama-rpc-server/firewall.nft", False),
    ("/etc/llama-server/proxy.conf", False),
])
def test_which_files_are_systemds(path, is_one):
    assert is_unit_file(path) == is_one


@pytest.mark.parametrize(("state", "file_state", "is_so"), [
    ("active", "enabled", True), ("active", "static", False), ("inactive", "enabled", False), ("activating", "enabled", False)])
def test_in_service_is_active_and_enabled(state, file_state, is_so):
    assert UnitState(unit="u.service", active_state=state, unit_file_state=file_state).in_service == is_so
