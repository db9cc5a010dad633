# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to an OpenAI-compatible server and a verdict on its answer.

The openai package is handed in by the caller, so that everything here can be imported, and most of
it tested, without it.
"""

from __future__ import annotations

import re
import ssl
import time
import typing as t
from dataclasses import asdict, dataclass

# What a server without a key gets: the client insists on some key, llama-server ignores it.
NO_API_KEY = "sk-no-key-required"

_QUOTE_LENGTH = 300


class ChatError(Exception):
    """No right answer came; the text is one sentence, ``kind`` says which of the known ways it went."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class ChatRequest:
    """What to ask whom."""

    url: str
    question: str
    api_key: str = ""
    model: str = ""
    system_prompt: str = ""
    temperature: float = 0.0
    seed: t.Optional[int] = None
    max_tokens: t.Optional[int] = None
    timeout_s: float = 120.0
    use_proxy: bool = False
    ca_file: str = ""
    ca: str = ""


@dataclass(frozen=True)
class ChatAnswer:
    """What came back. ``None`` is what the server did not tell."""

    answer: str
    thinking: str
    finish_reason: str
    model: str
    prompt_tokens: t.Optional[int]
    completion_tokens: t.Optional[int]
    cached_prompt_tokens: t.Optional[int]
    evaluated_prompt_tokens: t.Optional[int]
    tokens_per_second: t.Optional[float]
    prompt_tokens_per_second: t.Optional[float]
    seconds: float
    n_embd: t.Optional[int]
    n_vocab: t.Optional[int]

    def as_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


def api_base(url: str) -> str:
    """The address the client needs, from the server's URL with or without ``/v1``."""
    base = url.strip().rstrip("/")
    if not re.match(r"https?://[^/\s]+", base):
        raise ChatError("url", "The URL %r is not http://ADDRESS:PORT; set url to the server's." % url)
    return base if base.endswith("/v1") else base + "/v1"


def quoted(text: str) -> str:
    """The text on one line, shortened where it is long."""
    line = " ".join(text.split())
    if len(line) > _QUOTE_LENGTH:
        line = line[: _QUOTE_LENGTH - 4].rstrip() + " ..."
    return '"%s"' % line


def compiled(expect: str, ignore_case: bool) -> "re.Pattern[str]":
    """The expectation as a pattern; a broken one is told before anything is asked."""
    try:
        return re.compile(expect, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ChatError(
            "expectation", "The expectation %s is not a regular expression (%s)." % (quoted(expect), error)
        ) from error


def judge(answer: ChatAnswer, question: str, expect: str, ignore_case: bool = True) -> None:
    """Raise :class:`ChatError` unless the answer has text and matches."""
    if not answer.answer.strip():
        tokens = "%s tokens" % ("all" if answer.completion_tokens is None else answer.completion_tokens)
        if answer.finish_reason != "length":
            why = "the server gave finish_reason %s%s" % (answer.finish_reason or "none", ", after the model had only thought" if answer.thinking else "")
        elif answer.thinking:
            why = (
                "the model still thought when its %s were used up, which is no fault of the cluster; raise max_tokens (chat_check_max_tokens), or the"
                " context of a request where that is less" % tokens
            )
        else:
            why = "it ran into max_tokens before it said anything (%s); raise max_tokens (chat_check_max_tokens)" % tokens
        raise ChatError("empty", "The answer to %s is empty: %s." % (quoted(question), why))
    if expect and not compiled(expect, ignore_case).search(answer.answer):
        raise ChatError(
            "wrong_answer",
            "The answer to %s is %s, which does not match the expected %s."
            % (quoted(question), quoted(answer.answer), quoted(expect)),
        )


# What a template opens and the server did not take out.
_THOUGHT = re.compile(r"\s*<think>(.*?)(?:</think>|\Z)", re.DOTALL)


def _without_thinking(message: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """The answer, and what was thought before it: llama-server's reasoning_content (common/chat.cpp), or a part of the text."""
    text, thought = str(message.get("content") or ""), str(message.get("reasoning_content") or "")
    inside = _THOUGHT.match(text)
    return (text[inside.end():].lstrip(), thought or inside.group(1).strip()) if inside else (text, thought)


def _number(value: t.Any, kind: type) -> t.Any:
    return kind(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_completion(completion: t.Mapping[str, t.Any], seconds: float, meta: t.Mapping[str, t.Any]) -> ChatAnswer:
    """Pick the answer and the figures out of a chat completion.

    ``timings`` is llama-server's own addition to the protocol (tools/server/server-common.cpp,
    server_slot_stats::to_json): prompt_n counts what was really evaluated, cache_n what was still
    known from before.
    """
    choices = completion.get("choices") or []
    if not choices:
        raise ChatError("protocol", "The server's reply holds no choices; the URL may not be that of a chat server.")
    choice = choices[0]
    message = choice.get("message") or {}
    usage = completion.get("usage") or {}
    timings = completion.get("timings") or {}
    said, thought = _without_thinking(message)
    return ChatAnswer(
        answer=said,
        thinking=thought,
        finish_reason=str(choice.get("finish_reason") or ""),
        model=str(completion.get("model") or ""),
        prompt_tokens=_number(usage.get("prompt_tokens"), int),
        completion_tokens=_number(usage.get("completion_tokens"), int),
        cached_prompt_tokens=_number(timings.get("cache_n"), int),
        evaluated_prompt_tokens=_number(timings.get("prompt_n"), int),
        tokens_per_second=_number(timings.get("predicted_per_second"), float),
        prompt_tokens_per_second=_number(timings.get("prompt_per_second"), float),
        seconds=round(seconds, 3),
        n_embd=_number(meta.get("n_embd"), int),
        n_vocab=_number(meta.get("n_vocab"), int),
    )


def _chain(error: t.Optional[BaseException]) -> str:
    """The error with what caused it, for a look at the words in it."""
    parts: t.List[str] = []
    while error is not None and len(parts) < 8:
        parts.append("%s: %s" % (type(error).__name__, error))
        error = error.__cause__ or error.__context__
    return " <- ".join(parts)


def explain(error: BaseException, openai: t.Any, request: ChatRequest, waited_s: float) -> ChatError:
    """One sentence for whatever the client raised."""
    where = "The server at %s" % request.url
    if isinstance(error, ChatError):
        return error
    if isinstance(error, openai.APITimeoutError):
        return ChatError(
            "timeout",
            "%s gave no answer within %g s; a worker may hang or the network may drop packets, or timeout_s "
            "(chat_check_timeout_s) is too short for this model, above all for one that thinks." % (where, request.timeout_s),
        )
    if isinstance(error, openai.APIConnectionError):
        words = _chain(error)
        lower = words.lower()
        if "refused" in lower:
            return ChatError("refused", "%s refused the connection: nothing listens there; is llama-server running?" % where)
        if "disconnected" in lower or "reset" in lower or "closed" in lower or "incomplete" in lower:
            return ChatError(
                "lost",
                "%s closed the connection after %.1f s without an answer; llama-server may have died, as it does when "
                "a worker goes away: look at its journal." % (where, waited_s),
            )
        if "certificate" in lower or "ssl" in lower:
            return ChatError("tls", "%s cannot be trusted: %s." % (where, quoted(str(error.__cause__ or error))))
        return ChatError("connection", "%s cannot be reached: %s." % (where, quoted(str(error.__cause__ or error))))
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return ChatError("unauthorized", "%s does not accept the API key (HTTP %d)." % (where, status))
    if status == 503:
        return ChatError("loading", "%s is not ready (HTTP 503: %s); wait until the model is loaded." % (where, _said(error)))
    if status is not None:
        return ChatError("http", "%s answered HTTP %d: %s." % (where, status, _said(error)))
    return ChatError("protocol", "%s gave a reply the client cannot read: %s." % (where, quoted(_chain(error))))


def _said(error: BaseException) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return quoted(str(message or error))


def ask(openai: t.Any, request: ChatRequest) -> ChatAnswer:
    """Ask and return the answer, whatever it says; raises :class:`ChatError` when none came."""
    base = api_base(request.url)
    if not request.api_key.isascii():
        raise ChatError("api_key_file", "The API key has a letter that the openai client does not send. Put a key of ASCII letters and digits first.")
    started = time.monotonic()
    try:
        transport: t.Dict[str, t.Any] = {"trust_env": request.use_proxy}
        if request.ca_file or request.ca:
            transport["verify"] = ssl.create_default_context(cafile=request.ca_file or None, cadata=request.ca or None)
        # No retries: a second try would hide that the first one failed.
        client = openai.OpenAI(
            base_url=base,
            api_key=request.api_key or NO_API_KEY,
            timeout=request.timeout_s,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(**transport),
        )
        with client:
            name, meta = _model(openai, client, request.model)
            messages = [{"role": "user", "content": request.question}]
            if request.system_prompt:
                messages.insert(0, {"role": "system", "content": request.system_prompt})
            options: t.Dict[str, t.Any] = {"temperature": request.temperature}
            if request.seed is not None:
                options["seed"] = request.seed
            if request.max_tokens is not None:
                options["max_tokens"] = request.max_tokens
            started = time.monotonic()
            completion = client.chat.completions.create(model=name, messages=messages, **options)
            seconds = time.monotonic() - started
        if not hasattr(completion, "model_dump"):
            raise ChatError("protocol", "The server at %s did not answer with a chat completion." % request.url)
        return read_completion(completion.model_dump(), seconds, meta)
    except ChatError:
        raise
    except openai.OpenAIError as error:
        raise explain(error, openai, request, time.monotonic() - started) from error
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise explain(error, openai, request, time.monotonic() - started) from error


def _model(openai: t.Any, client: t.Any, wanted: str) -> t.Tuple[str, t.Mapping[str, t.Any]]:
    """The model to ask for and what the server tells about it (llama-server's ``meta``)."""
    try:
        models = client.models.list().model_dump().get("data") or []
    except (openai.NotFoundError, openai.PermissionDeniedError):
        models = []
    for model in models:
        if wanted in ("", model.get("id")) or len(models) == 1:
            return wanted or str(model["id"]), model.get("meta") or {}
    return wanted or "default", {}
