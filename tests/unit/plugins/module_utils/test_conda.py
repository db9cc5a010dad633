# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What conda and micromamba print, and where they are looked for. With a real conda: tests/integration/test_conda_environment.py."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import conda
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.conda import Package

CHANNELS = ["conda-forge"]


@pytest.mark.parametrize(
    "output, found",
    [
        ("conda 24.7.1\n", ("conda", "24.7.1")),
        ("WARNING: something\nconda 23.7.4\n", ("conda", "23.7.4")),
        ("mamba 1.5.8\nconda 24.3.0\n", ("mamba", "1.5.8")),
        ("2.0.5\n", ("mamba", "2.0.5")),
        ("Python 3.11.2\n", ("", "")),
        ("", ("", "")),
    ],
)
def test_versions(output, found):
    assert conda.parse_version(output) == found


def test_search_of_conda():
    answer = {
        "cuda-toolkit": [
            {"name": "cuda-toolkit", "version": "12.10.0", "build": "0", "channel": "https://conda.anaconda.org/conda-forge/linux-64"},
            {"name": "cuda-toolkit", "version": "12.4.1", "build": "0", "channel": "https://conda.anaconda.org/conda-forge/linux-64"},
            {"name": "cuda-toolkit", "version": "12.4.1", "build": "1", "channel": "https://conda.anaconda.org/conda-forge/linux-64"},
        ]
    }
    assert [(package.version, package.build) for package in conda.parse_search(answer)] == [("12.4.1", "0"), ("12.4.1", "1"), ("12.10.0", "0")]


def test_search_of_micromamba():
    answer = {
        "query": {"query": "cuda-toolkit", "type": "search"},
        "result": {
            "msg": "",
            "pkgs": [{"name": "cuda-toolkit", "version": "12.4.1", "build_string": "ha804496_0", "channel": "conda-forge"}],
            "status": "OK",
        },
    }
    assert conda.parse_search(answer) == [Package("cuda-toolkit", "12.4.1", "ha804496_0", "conda-forge")]
    assert conda.parse_search({"result": {"pkgs": []}}) == []


def test_transactions():
    both = conda.parse_transaction(
        {"actions": {"LINK": [{"name": "a", "version": "2", "build_string": "0"}], "UNLINK": [{"name": "a", "version": "1"}]}}
    )
    assert both and both.link == (Package("a", "2", "0"),) and both.unlink == (Package("a", "1"),)
    assert not conda.parse_transaction({"message": "All requested packages already installed.", "success": True})
    assert conda.parse_transaction({"actions": [{"LINK": [{"name": "a", "version": "1"}]}]}).link == (Package("a", "1"),)
    assert not conda.parse_transaction({"actions": []}) and not conda.parse_transaction({"actions": {"LINK": ["odd", {}]}})


@pytest.mark.parametrize("before", ["", "warning  libmamba {not json}\n", "Collecting...\n"])
def test_the_answer_after_other_lines(before):
    assert conda.parse_json(before + json.dumps({"success": True}, indent=2) + "\n") == {"success": True}


def test_no_answer():
    assert conda.parse_json("Segmentation fault\n") is None
    assert conda.parse_json('{"success": tr') is None


@pytest.mark.parametrize(
    "answer, text, said",
    [
        ({"exception_name": "PackagesNotFoundError", "packages": ["nonesuch=1"], "message": "..."}, "",
         "the channels conda-forge do not have nonesuch=1; correct its name or version, or add a channel that has it"),
        (None, "error    libmamba Could not solve for environment specs\n    The following package could not be installed\n"
         "    └─ nonesuch 1** does not exist (perhaps a typo or a missing channel).\ncritical libmamba Could not solve for environment specs\n",
         "do not have nonesuch 1**;"),
        (None, "Could not solve for environment specs\n"
         "Encountered problems while solving:\n  - nothing provides requested nonesuch 1*\n", "do not have nonesuch 1*;"),
        ({"exception_name": "UnsatisfiableError", "message": "a conflicts\nwith b."}, "", "do not go together (a conflicts with b); ask for other versions"),
        ({"exception_name": "CondaHTTPError", "message": "HTTP 000 CONNECTION FAILED for url <x>\nElapsed: -"}, "",
         "cannot be reached from the machine (HTTP 000 "),
        ({"exception_name": "UnavailableInvalidChannel", "channel_url": "https://u:p@h/c", "message": "HTTP 404 for channel c\n\nmore"}, "",
         "the channel https://h/c cannot be had (HTTP 404 for channel c); correct it"),
        ({"exception_name": "CondaError", "message": "[Errno 28] No space left on device"}, "", "the disk is full"),
        ({"exception_name": "NoWritableEnvsDirError", "message": "no place."}, "", "the user cannot write there (no place)"),
        (None, "", "it ended without a word"),
    ],
)  # fmt: skip
def test_reasons(answer, text, said):
    sentence = conda.explain(answer, text, CHANNELS)
    assert said in sentence and "\n" not in sentence and not sentence.endswith(".")


def test_passwords_and_tokens_are_not_said():
    assert conda.shown_channel("https://me:secret@h.example/t/abc-123/c") == "https://h.example/t/***/c"
    assert conda.shown_channel("conda-forge") == "conda-forge"


@pytest.mark.parametrize("channel", ["https://me:secret@h.example/c", "https://h.example/t/abc-123/c"])
def test_no_secret_becomes_an_argument_of_conda(channel):
    with pytest.raises(conda.CondaError, match="custom_channels") as refused:
        conda.search_arguments("cuda-toolkit", [channel])
    assert "secret" not in str(refused.value) and "abc-123" not in str(refused.value)


def test_only_the_channels_given_are_asked(tmp_path):
    arguments = conda.change_arguments(str(tmp_path / "e"), ["a=1"], ["x", "y"], create=True)
    assert arguments == ["create", "-p", str(tmp_path / "e"), "-y", "--json", "--override-channels", "-c", "x", "-c", "y", "a=1"]
    assert conda.change_arguments("e", ["a"], ["x"], create=False, dry_run=True)[-2:] == ["--dry-run", "a"]
    assert conda.search_arguments("a", ["x"]) == ["search", "--json", "--override-channels", "-c", "x", "a"]


def test_never_create_over_an_environment(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "history").touch()
    with pytest.raises(conda.CondaError, match="would empty it"):
        conda.change_arguments(str(tmp_path), ["a"], ["x"], create=True)
    assert conda.change_arguments(str(tmp_path), ["a"], ["x"], create=False)[0] == "install"


def make_command(path, says):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho %s\n" % says)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_order_of_the_search(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    environment = {"PATH": str(tmp_path / "path")}
    usual = make_command(tmp_path / "home/miniforge3/bin/conda", "conda 1.0.0")
    assert conda.find_conda(environment=environment).executable == usual
    on_path = make_command(tmp_path / "path/micromamba", "2.0.5")
    found = conda.find_conda(environment=environment)
    assert (found.executable, found.kind) == (on_path, "micromamba")
    ours = make_command(tmp_path / "ours/bin/conda", "conda 3.0.0")
    assert conda.find_conda(prefix=str(tmp_path / "ours"), environment=environment).executable == ours
    named = make_command(tmp_path / "named/bin/mamba", "mamba 1.5.8")
    assert conda.find_conda(str(tmp_path / "named"), prefix=str(tmp_path / "ours"), environment=environment).executable == named
    assert conda.find_conda("micromamba", environment=environment).executable == on_path


def test_something_else_of_that_name_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_command(tmp_path / "path/conda", "I am a snake")
    assert conda.find_conda(environment={"PATH": str(tmp_path / "path")}) is None


# A shell that knows `module`, as far as the script needs one: what matters is that the file is sourced and that failure is seen.
INIT = """
module() {
    case "$2" in
        anaconda3/*) PATH="/apps/$2/bin:$PATH"; LOADEDMODULES="${LOADEDMODULES:+$LOADEDMODULES:}$2"; export PATH LOADEDMODULES ;;
        *) echo "ERROR: Unable to locate a modulefile for '$2'" >&2; return %d ;;
    esac
}
"""


@pytest.mark.parametrize("status", [1, 0], ids=["says so", "Tcl modules 3"])
def test_loading_modules(tmp_path, status):
    init = tmp_path / "init.sh"
    init.write_text(INIT % status)
    inits = [str(tmp_path / "none.sh"), str(init)]
    found = conda.load_modules(["anaconda3/2023.09"], inits)
    assert found["PATH"].startswith("/apps/anaconda3/2023.09/bin:") and found["LOADEDMODULES"] == "anaconda3/2023.09"
    assert set(found) == {"PATH", "LOADEDMODULES"}
    with pytest.raises(conda.CondaError, match="gcc/99 cannot be loaded.*Unable to locate.*see with 'module avail'"):
        conda.load_modules(["anaconda3/2023.09", "gcc/99"], inits)


def test_no_module_system(tmp_path):
    with pytest.raises(conda.CondaError, match="has no module system"):
        conda.load_modules(["a"], [str(tmp_path / "none.sh")])


def test_what_modules_print_is_not_taken_for_variables():
    output = b"Loading x\nHOME=/elsewhere\n" + conda._BEGIN.encode() + b"\nPATH=/a:/b\0BASH_FUNC_module%%=() { x\n}\0KEPT=1\0PWD=/x\0"
    assert conda.parse_module_environment(output, {"KEPT": "1", "PATH": "/b"}) == {"PATH": "/a:/b"}
    assert conda.parse_module_environment(b"nothing", {}) == {}


def test_installed_packages_are_read_from_the_environments_records(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/b-1-0.json").write_text(json.dumps({"name": "b", "version": "1", "build": "0", "channel": "x"}))
    (tmp_path / "conda-meta/a-2-0.json").write_text(json.dumps({"name": "a", "version": "2", "build": "0"}))
    (tmp_path / "conda-meta/broken.json").write_text("{")
    (tmp_path / "conda-meta/history").write_text("")
    assert conda.installed(str(tmp_path)) == [Package("a", "2", "0"), Package("b", "1", "0")]
    assert conda.installed(os.path.join(str(tmp_path), "none")) == []
