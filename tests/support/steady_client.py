# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that asks a server again and again, to see for how long it does not answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import requests

_QUESTION = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}


@dataclass
class SteadyClient:
    """Asks from `with` to the end of it, at most `limit_s` seconds, one question after the other.

    `ca` is the path of what its certificate is trusted by; without it the public authorities are.
    """

    url: str
    api_key: str
    ca: str | None = None
    limit_s: float = 900
    pause_s: float = 0.1
    answered: list[tuple[float, float]] = field(default_factory=list)
    failures: int = 0

    def __enter__(self) -> SteadyClient:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # One more answer, so that a gap at the very end is seen as one.
        before = len(self.answered)
        deadline = time.monotonic() + 20
        while len(self.answered) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        self._end.set()
        self._thread.join(timeout=15)

    def _ask(self) -> None:
        deadline = time.monotonic() + self.limit_s
        headers = {"Authorization": f"Bearer {self.api_key}"}
        while not self._end.is_set() and time.monotonic() < deadline:
            begin = time.monotonic()
            try:
                response = requests.post(f"{self.url}/v1/completions", json=_QUESTION, headers=headers, timeout=(1, 10), verify=self.ca or True)
                if response.status_code == 200 and response.json()["choices"]:
                    self.answered.append((begin, time.monotonic()))
                else:
                    self.failures += 1
            except (requests.RequestException, ValueError, KeyError):
                self.failures += 1
            self._end.wait(self.pause_s)

    @property
    def downtime_s(self) -> float:
        """The longest time between two answers."""
        ends = [end for _begin, end in self.answered]
        return max((later - earlier for earlier, later in zip(ends, ends[1:])), default=float("inf"))
