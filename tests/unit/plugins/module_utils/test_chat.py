# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to a server that answers in every way a server can, through the real openai client."""

from __future__ import annotations

import json
import pathlib
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
import yaml
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.chat import (
    ChatAnswer,
    ChatError,
    ChatRequest,
    api_base,
    ask,
    compiled,
    judge,
    quoted,
    read_completion,
)

ROOT = pathlib.Path(__file__).parents[4]

# As llama-server of llama.cpp 0.5.0 answered, shortened.
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "choices": [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "The capital of France is Paris."}}
    ],
    "usage": {"completion_tokens": 8, "prompt_tokens": 27, "total_tokens": 35},
    "timings": {"cache_n": 26, "prompt_n": 1, "prompt_per_second": 75.7, "predicted_n": 8, "predicted_per_second": 57.4},
}
MODELS = {"object": "list", "data": [{"id": "smol", "object": "model", "created": 1, "owned_by": "llamacpp", "meta": {"n_embd": 576, "n_vocab": 49152}}]}


THOUGHT_TOKENS = 430


def thought_of(max_tokens):
    """A model that thinks for so many tokens, as llama-server's reasoning_content says it, and then answers in eight."""
    done = max_tokens >= THOUGHT_TOKENS + 8
    message = {"role": "assistant", "content": "It is Paris." if done else "", "reasoning_content": "A capital. Of France, so Paris"}
    return {**COMPLETION, "choices": [{"finish_reason": "stop" if done else "length", "index": 0, "message": message}],
            "usage": {"completion_tokens": min(max_tokens, THOUGHT_TOKENS + 8), "prompt_tokens": 27, "total_tokens": 500}}


class Handler(BaseHTTPRequestHandler):
    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refused(self):
        mode = self.server.mode
        if mode == "key" and self.headers.get("Authorization") != "Bearer right":
            self._send(401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}})
        elif mode == "loading":
            self._send(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
        else:
            return False
        return True

    def do_GET(self):
        if self._refused():
            return
        if self.server.mode == "no_models":
            self._send(404, {"error": {"message": "File Not Found"}})
        else:
            self._send(200, MODELS)

    def do_POST(self):
        self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers.get("Authorization"))
        if self._refused():
            return
        mode = self.server.mode
        if mode == "hang":
            self.server.released.wait(5)
        elif mode == "die":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif mode == "error":
            self._send(500, {"error": {"message": "the worker\nis gone", "code": 500}})
        elif mode == "page":
            self._send(200, "hello")
        elif mode == "thinks":
            self._send(200, thought_of(self.server.asked.get("max_tokens", 10**9)))
        elif mode == "no_choices":
            self._send(200, {**COMPLETION, "choices": []})
        else:
            self._send(200, COMPLETION)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.81", 0), Handler) as http:
        http.mode, http.keys, http.released = "", [], threading.Event()
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield http
        http.released.set()
        http.shutdown()


def request_to(server, **changes):
    values = {"url": "http://127.0.0.81:%d" % server.server_address[1], "question": "What is the capital of France?", "timeout_s": 5}
    return ChatRequest(**{**values, **changes})


def test_an_answer_with_everything_the_server_tells(server):
    answer = ask(openai, request_to(server, system_prompt="Be helpful.", seed=3, max_tokens=9, api_key="right"))
    assert answer.answer == "The capital of France is Paris."
    assert (answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("stop", 27, 8)
    assert (answer.tokens_per_second, answer.cached_prompt_tokens, answer.evaluated_prompt_tokens) == (57.4, 26, 1)
    assert (answer.n_embd, answer.n_vocab, answer.model) == (576, 49152, "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert server.asked == {
        "model": "smol",
        "messages": [
            {"role": "system", "content": "Be helpful."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "temperature": 0.0,
        "seed": 3,
        "max_tokens": 9,
    }
    assert server.keys == ["Bearer right"]


def test_a_model_that_thinks_first_has_time_for_it_by_default(server):
    """Thinking is neither the answer nor a failure; what is short of tokens is told by the variable's name."""
    server.mode = "thinks"
    default = yaml.safe_load((ROOT / "roles/chat_check/defaults/main.yml").read_text(encoding="utf-8"))["chat_check_max_tokens"]
    answer = ask(openai, request_to(server, max_tokens=default))
    judge(answer, "Q", r"\bParis\b")
    assert (answer.answer, answer.thinking) == ("It is Paris.", "A capital. Of France, so Paris")
    with pytest.raises(ChatError, match="still thought when its 256 tokens were used up, .* raise max_tokens .chat_check_max_tokens.") as caught:
        judge(ask(openai, request_to(server, max_tokens=256)), "Q", "Paris")
    assert caught.value.kind == "empty"


@pytest.mark.parametrize(
    ("content", "answer", "thinking"),
    [("<think>\nParis?\n</think>\n\nRome", "Rome", "Paris?"), ("<think>Paris", "", "Paris"), ("Say <think> aloud", "Say <think> aloud", "")],
)
def test_thinking_inside_the_text_is_no_answer(content, answer, thinking):
    read = read_completion({**COMPLETION, "choices": [{"message": {"content": content}, "finish_reason": "stop"}]}, 1.0, {})
    assert (read.answer, read.thinking) == (answer, thinking)


def test_what_was_not_set_is_not_sent(server):
    ask(openai, request_to(server))
    assert sorted(server.asked) == ["messages", "model", "temperature"]
    assert [message["role"] for message in server.asked["messages"]] == ["user"]


def test_a_certificate_is_trusted_by_what_was_read_and_by_nothing_else(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = "https://127.0.0.81:%d" % server.server_address[1]
    with open(certificate[0], encoding="utf-8") as stream:
        text = stream.read()
    with pytest.raises(ChatError, match="cannot be trusted") as caught:
        ask(openai, request_to(server, url=url))
    assert caught.value.kind == "tls"
    # It is for 127.0.0.1.
    with pytest.raises(ChatError, match="not valid for|doesn't match|mismatch"):
        ask(openai, request_to(server, url=url, ca=text))
    assert server.keys == []


def test_a_certificate_for_the_address_is_trusted(certificate):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.mode, http.keys, http.released = "", [], threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = "https://127.0.0.1:%d" % http.server_address[1]
        with open(certificate[0], encoding="utf-8") as stream:
            assert "Paris" in ask(openai, request_to(http, url=url, ca=stream.read())).answer
        assert "Paris" in ask(openai, request_to(http, url=url, ca_file=certificate[0])).answer
        http.shutdown()


def test_a_server_without_a_list_of_models(server):
    server.mode = "no_models"
    answer = ask(openai, request_to(server, model="mine"))
    assert answer.n_embd is None
    assert server.asked["model"] == "mine"


def test_a_proxy_in_the_environment_is_left_out(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.82:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(openai, request_to(server)).answer
    with pytest.raises(ChatError):
        ask(openai, request_to(server, use_proxy=True))


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("key", "unauthorized", "does not accept the API key (HTTP 401)"),
        ("loading", "loading", "Loading model"),
        ("die", "lost", "closed the connection"),
        ("error", "http", 'HTTP 500: "the worker is gone"'),
        ("page", "protocol", "did not answer with a chat completion"),
        ("no_choices", "protocol", "holds no choices"),
    ],
)
def test_each_failure_is_one_sentence(server, mode, kind, words):
    server.mode = mode
    with pytest.raises(ChatError) as caught:
        ask(openai, request_to(server, api_key="wrong"))
    assert caught.value.kind == kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "wrong" not in str(caught.value)
    assert len(server.keys) <= 1, "nothing is retried"


def test_no_answer_in_time(server):
    server.mode = "hang"
    started = time.monotonic()
    with pytest.raises(ChatError, match=r"gave no answer within 0\.3 s") as caught:
        ask(openai, request_to(server, timeout_s=0.3))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 3


def test_nobody_listens():
    with socket.create_server(("127.0.0.81", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ChatError, match="nothing listens there") as caught:
        ask(openai, ChatRequest(url="http://127.0.0.81:%d" % port, question="x"))
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    ("url", "base"),
    [("http://h:1", "http://h:1/v1"), ("http://h:1/", "http://h:1/v1"), ("https://h/v1/", "https://h/v1"), (" http://h ", "http://h/v1")],
)
def test_the_url_may_have_v1(url, base):
    assert api_base(url) == base


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "http://"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ChatError, match="is not http"):
        api_base(url)


def answer_of(text, finish_reason="stop", thinking=""):
    return ChatAnswer(text, thinking, finish_reason, "m", 1, 1, 0, 1, 1.0, 1.0, 0.1, None, None)


def test_the_right_answer_passes():
    judge(answer_of("It is paris."), "Q", r"\bParis\b")
    judge(answer_of("anything"), "Q", "")


@pytest.mark.parametrize(
    ("text", "reason", "expect", "ignore_case", "kind", "words"),
    [
        ("It is Rome.", "stop", "Paris", True, "wrong_answer", 'The answer to "Q" is "It is Rome.", which does not match the expected "Paris".'),
        ("paris", "stop", "Paris", False, "wrong_answer", "does not match"),
        (" \n", "stop", "", True, "empty", "finish_reason stop"),
        ("", "length", "Paris", True, "empty", "raise max_tokens"),
        ("x", "stop", "(", True, "expectation", "not a regular expression"),
    ],
)
def test_the_wrong_answer_is_quoted(text, reason, expect, ignore_case, kind, words):
    with pytest.raises(ChatError) as caught:
        judge(answer_of(text, reason), "Q", expect, ignore_case)
    assert caught.value.kind == kind
    assert words in str(caught.value)


def test_a_long_answer_is_shortened():
    assert len(quoted("word " * 1000)) <= 302
    assert "\n" not in quoted("a\nb")


def test_a_server_that_is_not_llama_server_tells_less():
    answer = read_completion({"choices": [{"message": {"content": None}}]}, 1.0, {})
    assert (answer.answer, answer.tokens_per_second, answer.completion_tokens) == ("", None, None)


def test_an_expectation_may_mind_case():
    assert compiled("paris", True).search("Paris")
    assert not compiled("paris", False).search("Paris")
