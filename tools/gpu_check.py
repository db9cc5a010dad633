# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Try the collection on one machine with one NVIDIA GPU, in ten minutes and without a network.

``python3 tools/gpu_check.py pack SOURCE.tar.gz FOLDER [BUILD]`` makes what the machine needs beside the checkout: the source without what is not
compiled, the objects that a build here has made already, the system calls of the units' sandbox and stunnel.
``python3 tools/gpu_check.py run FOLDER --out OUT`` goes through all steps there, each in a process of its own with a limit; ``--backend cpu`` tries the
same on a machine without a GPU (``--bin``: with that build).
``python3 tools/gpu_check.py compare BIN OUT/memory.jsonl`` holds what was seen against plans, with a CPU build.
"""

from __future__ import annotations

import argparse
import ctypes
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any, Callable, Iterator, NamedTuple, Sequence

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "playbooks" / "collections")]

import architectures  # noqa: E402
import asking  # noqa: E402
import oracle  # noqa: E402
import sparse_gguf  # noqa: E402

from ansible_collections.herd.llama_cpp.plugins.module_utils._build import log as build_log  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._build import targets  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import nvidia_smi  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import toolkit_info  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import versions  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda import wheels  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import read_gguf  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import model as plan_model  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import placement  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import accounts_of  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import expectations  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import head_log  # noqa: E402
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import worker_log  # noqa: E402

# Beside /tmp, which a sandbox hides.
WORK = Path("/opt/gpu-check")
BUILD = Path(os.environ.get("GPU_CHECK_BUILD", "/tmp/gpu-check"))
os.environ["PATH"] += ":/usr/local/nvidia/bin:/usr/local/cuda/bin"
MIB = 1 << 20
PIECE_BYTES = 15 * MIB
TARGETS = ("ggml-rpc-server", "llama-server", "llama-fit-params")
LIMITS_S = {"build": 400, "memory": 150, "held": 130, "logs": 150, "sandbox": 60, "tls": 60}

_ports = itertools.count(20400)


class Setup(NamedTuple):
    """What the steps share."""

    backend: str
    bin: Path
    folder: Path
    out: Path

    @property
    def device(self) -> str:
        return "CUDA0" if self.backend == "cuda" else "CPU"

    @property
    def small(self) -> bool:
        return self.backend == "cpu"

    def log(self, name: str) -> Path:
        (self.out / "logs").mkdir(exist_ok=True, parents=True)
        return self.out / "logs" / (name + ".txt")

    def note(self, name: str, **what: Any) -> None:
        with open(self.out / "results.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"what": name, **what}) + "\n")


# -- what travels -----------------------------------------------------------------------------------------------------

_LEFT_OUT = re.compile(r"^(?:docs|models|media|gguf-py|benches|examples|conversion|scripts(?!/ui-assets)|skills|requirements|tests|tools/ui/[^/]+"
                       r"|ggml/src/ggml-(?:vulkan|sycl|opencl|metal|hexagon|webgpu|cann|openvino|et|virtgpu|zdnn|zendnn|musa|blas))/")


def pack(source: Path, folder: Path, build: Path | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(source) as given, tarfile.open(folder / "source.tar.xz", "w:xz", preset=2) as made:
        for member in given:
            name = member.name.partition("llama.cpp/")[2]
            if name and member.isfile() and not _LEFT_OUT.search(name):
                content = given.extractfile(member)
                member.name = "source/" + name
                made.addfile(member, content)
    if build:
        pack_objects(build, folder / "objects.tar.xz")
    # with what a bare machine lacks of what it is linked with
    packages = ["stunnel4", "libwrap0", "libnsl2", "libtirpc3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libkeyutils1"]
    if subprocess.run(["apt-get", "download", *packages], cwd=folder, check=False).returncode:
        print("the packages of stunnel were not to be had: the step tls needs it on the machine")
    (folder / "syscalls.json").write_text(json.dumps(system_calls("@system-service", "@privileged")), encoding="utf-8")


def pack_objects(build: Path, archive: Path, without: Sequence[str] = ()) -> int:
    names = [str(path.relative_to(build)) for path in sorted(build.rglob("*.o")) if path.stat().st_size and "CompilerId" not in str(path)]
    names = [name for name in names if name not in without]
    listed = archive.with_suffix(".list")
    listed.write_text("\n".join(names), encoding="utf-8")
    subprocess.run(["tar", "--create", f"--file={archive}", "--use-compress-program=xz -T0 -3", f"--directory={build}", f"--files-from={listed}"], check=True)
    listed.unlink()
    return len(names)


def system_calls(allowed: str, but: str) -> list[int]:
    """Numbers of the calls of one of systemd's sets that are not in another, on this machine's architecture."""
    def named(group: str) -> set[str]:
        said = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
        words = {line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
        return {word for word in words if word[0] != "@"}.union(*(named(word) for word in words if word[0] == "@"))

    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text(encoding="utf-8")
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header)}
    return sorted(numbers[name] for name in named(allowed) - named(but) if name in numbers)


# -- the build --------------------------------------------------------------------------------------------------------

_LAUNCHER = """#!/bin/sh
# An object that was made before is taken.
out= before=
for word; do [ "$before" = -o ] && out=$word; before=$word; done
if [ -f "%(objects)s/$out" ]; then cp "%(objects)s/$out" "$out"; else exec "$@"; fi
"""


def options(cuda: bool, toolkit: dict, architectures_: Sequence[str], stubs: Path, launcher: Path) -> list[str]:
    """roles/llama_cpp/vars/main.yml, for a processor of any make with AVX2."""
    told = {"CMAKE_BUILD_TYPE": "Release", "BUILD_SHARED_LIBS": "ON", "GGML_RPC": "ON", "GGML_CUDA": "ON" if cuda else "OFF", "GGML_CCACHE": "OFF",
            "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF", "LLAMA_OPENSSL": "OFF", "LLAMA_CURL": "OFF", "GGML_RPC_RDMA": "OFF",
            "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_BUILD_APP": "OFF", "LLAMA_BUILD_NUMBER": plan_model.COMPARED_BUILD[1:],
            "LLAMA_BUILD_COMMIT": "gpu-check", "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "$ORIGIN",
            "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--disable-new-dtags", "GGML_NATIVE": "OFF", "CMAKE_C_COMPILER_LAUNCHER": str(launcher),
            "CMAKE_CXX_COMPILER_LAUNCHER": str(launcher), "CMAKE_EXE_LINKER_FLAGS": "-Wl,--disable-new-dtags"}
    told.update({"GGML_" + name: "ON" for name in ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2")})
    if cuda:
        links = [str(stubs)] + toolkit["library_dirs"]
        told.update({"GGML_CUDA_NCCL": "OFF", "CMAKE_CUDA_ARCHITECTURES": ";".join(architectures_), "CMAKE_CUDA_COMPILER_LAUNCHER": str(launcher),
                     "CMAKE_CUDA_COMPILER": toolkit["nvcc"], "CUDAToolkit_ROOT": toolkit["root"], "CUDA_cuda_driver_LIBRARY": str(stubs / "libcuda.so"),
                     "CMAKE_EXE_LINKER_FLAGS": " ".join(["-Wl,--disable-new-dtags"] + ["-Wl,-rpath-link," + place for place in links])})
    return ["-D%s=%s" % item for item in told.items()]


def prepare() -> None:
    """The driver's library where services find it, not only whose who have a variable of the surroundings."""
    said = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = [path.parent for where in ("/usr/local/nvidia", "/usr/lib", "/usr/lib64", "/opt") for path in Path(where).glob("**/libcuda.so.1")]
    if "libcuda.so.1" not in said and found:
        Path("/etc/ld.so.conf.d/gpu-check.conf").write_text("%s\n" % found[0])
        subprocess.run(["ldconfig"], check=False)


def build(setup: Setup) -> None:
    cuda = setup.backend == "cuda"
    BUILD.mkdir(exist_ok=True)
    carried: list[str] = []
    for name, where in (("source", BUILD), ("objects", BUILD / "objects")):
        archive = setup.folder / (name + ".tar.xz")
        if archive.exists() and not (BUILD / name).exists():
            where.mkdir(exist_ok=True)
            subprocess.run(["tar", "--extract", f"--file={archive}", f"--directory={where}"], check=True)
    if (BUILD / "objects").exists():
        carried = [str(path.relative_to(BUILD / "objects")) for path in (BUILD / "objects").rglob("*.o")]
    launcher = BUILD / "launcher"
    launcher.write_text(_LAUNCHER % {"objects": BUILD / "objects"}, encoding="utf-8")
    launcher.chmod(0o755)
    toolkit, wanted = {}, []
    if cuda:
        prepare()
        toolkit = toolkit_info.find_system("")[0] or {}
        report, capabilities = nvidia_smi.read_gpus(shutil.which("nvidia-smi"), 30)
        gpus = [{"compute_capability": capabilities.get(gpu.uuid), **asdict(gpu)} for gpu in report.gpus]
        try:
            wanted = targets.cuda_architectures([{"gpus": gpus}])
        except Exception as error:  # pylint: disable=broad-except
            setup.note("problem", step="build", error=repr(error))
        setup.note("toolkit", toolkit=toolkit, architectures=wanted, driver=report.driver_version, cuda=report.cuda_version)
        (BUILD / "stubs").mkdir(exist_ok=True)
        wheels.make_stub(str(BUILD / "stubs"), toolkit["header"], "gcc")
        if not (BUILD / "stubs/libcuda.so").exists():
            (BUILD / "stubs/libcuda.so").symlink_to("libcuda.so.1")
    words = ["cmake", "-S", str(BUILD / "source"), "-B", str(BUILD / "build"), "-G", "Ninja"]
    words += options(cuda, toolkit, wanted or ["90"], BUILD / "stubs", launcher)
    configured = logged(words, setup.log("configure"))
    began = time.monotonic()
    # ninja and what it started end with it
    made = logged(["timeout", "--signal=INT", os.environ.get("GPU_CHECK_BUILD_S", "370"), "cmake", "--build", str(BUILD / "build"),
                   "--parallel", str(os.cpu_count()), "--target", *TARGETS], setup.log("build"))
    setup.note("build", configure=configured, build=made, seconds=round(time.monotonic() - began, 1), carried=len(carried))
    # what was not made before comes back, so that the next run has it
    new = pack_objects(BUILD / "build", WORK / "new.tar.xz", carried)
    setup.note("objects", new=new, bytes=(WORK / "new.tar.xz").stat().st_size)
    if new:
        split(WORK / "new.tar.xz", setup.out, 3)
    text = "".join(setup.log(name).read_text(encoding="utf-8", errors="replace") for name in ("configure", "build"))
    log = build_log.parse_build(text)
    failure = build_log.check_build(log, ["CUDA", "RPC"] if cuda else ["RPC"], [toolkit["prefix"], os.path.realpath(toolkit["prefix"])] if cuda else ())
    setup.note("build log", parsed=log.to_dict(), failure=asdict(failure) if failure else None)
    if made:
        raise RuntimeError("the build failed, see the log")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{BUILD}/source/ggml/include", f"-I{BUILD}/source/include", "-o", str(BUILD / "libllama-measure.so"),
                    str(ROOT / "roles/llama_cpp/files/measure.c"), "-ldl"], check=True)
    programs = ";".join(str(BUILD / "build/bin" / name) for name in TARGETS)
    collected = logged(["cmake", f"-DEXECUTABLES={programs}", f"-DDESTINATION={setup.bin}", "-DMODULES=",
                        "-DLIBRARY_DIRS=" + ";".join(toolkit.get("library_dirs", [])), "-P", str(ROOT / "roles/llama_cpp/files/collect.cmake")],
                       setup.log("collect"))
    shutil.copy(BUILD / "libllama-measure.so", setup.bin)
    setup.note("collected", ok=not collected)


def logged(words: Sequence[str], log: Path, timeout_s: float = 600, **more: Any) -> int:
    """The exit code; -1 where it did not end."""
    with open(log, "wb") as stream:
        try:
            return subprocess.run(list(map(str, words)), stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
                                  **more).returncode
        except subprocess.TimeoutExpired:
            return -1


def split(archive: Path, out: Path, most: int) -> None:
    data = archive.read_bytes()
    for number, start in enumerate(range(0, min(len(data), most * PIECE_BYTES), PIECE_BYTES)):
        (out / ("objects.%02d" % number)).write_bytes(data[start:start + PIECE_BYTES])


# -- memory: what llama.cpp says over real devices, and what it takes -------------------------------------------------

class Real(ask.Asker):
    """Asks over a worker that serves the real device more than once, and is there already; ``local`` devices are llama-server's own."""

    def __init__(self, setup: Setup, model: Path, n_devices: int, local: int, words: Sequence[str], port: int) -> None:
        super().__init__(str(setup.bin), str(model), n_devices - local, words, port=port)
        self.local, self.user_id = local, None

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        if self.local:
            del environment["CUDA_VISIBLE_DEVICES"]
        return environment

    def _start_stand_ins(self) -> None:
        pass

    def command(self, counts: Sequence[int], fit: bool = True) -> list[str]:
        words = super().command(counts, fit)
        words[words.index("--device") + 1] = ",".join(devices(len(counts), self.local))
        return words


class Served:
    """A worker that stays, for one client after the other; a new one where it ended."""

    def __init__(self, setup: Setup, number: int) -> None:
        self.setup, self.number, self.stack, self.process, self.port = setup, number, ExitStack(), None, 0

    def there(self) -> int:
        if self.process is None or self.process.poll() is not None:
            self.stack.close()
            self.port = next(_ports)
            log = self.setup.log("memory_worker%d_%d" % (self.number, self.port))
            self.process = self.stack.enter_context(worker(self.setup, self.port, log, device=",".join([self.setup.device] * 3)))
        return self.port

    def said(self) -> str:
        time.sleep(0.05)
        if self.process is None or self.process.poll() is None:
            return ""
        log = self.setup.log("memory_worker%d_%d" % (self.number, self.port))
        return "; the worker ended with %s: %s" % (self.process.returncode, log.read_text(errors="replace")[-600:])


def devices(n: int, local: int) -> list[str]:
    return ["CUDA%d" % number for number in range(local)] + ["RPC%d" % number for number in range(n - local)]


def even(n_slots: int, n: int) -> tuple[int, ...]:
    return tuple(n_slots // n + (index < n_slots % n) for index in range(n))


def lopsided(n_slots: int, n: int) -> tuple[int, ...]:
    return (1,) * min(n - 1, n_slots - 1) + (max(1, n_slots - n + 1),)


class Case(NamedTuple):
    how: str
    settings: dict[str, Any]
    split: Callable[[int, int], tuple[int, ...]]
    n_devices: int
    local: int = 0


_USUAL, _LONG = {"context_size": 8192, "parallel": 4}, {"context_size": 65536, "parallel": 1}
_Q8 = {"context_size": 65536, "parallel": 3, "type_k": "q8_0", "type_v": "q8_0"}
CASES = (
    Case("asked", _USUAL, even, 2), Case("loaded", _USUAL, even, 2), Case("loaded", _USUAL, even, 1, 1), Case("asked", _LONG, lopsided, 3),
    Case("asked", _Q8, even, 2), Case("loaded", _Q8, even, 2, 1), Case("asked", _USUAL, even, 1),
    Case("asked", {"context_size": 16384, "parallel": 4, "flash_attention": False}, even, 2),
    Case("asked", {"context_size": 8192, "parallel": 4, "kv_unified": False, "ubatch": 256}, even, 2),
)


def memory(setup: Setup) -> None:
    ask._WAIT_SECONDS = 20.0
    try:
        ask._own_network()
    except ask.CannotBeAsked as reason:
        setup.note("problem", step="memory", error=str(reason))
    names = [(name, None) for name in architectures.names()] + [(shape, sparse_gguf.SHAPES[shape]) for shape in sorted(sparse_gguf.SHAPES)]
    if setup.small:
        names = names[:12] + names[-3:]
    lock = threading.Lock()
    n_workers = max(2, (os.cpu_count() or 2) - 2)
    free: Queue[Served] = Queue()
    for number in range(n_workers):
        free.put(Served(setup, number))
    with open(setup.out / "memory.jsonl", "a", encoding="utf-8") as stream, ThreadPoolExecutor(n_workers) as pool:
        def one(item: tuple[str, Any], case: Case) -> None:
            name, shape = item
            if shape and (case.how == "loaded" or case.local):
                return
            if case.local and setup.small:
                return
            path = files / (name + ".gguf")
            row: dict[str, Any] = {"model": name, "how": case.how, "settings": case.settings, "local": case.local}
            served = free.get()
            try:
                n_slots = slots(path)
                counts = case.split(n_slots, case.n_devices)
                row["split"] = counts
                with Real(setup, path, len(counts), case.local, asking.arguments(**case.settings), served.there()) as asker:
                    if case.how == "asked":
                        row["answer"] = rounds.answer_as_dict(counts, asker.ask(counts))
                    else:
                        said = asking.start(asker, counts, 30)
                        row["buffers"] = asking.buffers(said)
                        if name == "llama-dense":
                            setup.log("loaded_%s_%d_local" % (name, case.local)).write_text(said, encoding="utf-8")
            except Exception as error:  # pylint: disable=broad-except
                row["error"] = (str(error)[-1500:] or repr(error)) + served.said()
            finally:
                free.put(served)
            with lock:
                stream.write(json.dumps(row) + "\n")
                stream.flush()

        files = WORK / "models"
        files.mkdir(exist_ok=True)
        for name, shape in names:
            sparse_gguf.write(shape() if shape else architectures.model(name), files / (name + ".gguf"))
        # the first cases of all models first: time may run out
        for case in CASES:
            for item in names:
                pool.submit(one, item, case)
        pool.shutdown()
        for _number in range(n_workers):
            free.get().stack.close()


def slots(path: Path) -> int:
    header = read_gguf_model(str(path))
    return int(header.metadata["%s.block_count" % header.metadata["general.architecture"]]) + 1


# -- processes that serve ---------------------------------------------------------------------------------------------

# roles/rpc_server/vars/main.yml
SERVICE = dict(os.environ, GGML_NO_BACKTRACE="1", CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_CACHE_PATH=str(WORK / "cuda"), LC_ALL="C.UTF-8")


@contextmanager
def running(words: Sequence[str], log: Path, ready: Callable[[subprocess.Popen], bool], timeout_s: float = 60, **more: Any) -> Iterator[subprocess.Popen]:
    with open(log, "wb") as stream:
        process = subprocess.Popen(list(map(str, words)), stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **{"env": SERVICE, **more})
    try:
        until = time.monotonic() + timeout_s
        while not ready(process):
            if process.poll() is not None or time.monotonic() > until:
                last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                how = "not ready" if process.poll() is None else "ended with %s" % process.returncode
                raise RuntimeError("%s: %s: %s" % (words[0], how, " / ".join(last)))
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def worker(setup: Setup, port: int, log: Path, before: Sequence[str] = (), device: str = "", **more: Any) -> Any:
    named = ["-d", device or setup.device] if device != "none" else []
    words = [*before, "stdbuf", "-oL", setup.bin / "ggml-rpc-server", "-H", "127.0.0.1", "-p", port, *named]
    return running(words, log, lambda _p: oracle.Workers._listens("127.0.0.1:%d" % port), 20, **more)


class Head:
    """A llama-server that serves a model over workers' ports and its own devices."""

    def __init__(self, setup: Setup, model: Path, ports: Sequence[int], local: int, log: Path, *more: Any, counts: Sequence[int] = ()) -> None:
        n = len(ports) + local
        self.port, self.log = next(_ports), log
        self.words = [setup.bin / "llama-server", "--model", model, "--host", "127.0.0.1", "--port", self.port, "--n-gpu-layers", "all", "--fit", "off",
                      "--no-webui", "--no-warmup", "-lv", "4", "--flash-attn", "on"]
        self.words += ["--rpc", ",".join("127.0.0.1:%d" % port for port in ports)] if ports else []
        self.words += ["--device", ",".join(devices(n, local)) or "none"]
        self.words += ["--tensor-split", ",".join(map(str, counts or even(slots(model), n)))] if n > 1 else []
        self.words += list(more)

    def __enter__(self) -> "Head":
        self.stack = ExitStack()
        self.process = self.stack.enter_context(running(self.words, self.log, lambda _p: "listening on" in self.log.read_text(errors="replace"), 90))
        return self

    def __exit__(self, *what: Any) -> None:
        self.stack.close()

    def answer(self, n_prompt: int, n_predict: int, timeout_s: float = 60) -> dict[str, Any]:
        body = {"prompt": [(number * 7919) % 999 + 1 for number in range(n_prompt)], "n_predict": n_predict, "ignore_eos": True, "cache_prompt": False}
        request = urllib.request.Request("http://127.0.0.1:%d/completion" % self.port, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.loads(answer.read())["timings"]
        except urllib.error.HTTPError as error:
            raise RuntimeError("HTTP %d: %s" % (error.code, error.read()[:300])) from error


# -- models with weights ----------------------------------------------------------------------------------------------

# bytes of a block and where its float16 factors are
_BLOCKS = {"Q4_0": (18, (0,)), "Q8_0": (34, (0,)), "Q4_K": (144, (0, 2)), "Q6_K": (210, (208,))}
# what a text model's vocabulary needs to be one: bytes, and names
_VOCABULARY = 32000


def vocabulary() -> dict[str, Any]:
    names = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
    names += ["t%d" % number for number in range(_VOCABULARY - len(names))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (_VOCABULARY - 259)
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": names, "tokenizer.ggml.scores": sparse_gguf.Typed("[f32]", [0.0] * _VOCABULARY),
            "tokenizer.ggml.token_type": sparse_gguf.Typed("[i32]", kinds)}


def with_weights(model: sparse_gguf.Model, path: Path) -> Path:
    """Random weights whose products stay finite."""
    model.metadata.update(vocabulary())
    sparse_gguf.write(model, path)
    header = read_gguf(str(path))
    patterns: dict[str, bytes] = {}
    with open(path, "r+b") as stream:
        for tensor in header.tensors:
            kind = tensor.type_name.upper()
            if kind in _BLOCKS:
                size, places = _BLOCKS[kind]
                if kind not in patterns:
                    noise = bytearray(os.urandom(size * 65536))
                    for at in range(0, len(noise), size):
                        for place in places:
                            noise[at + place:at + place + 2] = struct.pack("<e", 0.002 if kind != "Q4_K" else 0.0002)
                    patterns[kind] = bytes(noise)
            elif kind == "F16":
                patterns.setdefault(kind, b"".join(struct.pack("<e", (byte - 127.5) / 4096) for byte in os.urandom(1 << 18)))
            elif len(tensor.shape) > 1:
                patterns.setdefault("F32", b"".join(struct.pack("<f", (byte - 127.5) / 4096) for byte in os.urandom(1 << 16)))
            pattern = patterns.get(kind, b"") if kind != "F32" or len(tensor.shape) > 1 else struct.pack("<f", 1.0) * 4096
            stream.seek(header.data_offset_bytes + tensor.offset)
            whole, rest = divmod(tensor.size_bytes, len(pattern))
            for _n in range(whole):
                stream.write(pattern)
            stream.write(pattern[:rest])
    return path


def models(setup: Setup) -> dict[str, Path]:
    s = setup.small
    wide = {"n_embd": 512, "n_ff": 1024, "n_head": 8, "n_head_kv": 2} if s else {"n_embd": 4096, "n_ff": 14336, "n_head": 32, "n_head_kv": 8}
    plain = {"n_vocab": _VOCABULARY, "weights": "Q4_0"}
    llama = dict(plain, output="Q8_0", rope_freqs=False)
    made = {
        "q4": lambda: sparse_gguf.llama("q4", n_layer=4 if s else 32, **llama, **wide),
        "moe": lambda: sparse_gguf.qwen3moe("moe", n_layer=2 if s else 16, n_embd=512 if s else 2048, n_expert=16 if s else 128, **plain),
        "tiny": lambda: sparse_gguf.llama("tiny", n_layer=4, n_embd=512, n_ff=1024, n_head=8, n_head_kv=2, **llama),
    }
    (WORK / "models").mkdir(exist_ok=True, parents=True)
    out = {}
    for name, make in made.items():
        path = WORK / "models" / ("weights-%s.gguf" % name)
        out[name] = path if path.exists() else with_weights(make(), path)
    return out


# -- what a GPU holds beside the figures ------------------------------------------------------------------------------

def used(setup: Setup, processes: Sequence[subprocess.Popen] = ()) -> dict[str, Any]:
    if setup.backend == "cuda":
        gpu = nvidia_smi.parse_xml(nvidia_smi.run_nvidia_smi([shutil.which("nvidia-smi") or "", *nvidia_smi.XML_ARGUMENTS], 20)).gpus[0]
        return {"used_mib": gpu.used_mib, "free_mib": gpu.free_mib, "by_process": [[p.pid, p.used_mib, p.kind] for p in gpu.processes]}
    pages = [int(Path("/proc/%d/statm" % process.pid).read_text().split()[1]) for process in processes]
    return {"used_mib": sum(pages) * 4096 // MIB}


def held(setup: Setup) -> None:
    made = models(setup)
    n_prompt = 512 if setup.small else 3000
    for name, n_workers, local, more in (
            ("q4", 0, 1, ()), ("q4", 1, 0, ()), ("q4", 2, 0, ()), ("q4", 3, 0, ()), ("q4", 1, 1, ()), ("moe", 1, 0, ()),
            ("q4", 1, 0, ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0")), ("q4", 1, 0, ("--flash-attn", "off"))):
        if setup.small and local:
            continue
        what = "%s_%d_workers_%d_local%s" % (name, n_workers, local, "".join(more[1:2]))
        seen: dict[str, Any] = {"before": used(setup)}
        try:
            with ExitStack() as stack:
                ports, processes = [next(_ports) for _n in range(n_workers)], []
                for number, port in enumerate(ports):
                    processes.append(stack.enter_context(worker(setup, port, setup.log("held_%s_worker%d" % (what, number)))))
                time.sleep(0.3)
                seen["idle"] = used(setup, processes)
                # four slots of the context each: the longest prompt fits one
                head = stack.enter_context(Head(setup, made[name], ports, local, setup.log("held_" + what), "--ctx-size", 16384, "--parallel", 4, *more))
                processes.append(head.process)
                seen["loaded"] = used(setup, processes)
                seen["buffers"] = asking.buffers(head.log.read_text(errors="replace"))
                seen["generation"] = head.answer(16, 100)
                seen["prompt"] = head.answer(n_prompt, 8)
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(head.answer, [n_prompt // 3] * 4, [64] * 4))
                seen["generated"] = used(setup, processes)
        except Exception as error:  # pylint: disable=broad-except
            seen["error"] = str(error)
        setup.note("held", case=what, **seen)
        print("held", what, {key: seen[key]["used_mib"] for key in ("before", "idle", "loaded", "generated") if key in seen}, seen.get("error", ""), flush=True)


# -- logs -------------------------------------------------------------------------------------------------------------

def logs(setup: Setup) -> None:
    """What the collection reads: nvidia-smi's reports, logs of a start, of a GPU without room and of an operation without a kernel."""
    made, cuda = models(setup), setup.backend == "cuda"
    if cuda:
        smi = shutil.which("nvidia-smi") or "nvidia-smi"
        for name, words in (("nvidia_smi_xml", [smi, *nvidia_smi.XML_ARGUMENTS]), ("nvcc", ["nvcc", "--version"]),
                            ("nvidia_smi_capability", [smi, *nvidia_smi.COMPUTE_CAPABILITY_ARGUMENTS]),
                            ("devices", ["sh", "-c", "ls -l /dev/nvidia* /proc/driver/nvidia; grep -i nvidia /proc/devices /proc/modules; uname -a"])):
            logged(words, setup.log(name), 20)
        report, capabilities = nvidia_smi.read_gpus(smi, 20)
        setup.note("gpu_info", report=asdict(report), capabilities=capabilities, cuda_index=nvidia_smi.cuda_indices(report.gpus),
                   nvcc=versions.cuda_of_nvcc(setup.log("nvcc").read_text()), expected_cuda=versions.cuda_of_driver(report.driver_version, report.cuda_version))
    # heads of 48
    shape = sparse_gguf.llama("no-kernel", n_layer=4, n_embd=384, n_ff=512, n_head=8, n_head_kv=2, n_vocab=_VOCABULARY, weights="Q4_0", output="Q8_0",
                              rope_freqs=False)
    no_kernel = with_weights(shape, WORK / "models" / "no-kernel.gguf")
    usual: tuple = ("--ctx-size", 8192, "--parallel", 1)
    for name, model, local, more in (
            ("head", made["q4"], 0, usual), ("head_local", made["tiny"], 1, usual), ("no_kernel", no_kernel, 0, usual),
            ("no_kernel_local", no_kernel, 1, usual), ("no_kernel_fa_off", no_kernel, 0, (*usual, "--flash-attn", "off")),
            ("kv_too_big", made["q4"], 0, ("--ctx-size", 4000000)),
            ("kv_too_big_local", made["q4"], 1, ("--ctx-size", 4000000)), ("full", made["q4"], 0, usual)):
        # a CPU has no limit that could be reached safely
        if setup.small and (local or "too_big" in name or name == "full"):
            continue
        ports = [] if local else [next(_ports), next(_ports)]
        workers = ["%s_worker%d" % (name, number) for number in range(len(ports))]
        try:
            with ExitStack() as stack:
                for port, log in zip(ports, workers):
                    stack.enter_context(worker(setup, port, setup.log(log)))
                head = stack.enter_context(Head(setup, model, ports, local, setup.log(name), *more))
                if name == "full":
                    stack.enter_context(filled(setup))
                setup.note("answered", log=name, timings=head.answer(6000 if name == "full" else 40, 4))
        except Exception as error:  # pylint: disable=broad-except
            setup.note("ended", log=name, error=str(error))
        read = head_log.parse_head(setup.log(name).read_text(errors="replace"))
        said = [(name, read, expectations.check_head(read, ["127.0.0.1:%d" % port for port in ports], 8192, True))]
        for log in workers:
            worker_read = worker_log.parse_worker(setup.log(log).read_text(errors="replace"))
            said.append((log, worker_read, expectations.check_worker(worker_read, ["CUDA"] if cuda else ["CPU"])))
        for log, parsed, failure in said:
            setup.note("log", log=log, parsed=parsed.to_dict(), failure=asdict(failure) if failure else None)
            print("log %-28s %s" % (log, "%s: %s. %s" % (failure.kind, failure.problem, failure.remedy) if failure else "no failure"), flush=True)


def filled(setup: Setup) -> Any:
    """Somebody else takes what the GPU has free."""
    script = """import ctypes, time
c, free, total, place = ctypes.CDLL(%r), ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
c.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
n = free.value - (24 << 20)
while n > 0 and c.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(n)):
    n -= 32 << 20
print("taken", n >> 20, flush=True)
time.sleep(60)
"""
    log = setup.log("full_hog")
    cudart = next(iter(sorted(setup.bin.glob("libcudart.so*"))), "libcudart.so")
    return running([sys.executable, "-c", script % str(cudart)], log, lambda _p: "taken" in log.read_text(), 20)


# -- the sandbox ------------------------------------------------------------------------------------------------------

_NODES = "null zero full random urandom tty"
_DEV = ("mkdir -p %(work)s/dev; mount -t tmpfs dev %(work)s/dev; for n in " + _NODES + " %(nodes)s; do [ -e /dev/$n ] && cp -a /dev/$n %(work)s/dev/$n; done; "
        "mkdir %(work)s/dev/shm; chmod 1777 %(work)s/dev/shm; mount --move %(work)s/dev /dev; ")
_NVIDIA = "nvidia0 nvidiactl nvidia-uvm nvidia-uvm-tools"
_MOUNTS = ("mount -t tmpfs t /tmp; mount -t tmpfs t /var/tmp; mount -t proc -o hidepid=invisible%s proc /proc; "
           "for d in /home /root; do mount -t tmpfs -o mode=0,ro t $d; done; "
           "for d in /proc/sys /sys; do mount --bind $d $d; mount -o remount,bind,ro $d; done; mount -o remount,bind,ro /")


class Trial(NamedTuple):
    """The GPU set of roles/rpc_server/vars/main.yml as an unprivileged user, with these differences."""

    nodes: str = _NVIDIA
    users: bool = True
    confine: str = "mdwe,calls,families"
    proc: str = ""


TRIALS = {
    "the GPU set": Trial(), "without PrivateUsers": Trial(users=False), "without MemoryDenyWriteExecute": Trial(confine="calls,families"),
    "and SystemCallFilter without @resources": Trial(confine="mdwe,calls,resources,families"), "and ProcSubset=pid": Trial(proc=",subset=pid"),
    # these two have to fail on a GPU; as root the driver would make the device files that are missing
    "DeviceAllow without nvidia-uvm": Trial("nvidia0 nvidiactl"), "PrivateDevices": Trial(""),
}


def sandbox(setup: Setup) -> None:
    made = models(setup)["tiny"]
    (WORK / "cuda").mkdir(exist_ok=True)
    (WORK / "cuda").chmod(0o777)
    # nobody may be kept out of the checkout
    source = re.sub(r": (?:list|Sequence)\[(?:str|tuple\[int, int, int, int\])\]", "", inspect.getsource(confine))
    (WORK / "confine.py").write_text("import ctypes, json, os, struct, sys\nfrom pathlib import Path\nWORK = Path(%r)\n%s\nconfine(sys.argv[1], sys.argv[2:])\n"
                                     % (str(WORK), source), encoding="utf-8")
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    if (setup.folder / "syscalls.json").exists():
        shutil.copy(setup.folder / "syscalls.json", WORK)
    # a worker's rpath is $ORIGIN: nobody may read it there
    subprocess.run(["chmod", "-R", "a+rX", str(WORK)], check=False)

    def one(item: tuple[str, Trial]) -> str:
        name, trial = item
        word = re.sub(r"\W+", "_", name)
        before = ["unshare", "-m", "-i", "sh", "-c", _DEV % {"work": WORK, "nodes": trial.nodes} + _MOUNTS % trial.proc + '; exec "$@"', "sh",
                  "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        before += ["unshare", "-U", "--map-current-user"] if trial.users else []
        before += ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", python, "-I", str(WORK / "confine.py"), trial.confine]
        said, log = "works", setup.log("sandbox_" + word)
        try:
            port = next(_ports)
            with worker(setup, port, log, before):
                with Head(setup, made, [port], 0, setup.log("sandbox_%s_head" % word), "--ctx-size", 1024, "--parallel", 1) as head:
                    head.answer(64, 8, 20)
        except Exception as error:  # pylint: disable=broad-except
            said = str(error)[-300:]
        served = [device.name for device in worker_log.parse_worker(log.read_text(errors="replace")).devices]
        setup.note("sandbox", directive=name, said=said, devices=served)
        return "sandbox %-42s %-8s %s" % (name, ",".join(served), said)

    with ThreadPoolExecutor(4 if setup.backend == "cuda" else 2) as pool:
        for line in pool.map(one, TRIALS.items()):
            print(line, flush=True)


def confine(what: str, words: Sequence[str]) -> None:
    """What a process does to itself before it becomes the worker; numbers of x86-64."""
    libc = ctypes.CDLL(None, use_errno=True)

    def filtered(steps: Sequence[tuple[int, int, int, int]]) -> None:
        program = b"".join(struct.pack("<HBBI", *step) for step in steps)
        buffer = ctypes.create_string_buffer(program)
        fprog = struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(buffer))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(fprog), 0, 0):
            raise OSError(ctypes.get_errno(), "no filter of system calls")

    load, equal, allow, deny = 0x20, 0x15, (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)
    for part in what.split(","):
        if part == "mdwe" and libc.prctl(65, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_SET_MDWE")
        if part == "families":
            # socket(2) but for AF_UNIX and AF_INET
            filtered([(load, 0, 0, 0), (equal, 0, 4, 41), (load, 0, 0, 16), (equal, 2, 0, 1), (equal, 1, 0, 2), deny, allow])
        if part == "resources":
            # @resources of systemd: ioprio_set, mbind, migrate_pages, move_pages, sched_set*, set_mempolicy, setpriority, setrlimit
            numbers = [251, 237, 256, 279, 203, 144, 142, 314, 238, 141, 160, 450]
            filtered([(load, 0, 0, 0)] + [(equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)] + [allow, deny])
        if part == "calls":
            numbers = json.loads((WORK / "syscalls.json").read_text()) if (WORK / "syscalls.json").exists() else []
            steps: list[tuple[int, int, int, int]] = [(load, 0, 0, 0)]
            for number in numbers:
                steps += [(equal, 0, 1, number), allow]
            if numbers:
                filtered(steps + [deny])
    os.execvp(words[0], list(words))


# -- TLS --------------------------------------------------------------------------------------------------------------

def tls(setup: Setup) -> None:
    """roles/rpc_server/templates/stunnel.conf.j2 and roles/llama_server/templates/tunnel.conf.j2 on loopback."""
    stunnel = shutil.which("stunnel4") or shutil.which("stunnel")
    environment = dict(SERVICE)
    if not stunnel:
        place = WORK / "stunnel"
        for package in setup.folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(place)], check=True)
        stunnel = str(place / "usr/bin/stunnel4")
        environment["LD_LIBRARY_PATH"] = "%s/usr/lib/x86_64-linux-gnu:%s/lib/x86_64-linux-gnu" % (place, place)
    made, folder = models(setup), WORK / "tls"
    folder.mkdir(exist_ok=True)
    (folder / "psk").write_text("llama-rpc:" + os.urandom(32).hex() + "\n")
    (folder / "psk").chmod(0o600)
    common = "foreground = yes\nsyslog = no\npid =\ndebug = notice\nsslVersion = TLSv1.3\nciphers = PSK\nciphersuites = TLS_AES_128_GCM_SHA256\n"
    last = "PSKsecrets = %s/psk\nTIMEOUTidle = 86400\nTIMEOUTclose = 0\n" % folder
    plain, port, near = next(_ports), next(_ports), next(_ports)
    for name, text in (("server", "[rpc]\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\n" % (port, plain)),
                       ("client", "client = yes\n[rpc]\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\nPSKidentity = llama-rpc\n" % (near, port))):
        (folder / name).write_text(common + text + last)

    def listens(number: int) -> Callable[[Any], bool]:
        return lambda _p: oracle.Workers._listens("127.0.0.1:%d" % number)

    for name, n_predict in (("q4", 128), ("tiny", 256)):
        for how, through in (("plain", plain), ("tls", near)):
            with ExitStack() as stack:
                stack.enter_context(worker(setup, plain, setup.log("tls_worker")))
                if how == "tls":
                    stack.enter_context(running([stunnel, folder / "server"], setup.log("tls_server"), listens(port), 15, env=environment))
                    stack.enter_context(running([stunnel, folder / "client"], setup.log("tls_client"), listens(near), 15, env=environment))
                began = time.monotonic()
                with Head(setup, made[name], [through], 0, setup.log("tls_head"), "--ctx-size", 8192, "--parallel", 4) as head:
                    loaded = time.monotonic() - began
                    head.answer(16, 8)
                    timings = [head.answer(512, n_predict) for _n in range(3)]
            row = {"model": name, "how": how, "load_seconds": round(loaded, 2), "prompt_per_second": [round(t["prompt_per_second"], 1) for t in timings],
                   "predicted_per_second": [round(t["predicted_per_second"], 1) for t in timings]}
            setup.note("tls", **row)
            print("speed", row)


# -- comparing, on any machine ----------------------------------------------------------------------------------------

def compare(bin_dir: Path, results: Path) -> None:
    """Formulas or bound, and llama.cpp's word with CPU stand-ins plus what a CUDA device is known to take besides, before what was seen."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    known: dict[Any, Any] = {}
    by_model: dict[str, list[dict]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    under: list[str] = []
    count = 0
    over: dict[str, list[float]] = {"planned": [], "asked": []}
    folder = Path("/tmp/gpu-check-compare")
    folder.mkdir(exist_ok=True)
    for name, its in sorted(by_model.items()):
        shape = sparse_gguf.SHAPES.get(name)
        path = sparse_gguf.write(shape() if shape else architectures.model(name), folder / (name + ".gguf"))
        header = read_gguf_model(str(path))
        model = plan_model.describe_model(header.metadata, header.tensors)
        good = [row for row in its if "error" not in row]
        for row in its:
            if "error" in row:
                print("error %s %s %s: %s" % (name, row["how"], row["settings"], row["error"][-200:].replace("\n", " / ")))
        questions = [(row["settings"], tuple(row["split"])) for row in good]
        for row, word in zip(good, asking.answers(bin_dir, path, questions, 3)):
            counts, settings = tuple(row["split"]), caches.RunSettings(**dict({"kv_unified": True}, **row["settings"]))
            key = (name, settings)
            if key not in known:
                known[key] = accounts_of(model, settings)
            plans = {"planned": placement.split_memory(known[key], counts, ["cuda"] * len(counts))}
            if isinstance(word, str):
                print("not asked here: %s %s: %s" % (name, row["settings"], word[-150:]))
            else:
                asked = rounds.AskedAccounts(known[key])
                asked.learn(counts, word)
                plans["asked"] = placement.split_memory(asked, counts, ["cuda"] * len(counts))
            if row["how"] == "asked":
                answer = rounds.answer_from_dict(row["answer"])[1]
                real = [(f.weights_mib, f.kv_mib, f.compute_mib) for f in answer.devices]
                head = answer.host.compute_mib
            else:
                sizes = [row["buffers"].get(device, {}) for device in devices(len(counts), row["local"])]
                real = [(size.get("model", 0), size.get("cache", 0), size.get("compute", 0)) for size in sizes]
                head = row["buffers"].get("CPU", {}).get("compute", 0)
            for how, (planned, host) in plans.items():
                for number, (mine, theirs) in enumerate(zip(planned, real)):
                    count += 1
                    ours = [value / MIB for value in (mine.weight_bytes, mine.context_bytes, mine.compute_bytes)]
                    for what, our, their in zip(("weights", "kv", "compute"), ours, theirs):
                        if our + 0.02 < their:
                            under.append("%s under: %s %s %s local %d device %d of %s %s: %.2f, GPU %.2f (%.2f)" % (
                                how, name, what, row["how"], row["local"], number, counts, row["settings"], our, their, our / their))
                    if sum(theirs) > 16:
                        over[how].append(sum(ours) / sum(theirs))
                if host.compute_bytes / MIB + 0.02 < head:
                    under.append("%s under: %s head %s local %d %s: %.2f, GPU %.2f" % (
                        how, name, row["how"], row["local"], row["settings"], host.compute_bytes / MIB, head))
    print("\n".join(under))
    for how, ratios in over.items():
        ratios.sort()
        if ratios:
            print("%s over real: least %.3f, middle %.3f, most %.3f" % (how, ratios[0], ratios[len(ratios) // 2], ratios[-1]))
    print("%d device rows, %d figures under, %d of %d cases without an answer" % (count, len(under), sum("error" in row for row in rows), len(rows)))


# -- all of it --------------------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Setup], None]] = {"build": build, "memory": memory, "held": held, "logs": logs, "sandbox": sandbox, "tls": tls}


def run(given: argparse.Namespace) -> None:
    began = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    stack, keeper = ExitStack(), None
    for step in given.steps.split(","):
        if step != "build" and given.backend == "cuda" and (given.bin / "ggml-rpc-server").exists() and not keeper:
            # with nobody on it the driver would start the GPU anew each time
            keeper = stack.enter_context(running([given.bin / "ggml-rpc-server", "-p", 20399, "-d", "CUDA0"], WORK / "keeper.txt", lambda _p: True))
        left, done = given.seconds - (time.monotonic() - began), WORK / ("done-" + step)
        if done.exists() and not given.again:
            print("%s was gone through before" % step)
            continue
        if left < 15:
            print("no time is left for %s" % step)
            continue
        start = time.monotonic()
        words = [sys.executable, __file__, "step", step, str(given.folder), "--out", str(given.out), "--backend", given.backend, "--bin", str(given.bin)]
        process = subprocess.Popen(words, start_new_session=True)
        try:
            process.wait(min(left, LIMITS_S[step]))
        except subprocess.TimeoutExpired:
            print("%s was stopped" % step)
        try:
            # whatever it started
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        if step != "build" or process.returncode == 0:
            done.touch()
        print("== %s: code %s, %.0f s" % (step, process.returncode, time.monotonic() - start), flush=True)
        if (given.out / "logs").exists():
            subprocess.run(["tar", "--create", f"--file={given.out}/logs.tar.xz", "--use-compress-program=xz -T0 -6", f"--directory={given.out}", "logs"],
                           check=False)
    stack.close()
    if not given.keep:
        shutil.rmtree(given.out / "logs", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("source", type=Path)
    packing.add_argument("folder", type=Path)
    packing.add_argument("build", type=Path, nargs="?")
    for name in ("run", "step"):
        going = commands.add_parser(name)
        if name == "step":
            going.add_argument("step", choices=STEPS)
        going.add_argument("folder", type=Path)
        going.add_argument("--out", type=Path, required=True)
        going.add_argument("--backend", choices=("cuda", "cpu"), default="cuda")
        going.add_argument("--bin", type=Path, default=WORK / "bin")
        going.add_argument("--steps", default=",".join(STEPS))
        going.add_argument("--seconds", type=float, default=560)
        going.add_argument("--keep", action="store_true")
        going.add_argument("--again", action="store_true", help="also steps that were gone through on this machine")
    comparing = commands.add_parser("compare")
    comparing.add_argument("bin", type=Path)
    comparing.add_argument("results", type=Path)
    given = parser.parse_args()
    if given.command == "pack":
        pack(given.source, given.folder, given.build)
    elif given.command == "run":
        run(given)
    elif given.command == "compare":
        compare(given.bin, given.results)
    else:
        try:
            STEPS[given.step](Setup(given.backend, given.bin, given.folder, given.out))
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc()
            sys.exit(1)


if __name__ == "__main__":
    main()
