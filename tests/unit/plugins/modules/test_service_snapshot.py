# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of services and what runs of it, kept, compared and put back: with files of the test's own and a systemd that is played."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.herd.llama_cpp.plugins.modules import service_snapshot

UNITS = Path("etc") / "systemd" / "system"


class Machine:
    """Its units and whether they run; and of each that was stopped, whether systemd still knew its unit."""

    def __init__(self, root: Path, running: set[str]) -> None:
        self.root, self.running = root, running
        self.stopped: dict[str, bool] = {}
        (root / UNITS).mkdir(parents=True)
        for unit in running:
            (root / UNITS / unit).write_text("before", encoding="utf-8")

    def run_command(self, command: list[str], **_options: object) -> tuple[int, str, str]:
        verb, *units = command[1:]
        if verb == "stop":
            self.stopped.update({unit: (self.root / UNITS / unit).exists() for unit in units})
            self.running -= set(units)
        elif verb == "restart":
            self.running |= set(units)
        return 0, "".join(f"{unit} loaded active running it\n" for unit in sorted(self.running)) if verb == "list-units" else "", ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    played = Machine(tmp_path, {"llama-rpc-server@0.service", "llama-rpc-tls@0.socket", "llama-rpc-tls@0.service", "llama-watchdog.service"})
    monkeypatch.setattr(basic.AnsibleModule, "run_command", played.run_command)
    for name in ("take", "put_back", "differs"):
        monkeypatch.setattr(service_snapshot, name, functools.partial(getattr(service_snapshot, name), root=str(tmp_path)))
    return played


@pytest.fixture
def snapshot(machine: Machine, capsys: pytest.CaptureFixture[str]):
    def run(state: str, **options: object) -> dict:
        with patch_module_args({"path": str(machine.root / "before.tar"), "state": state, **options}), pytest.raises(SystemExit):
            service_snapshot.main()
        return json.loads(capsys.readouterr().out)

    run("present")
    return run


def test_a_worker_that_was_only_stopped_is_not_as_it_was(machine, snapshot):
    """One that a smaller plan does not need, whose files are all there: it is to run again where that plan fails."""
    ran = set(machine.running)
    assert snapshot("compared")["differs"] is False
    # Started when somebody connects.
    machine.running.remove("llama-rpc-tls@0.service")
    assert snapshot("compared")["differs"] is False
    machine.running.remove("llama-rpc-server@0.service")
    assert snapshot("compared")["differs"] is True
    assert snapshot("restored")["started"] == ["llama-rpc-server@0.service", "llama-rpc-tls@0.socket", "llama-watchdog.service"]
    assert machine.running == ran - {"llama-rpc-tls@0.service"} and snapshot("compared")["differs"] is False


def test_what_did_not_run_is_stopped_by_its_own_unit(machine, snapshot):
    """systemd stops a firewall's unit whose file is gone without what it says of stopping: the rules would stay."""
    new = {"llama-rpc-firewall.service", "llama-server-firewall.service"}
    for unit in new:
        (machine.root / UNITS / unit).write_text("new", encoding="utf-8")
    machine.running |= new
    snapshot("restored", units=["llama-rpc-*"])
    assert {unit: machine.stopped.get(unit) for unit in new} == dict.fromkeys(new, True)
    assert not any((machine.root / UNITS / unit).exists() for unit in new)


@pytest.mark.parametrize(("saved_at", "now", "kept"), [
    ("2026-11-30", "2026-11-30", True), ("2026-11-30", "2026-12-01", False), ("", "2026-12-01", True), ("2026-11-30", "", True)],
    ids=["the switch was interrupted", "another one has ended since", "an archive that does not say", "no record says"])
def test_what_a_switch_that_has_ended_left_is_not_what_a_later_one_goes_back_to(machine, snapshot, saved_at, now, kept):
    """A machine that is lost after the others have proved themselves keeps its archive."""
    unit = machine.root / UNITS / "llama-watchdog.service"
    snapshot("absent")
    assert snapshot("present", recorded=saved_at)["kept"] is False
    unit.write_text("after", encoding="utf-8")
    assert snapshot("present", recorded=now)["kept"] is kept
    unit.write_text("later", encoding="utf-8")
    snapshot("restored")
    assert unit.read_text(encoding="utf-8") == ("before" if kept else "after")
