# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle that is not as it was made is told apart, and the file is named."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.bundle import (
    BundleProblem,
    make_manifest,
    verify,
    write_manifest,
)


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_bytes(b"a" * 1000)
    (tmp_path / "b c.deb").write_bytes(b"b")
    files = [{"what": "model", "file": "models/a.gguf"}, {"what": "package", "file": "b c.deb"}]
    write_manifest(str(tmp_path), make_manifest(str(tmp_path), files, {"x": 1}, "2026-01-02T03:04:05Z"))
    return tmp_path


def problem(bundle):
    with pytest.raises(BundleProblem) as raised:
        verify(str(bundle))
    return str(raised.value)


def test_a_whole_bundle(bundle):
    manifest = verify(str(bundle))
    assert manifest["about"] == {"x": 1} and [item["file"] for item in manifest["files"]] == ["b c.deb", "models/a.gguf"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


def test_every_wrong_file_is_named(bundle):
    (bundle / "models" / "a.gguf").write_bytes(b"a" * 999 + b"b")
    (bundle / "b c.deb").unlink()
    assert problem(bundle) == f"in {bundle}, b c.deb is missing, models/a.gguf is damaged (its SHA-256 is another)"


def test_a_file_that_was_cut_off_is_not_read(bundle):
    (bundle / "models" / "a.gguf").write_bytes(b"a" * 500)
    assert problem(bundle).endswith("models/a.gguf has 500 bytes instead of 1000")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bundle.json", None, "bundle.json in {} is missing"),
        ("bundle.json", "{}", "bundle.json in {} is damaged (its SHA-256 is another)"),
        ("SHA256SUMS", None, "{} is no bundle, for it has no SHA256SUMS"),
        ("SHA256SUMS", "no sums", "SHA256SUMS in {} is damaged"),
    ],
)
def test_what_tells_of_it_is_wrong_itself(bundle, name, content, said):
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_text(content, encoding="utf-8")
    assert problem(bundle) == said.format(bundle)


def test_a_sum_left_out_is_noticed(bundle):
    sums = (bundle / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    (bundle / "SHA256SUMS").write_text("\n".join(line for line in sums if "gguf" not in line) + "\n", encoding="utf-8")
    assert "does not have the SHA-256 that bundle.json gives for models/a.gguf" in problem(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", ""])
def test_a_file_outside_is_refused(bundle, name):
    with pytest.raises(BundleProblem, match="not below"):
        make_manifest(str(bundle), [{"what": "x", "file": name}], {}, "")


def test_a_manifest_of_a_later_version_is_refused(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    write_manifest(str(bundle), {**manifest, "format": 2})
    assert problem(bundle).endswith("has the format 2, and this version reads format 1")


def written(bundle, manifest):
    """The bundle with that for its manifest, and sums that fit."""
    text = json.dumps(manifest) if not isinstance(manifest, str) else manifest
    (bundle / "bundle.json").write_text(text)
    sums = [line for line in (bundle / "SHA256SUMS").read_text().splitlines() if not line.endswith("bundle.json")]
    sums.append("%s  bundle.json" % hashlib.sha256(text.encode()).hexdigest())
    (bundle / "SHA256SUMS").write_text("\n".join(sums) + "\n")


MALFORMED = {
    "no object": lambda manifest: [1],
    "no files": lambda manifest: manifest.pop("files") and manifest,
    "files of another kind": lambda manifest: {**manifest, "files": {"a": 1}},
    "a file that is none": lambda manifest: {**manifest, "files": ["a"]},
    "a file without a name": lambda manifest: {**manifest, "files": [{**manifest["files"][0], "file": 5}]},
    "a file without a sum": lambda manifest: {**manifest, "files": [{"what": "x", "file": "b c.deb", "size_bytes": 1}]},
    "a file whose size is a text": lambda manifest: {**manifest, "files": [{**manifest["files"][0], "size_bytes": "1"}]},
    "a file that is of nothing": lambda manifest: {**manifest, "files": [{**manifest["files"][0], "what": None}]},
    "about of another kind": lambda manifest: {**manifest, "about": [1]},
    "packages of another kind": lambda manifest: {**manifest, "about": {"packages": [1]}},
    "a model of another kind": lambda manifest: {**manifest, "about": {"model": [1]}},
    "a model's file that is none": lambda manifest: {**manifest, "about": {"model": {"source": {}, "files": [1]}}},
    "a model's file that is not in it": lambda manifest: {**manifest, "about": {"model": {"source": {}, "files": [{"file": "../../etc/shadow"}]}}},
    "what stands beside of another kind": lambda manifest: {**manifest, "about": {"model": {"source": {}, "files": [], "beside": 3}}},
    "what is too deep": lambda manifest: "[" * 100000,
    "no text": lambda manifest: '{"format": 1, "files": [], "about": {}, "made": "\\ud800"',
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_manifest_is_a_sentence(bundle, kind):
    written(bundle, MALFORMED[kind](json.loads((bundle / "bundle.json").read_text())))
    assert problem(bundle).startswith(f"bundle.json in {bundle} is malformed: ")


def test_a_manifest_with_a_model_is_accepted(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    model = {"source": {"source": "url"}, "files": [{"file": "models/a.gguf", "sha256": "0" * 64, "size_bytes": 1000}], "beside": [{}]}
    manifest["about"] = {"model": model, "packages": {"debian-12-amd64": ["nginx"]}}
    written(bundle, manifest)
    assert verify(str(bundle))["about"]["model"] == model


def test_a_bundle_without_a_model_is_accepted(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["about"] = {"model": {}, "packages": {}}
    written(bundle, manifest)
    assert verify(str(bundle))["about"]["model"] == {}
