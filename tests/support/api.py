# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployed API, asked as anybody can ask it who reaches its port: with the key, with a wrong one, and with none."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import requests

# What a browser's page on another site would send.
STRANGER = "https://evil.example"
# All that may be asked without the key (and OPTIONS, which browsers send without it and which does nothing).
OPEN = {("GET", "/health"), ("GET", "/v1/health")}
# What tools/server/server.cpp of llama.cpp b11434 registers, what older versions had besides, and what is no endpoint.
ENDPOINTS = [("GET", path) for path in (
    "/health /v1/health /metrics /props /models /v1/models /lora-adapters /slots /v1/stream /cors-proxy /tools /models/sse"
    " / /index.html /bundle.js /bundle.css /loading.html /api/tags /api/show /nothing /health/ /slots/ //slots /%73lots /x/../slots"
).split()] + [("POST", path) for path in (
    "/props /completion /completions /v1/completions /chat/completions /v1/chat/completions /v1/chat/completions/control /api/chat"
    " /v1/responses /responses /v1/audio/transcriptions /audio/transcriptions /v1/messages /v1/messages/count_tokens /infill"
    " /embedding /embeddings /v1/embeddings /rerank /reranking /v1/rerank /v1/reranking /v1/systemone /tokenize /detokenize /apply-template"
    " /chat/completions/input_tokens /v1/chat/completions/input_tokens /responses/input_tokens /v1/responses/input_tokens"
    " /lora-adapters /slots/0?action=erase /v1/streams/lookup /cors-proxy /tools /models /models/load /models/unload /predict"
).split()] + [("DELETE", "/v1/stream"), ("DELETE", "/models")]


@dataclass
class Api:
    """`ca` is the path of what its certificate is trusted by; without it the public authorities are."""

    url: str
    key: str
    ca: str | None = None
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, key: str = "", origin: str = "", **options) -> requests.Response:
        headers, timeout = dict(options.pop("headers", {})), options.pop("timeout", 60)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if origin:
            headers["Origin"] = origin
        # As it stands: requests would tidy a path up.
        request = self.session.prepare_request(requests.Request(method, self.url + path, headers=headers, **options))
        request.url = self.url + path
        return self.session.send(request, timeout=timeout, verify=self.ca or True)

    def open_with(self, key: str) -> set[tuple[str, str]]:
        """The endpoints that do not refuse this key."""
        found = set()
        for method, path in ENDPOINTS:
            status = self.ask(method, path, key, json={} if method == "POST" else None).status_code
            if status not in (401, 404):
                found.add((method, path))
        return found


class Holders:
    """Clients that are being answered, at length, until the end of the `with`."""

    def __init__(self, api: Api, count: int) -> None:
        self._api, self._count = api, count
        self._answers: list[requests.Response] = []
        self.statuses: list[int] = []

    def __enter__(self) -> Holders:
        def hold() -> None:
            # Whoever looks meanwhile may take the last place for a moment.
            for _attempt in range(100):
                answer = requests.post(
                    f"{self._api.url}/v1/completions", headers={"Authorization": f"Bearer {self._api.key}"}, verify=self._api.ca or True,
                    json={"prompt": "1, 2, 3,", "max_tokens": 1500, "stream": True, "ignore_eos": True}, stream=True, timeout=120)
                if answer.status_code != 503:
                    break
                time.sleep(0.1)
            self._answers.append(answer)
            self.statuses.append(answer.status_code)

        for _number in range(self._count):
            threading.Thread(target=hold, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for answer in self._answers:
            answer.close()
