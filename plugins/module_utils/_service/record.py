# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a cluster: what serves, where and from what. One file on the head, written last, when an answer has proved it.

Whoever changes a cluster later reads this instead of guessing from units and links. It holds no secret.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing as t
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import value_of
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError, exec_arguments

#: The version of the file's form. A reader refuses a newer one.
SCHEMA = 1
PATH = "/etc/llama.cpp/cluster.json"
#: What the role rpc_server writes on a worker: an Owner.
OWNER_PATH = "/etc/llama-rpc-server/cluster.json"
HEAD, WORKER = "head", "worker"
REMEDY = "Run playbooks/deploy.yml, which writes it anew"


class RecordError(ValueError):
    """What is there cannot be used. A sentence without its final full stop."""


@dataclass(frozen=True)
class Member:
    """A machine of the cluster.

    ``connection`` is how the control node reached it: ``host``, and ``port``, ``user`` and ``key_file`` where they were set. ``instances`` are its
    worker services as the filter rpc_server_instances returns them.
    """

    roles: t.List[str]
    connection: t.Dict[str, str] = field(default_factory=dict)
    build: str = ""
    version: str = ""
    instances: t.List[t.Dict[str, t.Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    """The model: the path llama-server is given, by what each file is known (module gguf_file), and what stands beside it."""

    path: str
    files: t.List[t.Dict[str, t.Any]] = field(default_factory=list)
    beside: t.Dict[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """The whole. ``left`` are machines that left the cluster and may still have their services, by name.

    ``id`` tells two clusters apart whose machines have the same names. It stays when another machine becomes the head; older records have none.
    """

    head: str
    machines: t.Dict[str, Member]
    model: Model
    plan: t.Dict[str, t.Any] = field(default_factory=dict)
    settings: t.Dict[str, t.Any] = field(default_factory=dict)
    left: t.Dict[str, Member] = field(default_factory=dict)
    written: str = ""
    id: str = ""


@dataclass(frozen=True)
class Owner:
    """Whose a worker is: the ID of the cluster, and its head, by name and by how the control node reached it."""

    id: str
    head: str = ""
    host: str = ""
    port: str = ""


def _of(kind: type, value: t.Any, where: str) -> t.Any:
    """A dataclass from a mapping, each field of the type it is declared with; unknown keys are left out."""
    if not isinstance(value, t.Mapping):
        raise RecordError("%s is a %s and no mapping" % (where, type(value).__name__))
    found: t.Dict[str, t.Any] = {}
    for one in dataclasses.fields(kind):
        if one.name in value:
            wanted = {"str": str, "Model": t.Mapping}.get(str(one.type), list if "List" in str(one.type)[:6] else t.Mapping)
            if not isinstance(value[one.name], wanted):
                raise RecordError("%s.%s is a %s" % (where, one.name, type(value[one.name]).__name__))
            found[one.name] = value[one.name]
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise RecordError("%s.%s is missing" % (where, one.name))
    return kind(**found)


def _copied(value: t.Any) -> t.Any:
    """The same in dicts and lists of Python's own: those of Ansible's facts can be read and not be copied."""
    if isinstance(value, t.Mapping):
        return {key: _copied(value[key]) for key in value}
    return [_copied(one) for one in value] if isinstance(value, (list, tuple)) else value


def record_of(value: t.Any) -> Record:
    """A record from plain data; RecordError names what is wrong with it."""
    record: Record = _of(Record, _copied(value), "record")
    machines = {name: _of(Member, one, "machines.%s" % name) for name, one in record.machines.items()}
    left = {name: _of(Member, one, "left.%s" % name) for name, one in record.left.items()}
    if record.head not in machines:
        raise RecordError("its head %s is not among its machines" % (record.head or "''"))
    return dataclasses.replace(record, machines=machines, left=left, model=_of(Model, record.model, "model"))


def owner_of(value: t.Any) -> t.Optional[Owner]:
    """Whose a worker is, None where that is not said."""
    try:
        owner: Owner = _of(Owner, value, "owner")
    except RecordError:
        return None
    return owner if owner.id else None


def read(text: str) -> Record:
    """A record from the text of its file."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError("it is not whole (%s)" % error) from error
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise RecordError("it does not say in which form it is written")
    if schema > SCHEMA:
        raise RecordError("it was written by a newer version of this collection (form %d, and this one reads up to %d)" % (schema, SCHEMA))
    return record_of(value)


def plain(record: Record) -> t.Dict[str, t.Any]:
    """A record as plain data."""
    return dict(dataclasses.asdict(record), schema=SCHEMA)


def write(record: Record) -> str:
    """The text of a record's file."""
    return json.dumps(plain(record), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def renewed(new: Record, old: t.Optional[Record], anew: bool = False) -> Record:
    """What is to be written over ``old``: ``old`` itself where nothing but times and momentary figures differ, unless it was proved ``anew``.

    A plan that was kept differs from the one by which the cluster was started only by the memory that was free meanwhile.
    """
    if old is None:
        return new
    if new.plan.get("kept") and old.plan:
        new = dataclasses.replace(new, plan=old.plan)
    new = dataclasses.replace(new, id=new.id or old.id)
    same = dataclasses.replace(new, written=old.written)
    return old if same == old and not anew else new


def deduced(machine: str, unit: str, files: str, plan: str) -> t.Optional[Record]:
    """The record of a head that was deployed before there were records, or None where ``unit`` starts no llama-server.

    ``unit`` is the text of llama-server.service, ``files`` that of the list by which its model is known, ``plan`` that of the plan that was
    kept; each is empty where there is no such file. Builds are not known, the head's own connection neither.
    """
    try:
        words = exec_arguments(unit)
    except SystemdError as error:
        raise RecordError("llama-server.service cannot be read (%s)" % error) from error

    value = functools.partial(value_of, arguments=words)
    if not value("--model"):
        return None
    try:
        known, planned = json.loads(files or "[]"), json.loads(plan or "{}")
        names = planned.get("machines") or [machine]
        workers = {one["machine"] for one in planned.get("rpc") or []}
        adapters = [one.rpartition(":") for one in value("--lora-scaled").split(",") if one]
        beside = {
            "draft": value("--model-draft"),
            "mmproj": value("--mmproj"),
            "lora": [{"path": path, "scale": float(scale)} for path, _colon, scale in adapters],
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError("the plan or the list of the model's files is not whole (%s)" % error) from error
    members = {name: Member(([HEAD] if name == machine else []) + ([WORKER] if name in workers else [])) for name in dict.fromkeys([machine] + names)}
    return record_of(plain(Record(machine, members, Model(value("--model"), known, beside), planned)))
