# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of a file of API keys. What real llama-server and nginx make of such a file: tests/integration/test_llama_server_proxy.py."""

from __future__ import annotations

import base64
import http.client

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.llama_api_keys import llama_api_keys
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import chat
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import api_keys
from ansible_collections.herd.llama_cpp.plugins.modules import llama_chat


@pytest.mark.parametrize(("content", "keys"), [
    (b"", []),
    (b"\n\n# a comment\n", []),
    (b"one\n", ["one"]),
    (b"one", ["one"]),
    (b"# whose it is\none\n\n#two\n three \r\n", ["one", "three"]),
    ("ключ\n".encode(), ["ключ"]),
    (b"\xff\xfe\n", ["\udcff\udcfe"]),
    (b"be\x07ll\nc\rr\nnul\x00\ntab\tbed\n", ["tab\tbed"]),
    ("a\u2028b\n".encode(), ["a\u2028b"]),
])
def test_keys_are_found_as_llama_server_finds_them(content, keys, tmp_path):
    (tmp_path / "keys").write_bytes(content)
    assert api_keys.api_keys(content) == api_keys.read_api_keys(str(tmp_path / "keys")) == keys
    assert llama_api_keys(base64.b64encode(content).decode()) == keys
    for key in keys:
        # What http.client takes of a header and what it sends for it.
        connection = http.client.HTTPConnection("localhost")
        connection.putrequest("GET", "/")
        connection.putheader("Authorization", api_keys.authorization(key)["Authorization"])
        assert connection._buffer[-1] == b"Authorization: Bearer " + key.encode("utf-8", "surrogateescape")


def test_no_key_has_no_header():
    assert api_keys.authorization("") == {}


@pytest.mark.parametrize("content", [7, "no base64!", "ключ"])
def test_what_is_no_file_is_refused_without_showing_it(content):
    with pytest.raises(AnsibleFilterError) as refused:
        llama_api_keys(content)
    assert str(content) not in str(refused.value)


def test_a_question_is_asked_with_the_first_key_of_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# mine\nfirst\nsecond\n", encoding="utf-8")
    assert llama_chat.read_key(str(path)) == "first"
    path.write_text("# none\n", encoding="utf-8")
    with pytest.raises(chat.ChatError, match="has no key"):
        llama_chat.read_key(str(path))
    with pytest.raises(chat.ChatError, match="cannot be read: No such file"):
        llama_chat.read_key(str(tmp_path / "nowhere"))


def test_a_letter_that_the_client_cannot_send_is_a_sentence():
    with pytest.raises(chat.ChatError, match="a letter that the openai client does not send"):
        chat.ask(None, chat.ChatRequest(url="http://127.0.0.1:9", question="?", api_key="ключ"))
