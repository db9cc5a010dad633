# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role service_unit does beside what it is handed, in runs that change nothing."""

from __future__ import annotations

import pwd
import re
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import HEAD, WORKER
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record_look import PARTS
from playbook_run import ROOT, PlaybookRun, run_playbook


def run(tmp_path: Path, tasks_from: str, *options: str, **variables: object) -> PlaybookRun:
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.include_role": {"name": "herd.llama_cpp.service_unit", "tasks_from": tasks_from}, "vars": variables}]}]), encoding="utf-8")
    done = run_playbook(
        str(tmp_path / "play.yml"), "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "--check", *options)
    assert done.rc == 0, done.output[-3000:]
    return done


def test_a_drop_in_that_an_interrupted_run_has_written_is_read(tmp_path: Path) -> None:
    """By the unit that it belongs to: systemd says of that one alone that its files are others than those it has read."""
    done = run(tmp_path, "write", "-vvv", service_unit_units=["a.service"])
    assert re.search(r" units:\s+- a[.]service\s+- nftables[.]service\s+removed_files", done.output), done.output[-3000:]


def test_what_a_machine_is_known_to_have_a_service_by_goes_last(tmp_path: Path) -> None:
    """Where a removal is interrupted, the next run does it again, the user included."""
    for name in ("configuration", "cache"):
        (tmp_path / name).mkdir()
    somebody = next(one for one in pwd.getpwall() if one.pw_uid != 0 and one.pw_gecos)
    done = run(tmp_path, "remove", service_unit_user=somebody.pw_name, service_unit_user_comment=somebody.pw_gecos,
               service_unit_config_dir=str(tmp_path / "configuration"), service_unit_surplus_files=[str(tmp_path / "cache")])
    tasks = [re.sub(r".* : ", "", task.partition("]")[0]) for task in done.output.split("TASK [") if "changed: [localhost]" in task]
    assert tasks == ["Remove the unused files of the service", "Remove the user, if it was created for the service",
                     "Remove the group, if it was created for the service", "Remove the configuration of the service"], done.output[-3000:]


@pytest.mark.parametrize(("role", "part"), [("rpc_server", WORKER), ("llama_server", HEAD)])
def test_the_next_run_looks_for_what_goes_last(role: str, part: str) -> None:
    name = f"__{role}_config_dir"
    (removing,) = yaml.safe_load((ROOT / "roles" / role / "tasks" / "remove.yml").read_text(encoding="utf-8"))
    assert removing["vars"]["service_unit_config_dir"] == f"{{{{ {name} }}}}" and name + "," not in removing["vars"]["service_unit_surplus_files"]
    assert yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text(encoding="utf-8"))[name] in PARTS[part]
