# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at what a service needs: at this machine itself, and at files and programs of the test's own."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import types

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase
from ansible_collections.herd.llama_cpp.plugins.action import service_files as service_files_action
from ansible_collections.herd.llama_cpp.plugins.action import service_unit_info as service_unit_info_action
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import manager, unit_look
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError
from ansible_collections.herd.llama_cpp.plugins.modules import plan_machine_info, service_files, service_unit_info, unit_process_info


def look(capsys, **given):
    with patch_module_args(given), pytest.raises(SystemExit):
        service_unit_info.main()
    return json.loads(capsys.readouterr().out)


def test_what_was_not_asked_for_is_empty_and_all_of_it_is_documented(capsys):
    seen = look(capsys)
    assert set(seen) - {"changed", "invocation"} == set(yaml.safe_load(service_unit_info.RETURN)) - {"msg"}
    assert (seen["user"], seen["files"], seen["commands"], seen["sockets"]) == ({"exists": False, "comment": ""}, {}, {}, [])


def test_the_first_executable_that_is_there_counts_with_its_links_resolved(capsys, tmp_path):
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds" / "server").write_text("")
    (tmp_path / "current").symlink_to("builds")
    seen = look(capsys, executables={"server": [f"{tmp_path}/none", f"{tmp_path}/current/server"], "other": [f"{tmp_path}/none"]})
    assert seen["executables"] == {"server": f"{tmp_path}/builds/server", "other": ""}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_user_that_is_made_later_is_in_the_group_of_its_name(capsys, tmp_path, monkeypatch):
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    model = tmp_path / "model"
    model.write_text("1234")
    model.chmod(0o640)
    os.chown(model, 0, grp.getgrnam("daemon").gr_gid)
    known = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known("nobody-of-that-name-yet" if name == "daemon" else name))
    assert look(capsys, files=[str(model)], user="daemon")["files"][str(model)]["readable"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("user", ["nobody", "nobody-of-that-name-yet"])
def test_a_file_is_readable_as_its_user_finds_it(capsys, tmp_path, user):
    """Also for a user that is only made later: it will be in no group that helps."""
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    for name, mode in (("open", 0o644), ("closed", 0o640)):
        (tmp_path / name).write_text("1234")
        (tmp_path / name).chmod(mode)
    (tmp_path / "shut").mkdir(mode=0o700)
    (tmp_path / "shut" / "open").write_text("")
    paths = [f"{tmp_path}/{name}" for name in ("open", "closed", "shut/open", "none", "shut")]
    found = [look(capsys, files=paths, user=user)["files"][path] for path in paths]
    assert [file["readable"] for file in found] == [True, False, False, False, False]
    assert [file["regular"] for file in found] == [True, True, True, False, False]
    assert (found[0]["size_bytes"], found[0]["changed_s"]) == (4, int((tmp_path / "open").stat().st_mtime))


def test_a_listener_is_found_by_its_port(capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            seen = look(capsys, listening_ports=[port])
            client_port = client.getsockname()[1]
    assert [(one["state"], one["local_address"], one["local_port"]) for one in seen["sockets"]] == [("listening", "127.0.0.1", port)]
    assert [(one["state"], one["local_port"], one["remote_port"]) for one in seen["connected"]] == [("established", port, client_port)]


def test_sockets_that_cannot_be_read_are_said_and_the_rest_is_seen(capsys, monkeypatch):
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_a, **_k: None)
    seen = look(capsys, listening_ports=[1], user="root")
    assert "sockets" not in seen and seen["msg"] == "The command ss is not on this machine; install iproute2."
    assert seen["user"]["exists"] and seen["systemd"] is False


def test_what_other_programs_say(capsys):
    said = look(capsys, commands={"fails": ["sh", "-c", "echo a; echo b >&2; exit 3"], "none": ["/nowhere/at/all"]})["commands"]
    assert said["fails"] == {"rc": 3, "stdout": "a\n", "stdout_lines": ["a"], "stderr": "b\n", "stderr_lines": ["b"]}
    assert said["none"]["rc"] == 127 and said["none"]["stderr"] == "/nowhere/at/all: No such file or directory"


def test_packages_and_patterns(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(unit_look.PACKAGE_FILES, "nginx", str(tmp_path))
    monkeypatch.setitem(unit_look.PACKAGE_FILES, "nftables", f"{tmp_path}/none")
    (tmp_path / "1.env").write_text("")
    seen = look(capsys, packages=["nginx", "nftables"], patterns=[f"{tmp_path}/*.env", f"{tmp_path}/*.tls"])
    assert (seen["missing_packages"], seen["found"]) == (["nftables"], [f"{tmp_path}/1.env"])
    assert "by which file emacs is known" in look(capsys, packages=["emacs"])["msg"]


class Played:
    """systemctl and systemd-analyze, and what was asked of them."""

    def __init__(self, need_reload: str = "no", rc: int = 0) -> None:
        self.need_reload, self.rc = need_reload, rc
        self.asked: list[str] = []

    def run(self, command, **_options):
        verb = next(word for word in command[1:] if not word.startswith("-"))
        self.asked.append(verb)
        if verb == "daemon-reload":
            self.need_reload = "no"
        if verb == "verify":
            return 1, "", f"{command[-1]}:3: Unknown key 'ProtectMoon' in section [Service], ignoring.\n"
        return self.rc, f"Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload={self.need_reload}\n", "no bus"


def systemd(played, tmp_path):
    (tmp_path / "run" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
    return manager.Systemd(played.run, lambda name: name, str(tmp_path / "run"))


class AnotherSupervisor:
    """One that is not systemd, with one service that it has running."""

    def runs(self):
        return True

    def look(self, units, environment=(), credentials=None):
        return [{"unit": name, "running": True, "main_pid": 7, "anonymous_mib": 1, "in_service": True, "need_daemon_reload": False} for name in units]

    def reads(self, path):
        return False

    def reload(self):
        raise AssertionError("nothing was changed")

    def ignored(self, paths):
        return []


@pytest.mark.parametrize("module", [plan_machine_info, service_files, service_unit_info, unit_process_info])
def test_a_module_asks_whatever_supervises_the_machine(capsys, monkeypatch, module):
    monkeypatch.setattr(manager, "Systemd", lambda *_a: AnotherSupervisor())
    with patch_module_args({"units": ["other"]}), pytest.raises(SystemExit):
        module.main()
    assert [(one["unit"], one["main_pid"]) for one in json.loads(capsys.readouterr().out)["units"]] == [("other", 7)]


def test_a_credential_that_is_another_than_its_file_is_stale(tmp_path):
    key = tmp_path / "key"
    key.write_text("1")
    loaded = tmp_path / "run" / "credentials" / "a.service"
    loaded.mkdir(parents=True)
    (loaded / "key").write_text("1")
    seen = systemd(Played(), tmp_path)
    names = {"a.service": {"key": str(key), "none": str(key)}}
    assert seen.look(["a.service"], credentials=names)[0]["stale_credentials"] == ["none"]
    key.write_text("2")
    assert seen.look(["a.service"], credentials=names)[0]["stale_credentials"] == ["key", "none"]


def test_what_systemctl_refuses_is_an_error(tmp_path):
    with pytest.raises(SystemdError, match="could not show the units: no bus"):
        systemd(Played(rc=1), tmp_path).look(["a.service"])


def test_units_that_cannot_be_read_are_said_and_the_rest_is_seen(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(service_unit_info, "supervisor", lambda *_a: systemd(Played(rc=1), tmp_path))
    seen = look(capsys, units=["a.service"], user="root", patterns=[str(tmp_path)])
    assert (seen["units"], seen["units_problem"]) == ([], "systemctl could not show the units: no bus")
    assert seen["systemd"] and seen["user"]["exists"] and seen["found"] == [str(tmp_path)] and not seen.get("failed")


@pytest.mark.parametrize(("need", "changed", "check", "reloads"), [
    ("no", False, False, False), ("yes", False, False, True), ("no", True, False, True), ("yes", True, True, False),
])
def test_systemd_reads_its_files_again_where_they_changed(capsys, monkeypatch, tmp_path, need, changed, check, reloads):
    """By what was written now, or by what systemd says of itself after a run that was interrupted; not in check mode."""
    played, unit = Played(need), tmp_path / "a.service"
    unit.write_text("[Service]\n")
    monkeypatch.setattr(service_files, "supervisor", lambda *_a: systemd(played, tmp_path))
    file = {"path": str(unit), "content": "[Service]\n# other\n" if changed else "[Service]\n"}
    with patch_module_args({"files": [file], "units": ["a.service"], "_ansible_check_mode": check}), pytest.raises(SystemExit):
        service_files.main()
    returned = json.loads(capsys.readouterr().out)
    assert ("daemon-reload" in played.asked) == reloads
    assert returned["in_service"] == ["a.service"] and returned["units_changed"] == changed
    assert [one["line"] for one in returned["ignored"]] == [3] and "Unknown key 'ProtectMoon'" in returned["ignored"][0]["reason"]


def test_what_systemd_ignores_is_said_at_every_run(monkeypatch):
    """A callback may show nothing of a result that changed nothing, not even what the module warns of."""
    warned: list[str] = []
    plugin = object.__new__(service_files_action.ActionModule)
    plugin._task = types.SimpleNamespace(args={})
    plugin._execute_module = lambda **_given: {"changed": False, "ignored": [{"file": "/a.service", "line": 3, "reason": "Unknown key 'X'."}]}
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    monkeypatch.setattr(service_files_action.display, "warning", warned.append)
    assert plugin.run()["config_ids"] == {}
    assert warned == ["/a.service line 3: Unknown key 'X'. What it should do is not done on this machine."]


@pytest.mark.parametrize(("asked", "known", "gathers"), [(True, False, True), (True, True, False), (False, False, False)])
def test_facts_about_the_network_are_gathered_once_and_where_they_are_asked_for(monkeypatch, asked, known, gathers):
    called = []

    def execute(module, module_args=None, **_given):
        called.append(module)
        return {"ansible_facts": {"ansible_all_ipv4_addresses": ["10.0.0.1"]}} if module.endswith("setup") else {"changed": False, "units": []}

    plugin = object.__new__(service_unit_info_action.ActionModule)
    plugin._task = types.SimpleNamespace(args={"network_facts": asked})
    plugin._execute_module = execute
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    done = plugin.run(None, {"ansible_facts": {"all_ipv4_addresses": []} if known else {}})
    assert done == {"changed": False, "units": [], **({"ansible_facts": {"ansible_all_ipv4_addresses": ["10.0.0.1"]}} if gathers else {})}
    assert called == ["ansible.legacy.setup"] * gathers + ["herd.llama_cpp.service_unit_info"]


def test_facts_that_cannot_be_gathered_fail_the_look(monkeypatch):
    plugin = object.__new__(service_unit_info_action.ActionModule)
    plugin._task = types.SimpleNamespace(args={"network_facts": "yes"})
    plugin._execute_module = lambda *_given, **_named: {"failed": True, "msg": "no Python"}
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    assert plugin.run(None, {}) == {"failed": True, "msg": "no Python"}
