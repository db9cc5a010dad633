# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a cluster: written, read back, refused, and worked out for a cluster that has none."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.herd.llama_cpp.plugins.filter.systemd_quote import systemd_quote
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import (
    SCHEMA, Member, Model, Record, RecordError, deduced, plain, read, record_of, renewed, write,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record_look import seen
from hypothesis import given
from hypothesis import strategies as st

# What the text of the service unit once was searched for a path with, and got wrong.
AWKWARD = ["/m/100%20 sure.gguf", "/m/a$b.gguf", '/m/"q".gguf', "/m/back\\slash.gguf", "/m/no\u00a0break.gguf", "/m/a b.gguf",
           "/m/café.gguf", "/m/x%%y$$.gguf"]

WORKER = Member(["worker"], {"host": "192.0.2.11", "user": "ubuntu"}, "w1", "b11434", [{"unit": "llama-rpc-server@0.service"}])
RECORD = Record(
    "head", {"head": Member(["head"], {"host": "192.0.2.10"}, "h1", "b11434"), "worker1": WORKER},
    Model("/m/model.gguf", [{"path": "/m/model.gguf", "size_bytes": 7}], {"draft": "", "mmproj": "", "lora": []}),
    {"machines": ["head", "worker1"], "kept": False}, {"url": "http://192.0.2.10:8080"}, {}, "2026-11-29T22:10:00Z",
)


def test_what_is_written_is_read():
    assert read(write(RECORD)) == RECORD
    assert json.loads(write(RECORD))["schema"] == SCHEMA


@pytest.mark.parametrize("path", AWKWARD)
def test_a_path_is_plain_data(path):
    record = dataclasses.replace(RECORD, model=Model(path))
    assert read(write(record)).model.path == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not whole"),
        ("[]", "in which form"),
        ('{"schema": true}', "in which form"),
        ('{"schema": 2}', "newer version of this collection (form 2, and this one reads up to 1)"),
        ('{"schema": 1}', "record.head is missing"),
        (json.dumps({**plain(RECORD), "head": "other"}), "its head other is not among its machines"),
        (json.dumps({**plain(RECORD), "machines": {"head": []}}), "machines.head is a list"),
        (json.dumps({**plain(RECORD), "machines": {"head": {"roles": "head"}}}), "machines.head.roles is a str"),
        (json.dumps({**plain(RECORD), "model": {}}), "model.path is missing"),
        (json.dumps({**plain(RECORD), "plan": []}), "plan is a list"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(text, words):
    with pytest.raises(RecordError) as refused:
        read(text)
    assert words in str(refused.value)


class Fact(dict):
    """As Ansible's own containers, which cannot be made by who does not know them."""

    def __init__(self, *given: object, known: bool = False) -> None:
        if not known:
            raise TypeError("Direct construction of lazy containers is not supported.")
        super().__init__(*given)


def test_a_record_out_of_a_fact_is_plain_data():
    fact = Fact({**plain(RECORD), "machines": Fact(plain(RECORD)["machines"], known=True)}, known=True)
    fact["machines"]["head"] = Fact(fact["machines"]["head"], known=True)
    fact["machines"]["head"]["connection"] = Fact({"host": "192.0.2.10"}, known=True)
    assert read(write(record_of(fact))) == RECORD


@given(st.text())
def test_any_text_is_a_record_or_refused(text):
    with pytest.raises(RecordError):
        read(text)


def test_a_later_key_is_left_out():
    assert read(json.dumps({**plain(RECORD), "surplus": 1})) == RECORD


def test_nothing_is_written_again_for_the_time_or_a_moments_memory():
    later = dataclasses.replace(RECORD, written="2026-11-30T00:00:00Z", plan={"machines": ["head", "worker1"], "kept": True, "free": 9})
    assert renewed(later, RECORD) == RECORD
    other = dataclasses.replace(later, plan={"machines": ["head"], "kept": False})
    assert renewed(other, RECORD) == other
    assert renewed(later, None) == later


def test_what_was_proved_anew_is_of_another_time():
    """By it what a machine saved for an earlier switch is told from what it saved for this one."""
    later = dataclasses.replace(RECORD, written="2026-11-30T00:00:00Z", plan={"machines": ["head", "worker1"], "kept": True, "free": 9})
    assert renewed(later, RECORD, anew=True) == dataclasses.replace(RECORD, written=later.written)


def test_the_id_of_a_cluster_stays_and_one_without_gets_one():
    old = dataclasses.replace(RECORD, id="a1")
    assert renewed(RECORD, old) == old
    assert renewed(old, RECORD).id == "a1"
    assert read(json.dumps({key: value for key, value in plain(old).items() if key != "id"})).id == "", "an older one has none"


@pytest.mark.parametrize(("text", "owner"), [
    ('{"id": "a1", "head": "h", "host": "192.0.2.10", "port": ""}', {"id": "a1", "head": "h", "host": "192.0.2.10", "port": ""}),
    ('{"id": "a1", "later": 1}', {"id": "a1", "head": "", "host": "", "port": ""}),
    ('{"id": ""}', {}), ('{"id": 1}', {}), ("[]", {}), ("{", {}), ("\udcff", {}), (None, {}),
])
def test_whose_a_worker_is_is_read_as_far_as_it_is_said(tmp_path, text, owner):
    path = tmp_path / "owner.json"
    if text is not None:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert seen(str(tmp_path / "cluster.json"), "w1", str(path))["owner"] == owner


def unit(*arguments: str) -> str:
    """As the role's template writes it."""
    lines = "".join("    %s \\\n" % systemd_quote([argument] if isinstance(argument, str) else list(argument)) for argument in arguments)
    return "[Service]\nExecStartPre=/usr/bin/rm -f /x\n" \
        "ExecStart=/opt/llama-server \\\n%s    --api-key-file ${CREDENTIALS_DIRECTORY}/api-key\nRestart=always\n" % lines


@pytest.mark.parametrize("path", AWKWARD)
def test_a_cluster_without_a_record_is_known_by_its_unit(path):
    text = unit(("--model", path), ("--ctx-size", "2048"), ("--lora-scaled", "/m/a.gguf:0.5,/m/b.gguf:1"), ("--mmproj", path))
    record = deduced("head", text, '[{"path": "x"}]', '{"machines": ["head", "w2"], "rpc": [{"machine": "w2"}]}')
    assert record is not None
    assert record.model == Model(path, [{"path": "x"}], {
        "draft": "", "mmproj": path, "lora": [{"path": "/m/a.gguf", "scale": 0.5}, {"path": "/m/b.gguf", "scale": 1.0}]})
    assert {name: member.roles for name, member in record.machines.items()} == {"head": ["head"], "w2": ["worker"]}
    assert record_of(plain(record)) == record


def test_without_a_unit_there_is_no_cluster():
    assert deduced("head", "", "", "") is None
    assert deduced("head", "[Service]\nExecStart=/usr/bin/true\n", "", "") is None


@pytest.mark.parametrize(("files", "plan"), [("{", ""), ("", "["), ("", '{"rpc": [1]}'), ("{}", "")])
def test_files_of_an_older_deployment_that_are_not_whole_are_named(files, plan):
    with pytest.raises(RecordError):
        deduced("head", unit(("--model", "/m/x")), files, plan)
