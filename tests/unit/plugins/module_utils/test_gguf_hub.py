# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hub is asked and who learns the token, from real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.hub import look
from ansible_collections.herd.llama_cpp.tests.support.model_server import ModelServer, sha256

TOKEN = "hf_TokenOfTheOperator"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    place = tmp_path / "owner" / "repo"
    place.mkdir(parents=True)
    (place / "model.gguf").write_bytes(b"GGUF")
    return tmp_path


@pytest.fixture
def servers(shop: Path) -> Iterator[tuple[ModelServer, ModelServer]]:
    """A hub that wants a token, and another server that takes anything."""
    made = ModelServer(shop, token=TOKEN).start(), ModelServer(shop).start()
    yield made
    for server in made:
        server.shutdown()
        server.server_close()


def test_files_and_commit(shop: Path, servers: tuple[ModelServer, ModelServer]) -> None:
    answer = look(servers[0].url + "/", "owner/repo", "*.gguf", "main", TOKEN)
    assert answer.problem == answer.remedy == "" and len(answer.commit) == 40
    assert answer.files == [{"name": "model.gguf", "size_bytes": 4, "sha256": sha256(shop / "owner" / "repo" / "model.gguf")}]


def test_the_token_goes_to_no_other_server(servers: tuple[ModelServer, ModelServer]) -> None:
    hub, other = servers
    hub.elsewhere = other.url
    assert look(hub.url, "owner/repo", "*.gguf", "main", TOKEN).files
    assert hub.authorized and other.requests and not other.authorized


def test_the_token_follows_on_the_same_server(servers: tuple[ModelServer, ModelServer]) -> None:
    assert look(servers[0].url, "owner/old-repo", "*.gguf", "main", TOKEN).files


@pytest.mark.parametrize(
    ("repo", "revision", "token", "problem", "remedy"),
    [
        ("owner/repo", "main", "", "does not exist or is not open to anyone without a token (HTTP status 401)", "set gguf_model_huggingface_token"),
        ("owner/repo", "main", "x", "is not open to the given token (HTTP status 401)", "Accept its conditions"),
        ("owner/repo", "v9", TOKEN, "has no revision v9", "gguf_model_huggingface_revision"),
        ("owner/none", "main", TOKEN, "owner/none at http://127.0.0.1:", "gguf_model_huggingface_repo"),
    ],
)
def test_what_is_wrong(servers: tuple[ModelServer, ModelServer], repo: str, revision: str, token: str, problem: str, remedy: str) -> None:
    answer = look(servers[0].url, repo, "*.gguf", revision, token)
    assert problem in answer.problem and remedy in answer.remedy and answer.files == []


@pytest.mark.parametrize("body", ["[1]", "no", "[" * 100000, '{"sha": 5}', '{"sha": "../../x", "siblings": []}', '"x"'])
def test_what_answers_otherwise(shop: Path, body: str) -> None:
    (shop / "body").write_text(body)

    server = ModelServer(shop).start()
    server.elsewhere = server.url + "/files/body?"
    answer = look(server.url, "owner/repo", "*.gguf", "main")
    assert answer.problem == f"{server.url} does not answer like the hub (HTTP status 200)"
    server.shutdown()


def test_without_a_checksum(shop: Path, servers: tuple[ModelServer, ModelServer]) -> None:
    (shop / "owner" / "repo" / "model.gguf.listing").write_text(json.dumps({"lfs": None}))
    arguments = (servers[1].url, "owner/repo", "*.gguf", "main")
    assert "does not say the SHA-256 of model.gguf" in look(*arguments).problem
    answer = look(*arguments, sha256_required=False)
    assert answer.problem == "" and answer.files[0]["sha256"] == ""


def test_it_reads_no_more_than_it_should(shop: Path, servers: tuple[ModelServer, ModelServer]) -> None:
    (shop / "owner" / "repo" / "model.gguf.listing").write_text(json.dumps({"more": "x" * (33 << 20)}))
    assert look(servers[1].url, "owner/repo", "*.gguf", "main").problem.endswith("sends more than 32 MiB")
