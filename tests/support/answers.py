# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a deployed llama-server, with the key it keeps on its own machine."""

from __future__ import annotations

import ssl

import openai

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


def capital_of_france(head, address: str, port: int, ca: str = "") -> str:
    """The model's answer from http://address:port; `head` is the testinfra host that runs llama-server.

    With `ca`, a path on the head, it is https, trusted by that alone.
    """
    key = head.file("/etc/llama-server/api-key").content_string.strip()
    trust = ssl.create_default_context(cadata=head.file(ca).content_string) if ca else True
    client = openai.OpenAI(
        base_url=f"http{'s' if ca else ''}://{address}:{port}/v1", api_key=key, timeout=60, max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=trust),
    )
    answer = client.chat.completions.create(model="any", messages=MESSAGES, temperature=0, max_tokens=32)
    return answer.choices[0].message.content or ""
