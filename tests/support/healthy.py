# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a llama-server itself whether it has loaded its model: now and then a line of its log is lost, so no test waits for one."""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path
from typing import Any, Callable


def is_healthy(where: int | Path) -> bool:
    """Whether the one at a port of the loopback interface, or at a socket in the file system, says so."""
    client = http.client.HTTPConnection("127.0.0.1", where if isinstance(where, int) else 80, timeout=5)
    try:
        if isinstance(where, Path):
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.settimeout(5)
            client.sock.connect(str(where))
        client.request("GET", "/health")
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def wait(where: int | Path, process: Any, said: Callable[[], str], timeout_s: float = 120) -> None:
    """Until it has; fails with the end of what it said where its process ends, or the time does."""
    ends = time.monotonic() + timeout_s
    while not is_healthy(where):
        assert process.poll() is None, "llama-server ended: " + said()[-2000:]
        assert time.monotonic() < ends, "not loaded after %d s: %s" % (timeout_s, said()[-2000:])
        time.sleep(0.1)
