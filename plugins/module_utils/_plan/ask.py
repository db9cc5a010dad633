# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask llama.cpp itself how much memory a model takes on each device.

The one that is asked is the llama-server that will serve, with the arguments it will serve with, but for those of _NOT_ASKED: who may talk to it,
what it would start besides (MCP servers, tools, an agent), and what it would write. With ``--fit on`` it first loads the
model without reading its weights, reserves its compute graphs and logs every buffer (common/fit.cpp, common_get_device_memory_data_impl); then
it is ended. Unlike llama-fit-params it counts with its own number of outputs and its own unified cache. What it says of a loaded model
when it serves is the same to the hundredth, because libllama-measure.so lets it reserve as if it loaded the model.

It sees a sparse copy of the model's header, and for each device a stand-in: a device of an rpc-server of the same build on the CPU. All
of it runs in a network namespace of its own, where nobody else reaches it, as a user that nothing else runs as, and ends with the caller.
Where the workers themselves are idle it can be asked over them instead (``Workers``): no weight is read or sent then either.
Source of all log lines: llama.cpp b11434.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.unprivileged import NoUserError, libc, own_user_id, unprivileged
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model, shard_names

_ADDRESS, _PORT = "127.0.0.1", 50052
# Built with the head's component: roles/llama_cpp/files/measure.c says what for.
_MEASURE = "libllama-measure.so"
_WAIT_SECONDS = 60.0
# For all questions of a plan together, the stand-ins' start included.
TIMEOUT_SECONDS = 300.0
# Now and then a line of the log is lost, and once in some hundred times one measurement failed that the next did not.
_ATTEMPTS = 3

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

# Arguments that a question has of its own, and what says who may talk to the server; the value is how many words follow.
_NOT_ASKED: Mapping[str, int] = {
    "-m": 1, "--model": 1, "--host": 1, "--port": 1, "--rpc": 1, "-dev": 1, "--device": 1, "-ts": 1, "--tensor-split": 1, "-fit": 1, "--fit": 1,
    "-lv": 1, "--verbosity": 1, "--log-verbosity": 1, "-v": 0, "--verbose": 0, "--log-verbose": 0, "--log-file": 1, "--log-disable": 0, "--log-jsonl": 0,
    "--api-key": 1, "--api-key-file": 1, "--ssl-key-file": 1, "--ssl-cert-file": 1, "--slot-save-path": 1, "--path": 1, "--alias": 1, "-a": 1,
    "--lora": 1, "--lora-scaled": 1, "--chat-template-file": 1, "--warmup": 0, "--no-warmup": 0, "--mmproj": 1, "-mm": 1, "--mmproj-device": 1,
    "--no-mmproj-offload": 0, "--mmproj-offload": 0, "--device-draft": 1, "-devd": 1, "--hf-token": 1, "-hft": 1,
    # files that its own user may read, and perhaps no other
    "--media-path": 1, "--grammar-file": 1, "--json-schema-file": 1, "-jf": 1, "--ui-config-file": 1, "--webui-config-file": 1,
    # what it starts, or ends without, before it loads a model (tools/server/server.cpp), and what it writes
    "--mcp-servers-config": 1, "--mcp-servers-json": 1, "--tools": 1, "--tools-runtime": 1, "-ag": 0, "--agent": 0, "--log-prompts-dir": 1,
}
# Variables whose values, or the files they name, are for llama-server's own user alone: LLAMA_API_KEY, HF_TOKEN, LLAMA_ARG_SSL_KEY_FILE.
_SECRET = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)(?:_FILE)?$")
_STARTING = re.compile(r"LLAMA_ARG_(?:MCP_SERVERS_|TOOLS|AGENT)")
# A draft model decides how many outputs the model has; where it lies itself is asked about no device.
_DRAFT = ("-md", "--model-draft", "--spec-draft-model")

# What begins a line that is llama.cpp's word: time, level, now and then a module with its part, the function. What a model's file says of itself
# (general.name, for one, is printed as it is) comes after words of llama.cpp's own and so makes no line of these. Nothing but ASCII, which a copy
# of the header is freed of after a line break (_BREAK): no line of these is begun in the file either.
_OWN = "^[0-9.]+ [EWID] +(?:[a-z]+ +[a-z_]+: )?"
_FROM = _OWN + "[A-Za-z0-9_]+: +"
# common/fit.cpp, common_memory_breakdown_print
_TABLE = re.compile(_FROM + r"\| memory breakdown \[MiB\]")
_ROW = re.compile(_OWN + r"[a-z_]*memory_breakdown_print: \| +- (?P<name>[!-~]+)(?: \((?P<what>.*)\))? *\|.*?(?P<self>[0-9]+) = *(?P<model>[0-9]+) \+"
                  r" *(?P<context>[0-9]+) \+ *(?P<compute>[0-9]+)(?! *\+ *\()")
# src/llama-context.cpp, sched_reserve and the constructor
_COMPUTE = re.compile(_FROM + r"([!-~]+) compute buffer size = +([0-9.]+) MiB")
_OUTPUT = re.compile(_FROM + r"([!-~]+) +output buffer size = +([0-9.]+) MiB")
# common/fit.cpp, common_fit_params
_MEASURED = re.compile(_FROM + r"fitting params to free memory took")
_FAILED = re.compile(_FROM + r"encountered an error while trying to fit params to free device memory: (.*)")
# common/arg.cpp, common_params_parse. It is written at once, and may come after the beginning of a line that the log's own thread writes.
_NO_FIT = re.compile(r"^error: invalid argument: --fit\b")
_REFUSED = re.compile(r"^(?:[0-9.]+ [EWID] +)?error(?:: | while handling argument )(.*(?:argument|\").*)")
# roles/llama_cpp/files/measure.c
_NO_MEASURE = re.compile(r"^E measure: the (?:libraries|compute buffers) ")
# common/common.cpp, common_params_print_info
_BUILD = re.compile(_OWN + r"(?:[A-Za-z0-9_]+: +)?build[: ]+([0-9]+) \([!-~]+\) with ")
# ggml/src/ggml-cuda/ggml-cuda.cu, ggml_cuda_init: what is asked is shown no GPU (see _environment)
_NO_GPU = re.compile(r"ggml_cuda_init: failed to initialize ")
_LEVEL = re.compile(r"^[0-9.]+ ([EWID]) (?:\S+ +)?\S+: (?:\S+: )?(.*)$")
# A line break after which as much text follows as the shortest of these lines has at the least, so that no word of a vocabulary is touched.
_BREAK = re.compile(rb"\n(?=[ -~]{24})")


class AskError(Exception):
    """llama.cpp gave no answer; the message says why."""


class CannotBeAsked(AskError):
    """This llama.cpp, or this machine, has no way to give an answer; it may serve the model all the same."""


class OutOfTime(CannotBeAsked):
    """The time for all questions together is over."""


@dataclass(frozen=True)
class Figures:
    """What llama.cpp says of a device, in MiB: weights and caches as whole numbers, rounded down, compute in hundredths."""

    weights_mib: int
    kv_mib: int
    compute_mib: float


@dataclass(frozen=True)
class Answer:
    """Devices in the order asked, and the head's CPU; ``beside`` is what a draft or MTP context takes besides, in the same order."""

    devices: Tuple[Figures, ...]
    host: Figures
    output_mib: float = 0.0
    beside: Tuple[Figures, ...] = ()
    beside_host: Optional[Figures] = None
    build: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Workers:
    """Workers to ask over: their endpoints, what llama-server calls the devices, and the user that may reach them.

    A worker serves one client at a time, so that whoever is asked over it must be its only one.
    """

    endpoints: str
    devices: Tuple[str, ...]
    user_id: int
    group_id: int


@dataclass
class _Measured:
    """One measurement of the log: its table, and the buffers named before it."""

    compute: Dict[str, float] = field(default_factory=dict)
    output_mib: float = 0.0
    rows: List[Tuple[str, Figures]] = field(default_factory=list)
    of_devices: List[str] = field(default_factory=list)

    def buffer_of(self, name: str, where: str) -> str:
        """The name that a device has where buffers are named: that of its worker, which counts its devices by itself."""
        if where:
            name = "RPC%d[%s]" % (sum(other.endswith("[%s]" % where) for other in self.of_devices), where)
        self.of_devices.append(name)
        return name


def parse(lines: Iterable[str], n_devices: int) -> Answer:
    """What a log says; raises AskError where it does not say it all."""
    build = ""
    done: List[Tuple[List[Tuple[str, Figures]], Figures, float]] = []
    now = _Measured()
    in_table = False
    for line in lines:
        if not build:
            found = _BUILD.search(line)
            build = "b" + found.group(1) if found else ""
        if _TABLE.search(line):
            if in_table:
                break
            now.rows, now.of_devices = [], []
            in_table = True
            continue
        found = _COMPUTE.search(line)
        if found:
            now.compute[found.group(1)] = float(found.group(2))
            continue
        found = _OUTPUT.search(line)
        if found:
            now.output_mib = float(found.group(2))
            continue
        found = _ROW.search(line)
        if not found:
            continue
        name, whole = found.group("name"), int(found.group("compute"))
        if name == "Host":
            exact = round(sum(size for where, size in now.compute.items() if where not in now.of_devices), 2)
        else:
            exact = now.compute.get(now.buffer_of(name, (found.group("what") or "") if name.startswith("RPC") else ""), 0.0)
        figures = Figures(int(found.group("model")), int(found.group("context")), exact if int(exact) == whole else whole + 1.0)
        if name != "Host":
            now.rows.append((name, figures))
            continue
        # a draft model lies on none of the devices; with a row lost, the next table would pass for this one
        if len(now.rows) != (n_devices if now.rows or not done else 0):
            raise AskError("llama-server's log has a table of memory for %d devices, not %d" % (len(now.rows), n_devices))
        done.append((now.rows, figures, now.output_mib))
        now = _Measured()
        in_table = False
    if in_table or not done:
        raise AskError("llama-server's log has no whole table of memory for %d devices" % n_devices)
    rows, host, output = done[0]
    devices = tuple(figures for _name, figures in rows)
    if len(done) > 1:
        there = dict(done[1][0])
        return Answer(devices, host, output, tuple(there.get(name, Figures(0, 0, 0.0)) for name, _figures in rows), done[1][1], build)
    return Answer(devices, host, output, build=build)


def asked_arguments(arguments: Sequence[str]) -> List[str]:
    """Of the arguments of the service those that a question shares with it."""
    out: List[str] = []
    words = iter([str(word) for word in arguments])
    for word in words:
        name, has_value, _value = word.partition("=")
        # common/arg.cpp takes _ for - in long ones
        more = _NOT_ASKED.get(name.replace("_", "-") if name.startswith("--") else name)
        if more is None:
            out.append(word)
        elif not has_value:
            for _number in range(more):
                next(words, None)
    return out


def sparse_copy(path: str, directory: Path) -> Path:
    """A file with the header of the model at ``path`` and holes for its weights; of a split model all parts.

    Texts of the header go on one line, so that none of them passes for a line of llama.cpp's own when it is logged.
    """
    files = read_gguf_model(path).files
    parts = shard_names(path) if len(files) > 1 else [path]
    for part, header in zip(parts, files):
        with open(part, "rb") as source, open(str(directory / os.path.basename(part)), "wb") as copy:
            copy.write(_BREAK.sub(b" ", source.read(header.header_size_bytes)))
            copy.truncate(header.file_size_bytes)
    return directory / os.path.basename(parts[0])


# -- shut in ----------------------------------------------------------------------------------------------------------

def _own_network() -> None:
    """Leave the machine's network for one of this process and its children alone, with nothing but a loopback interface."""
    flags = _CLONE_NEWNET | (0 if os.geteuid() == 0 else _CLONE_NEWUSER)
    if libc().unshare(flags):
        raise CannotBeAsked("the kernel gives no network namespace (%s), and stand-ins for the workers are started in nothing less" % (
            os.strerror(ctypes.get_errno())))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        current = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", current | _IFF_UP))


class Asker:
    """Answers questions about one model and up to ``n_devices`` devices; a context manager, because its stand-ins keep running in between.

    Must run in a process of its own (see ``ask_in_private``): it changes the network of the process.
    """

    def __init__(self, bin_dir: str, model: str, n_devices: int, arguments: Sequence[str], environment: Optional[Mapping[str, str]] = None,
                 port: int = _PORT, timeout_s: float = TIMEOUT_SECONDS, workers: Optional[Workers] = None) -> None:
        self.bin_dir = Path(bin_dir)
        self.model = model
        self.n_devices = n_devices
        self.arguments = asked_arguments(arguments)
        self.environment = {name: str(value) for name, value in (environment or {}).items() if not _SECRET.search(name) and not _STARTING.match(name)}
        self.workers = workers
        self.rpc = workers.endpoints if workers else "%s:%d" % (_ADDRESS, port) if n_devices else ""
        try:
            self.user_id = own_user_id() if workers is None else workers.user_id
        except NoUserError as error:
            raise CannotBeAsked(str(error)) from error
        self.group_id = self.user_id if workers is None else workers.group_id
        self.port = port
        self.timeout_s = timeout_s
        self.until = 0.0
        self.questions = 0
        self.directory: Optional[Path] = None
        self.worker: Optional[subprocess.Popen[bytes]] = None
        self.copy = Path()
        # without it a device that is not the first is said to need more than it will: an input of the graph, four times
        # (nor can LD_PRELOAD name a file whose path has what separates its files)
        self.exact = os.path.exists(str(self.bin_dir / _MEASURE)) and not re.search(r"[\s:]", str(self.bin_dir))

    def __enter__(self) -> "Asker":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: Any) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
        if self.directory is not None:
            shutil.rmtree(str(self.directory), ignore_errors=True)

    def _wait_until(self) -> float:
        """Until when a program may take, by the monotonic clock; raises OutOfTime."""
        now = time.monotonic()
        if now >= self.until:
            raise OutOfTime("there were %g s to ask llama-server, and they were not enough after %d answers" % (self.timeout_s, self.questions))
        return min(self.until, now + _WAIT_SECONDS)

    def _start(self) -> None:
        self.until = time.monotonic() + self.timeout_s
        try:
            # root's own TMPDIR may be where nobody else may go (libpam-tmpdir)
            self.directory = Path(tempfile.mkdtemp(prefix="herd-ask-", dir=None if self.user_id is None else "/tmp"))
            self.copy = sparse_copy(self.model, self.directory)
            for number, word in enumerate(self.arguments[:-1]):
                if word in _DRAFT:
                    place = self.directory / "draft"
                    place.mkdir()
                    self.arguments[number + 1:number + 2] = [str(sparse_copy(self.arguments[number + 1], place)), "--device-draft", "none"]
                    break
            if self.user_id is not None:
                # the directory last: from then on whoever has this ID may put there what he likes
                for path in sorted(self.directory.rglob("*"), reverse=True) + [self.directory]:
                    os.chown(str(path), self.user_id, self.group_id or self.user_id, follow_symlinks=False)
        except GgufError as error:
            raise AskError("the model's header cannot be read: %s" % error) from error
        except OSError as error:
            raise CannotBeAsked("no copy of the model's header can be made: %s" % error) from error
        if self.workers is not None and not self.exact:
            raise CannotBeAsked("the build has no %s" % _MEASURE)
        if self.n_devices and self.workers is None:
            self._start_stand_ins()

    def _binary(self, *names: str) -> str:
        for name in names:
            if os.access(str(self.bin_dir / name), os.X_OK):
                return str(self.bin_dir / name)
        raise CannotBeAsked("the build in %s has no %s" % (self.bin_dir, " and no ".join(names)))

    def _environment(self) -> Dict[str, str]:
        found = dict(self.environment, PATH="/usr/bin:/bin", LC_ALL="C.UTF-8", HOME=str(self.directory), LLAMA_CACHE=str(self.directory),
                     GGML_NO_BACKTRACE="1")
        if self.workers is None:
            # devices of the machine's own are in use, perhaps: nothing but stand-ins is asked
            found.update(CUDA_VISIBLE_DEVICES="", GGML_VK_VISIBLE_DEVICES="")
        return found

    def _run(self, command: Sequence[str], log: Any, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        try:
            # SIGPIPE stays ignored: a stand-in outlives the llama-server that is ended while it answers
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=str(self.directory),
                                    env=environment, preexec_fn=unprivileged(self.user_id, self.group_id), restore_signals=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotBeAsked("%s cannot run %s (%s)" % (
                "a user without privileges" if self.user_id else "the user of the module", command[0], getattr(error, "strerror", None) or error)) from error

    def _start_stand_ins(self) -> None:
        command = [self._binary("ggml-rpc-server", "rpc-server"), "-H", _ADDRESS, "-p", str(self.port), "-t", "1", "-d",
                   ",".join(["CPU"] * self.n_devices)]
        with tempfile.TemporaryFile() as log:
            until = self._wait_until()
            self.worker = self._run(command, log, self._environment())
            while not _listens(self.port):
                if self.worker.poll() is not None:
                    log.seek(0)
                    said = log.read().decode("utf-8", "replace").strip().splitlines()
                    raise AskError("a stand-in for the workers ended with %d: %s" % (
                        self.worker.returncode, printable(said[-1] if said else "no reason given")))
                if time.monotonic() > until:
                    self._wait_until()
                    raise AskError("a stand-in for the workers did not listen within %d s" % _WAIT_SECONDS)
                time.sleep(0.01)

    def command(self, counts: Sequence[int], fit: bool = True) -> List[str]:
        """The question as a command line; ``counts`` are the slots of each device, in order."""
        out = [self._binary("llama-server"), "--model", str(self.copy), "--host", os.path.join(str(self.directory), "api.sock")]
        if self.rpc:
            out += ["--rpc", self.rpc]
        devices = self.workers.devices if self.workers else ["RPC%d" % number for number in range(len(counts))]
        out += self.arguments + ["--device", ",".join(devices) or "none"]
        if len(counts) > 1:
            out += ["--tensor-split", ",".join(str(count) for count in counts)]
        return out + ["--fit", "on" if fit else "off", "--no-warmup", "-lv", "5"]

    def ask(self, counts: Sequence[int], context_size: int = 0) -> Answer:
        """What each device holds when it is given ``counts`` slots, with another context than that of the arguments where one is given."""
        if len(counts) > self.n_devices:
            raise AskError("%d devices were asked about, and there are stand-ins for %d" % (len(counts), self.n_devices))
        began = time.monotonic()
        for attempt in range(_ATTEMPTS):
            lines = self._log(self.command(counts) + (["--ctx-size", str(context_size)] if context_size else []))
            try:
                answer = parse(lines, len(counts))
            except AskError as error:
                if any(_NO_FIT.search(line) for line in lines):
                    raise CannotBeAsked("this llama-server knows no --fit, by which it is asked") from error
                if self.workers is None and self.exact and any(_NO_MEASURE.search(line) for line in lines):
                    # its allocations may be more than this machine has to promise: llama-server's own measurement makes none
                    self.exact = False
                    return self.ask(counts, context_size)
                if attempt + 1 < _ATTEMPTS:
                    continue
                if any(_FAILED.search(line) for line in lines) or not any(_MEASURED.search(line) for line in lines):
                    raise AskError(self._why(lines, str(error))) from error
                # it measured, and says so otherwise than the versions that are known
                raise CannotBeAsked(str(error)) from error
            self.questions += 1
            return replace(answer, seconds=round(time.monotonic() - began, 3))
        raise AskError("llama-server was asked %d times in vain" % _ATTEMPTS)

    def _log(self, command: Sequence[str]) -> List[str]:
        """The lines it logs until it has measured, or ends."""
        environment = self._environment()
        if self.exact:
            environment["LD_PRELOAD"] = str(self.bin_dir / _MEASURE)
        until = self._wait_until()
        process = self._run(command, subprocess.PIPE, environment)
        stream: Any = process.stdout
        lines: List[str] = []
        rest = b""
        try:
            while True:
                if not select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
                    self._wait_until()
                    raise CannotBeAsked("llama-server did not say within %d s what the model takes" % _WAIT_SECONDS)
                data = os.read(stream.fileno(), 1 << 16)
                parts = (rest + data).split(b"\n")
                rest = parts.pop()
                for part in parts:
                    line = part.decode("utf-8", "replace")
                    lines.append(line)
                    if _MEASURED.search(line):
                        return lines
                if not data:
                    return lines
        finally:
            process.kill()
            stream.close()
            process.wait()
            api = self.directory / "api.sock" if self.directory else None
            if api is not None and api.exists():
                api.unlink()

    @staticmethod
    def _why(lines: Sequence[str], otherwise: str) -> str:
        """The first error of a log as a sentence, but for that of a GPU that is hidden on purpose."""
        for line in lines:
            found = _REFUSED.match(line)
            if found:
                return "llama-server does not take its arguments: %s" % printable(found.group(1).strip())
            found = _LEVEL.match(line)
            if found and found.group(1) == "E" and not _FAILED.search(line) and not _NO_GPU.search(line):
                return "llama-server cannot load this model: %s" % printable(found.group(2).strip())
        failed = [line for line in lines if line.strip()]
        return "%s; its last line is: %s" % (otherwise, printable(failed[-1].strip(), 300)) if failed else otherwise


def _listens(port: int) -> bool:
    """Looked up instead of tried: a worker serves one client at a time."""
    wanted = "%08X:%04X" % (struct.unpack("<I", socket.inet_aton(_ADDRESS))[0], port)
    with open("/proc/net/tcp", encoding="ascii") as stream:
        return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in list(stream)[1:])


def _end(_number: int, _frame: Any) -> None:
    raise SystemExit(1)


def ask_in_private(work: Callable[[], Any], own_network: bool = True) -> Any:
    """Run ``work`` in a child process with a network of its own; what it returns must be JSON. Raises AskError with its sentence.

    Without ``own_network`` it has the machine's, where the workers are.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            # where the module is ended, this one still removes what it made
            signal.signal(signal.SIGTERM, _end)
            libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            try:
                if own_network:
                    _own_network()
                said: Dict[str, Any] = {"result": work()}
            except AskError as error:
                said = {"error": str(error), "cannot": isinstance(error, CannotBeAsked)}
            except Exception as error:  # pylint: disable=broad-except
                said = {"error": "asking llama.cpp failed: %s: %s" % (type(error).__name__, error)}
            with os.fdopen(writer, "wb") as stream:
                stream.write(json.dumps(said).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as stream:
            data = stream.read()
    finally:
        os.waitpid(child, 0)
    if not data:
        raise AskError("asking llama.cpp ended without an answer")
    said = json.loads(data.decode())
    if "error" in said:
        raise (CannotBeAsked if said.get("cannot") else AskError)(said["error"])
    return said["result"]
