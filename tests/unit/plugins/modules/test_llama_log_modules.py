# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules llama_build_log and llama_startup_log: what they read, what they return, how they fail."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.modules import llama_build_log, llama_startup_log

LOGS = pathlib.Path(__file__).parents[3] / "fixtures" / "logs"
INVOCATION = "0123456789abcdef0123456789abcdef"


def log_file(name):
    return str(LOGS / (name + ".txt"))


def run(module, capsys, **params):
    with patch_module_args(params), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def documented(module):
    return set(yaml.safe_load(module.RETURN)) - {"failure"}


# -- llama_startup_log


def test_head_from_a_file(capsys):
    result = run(llama_startup_log, capsys, path=log_file("head/2workers"), kind="head", expect_endpoints=["127.0.0.3:50110"])
    assert result["changed"] is False and "failed" not in result
    assert [device["layers"] for device in result["devices"]] == [16, 14, 0]
    assert (result["listening_url"], result["failure"]) == ("http://127.0.0.1:50180", None)


def test_worker_from_text(capsys):
    text = pathlib.Path(log_file("worker/cpu")).read_text(encoding="utf-8")
    result = run(llama_startup_log, capsys, text=text, kind="worker")
    assert (result["endpoint"], result["protocol_version"]) == ("127.0.0.2:50110", "7.0.0")


def test_a_failed_start_fails_with_one_message(capsys):
    result = run(llama_startup_log, capsys, path=log_file("head/worker_down"), kind="head")
    assert result["failed"] is True
    assert result["msg"] == (
        "No rpc-server answers at 127.0.0.9:50110. Start the worker there first, and check that its firewall lets this machine in and that both"
        " have the same llama.cpp."
        " The log says: /src/llama.cpp/ggml/src/ggml-rpc/ggml-rpc.cpp:547: Failed to connect to 127.0.0.9:50110"
    )
    assert result["failure"]["kind"] == "worker_unreachable"


def test_or_does_not_fail_when_told_so(capsys):
    result = run(llama_startup_log, capsys, path=log_file("worker/cpu"), kind="worker", expect_devices=["CUDA0"], fail_on_problem=False)
    assert "failed" not in result and result["failure"]["kind"] == "cpu_fallback"


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_all_that_is_returned_is_documented(capsys, kind):
    name = "head/2workers" if kind == "head" else "worker/cpu"
    result = run(llama_startup_log, capsys, path=log_file(name), kind=kind)
    returned = yaml.safe_load(llama_startup_log.RETURN)
    there = {name for name, about in returned.items() if about["returned"] in ("always", "O(kind=%s)" % kind)}
    assert set(result) - {"changed", "invocation"} == there
    of_devices = returned["devices"]["contains"]
    wanted = {name for name, about in of_devices.items() if kind == "head" or "returned" not in about}
    assert set(result["devices"][0]) == wanted
    for device in result["devices"]:
        for name, value in device.items():
            types = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list}
            assert value is None or isinstance(value, types[of_devices[name]["type"]])


def journal(entries):
    return "\n".join(json.dumps(entry) for entry in entries)


def test_the_journal_is_read_by_its_last_start(capsys, monkeypatch):
    commands = []
    text = pathlib.Path(log_file("head/2workers")).read_text(encoding="utf-8")

    def run_command(_module, command, **_options):
        commands.append(command)
        if command[0] == "systemctl":
            return 0, INVOCATION + "\nloaded\n", ""
        return 0, journal({"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": INVOCATION, "_PID": "7"} for line in text.splitlines()), ""

    monkeypatch.setattr(basic.AnsibleModule, "run_command", run_command)
    result = run(llama_startup_log, capsys, unit="llama-server.service", kind="head")
    assert result["devices"][0]["layers"] == 16
    assert "_SYSTEMD_INVOCATION_ID=" + INVOCATION in commands[1]


def test_of_a_start_long_ago_the_beginning_and_the_end_are_read(capsys, monkeypatch, tmp_path):
    """With a journalctl that is one, but for where its lines come from."""
    text = pathlib.Path(log_file("head/2workers")).read_text(encoding="utf-8")
    entries = [{"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": INVOCATION} for line in text.splitlines()]
    busy = [{"MESSAGE": f"slot launch_: id {number}", "_SYSTEMD_INVOCATION_ID": INVOCATION} for number in range(50000)]
    end = {"MESSAGE": "/src/ggml-rpc.cpp:1: Remote RPC server crashed or returned malformed response", "_SYSTEMD_INVOCATION_ID": INVOCATION}
    (tmp_path / "lines").write_text(journal([*entries, *busy, end]) + "\n", encoding="utf-8")
    program = tmp_path / "journalctl"
    program.write_text(f"""#!/bin/sh
for word; do case $word in --lines=*) exec tail -n "${{word#--lines=}}" {tmp_path}/lines;; esac; done
exec cat {tmp_path}/lines
""", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {INVOCATION}; echo loaded\n", encoding="utf-8")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(llama_startup_log, capsys, unit="llama-server.service", kind="head", fail_on_problem=False)
    assert [device["layers"] for device in result["devices"]]
    assert result["failure"]["line"] == end["MESSAGE"]


def test_without_an_invocation_the_newest_in_the_journal_counts(capsys, monkeypatch):
    def run_command(_module, command, **_options):
        if command[0] == "systemctl":
            return 0, "\nloaded\n", ""
        lines = [("a" * 32, "error: invalid argument: --old"), ("b" * 32, "error: invalid argument: --new")]
        return 0, journal({"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": key} for key, line in lines), ""

    monkeypatch.setattr(basic.AnsibleModule, "run_command", run_command)
    result = run(llama_startup_log, capsys, unit="llama-server.service", kind="head")
    assert "--new" in result["msg"] and "--old" not in result["msg"]


@pytest.mark.parametrize(
    "answers, words",
    [
        ([(1, "", "System has not been booted with systemd")], "systemctl cannot show u: System has not been booted with systemd."),
        ([(0, "\nnot-found\n", "")], "There is no unit u on this machine."),
        ([(0, "\nloaded\n", ""), (1, "", "No journal files")], "journalctl cannot read the journal of u: No journal files."),
    ],
)
def test_no_journal_is_one_sentence(capsys, monkeypatch, answers, words):
    left = list(answers)
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _module, _command, **_options: left.pop(0))
    assert run(llama_startup_log, capsys, unit="u", kind="head")["msg"] == words


def test_missing_files_are_one_sentence(capsys):
    result = run(llama_startup_log, capsys, path="/nonexistent/x.log", kind="head")
    assert result["msg"] == "Cannot read the log /nonexistent/x.log: No such file or directory."
    result = run(llama_build_log, capsys, paths=["/nonexistent/x.log"])
    assert result["msg"] == "Cannot read the log /nonexistent/x.log: No such file or directory."


@pytest.mark.parametrize("params", [{"kind": "head"}, {"kind": "head", "text": "x", "path": "/x"}, {"text": "x"}, {"text": "x", "kind": "tail"}])
def test_wrong_options(capsys, params):
    assert run(llama_startup_log, capsys, **params)["failed"] is True


# -- llama_build_log


def test_configuration_and_build_in_two_files(capsys):
    result = run(
        llama_build_log,
        capsys,
        paths=[log_file("configure/cuda_ok"), log_file("build/cuda_ninja")],
        expect_backends=["CPU", "RPC", "CUDA"],
        expect_cuda_prefix="/usr/local",
        min_cuda_version="12.0",
    )
    assert "failed" not in result
    assert (result["configure_ok"], result["build_ok"], result["n_cuda_objects"]) == (True, True, 2)
    assert set(result) - {"changed", "invocation"} == documented(llama_build_log) | {"failure"}


def test_a_build_that_does_not_compile(capsys):
    result = run(llama_build_log, capsys, paths=[log_file("build/error_ninja")])
    assert result["failed"] is True
    assert result["msg"].startswith("/src/tiny/broken.cpp:6 does not compile: \u2018undeclared_name\u2019 was not declared in this scope. ")
    assert len(result["failure"]["context"]) == 11
    assert "\n" not in result["msg"]


def test_a_prefix_behind_a_link(capsys, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "env").symlink_to(tmp_path / "real")
    text = pathlib.Path(log_file("configure/cuda_ok")).read_text(encoding="utf-8")
    text = text.replace("/usr/local/cuda-13.0", str(tmp_path / "real")).replace("/usr/local/bin", str(tmp_path / "env" / "bin"))
    result = run(llama_build_log, capsys, text=text, expect_cuda_prefix=str(tmp_path / "env"))
    assert "failed" not in result
    result = run(llama_build_log, capsys, text=text, expect_cuda_prefix="/opt/conda")
    assert result["failure"]["kind"] == "cuda_elsewhere"


def test_progress(capsys):
    result = run(llama_build_log, capsys, paths=[log_file("build/documented_guide_cuda")], finished=False)
    assert (result["percent_done"], result["n_cuda_objects"], result["failure"]) == (10, 4, None)
