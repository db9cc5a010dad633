# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All files of a service in one call: by a real ansible-playbook, from a role, into a directory of the test's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from playbook_run import run_playbook

SECRET = "d0ntShowThisSecretToAnybody"


class Role:
    """A role whose only task writes files below `place`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder / "etc"
        for name, text in {"templates/unit.service.j2": "{# not in it #}\nExecStart={{ binary }}\n{% for word in words %}\nWord={{ word }}\n{% endfor %}\n",
                           "templates/one.env.j2": "PORT={{ item.port }} {{ binary }}\n",
                           "templates/key.j2": "{{ item }}\n",
                           "files/check.py": "print('{{ as it is }}')\n"}.items():
            path = folder / "roles" / "written" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, files: list[dict[str, object]], *arguments: str, directories: list[dict[str, object]] | None = None) -> tuple[int, str, dict[str, object]]:
        """Exit status, output, and what the module has returned."""
        tasks = self.folder / "roles" / "written" / "tasks" / "main.yml"
        tasks.parent.mkdir(exist_ok=True)
        returned = self.folder / "returned.json"
        returned.unlink(missing_ok=True)
        tasks.write_text(yaml.safe_dump([
            {"herd.llama_cpp.service_files": {"files": files, "directories": directories or [{"path": str(self.place)}]}, "register": "written"},
            {"ansible.builtin.copy": {"content": "{{ written | to_json }}", "dest": str(returned), "mode": "0600"}, "check_mode": False, "diff": False},
        ]), encoding="utf-8")
        (self.folder / "play.yml").write_text(yaml.safe_dump([
            {"hosts": "localhost", "gather_facts": False, "vars": {"binary": "/opt/server", "words": ["a", "b"], "secret": SECRET},
             "tasks": [{"ansible.builtin.include_role": {"name": "written"}}]},
        ]), encoding="utf-8")
        done = run_playbook(str(self.folder / "play.yml"), "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", *arguments)
        return done.rc, done.output, json.loads(returned.read_text(encoding="utf-8")) if returned.exists() else {}


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def entries(place: Path) -> list[dict[str, object]]:
    return [
        {"src": ["unit.service.j2", "check.py"], "path": f"{place}/"},
        {"src": "one.env.j2", "path": f"{place}/*.env", "each": {"0": {"port": 50052}, "1": {"port": 50053}}, "mode": "0640"},
        {"content": "{{ secret }}\n", "path": f"{place}/key", "mode": "0600", "secret": True, "force": False},
        {"src": "key.j2", "path": f"{place}/keys/*", "each": {"worker1": f"{SECRET}1"}, "mode": "0600", "secret": True},
    ]


def test_files_of_all_kinds_are_written_once(role: Role) -> None:
    place = role.place
    directories: list[dict[str, object]] = [{"path": str(place), "mode": "0700"}, {"path": f"{place}/keys", "exclusive": True}]
    rc, output, result = role.run(entries(place), directories=directories)
    assert rc == 0, output
    names = ["unit.service", "check.py", "0.env", "1.env", "key", "keys/worker1"]
    assert result["changed_files"] == [str(place / name) for name in names] and result["units_changed"] is True
    assert (place / "unit.service").read_text(encoding="utf-8") == "ExecStart=/opt/server\nWord=a\nWord=b\n"
    assert (place / "check.py").read_text(encoding="utf-8") == "print('{{ as it is }}')\n"
    assert (place / "1.env").read_text(encoding="utf-8") == "PORT=50053 /opt/server\n"
    assert (place / "keys" / "worker1").read_text(encoding="utf-8") == f"{SECRET}1\n"
    assert [oct(place.joinpath(name).stat().st_mode & 0o777) for name in (".", "keys", "0.env", "key")] == ["0o700", "0o755", "0o640", "0o600"]
    before = {name: place.joinpath(name).stat().st_ino for name in names}
    rc, output, result = role.run(entries(place), directories=directories)
    assert rc == 0 and (result["changed"], result["changed_files"]) == (False, []), output
    assert {name: place.joinpath(name).stat().st_ino for name in names} == before


def test_only_what_is_another_is_written_and_what_is_not_forced_stays(role: Role) -> None:
    place = role.place
    directories: list[dict[str, object]] = [{"path": f"{place}/keys", "exclusive": True}]
    role.run(entries(place), directories=directories)
    (place / "0.env").write_text("PORT=1\n", encoding="utf-8")
    (place / "1.env").chmod(0o600)
    (place / "key").write_text("made here\n", encoding="utf-8")
    (place / "keys" / "worker9").write_text("left\n", encoding="utf-8")
    (place / "other").write_text("somebody else's\n", encoding="utf-8")
    rc, output, result = role.run(entries(place), directories=directories)
    assert rc == 0, output
    assert result["changed_files"] == [f"{place}/0.env", f"{place}/1.env"] and result["units_changed"] is False
    assert result["removed_files"] == [f"{place}/keys/worker9"]
    assert (place / "0.env").read_text(encoding="utf-8") == "PORT=50052 /opt/server\n" and (place / "1.env").stat().st_mode & 0o777 == 0o640
    assert (place / "key").read_text(encoding="utf-8") == "made here\n"
    assert (place / "other").exists() and not (place / "keys" / "worker9").exists()


@pytest.mark.parametrize("there", [False, True])
def test_check_mode_writes_nothing_and_shows_the_difference(role: Role, there: bool) -> None:
    if there:
        role.place.mkdir()
        (role.place / "0.env").write_text("PORT=1\n", encoding="utf-8")
    rc, output, result = role.run(entries(role.place), "--check", "--diff", directories=[{"path": f"{role.place}/keys", "exclusive": True}])
    assert rc == 0 and result["changed"], output
    assert "+PORT=50052 /opt/server" in output and ("-PORT=1" in output) == there and SECRET not in output
    assert [path.name for path in role.place.iterdir()] == ["0.env"] if there else not role.place.exists()


def test_a_secret_is_shown_nowhere(role: Role) -> None:
    files = entries(role.place)
    for _time in ("made", "changed"):
        rc, output, result = role.run(files, "--diff", "-vvvv", directories=[{"path": f"{role.place}/keys"}])
        assert rc == 0, output
        assert SECRET not in output and SECRET not in json.dumps(result)
        (role.place / "keys" / "worker1").write_text("another\n", encoding="utf-8")
    assert (role.place / "key").read_text(encoding="utf-8") == f"{SECRET}\n"


def test_what_cannot_be_written_is_said_in_a_sentence(role: Role) -> None:
    place = role.place
    wrong = [
        ({"path": f"{place}/a", "content": "a", "src": "check.py"}, f"{place}/a needs content or src, and one of them only."),
        ({"content": "a"}, "Every file of service_files needs a path."),
        ({"path": f"{place}/none/a", "content": "a"}, f"{place}/none/a could not be written: No such file or directory."),
        ({"path": str(place), "content": "a"}, f"{place} could not be written: Is a directory."),
    ]
    for file, says in wrong:
        rc, output, _result = role.run([file])
        assert rc != 0 and says in " ".join(output.split()) and "Traceback" not in output, output
    assert list(place.iterdir()) == []


def test_an_id_is_of_all_that_a_unit_is_started_from(role: Role) -> None:
    """It is the same until one of its parts is another, and the same in check mode; the text of a template may name it."""
    (role.folder / "roles" / "written" / "templates" / "id.env.j2").write_text("ID=@HERD_CONFIG_ID@ {{ item.port }}\n", encoding="utf-8")
    place = role.place

    def files(port: int = 50053, part: str = "a", **extra: object) -> list[dict[str, object]]:
        return [{"content": part, "path": f"{place}/u@.service"},
                {"src": "id.env.j2", "path": f"{place}/*.env", "each": {"0": {"port": 50052}, "1": {"port": port}}, "unit": "u@*.service",
                 "parts": [f"{place}/u@.service"], **extra}]

    rc, output, result = role.run(files())
    assert rc == 0, output
    ids = result["config_ids"]
    assert isinstance(ids, dict) and list(ids) == ["u@0.service", "u@1.service"] and len(set(ids.values())) == 2
    assert (place / "1.env").read_text(encoding="utf-8") == f"ID={ids['u@1.service']} 50053\n"
    others = [role.run(given, "--check")[2]["config_ids"] for given in (files(), files(port=1), files(part="b"), files(identity="12.34"))]
    assert others[0] == ids and others[1]["u@0.service"] == ids["u@0.service"] and others[1]["u@1.service"] != ids["u@1.service"]
    assert not set(others[2].values()) & set(ids.values()) and not set(others[3].values()) & set(ids.values())
    rc, output, _result = role.run([{"content": SECRET, "path": f"{place}/key", "secret": True}, *files(parts=[f"{place}/key"])])
    assert rc != 0 and "which is secret or none of the files" in " ".join(output.split()) and SECRET not in output
