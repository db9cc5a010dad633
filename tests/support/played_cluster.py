# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A llama-server and its worker on this machine, as far as the proof of a cluster looks at them."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "n0tARealKey"


class Cluster(ThreadingHTTPServer):
    """A llama-server with one connection to one worker; what happens there is what the question says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.worker_port = self.listener.getsockname()[1]
        self.head = socket.create_connection(self.listener.getsockname())
        self.worker = self.listener.accept()[0]
        # As a head does that has loaded its model: both have said something by then.
        self.move(back=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def move(self, back: bool) -> None:
        self.head.sendall(bytes(8192))
        self.worker.recv(8192, socket.MSG_WAITALL)
        if back:
            self.worker.sendall(bytes(8192))
            self.head.recv(8192, socket.MSG_WAITALL)


class Handler(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.reply(401, {"error": {"message": "Invalid API Key"}})
            return
        if question != "idle":
            self.server.move(back=question != "hang")
        if question == "hang":
            self.close_connection = True
            return
        message = {"role": "assistant", "content": "Rome" if question == "wrong" else "It is Paris."}
        usage = {"completion_tokens": 8, "prompt_tokens": 9, "total_tokens": 17}
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage,
                         "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
