# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gguf_model with files beside the model, each from a source of its own, on this machine, with files made here.

    pytest tests/integration/test_gguf_model_beside.py
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import beside_files
import gguf_files
import pytest

from ansible_collections.herd.llama_cpp.tests.support.model_server import ModelServer, sha256

ROOT = Path(__file__).absolute().parents[2]
FACTS = ("gguf_model_file", "gguf_model_files", "gguf_model_beside_files", "gguf_model_beside_headers", "gguf_model_header", "gguf_model_problems",
         "gguf_model_collected")
PLAY = """
- name: Have a model and what stands beside it
  hosts: all
  gather_facts: false
  tasks:
    - name: Run the role
      block:
        - name: Run it
          ansible.builtin.include_role:
            name: herd.llama_cpp.gguf_model
            tasks_from: "{{ step }}"
        - name: Run what comes after it in the same play
          ansible.builtin.include_role:
            name: herd.llama_cpp.gguf_model
            tasks_from: "{{ then }}"
          when: then is defined
      rescue:
        - name: Keep the message
          ansible.builtin.set_fact:
            message: "{{ ansible_failed_result.msg }}"
    - name: Write down what came of it
      ansible.builtin.copy:
        content: "{{ dict(['message'] + names | zip((['message'] + names) | map('extract', vars | combine(empty)))) | to_json }}"
        dest: "{{ result_file }}"
        mode: "0600"
      changed_when: false
""".replace("{{ dict(['message'] + names | zip((['message'] + names) | map('extract', vars | combine(empty)))) | to_json }}",
            "{{ {" + ", ".join(f"'{name}': {name} | default(none)" for name in ("message", *FACTS)) + "} | to_json }}")


class Place:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for make, name in ((beside_files.projector, "mmproj"), (beside_files.lora, "lora"), (beside_files.mtp_model, "draft")):
            make(directory / f"{name}.gguf")
        (directory / "model.gguf").write_bytes(gguf_files.gguf_bytes())
        (directory / "play.yml").write_text(PLAY)
        self.server = ModelServer(directory).start()

    def beside(self) -> list[dict[str, Any]]:
        url = self.server.url + "/files/mmproj.gguf"
        return [
            {"for": "draft", "path": str(self.directory / "draft.gguf"), "path_on": "control", "name": "small.gguf"},
            {"for": "mmproj", "source": "url", "url": url, "sha256": sha256(self.directory / "mmproj.gguf")},
            {"for": "lora", "path": str(self.directory / "lora.gguf"), "scale": 0.5},
        ]

    def run(self, step: str, *arguments: str, **more: Any) -> dict[str, Any]:
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "result_file": str(self.directory / "result.json"),
            "gguf_model_dir": str(self.directory / "models"), "gguf_model_owner": pwd.getpwuid(os.getuid()).pw_name,
            "gguf_model_group": grp.getgrgid(os.getgid()).gr_name, "gguf_model_cache_dir": str(self.directory / "cache"),
            "gguf_model_disk_reserve_mib": 1, "gguf_model_path": str(self.directory / "model.gguf"), "gguf_model_path_on": "control",
            "gguf_model_download_poll_seconds": 1, "gguf_model_beside": self.beside(), **more,
        }
        (self.directory / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"machine": variables}}}))
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.directory / "inventory.yml"), str(self.directory / "play.yml"),
             "-e", f"step={step}", *arguments],
            capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"})
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        changed = int(re.search(r"changed=(\d+)", done.stdout).group(1))  # type: ignore[union-attr]
        return {"changed": changed, **json.loads((self.directory / "result.json").read_text())}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("beside"))


def test_all_are_there_and_the_second_run_changes_nothing(place: Place) -> None:
    models, here = str(place.directory / "models"), str(place.directory)
    wanted = {"draft": f"{models}/small.gguf", "mmproj": f"{models}/mmproj.gguf", "lora": [{"path": f"{here}/lora.gguf", "scale": 0.5}]}

    before = place.run("preflight")
    assert (before["changed"], before["gguf_model_problems"], before["gguf_model_beside_files"]) == (0, [], wanted)
    headers = place.run("header")
    assert headers["changed"] == 0 and headers["gguf_model_header"]["architecture"] == "llama"
    assert [(one["for"], one["header"]["architecture"]) for one in headers["gguf_model_beside_headers"]] == [
        ("draft", "glm4moe"), ("mmproj", "clip"), ("lora", "llama")]
    assert not (place.directory / "models").exists()

    first = place.run("main")
    assert first["message"] is None and first["changed"] > 0
    assert first["gguf_model_file"] == f"{models}/model.gguf" and first["gguf_model_beside_files"] == wanted
    # a file of the user's own without a checksum is known by nothing
    assert [Path(file["path"]).name for file in first["gguf_model_files"]] == ["model.gguf", "small.gguf", "mmproj.gguf"]
    assert place.run("main")["changed"] == 0
    # as deploy.yml does: to be planned for, it is read once more
    assert place.run("main", "-e", "then=header")["gguf_model_files"] == first["gguf_model_files"]
    assert place.run("main", gguf_model_beside=[])["gguf_model_beside_files"] == {"lora": []}


def test_what_was_collected_is_what_another_machine_takes(place: Place) -> None:
    carried = place.run("collect", gguf_model_dir=str(place.directory / "bundle"))["gguf_model_collected"]
    assert [Path(file["path"]).name for one in [carried, *carried["beside"]] for file in one.get("files", [])] == [
        "model.gguf", "small.gguf", "mmproj.gguf"]
    assert carried["beside"][2] == {}
    asked = len(place.server.requests)
    taken = place.run("main", gguf_model_dir=str(place.directory / "site"), gguf_model_fetched=carried)
    assert taken["message"] is None and len(taken["gguf_model_files"]) == 3 and len(place.server.requests) == asked


def test_what_is_wrong_is_said_with_whose_it_is(place: Place) -> None:
    beside = [{"for": "mmproj", "path": "/nowhere/at/all.gguf"}, {"for": "lora", "source": "url", "url": "http://127.0.0.1:1/a.gguf"}]
    found = place.run("preflight", gguf_model_beside=beside)
    assert found["changed"] == 0 and len(found["gguf_model_problems"]) == 2
    for problem, said in zip(found["gguf_model_problems"], ("the projector: the model cannot be used", "the adapter: a model from a URL needs its SHA-256")):
        assert said in problem["problem"], found
    twice = [{"for": "draft", "path": "/x"}, {"for": "draft", "path": "/y"}]
    assert "two entries for draft or for mmproj" in place.run("main", gguf_model_beside=twice)["message"]


def test_the_model_s_own_on_the_command_line_are_not_taken_for_it(place: Place) -> None:
    found = place.run("preflight", "-e", f"gguf_model_path={place.directory / 'model.gguf'}")
    assert any("hide those of gguf_model_beside" in one["problem"] for one in found["gguf_model_problems"])
