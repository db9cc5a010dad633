# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside the model, by answers of a llama-server over two RPC workers on the loopback interface, and by the memory it says.

The arguments are those that the role makes of its variables. Drafting must not change an answer, an adapter and a projector must.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any, Iterator

import beside_files
import oracle
import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import beside as plan_beside
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import beside_memory
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import head_log, head_memory

MIB = 1 << 20
QUESTION = "The capital of France is"


class Head:
    """A llama-server over the workers, until the end of the with block."""

    def __init__(self, binaries: Path, workers: oracle.Workers, log: Path, model: Path, split: str, **settings: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        assert not plan_beside.problems(settings)
        beside = [word for argument in plan_beside.arguments(settings) for word in argument]
        self.command = [str(binaries / "llama-server"), "-m", str(model), "--rpc", ",".join(workers.endpoints), "--device", "RPC0,RPC1", "-ts", split,
                        "-ngl", "99", "-c", "4096", "--fit", "off", "-lv", "4", "--host", "127.0.0.1", "--port", str(self.port), *beside]
        self.log = log

    def __enter__(self) -> Head:
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(self.command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + 120
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text(errors="replace")[-3000:]
            try:
                if self.ask("/health", None)["status"] == "ok":
                    return self
            except (OSError, ValueError):
                time.sleep(0.2)

    def __exit__(self, *_exc: Any) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=20)

    def ask(self, path: str, content: Any) -> dict:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def complete(self) -> dict:
        return self.ask("/completion", {"prompt": QUESTION, "n_predict": 24, "temperature": 0, "cache_prompt": False})

    def look_at(self, picture: bytes) -> str:
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = self.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0})
        assert answer["usage"]["prompt_tokens"] > 4
        return answer["choices"][0]["message"]["content"]

    def devices(self) -> dict[str, head_memory.HeadDevice]:
        return {device.name: device for device in head_log.parse_head(self.log.read_text(errors="replace")).devices}


def picture(colour: int, size: int = 32) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((colour, y * 8 % 256, 255 - colour)) * size for y in range(size))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def workers(llama_cpp_bin: Path) -> Iterator[oracle.Workers]:
    with oracle.Workers(llama_cpp_bin, (1, 1), first_port=50340) as running:
        yield running


@pytest.fixture(scope="module")
def alone(llama_cpp_bin: Path, workers: oracle.Workers, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The answer with nothing beside the model."""
    with Head(llama_cpp_bin, workers, tmp_path_factory.mktemp("alone") / "log", smollm2, "20,11") as head:
        answer = head.complete()
        assert "Paris" in answer["content"]
        return {"answer": answer, "devices": head.devices()}


def test_a_draft_model(llama_cpp_bin: Path, workers: oracle.Workers, smollm2: Path, alone: dict, tmp_path: Path) -> None:
    """The model drafts for itself: every token is right, the answer the same, the memory the one that is planned."""
    with Head(llama_cpp_bin, workers, tmp_path / "log", smollm2, "20,11", draft_model=str(smollm2), draft_devices=["RPC1"], draft_max=4) as head:
        answer, devices = head.complete(), head.devices()
    assert answer["content"] == alone["answer"]["content"]
    assert answer["timings"]["draft_n"] == answer["timings"]["draft_n_accepted"] > 0
    header = read_gguf(str(smollm2))
    settings = caches.RunSettings(context_size=4096, parallel=4, kv_unified=True)
    accounts = placement.Accounts(plan_model.describe_model(header.metadata, header.tensors), beside_memory.draft_settings(settings))
    assert devices["RPC0"].beside_mib is None
    assert devices["RPC1"].beside_mib <= beside_memory.draft_model(accounts).on_cpu_bytes / MIB <= 1.1 * devices["RPC1"].beside_mib
    assert [devices[name].weights_mib for name in ("RPC0", "RPC1")] == [alone["devices"][name].weights_mib for name in ("RPC0", "RPC1")]


def test_layers_of_the_model_s_own(llama_cpp_bin: Path, workers: oracle.Workers, tmp_path: Path) -> None:
    model = beside_files.mtp_model(tmp_path / "mtp.gguf")
    with Head(llama_cpp_bin, workers, tmp_path / "log0", model, "3,3") as head:
        without, before = head.complete(), head.devices()
    with Head(llama_cpp_bin, workers, tmp_path / "log1", model, "3,3", spec_type="draft-mtp") as head:
        answer, devices = head.complete(), head.devices()
    assert answer["content"] == without["content"] and "draft_n" not in without["timings"]
    assert answer["timings"]["draft_n"] > 0
    # its weights are loaded only now, and the context is where they are
    assert devices["RPC0"].weights_mib == before["RPC0"].weights_mib and devices["RPC1"].weights_mib > before["RPC1"].weights_mib
    assert devices["RPC0"].beside_mib is None
    header = read_gguf(str(model))
    described = beside_memory.with_own_drafting(plan_model.describe_model(header.metadata, header.tensors), header.metadata, header.tensors)
    settings = caches.RunSettings(context_size=4096, parallel=4, kv_unified=True, outputs=16)
    planned, _host = placement.split_memory(placement.Accounts(described, settings), (3, 3), ("cpu", "cpu"))
    assert [round(device.weight_bytes / MIB, 2) for device in planned] == [devices[name].weights_mib for name in ("RPC0", "RPC1")]
    assert devices["RPC1"].beside_mib <= planned[1].beside_bytes / MIB


def test_an_adapter(llama_cpp_bin: Path, workers: oracle.Workers, smollm2: Path, alone: dict, tmp_path: Path) -> None:
    path = beside_files.lora(tmp_path / "lora.gguf")
    answers = {}
    for scale in (0, 1):
        with Head(llama_cpp_bin, workers, tmp_path / f"log{scale}", smollm2, "20,11", lora=[{"path": str(path), "scale": scale}]) as head:
            answers[scale], devices = head.complete()["content"], head.devices()
    assert answers[0] == alone["answer"]["content"] != answers[1]
    header, adapter = read_gguf(str(smollm2)), read_gguf(str(path))
    described = beside_memory.with_adapter(plan_model.describe_model(header.metadata, header.tensors), adapter.tensors)
    planned, _host = placement.split_memory(placement.Accounts(described, caches.RunSettings(context_size=4096)), (20, 11), ("cpu", "cpu"))
    for name, device in zip(("RPC0", "RPC1"), planned):
        assert 0 < devices[name].beside_mib <= device.beside_bytes / MIB
        assert devices[name].compute_mib == alone["devices"][name].compute_mib


@pytest.mark.parametrize("device", ["RPC1", "none"])
def test_a_projector(llama_cpp_bin: Path, workers: oracle.Workers, smollm2: Path, tmp_path: Path, device: str) -> None:
    """Questions about pictures are answered, and it lies where it was told to."""
    path = beside_files.projector(tmp_path / "mmproj.gguf")
    with Head(llama_cpp_bin, workers, tmp_path / "log", smollm2, "20,11", mmproj=str(path), mmproj_device=device) as head:
        answers, devices = [head.look_at(picture(colour)) for colour in (0, 255)], head.devices()
    assert all(answers) and answers[0] != answers[1]
    header = read_gguf(str(path))
    bound = beside_memory.projector(header.metadata, path.stat().st_size).alone_bytes / MIB
    assert 1.8 < devices["CPU" if device == "none" else "RPC1"].beside_mib <= bound
    assert devices["RPC0"].beside_mib is None


def test_without_a_projector_there_are_no_pictures(llama_cpp_bin: Path, workers: oracle.Workers, smollm2: Path, tmp_path: Path) -> None:
    with Head(llama_cpp_bin, workers, tmp_path / "log", smollm2, "20,11") as head, pytest.raises(urllib.error.HTTPError):
        head.look_at(picture(0))
