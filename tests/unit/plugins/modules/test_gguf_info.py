# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gguf_info with a file and with a URL."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.llama_cpp.plugins.modules import gguf_info
from ansible_collections.herd.llama_cpp.tests.support import gguf_files as make
from ansible_collections.herd.llama_cpp.tests.support.model_server import ModelServer


def run(capsys, **params):
    with patch_module_args(params), pytest.raises(SystemExit):
        gguf_info.main()
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "model.gguf").write_bytes(make.gguf_bytes(make.standard_pairs(), make.standard_tensors()))
    running = ModelServer(tmp_path).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_file_and_a_url_say_the_same(server, capsys):
    local = run(capsys, path=str(server.directory / "model.gguf"), include_tensors=True, include_metadata=True)
    remote = run(capsys, url=server.url + "/files/model.gguf?sig=secret", token="tokentoken", include_tensors=True, include_metadata=True)
    assert local["gguf"]["architecture"] and remote["gguf"]["path"] == server.url + "/files/model.gguf"
    assert "secret" not in json.dumps(remote) and "tokentoken" not in json.dumps(remote)
    for result in (local["gguf"], remote["gguf"]):
        for key in ("path", "shards", "bytes_read"):
            result.pop(key)
    # ansible-core 2.21 no longer returns it unasked.
    for result in (local, remote):
        result.pop("invocation", None)
    assert remote == local


def test_a_server_without_ranges_is_one_sentence(server, capsys):
    result = run(capsys, url=server.url + "/plain/model.gguf")
    assert result["failed"] is True
    assert "ignores requests for a part of a file" in result["msg"] and result["msg"].endswith("give its path.")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "one of the following is required: path, url"),
        ({"path": "/x", "url": "http://x/"}, "parameters are mutually exclusive: path|url"),
        ({"url": "ftp://127.0.0.1/x"}, "ftp://127.0.0.1/x is not an http or https URL."),
        ({"url": "http://127.0.0.1:1/x"}, "http://127.0.0.1:1/x cannot be reached: "),
        ({"url": "http://127.0.0.1:1/x", "timeout_s": 0}, "timeout_s is 0.0; give it a value above 0"),
        ({"path": "/does/not/exist"}, "/does/not/exist"),
    ],
)
def test_wrong_use(params, message, capsys):
    result = run(capsys, **params)
    assert result["failed"] is True and message in result["msg"]
