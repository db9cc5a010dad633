# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has of a cluster: its record, and which parts are installed there."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import (
    HEAD, OWNER_PATH, REMEDY, WORKER, RecordError, deduced, owner_of, plain, read,
)

UNITS = "/etc/systemd/system"
# What an interrupted removal leaves last counts as much as the unit.
PARTS = {
    HEAD: ("%s/llama-server.service" % UNITS, "/etc/llama-server"),
    WORKER: ("%s/llama-rpc-server@.service" % UNITS, "/etc/llama-rpc-server"),
}


def _text_of(path: str) -> str:
    """The text of a file, empty where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _record(path: str, machine: str) -> t.Dict[str, t.Any]:
    """The record that is there, or what can be told without."""
    text = _text_of(path)
    if text:
        return {"record": plain(read(text)), "deduced": False}
    record = deduced(
        machine, _text_of("%s/llama-server.service" % UNITS), _text_of("/etc/llama-server/model.json"),
        _text_of(os.path.join(os.path.dirname(path), "plan.json")),
    )
    return {"record": plain(record) if record else {}, "deduced": record is not None}


def _owner(path: str) -> t.Dict[str, t.Any]:
    """Whose the machine's worker is, as far as that is said: one that was set up before it was belongs to whoever names it."""
    try:
        owner = owner_of(json.loads(_text_of(path)))
    except (OSError, ValueError):
        return {}
    return dataclasses.asdict(owner) if owner else {}


def seen(path: str, machine: str, owner_path: str = OWNER_PATH) -> t.Dict[str, t.Any]:
    """What the module cluster_record_info returns. A record that cannot be used or read is a ``problem``."""
    found: t.Dict[str, t.Any] = {"record": {}, "deduced": False, "problem": "", "unread": "", "owner": _owner(owner_path)}
    found["parts"] = [part for part, marks in PARTS.items() if any(map(os.path.exists, marks))]
    try:
        found.update(_record(path, machine))
    except RecordError as error:
        found["problem"] = "%s: the record %s cannot be used: %s. %s." % (machine, path, error, REMEDY)
    except OSError as error:
        why = "%s cannot be read: %s" % (error.filename or path, error.strerror)
        found["problem"] = "%s: %s. Let everyone read it, or become root." % (machine, why)
        # Where only a file that one would be worked out from is closed, it is known that there is none.
        found["unread"] = why if (error.filename or path) == path else ""
    return found
