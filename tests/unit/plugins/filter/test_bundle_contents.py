# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle is made of."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.bundle_contents import bundle_contents
from ansible_collections.herd.llama_cpp.plugins.filter.setup_problems import setup_problems


def collected(name: str) -> dict[str, Any]:
    return {"source": {"source": "url", "url": f"https://h/{name}"}, "files": [{"path": f"/made/models/{name}", "size_bytes": 3, "sha256": name, "more": 1}]}


def carried(name: str) -> dict[str, Any]:
    return {"source": {"source": "url", "url": f"https://h/{name}"}, "files": [{"file": f"models/{name}", "size_bytes": 3, "sha256": name}]}


def fetched(name: str) -> dict[str, Any]:
    one = carried(name)
    return {**one, "files": [{**one["files"][0], "path": f"/site/models/{name}"}]}


@pytest.mark.parametrize("beside", [[], ["d.gguf"], ["d.gguf", "", "l.gguf"]])
@pytest.mark.parametrize("model", ["m.gguf", ""])
def test_what_was_collected_is_what_the_site_takes(model, beside):
    def all_of(make):
        one = make(model) if model else {}
        return {**one, "beside": [make(name) if name else {} for name in beside]} if beside else one
    manifest = bundle_contents({"collected": all_of(collected)}, "carried")
    assert manifest == all_of(carried)
    assert bundle_contents({"model": manifest, "directory": "/site"}, "fetched") == all_of(fetched)


def test_every_file_is_named_once_with_what_it_is():
    model = {**carried("m.gguf"), "beside": [carried("d.gguf"), {}, carried("d.gguf")]}
    closures = [{"item": {"key": "debian-12-amd64"}, "files": ["a.deb"]}, {"item": {"key": "debian-11-amd64"}, "files": []}]
    files = bundle_contents({"cached": ["sources/1.tar.gz", "builds/2-head.tar.gz", "wheels/x.tar.gz"], "model": model, "closures": closures}, "files")
    assert [(file["what"], file["file"]) for file in files] == [
        ("source of llama.cpp", "cache/sources/1.tar.gz"), ("finished build", "cache/builds/2-head.tar.gz"), ("Python packages", "cache/wheels/x.tar.gz"),
        ("model", "models/m.gguf"), ("model", "models/d.gguf"),
        ("package", "packages/debian-12-amd64/a.deb"), ("list of packages", "packages/debian-12-amd64/Packages"),
        ("list of packages", "packages/debian-11-amd64/Packages")]


@pytest.mark.parametrize(("given", "question"), [
    ({"model": {}}, "colour"), ([], "files"), ({"model": {}}, "fetched"), ({"cached": ["elsewhere/x"], "model": {}, "closures": []}, "files"),
])
def test_what_cannot_be_answered(given, question):
    with pytest.raises(AnsibleFilterError, match="bundle_contents"):
        bundle_contents(given, question)


def test_a_machine_that_the_bundle_has_no_packages_for():
    assert setup_problems({"machine": "m1", "release": "debian-12-amd64", "packages": {"debian-12-amd64": ["gcc"]}}, "bundle") == []
    (found,) = setup_problems({"machine": "m1", "release": "ubuntu-24.04-amd64", "packages": {"debian-12-amd64": ["gcc"]}}, "bundle")
    assert (found["machine"], found["problem"]) == ("m1", "the bundle has no packages for ubuntu-24.04-amd64, which it runs")
