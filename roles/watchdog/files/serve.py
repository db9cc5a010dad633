# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog's two pages, which need no key. So nobody may hold them closed: neither by many connections nor by slow ones."""
from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterable, List, Tuple

# Seconds for a whole request and its answer, which takes some ms.
DEADLINE_S = 5.0
# Connections that are answered at a time, of the cluster's own machines and again of all others; and of one address.
MOST, MOST_OF_ONE = 16, 4


@dataclass
class Place:
    """A connection that is being answered."""

    connection: Any
    address: str
    peer: bool
    ends: float


class Places:
    """Who is being answered. Whoever comes is let in: where too many are, the one of them that has been there longest must go, since who is quick is gone.

    The cluster's own machines have places apart from all others, so that nobody can make one deaf to another.
    """

    def __init__(self, peers: Iterable[str] = (), most: int = MOST, most_of_one: int = MOST_OF_ONE, deadline_s: float = DEADLINE_S) -> None:
        self._peers = [ipaddress.ip_network(peer, strict=False) for peer in peers]
        self._most, self._most_of_one, self._deadline = most, most_of_one, deadline_s
        # In the order in which they came.
        self._taken: List[Place] = []
        self._lock = threading.Lock()

    def enter(self, connection: Any, address: str, at: float) -> List[Any]:
        """Give a connection a place; those that lose theirs."""
        with self._lock:
            peer = any(ipaddress.ip_address(address) in network for network in self._peers)
            same = [place for place in self._taken if place.peer == peer]
            of_one = [place for place in same if place.address == address]
            gone = of_one[:1] if len(of_one) >= self._most_of_one else []
            if len(same) - len(gone) >= self._most:
                # Of an address that has most of them, so that a crowd at one does not cost another its place.
                fullest = Counter(place.address for place in same).most_common(1)[0][0]
                gone = [next(place for place in same if place.address == fullest)]
            self._taken = [place for place in self._taken if place not in gone] + [Place(connection, address, peer, at + self._deadline)]
            return [place.connection for place in gone]

    def leave(self, connection: Any) -> None:
        with self._lock:
            self._taken = [place for place in self._taken if place.connection is not connection]

    def late(self, at: float) -> List[Any]:
        """Those whose time is over. They keep their places until they leave."""
        with self._lock:
            return [place.connection for place in self._taken if at >= place.ends]


class Server(ThreadingHTTPServer):
    """Answers by a thread each, of which there are as many as there are places, and for a moment those of who lost theirs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: Tuple[str, int], watchdog: Any, peers: Iterable[str] = ()) -> None:
        self.watchdog = watchdog
        self.places = Places(peers)
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        for connection in self.places.enter(request, client_address[0], time.monotonic()):
            end(connection)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.leave(request)

    def service_actions(self) -> None:
        """Called after each connection and twice a second."""
        for connection in self.places.late(time.monotonic()):
            end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def end(connection: socket.socket) -> None:
    """Wake the thread that waits for a connection; it closes it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Handler(BaseHTTPRequestHandler):
    """The two pages."""

    timeout = DEADLINE_S
    server: Server
    server_version, sys_version = "llama-watchdog", ""

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        answer: Dict[str, Any]
        if self.path == "/health":
            code, answer = self.server.watchdog.health()
        elif self.path == "/status":
            code, answer = 200, self.server.watchdog.status()
        else:
            code, answer = 404, {"status": "error", "reason": "there are /health and /status"}
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
        """Load balancers ask every second: the journal is for what matters."""
