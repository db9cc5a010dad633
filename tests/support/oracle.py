# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask llama.cpp itself where it would put a model: real RPC workers on loopback and ``llama-fit-params``."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

Row = Tuple[int, int, int]


class Workers:
    """RPC workers on 127.0.0.x; each entry of ``devices`` is how many devices that worker offers."""

    def __init__(self, bin_dir: Path, devices: Sequence[int], first_port: int = 20310) -> None:
        self.bin_dir = Path(bin_dir)
        self.devices = list(devices)
        self.first_port = first_port
        self.processes: List[subprocess.Popen] = []
        self.endpoints: List[str] = []

    def __enter__(self) -> "Workers":
        binary = next(p for p in (self.bin_dir / "ggml-rpc-server", self.bin_dir / "rpc-server") if p.exists())
        try:
            for index, count in enumerate(self.devices):
                address, port = "127.0.0.%d" % (index + 2), self.first_port + index
                command = [str(binary), "-H", address, "-p", str(port), "-t", "1", "-d", ",".join(["CPU"] * count)]
                # a worker whose client is killed in the middle of an answer dies of SIGPIPE unless that is ignored, as Python has it
                self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, restore_signals=False))
                self.endpoints.append("%s:%d" % (address, port))
            deadline = time.monotonic() + 20
            while not all(self._listens(e) for e in self.endpoints):
                if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                    raise RuntimeError("an RPC worker did not start listening; is a port of %s taken?" % self.endpoints)
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: Any) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)

    @staticmethod
    def _listens(endpoint: str) -> bool:
        """Look instead of connecting: a worker serves one client at a time and may die of a probe."""
        address, port = endpoint.rsplit(":", 1)
        wanted = "%08X:%04X" % (struct.unpack("<I", socket.inet_aton(address))[0], int(port))
        with open("/proc/net/tcp", encoding="ascii") as stream:
            return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in list(stream)[1:])

    @property
    def device_count(self) -> int:
        return sum(self.devices)


def fit_print(bin_dir: Path, model: Path, endpoints: Sequence[str], split: Optional[Sequence[int]], *, context_size: int, parallel: int,
              ubatch: int = 512, kv_unified: bool = False, type_k: str = "f16", type_v: str = "f16", flash_attention: str = "on",
              extra: Sequence[str] = (), timeout: float = 120) -> Dict[str, Row]:
    """{device: (model, context, compute)} in MiB, as ``llama-fit-params --fit-print on`` prints them (rounded down)."""
    command = [str(Path(bin_dir) / "llama-fit-params"), "-m", str(model), "--fit-print", "on", "-ngl", "999", "-c", str(context_size),
               "-np", str(parallel), "-ub", str(ubatch), "-fa", flash_attention, "-ctk", type_k, "-ctv", type_v]
    if endpoints:
        command += ["--rpc", ",".join(endpoints)]
    if split:
        command += ["-ts", ",".join(str(n) for n in split)]
    command += list(extra)
    environment = dict(os.environ, GGML_NO_BACKTRACE="1")
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    rows: Dict[str, Row] = {}
    for line in result.stdout.splitlines():
        words = line.split()
        if len(words) == 4 and all(w.isdigit() for w in words[1:]):
            rows[words[0]] = (int(words[1]), int(words[2]), int(words[3]))
    if result.returncode or not rows:
        raise RuntimeError("llama-fit-params: rc %d: %s\n%s" % (result.returncode, " ".join(command), result.stderr[-2000:]))
    return rows
