# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server and ggml-rpc-server of a CPU build log when they start and when they cannot.

``python tests/support/record_logs.py BIN_DIR MODEL OUT`` writes OUT/head/*.txt and OUT/worker/*.txt (tests/fixtures/logs/README.md says which is
what). MODEL is SmolLM2-135M-Instruct Q4_1; the addresses are those of 127.0.0.0/8. It needs stdbuf and prlimit, and takes half a minute.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from healthy import is_healthy

A, B, C = "127.0.0.2:50110", "127.0.0.3:50110", "127.0.0.4:50110"
API_PORT = 50180
MIB = 1 << 20
ENVIRONMENT = dict(os.environ, GGML_NO_BACKTRACE="1", LC_ALL="C.UTF-8")
# Lines that say nothing about placing or failing; most of a log.
_CUT = re.compile(r"llama_model_loader: - |\bprint_info: (?!arch |file|n_ctx_train|n_layer|general\.name)|"
                  r"^[\d.]+ D (?!load_tensors: layer)|\"level\":\"debug\"|(repeat_last_n|dry_multiplier|top_k|mirostat) = ")


class Head(NamedTuple):
    """How a head is started, beside ``-m MODEL -c 2048 -ngl 99 --fit off -lv 4``, and over which workers."""

    arguments: Tuple[str, ...] = ()
    # Endpoint, further arguments, and the address space in MiB that the worker may have (0: all)
    workers: Tuple[Tuple[str, Tuple[str, ...], int], ...] = ()
    without: Tuple[str, ...] = ()
    model: str = ""
    memory_mib: int = 0
    # What happens when it listens: SIGTERM, or the first worker is killed and a question asked.
    kill_worker: bool = False


# What a CPU worker says is free of it, less what makes this model's context smaller and not its layers fewer.
FIT_TARGET_MIB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB - 205
ONE, TWO = ((A, (), 0),), ((A, (), 0), (B, (), 0))


def over(*endpoints: str) -> Tuple[str, ...]:
    return ("--rpc", ",".join(endpoints))


HEADS: Dict[str, Head] = {
    "0workers": Head(),
    "1worker": Head(over(A), ONE),
    "1worker_jsonl": Head((*over(A), "--log-jsonl"), ONE),
    "2workers": Head((*over(A, B), "-ts", "16,15"), TWO),
    "2workers_lv3": Head((*over(A, B), "-ts", "16,15", "-lv", "3"), TWO),
    "2workers_lv5": Head((*over(A, B), "-ts", "16,15", "-lv", "5"), TWO),
    "2devices": Head(over(A, C), ((A, (), 0), (C, ("-d", "CPU,CPU"), 0))),
    "device_order": Head((*over(A, C), "--device", "RPC2,RPC0"), ((A, (), 0), (C, ("-d", "CPU,CPU"), 0))),
    "ngl10": Head((*over(A), "-ngl", "10"), ONE),
    "fit_shrank": Head((*over(A), "-fitt", str(FIT_TARGET_MIB)), ONE, without=("-c", "2048", "--fit", "off")),
    "kv_too_big": Head((*over(A), "-c", "65536"), ((A, (), 1100),)),
    "kv_too_big_lv3": Head((*over(A), "-c", "65536", "-lv", "3"), ((A, (), 1100),)),
    "compute_too_big": Head((*over(A), "-b", "8192", "-ub", "8192", "-c", "8192"), ((A, (), 600),)),
    "local_kv_too_big": Head(("-c", "131072"), memory_mib=1500),
    "weights_too_big": Head(over("127.0.0.2:50122"), (("127.0.0.2:50122", (), 100),)),
    "worker_down": Head(over("127.0.0.9:50110")),
    "worker_died": Head(over(A), ONE, kill_worker=True),
    "bad_endpoint": Head(over("127.0.0.2")),
    "bad_value": Head(("--fit", "maybe")),
    "unknown_device": Head(("--device", "CUDA0")),
    "unknown_flag": Head(("--no-such-flag",)),
    "missing_keyfile": Head(("--api-key-file", "/nonexistent/key")),
    "empty_keyfile": Head(("--api-key-file", "/dev/null")),
    "host_not_here": Head(("--host", "203.0.113.7")),
    "port_in_use": Head(),
    "model_missing": Head(model="/nonexistent/model.gguf"),
    "model_missing_fit": Head(model="/nonexistent/model.gguf", without=("--fit", "off")),
    "model_empty": Head(model="empty.gguf"),
    "model_header": Head(model="header.gguf"),
    "model_text": Head(model="text.gguf"),
    "model_truncated": Head(model="truncated.gguf"),
}
WORKERS: Dict[str, Tuple[str, ...]] = {
    "address_not_here": ("-H", "203.0.113.7", "-p", "50110"),
    "port_in_use": ("-H", "127.0.0.2", "-p", "50110"),
    "hostname": ("-H", "worker1.example", "-p", "50110"),
    "bad_port": ("-p", "0"),
    "unknown_device": ("-d", "CUDA0", "-H", "127.0.0.2", "-p", "50110"),
    "unknown_flag": ("-m", "1"),
    "cache_dir": ("-c", "-H", "127.0.0.2", "-p", "50110"),
}


def cut(text: str, paths: Dict[str, str], is_cut: Callable[[str], Any] = _CUT.search) -> str:
    """The log as it is kept: our paths, no blanks at line ends, and a mark for the lines that were left out."""
    for path, name in paths.items():
        text = text.replace(path, name)
    lines: List[str] = []
    left_out = 0
    for line in [*text.splitlines(), None]:
        if line is not None and is_cut(line):
            left_out += 1
            continue
        if left_out:
            lines.append(f"[... {left_out} lines cut ...]")
            left_out = 0
        if line is not None:
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"


def limited(mib: int) -> List[str]:
    return ["prlimit", f"--as={mib * MIB}"] if mib else []


class Recorder:
    """Runs one case after the other; whatever it started has ended when a case is over."""

    def __init__(self, bin_dir: Path, model: Path, folder: Path) -> None:
        self.bin_dir, self.model, self.folder = bin_dir, model, folder
        self.paths = {str(folder / "cache"): "/home/user/.cache/llama.cpp", str(folder): "/models", str(model.parent): "/models", str(bin_dir): "/build/bin"}

    def source(self, text: str) -> str:
        """A file of the source that an abort names is /src/llama.cpp/... wherever it was compiled."""
        return re.sub(r"(?m)^/\S+?/((?:ggml/src/|src/llama-|tools/|common/)\S+\.cpp:\d+: )", r"/src/llama.cpp/\1", text)

    @contextmanager
    def worker(self, endpoint: str, arguments: Sequence[str], memory_mib: int, log: Path, buffered: bool = False) -> Iterator[subprocess.Popen]:
        host, port = endpoint.rsplit(":", 1) if endpoint else ("", "")
        command = [*limited(memory_mib), *([] if buffered else ["stdbuf", "-oL"]), str(self.bin_dir / "ggml-rpc-server"),
                   *(arguments if "-H" in arguments or not endpoint else ("-H", host, "-p", port, "-t", "1", *arguments))]
        with open(log, "wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env=ENVIRONMENT) as process:
            try:
                deadline = time.monotonic() + 10
                while endpoint and process.poll() is None and time.monotonic() < deadline and not listens(host, int(port)):
                    time.sleep(0.02)
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def head(self, case: Head, log: Path) -> List[Path]:
        """Start it over its workers, stop it when it listens; the workers' logs."""
        model = self.model if not case.model else Path(case.model) if case.model.startswith("/") else self.folder / case.model
        given = ["-m", str(model), "-c", "2048", "-ngl", "99", "--fit", "off", "-lv", "4", "--host", "127.0.0.1", "--port", str(API_PORT)]
        for option in case.without[::2]:
            del given[given.index(option):given.index(option) + 2]
        logs = []
        with ExitStack() as stack:
            processes = []
            for number, (endpoint, arguments, memory_mib) in enumerate(case.workers):
                logs.append(log.with_suffix(f".worker{number}"))
                processes.append(stack.enter_context(self.worker(endpoint, arguments, memory_mib, logs[-1])))
            command = [*limited(case.memory_mib), str(self.bin_dir / "llama-server"), *given, *case.arguments]
            with open(log, "wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env=ENVIRONMENT, cwd="/") as server:
                deadline = time.monotonic() + 120
                while server.poll() is None and time.monotonic() < deadline and not is_healthy(API_PORT):
                    time.sleep(0.1)
                if server.poll() is None and case.kill_worker:
                    processes[0].send_signal(signal.SIGKILL)
                    ask()
                elif server.poll() is None:
                    server.send_signal(signal.SIGTERM)
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()
        return logs

    def keep(self, log: Path, out: Path) -> None:
        out.write_text(cut(self.source(log.read_text(encoding="utf-8", errors="replace")), self.paths), encoding="utf-8")


def listens(host: str, port: int) -> bool:
    """By the system's own table: a worker must not be connected to."""
    wanted = "%08X:%04X" % (int.from_bytes(socket.inet_aton(host), "little"), port)
    return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:])


def ask() -> None:
    """One question; what comes of it is in the log."""
    request = urllib.request.Request(f"http://127.0.0.1:{API_PORT}/completion", data=b'{"prompt": "1, 2,", "n_predict": 1}',
                                     headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except OSError:
        pass


@contextmanager
def taken(host: str, port: int, closes: bool = False) -> Iterator[None]:
    """A port that somebody else has; one who closes every connection at once, or who does nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(8)

        def close() -> None:
            try:
                while True:
                    listener.accept()[0].close()
            except OSError:
                pass

        if closes:
            threading.Thread(target=close, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR) if closes else None


def record(bin_dir: Path, model: Path, out: Path, only: Optional[Sequence[str]] = None) -> None:
    (out / "head").mkdir(parents=True, exist_ok=True)
    (out / "worker").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        whole = model.read_bytes()
        for name, content in (("empty", b""), ("header", whole[:1000]), ("text", b"This is no model.\n" * 100), ("truncated", whole[:60_000_000])):
            (folder / f"{name}.gguf").write_bytes(content)
        recorder = Recorder(bin_dir, model, folder)

        def wanted(name: str) -> bool:
            return not only or name in only

        log = folder / "log"
        for name, case in HEADS.items():
            if not wanted(f"head/{name}"):
                continue
            with ExitStack() as stack:
                if name == "port_in_use":
                    stack.enter_context(taken("127.0.0.1", API_PORT))
                logs = recorder.head(case, log)
            recorder.keep(log, out / "head" / f"{name}.txt")
            for number, worker in {"1worker": (0, "cpu"), "2devices": (1, "cpu_two_devices"), "worker_died": (0, "killed"),
                                   "kv_too_big": (0, "allocation_refused")}.items():
                if number == name:
                    recorder.keep(logs[worker[0]], out / "worker" / f"{worker[1]}.txt")
        if wanted("head/worker_closes"):
            with taken("127.0.0.2", 50113, closes=True):
                recorder.head(Head(over("127.0.0.2:50113")), log)
            recorder.keep(log, out / "head" / "worker_closes.txt")
        for name, arguments in WORKERS.items():
            if not wanted(f"worker/{name}"):
                continue
            with ExitStack() as stack:
                if name == "port_in_use":
                    stack.enter_context(taken("127.0.0.2", 50110))
                if name == "cache_dir":
                    stack.enter_context(changed("LLAMA_CACHE", "/proc/x/"))
                with recorder.worker("", arguments, 0, log) as process:
                    try:
                        process.wait(5)
                    except subprocess.TimeoutExpired:
                        pass
            recorder.keep(log, out / "worker" / f"{name}.txt")
        if wanted("worker/unflushed"):
            with recorder.worker(A, (), 0, log, buffered=True) as process:
                time.sleep(1)
                # Ended by SIGTERM it flushes nothing.
            recorder.keep(log, out / "worker" / "unflushed.txt")
        if wanted("worker/cpu_cache"):
            with changed("LLAMA_CACHE", str(folder / "cache/")):
                recorder.head(Head(over(A), ((A, ("-c",), 0),)), log)
            recorder.keep(log.with_suffix(".worker0"), out / "worker" / "cpu_cache.txt")


@contextmanager
def changed(name: str, value: str) -> Iterator[None]:
    ENVIRONMENT[name] = value
    try:
        yield
    finally:
        del ENVIRONMENT[name]


if __name__ == "__main__":
    record(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), Path(sys.argv[3]), sys.argv[4:])
