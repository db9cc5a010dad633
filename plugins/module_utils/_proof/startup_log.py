# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server (the head) and rpc-server (a worker) say of themselves while they start.

Formats, by llama.cpp's own sources: the first llama.cpp with RPC (``rpc-server``, ``llm_load_tensors:``, ``llama_kv_cache_init:``),
build 9095 (``server is listening on``), 0.5.0 and build 11434 (``ggml-rpc-server``, ``listening on``):

- worker: ``tools/rpc/rpc-server.cpp`` (arguments, devices) and ``ggml_backend_rpc_start_server`` in ``ggml/src/ggml-rpc/ggml-rpc.cpp``
  (banner, socket); ``ggml_cuda_init`` in ``ggml/src/ggml-cuda/ggml-cuda.cu``;
- devices chosen: ``llama_prepare_model_devices`` in ``src/llama.cpp``; layers and weights: ``load_tensors`` in ``src/llama-model.cpp``;
- KV cache: ``src/llama-kv-cache.cpp``, recurrent state: ``src/llama-memory-recurrent.cpp``, compute buffers: ``src/llama-context.cpp``;
- arguments: ``common/arg.cpp``; socket: ``tools/server/server-http.cpp``; the rest: ``tools/server/server.cpp``, ``common/fit.cpp``.

**Which verbosity.** At the default (3) a head of 0.5.0 or b11434 prints none of the memory lines, at ``-lv 4`` all of them. Only
``layer N assigned to device`` needs ``-lv 5``, which also prints every request's text, so it is nothing to run a service with. At
``-lv 4`` the layers of a device follow from its share of the KV cache (``layers_source`` says ``kv``), except where the layers
differ in size: then they are None and not a guess.

**What may be missing.** ``common/log.cpp`` hands every line to a thread through a ring of 512. A process that aborts does not
wait for that thread, so the last lines are lost or come after the abort message, which goes straight to stderr: a head that met
an rpc-server of another version gave ``RPC server version mismatch`` before the abort message, after it, and not at all, in three runs
(see tests/fixtures/logs). ``--log-file`` gets the same lines from the same thread. Nothing makes it lossless, so every failure here
is also known by its abort message, and a missing line never counts as a fact.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.header import FIRST_TYPE_OF_FORKS

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# journalctl's default output puts this before the line
_SYSLOG = re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s\[\]]+\[\d+\]: ")
# common/log.cpp: minutes.seconds.milliseconds.microseconds and the level
_STAMP = re.compile(r"^(\d{1,9})\.(\d\d)\.(\d\d\d)\.(\d\d\d) (?:([IWED]) )?")

_MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Failure:
    """Why it did not start: the line that tells, what it means and what to do."""

    kind: str
    line: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Warn:
    """Something that did not stop the start but that an operator would want to know."""

    kind: str
    line: str


@dataclass
class WorkerDevice:
    """A device that a worker serves."""

    name: str
    description: str = ""
    total_mib: t.Optional[int] = None
    free_mib: t.Optional[int] = None


@dataclass
class WorkerLog:
    """The last start of a worker."""

    started: bool = False
    protocol_version: t.Optional[str] = None
    endpoint: t.Optional[str] = None
    cache_dir: t.Optional[str] = None
    transport: t.Optional[str] = None
    devices: t.List[WorkerDevice] = field(default_factory=list)
    available_devices: t.List[WorkerDevice] = field(default_factory=list)
    clients_accepted: int = 0
    clients_closed: int = 0
    warnings: t.List[Warn] = field(default_factory=list)
    failure: t.Optional[Failure] = None

    def to_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


@dataclass
class HeadDevice:
    """A device that the head uses, with what it put there. ``host`` is the head's own memory."""

    name: str
    kind: str
    endpoint: t.Optional[str] = None
    description: str = ""
    total_mib: t.Optional[int] = None
    free_mib: t.Optional[int] = None
    host: bool = False
    layers: t.Optional[int] = None
    holds_output: t.Optional[bool] = None
    weights_mib: t.Optional[float] = None
    kv_mib: t.Optional[float] = None
    recurrent_mib: t.Optional[float] = None
    compute_mib: t.Optional[float] = None
    output_mib: t.Optional[float] = None
    # of adapters, of what drafts, and of a projector, all of it together
    beside_mib: t.Optional[float] = None
    buffers: t.List[str] = field(default_factory=list)


@dataclass
class HeadLog:
    """The last start of the head."""

    devices: t.List[HeadDevice] = field(default_factory=list)
    listening_url: t.Optional[str] = None
    model_loaded: bool = False
    stopped: bool = False
    build_number: t.Optional[int] = None
    build_commit: t.Optional[str] = None
    verbosity: t.Optional[int] = None
    model_path: t.Optional[str] = None
    architecture: t.Optional[str] = None
    n_layer: t.Optional[int] = None
    n_ctx: t.Optional[int] = None
    n_ctx_train: t.Optional[int] = None
    n_ctx_slot: t.Optional[int] = None
    n_slots: t.Optional[int] = None
    kv_unified: t.Optional[bool] = None
    offloaded_layers: t.Optional[int] = None
    offloadable_layers: t.Optional[int] = None
    layers_source: t.Optional[str] = None
    fit_context_before: t.Optional[int] = None
    fit_context_after: t.Optional[int] = None
    api_key_set: t.Optional[bool] = None
    warnings: t.List[Warn] = field(default_factory=list)
    failure: t.Optional[Failure] = None

    def to_dict(self) -> t.Dict[str, t.Any]:
        return asdict(self)


# ---------------------------------------------------------------------------------------------------------------------
# lines


@dataclass(frozen=True)
class _Line:
    shown: str  # as a person should see it quoted
    text: str  # without time and level
    time_us: t.Optional[int]
    level: str


def _read_line(raw: str) -> _Line:
    shown = _COLOUR.sub("", raw).rstrip()
    text = _SYSLOG.sub("", shown, count=1)
    if text.startswith('{"type":"log"'):
        # --log-jsonl: one object a line, the message with its newline in it
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("msg"), str):
            time = record.get("time")
            level = str(record.get("level", ""))[:1].upper()
            message = record["msg"].rstrip()
            return _Line(message, message, time if isinstance(time, int) else None, level)
    match = _STAMP.match(text)
    if not match:
        return _Line(shown, text, None, "")
    minutes, seconds, millis, micros, level = match.groups()
    time_us = ((int(minutes) * 60 + int(seconds)) * 1000 + int(millis)) * 1000 + int(micros)
    return _Line(shown, text[match.end() :], time_us, level or "")


def _lines(text: str) -> t.List[_Line]:
    return [_read_line(raw) for raw in text.split("\n")]


# A start that says so itself. Builds without one are cut where their clock jumps back.
_HEAD_BEGINS = re.compile(
    r"srv\s+llama_server: initializing \.\.\.|^build: \d+ \(|^main: build = \d+|^build_info: "
)
# 0.5.0 reads its arguments, and meets its workers, before it says anything; what it says of them has no time. After a head that
# listened or left, such a line is of the next one.
_HEAD_BEGINS_BADLY = re.compile(
    r"^error: invalid argument: |^error while handling (?:argument|environment variable) "
    r"|ggml-rpc\.cpp:\d+: (?:Failed to connect to|Failed to parse endpoint|RPC handshake failed)"
)


def _last_head_start(lines: t.List[_Line]) -> t.List[_Line]:
    begin = 0
    clock: t.Optional[int] = None
    # Of the start that begins at `begin`: whether it got beyond preliminaries (a few lines, of a deprecated argument or a GPU, come before
    # its first own one), and whether it is over.
    far = over = False
    for index, line in enumerate(lines):
        begins = bool(_HEAD_BEGINS.search(line.text))
        anew = (begins and far) or (over and not begins and bool(_HEAD_BEGINS_BADLY.search(line.text)))
        if line.time_us is not None:
            anew = anew or (clock is not None and line.time_us < clock)
            clock = line.time_us
        if anew:
            begin, far, over = index, False, False
        far = far or begins or bool(_HEAD_FAR.search(line.text) or _ABORT.search(line.text))
        over = over or bool(_HEAD_OVER.search(line.text))
    return lines[begin:]


_HEAD_OVER = re.compile(r"listening on|cleaning up before exit|exiting due to")
_HEAD_FAR = re.compile(r"listening on|load_tensors:|cleaning up before exit|exiting due to|common_param")

# What a worker prints before its banner, on stderr and so at once: a run of these lines after others is a new start.
_WORKER_PREAMBLE = re.compile(
    r"^$|^!!!!|^WARNING: Host|Never expose the RPC server|experimental feature and is not secure|^ggml_cuda_init|^\s+Device \d+: "
    r"|^create_backend|^load_backend|^Started |^Starting .*\.service|^ggml_\w+_init"
)
_WORKER_BANNER = re.compile(r"^Starting RPC server")


def _last_worker_start(lines: t.List[_Line]) -> t.List[_Line]:
    begin = 0
    banner = False  # of the start that begins at `begin`
    preamble_from: t.Optional[int] = None
    for index, line in enumerate(lines):
        if _WORKER_PREAMBLE.search(line.text):
            if preamble_from is None:
                preamble_from = index
            continue
        if preamble_from is not None and any(item.text for item in lines[preamble_from:index]):
            before = [item.text for item in lines[begin:preamble_from] if item.text]
            if before:
                begin = preamble_from
                banner = False
        preamble_from = None
        if _WORKER_BANNER.search(line.text):
            if banner:
                begin = index
            banner = True
    if preamble_from is not None and banner and any(item.text for item in lines[preamble_from:]):
        begin = preamble_from
    return lines[begin:]


# ---------------------------------------------------------------------------------------------------------------------
# failures

_Explain = t.Callable[["t.Match[str]", "_Story"], t.Tuple[str, str]]


@dataclass
class _Story:
    """The lines of one start, for a rule that needs more than its own."""

    lines: t.List[_Line]
    index: int
    role: str
    label: t.Callable[[str], str]

    def later(self, pattern: str, within: int = 12) -> t.Optional["t.Match[str]"]:
        for line in self.lines[self.index + 1 : self.index + 1 + within]:
            match = re.search(pattern, line.text)
            if match:
                return match
        return None

    def anywhere(self, pattern: str) -> t.Optional["t.Match[str]"]:
        for line in self.lines:
            match = re.search(pattern, line.text)
            if match:
                return match
        return None

    @property
    def program(self) -> str:
        return "llama-server" if self.role == "head" else "rpc-server"


@dataclass(frozen=True)
class _Rule:
    kind: str
    pattern: "t.Pattern[str]"
    explain: _Explain
    # A head that listens has got over what its log complained of before; these stay true all the same.
    outlives_start: bool = False
    # Also a failure when it happens to a head that already listens.
    when_running: bool = False
    # The line to quote where the log has it; lines of one failure come in no sure order.
    telling: t.Optional["t.Pattern[str]"] = None
    # Where a line of the start says this, another rule knows the cause.
    unless: t.Optional["t.Pattern[str]"] = None


def _rule(kind: str, pattern: str, problem: str, remedy: str, outlives_start: bool = False, when_running: bool = False) -> _Rule:
    """A rule whose sentences only need the pattern's groups, as {0}, {1} ... or by name, and {program}."""

    def explain(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
        groups = [group or "" for group in match.groups()]
        named = {name: value or "" for name, value in match.groupdict().items()}
        said = problem.format(*groups, program=story.program, **named)
        # what a line leaves out
        said = re.sub(r" on  port (?=:)|: $| $", "", said)
        return said, remedy.format(*groups, program=story.program, **named)

    return _Rule(kind, re.compile(pattern), explain, outlives_start, when_running)


def _mib(size_bytes: str) -> str:
    return "%.0f MiB" % (int(size_bytes) / _MIB)


def _no_room(device: str, size: str, story: _Story) -> t.Tuple[str, str]:
    place = story.label(device)
    if story.anywhere(r"failed to allocate buffer for kv cache|failed to allocate buffer for rs cache|KV cache allocation failed"):
        what = "the %s of KV cache that this context size needs" % size
        remedy = "Lower the context size, quantise the KV cache, give this device fewer layers or add a worker"
    elif story.anywhere(r"failed to allocate compute|failed to reserve"):
        what = "a compute buffer of %s" % size
        remedy = "Lower the context size or the micro-batch (-ub), give this device fewer layers or add a worker"
    elif story.anywhere(r"unable to allocate .{1,200} buffer|failed to load model"):
        what = "%s of weights" % size
        remedy = "Give this device fewer layers (--tensor-split), add a worker or take a smaller quantisation"
    else:
        what = size
        remedy = "Lower the context size, give this device fewer layers or add a worker"
    return "%s has no room for %s" % (place, what), remedy


def _explain_no_room(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    return _no_room(match.group(1) or "the machine's own memory", _mib(match.group(2)), story)


def _explain_cuda_no_room(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    return _no_room("CUDA" + match.group(2), "%.0f MiB" % float(match.group(1)), story)


def _explain_buffer_refused(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    return "%s has no room for its part of the weights" % story.label(match.group(1)), (
        "Give this device fewer layers (--tensor-split), add a worker or take a smaller quantisation"
    )


def _explain_version(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    version = story.anywhere(r"RPC server version mismatch: (\d+\.\d+\.\d+)")
    endpoint = story.anywhere(r"RPC handshake failed for (\S+)") or story.anywhere(r"Failed to connect to (\S+)")
    who = "the rpc-server at %s" % endpoint.group(1) if endpoint else "an rpc-server"
    speaks = "speaks RPC protocol %s, which this llama-server does not" % version.group(1) if version else (
        "speaks another version of the RPC protocol than this llama-server"
    )
    return "%s %s" % (who, speaks), "Install the same llama.cpp on all machines: the protocol changes between builds"


def _explain_crashed(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    # the last is all that a head says at the default verbosity once its workers hold the model
    if story.anywhere(r"load_tensors:|llm_load_|listening on|print_info:|llama threadpool init|load_model: (?:initializing|the slot context)"):
        return (
            "the connection to an rpc-server broke while it was in use",
            "Look at the workers' logs: one of them died, ran out of memory, lost its network or had no kernel for an operation of this model; start it,"
            " then llama-server",
        )
    return (
        "an rpc-server closed the connection or answered with what this llama-server does not understand",
        "Check that nothing but an rpc-server listens at every endpoint and that all machines have the same llama.cpp",
    )


def _explain_unknown_device(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    remedy = "Name a device that exists here"
    name = match.group(1) or match.group(2) or "CUDA" + match.group(3)
    if name.upper().startswith("CUDA"):
        remedy = "Check with nvidia-smi that the driver is loaded and the GPU visible, and that llama.cpp was built with CUDA"
    names = _AVAILABLE.findall("\n".join(line.text for line in story.lines))
    if names:
        remedy += "; it has %s" % ", ".join(names)
    return "this machine has no device %s" % name, remedy


_AVAILABLE = re.compile(r"^\s+(\w[\w.-]{0,40}): .{0,200} \(\d+ MiB, \d+ MiB free\)$", re.MULTILINE)


def _explain_argument(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    option, said = match.group(1), match.group(2).strip()
    return "%s does not take what was given to %s: %s" % (story.program, option, re.sub(r"^error: ", "", said)), (
        "Correct the value of %s" % option
    )


def _explain_abort(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    return "%s aborted: %s" % (story.program, match.group(2).strip() or match.group(0)), (
        "Look at the lines before this one; if they do not say why, report it to llama.cpp with the whole log"
    )


def _explain_unreachable(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    return "no rpc-server answers at %s" % match.group(1), (
        "Start the worker there first, and check that its firewall lets this machine in and that both have the same llama.cpp"
    )


def _explain_type(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    number = int(match.group(1))
    if number >= FIRST_TYPE_OF_FORKS:
        return "the model file has tensors of type %d, which no llama.cpp has: a fork's quantiser made it" % number, (
            "Get a file of the model that llama.cpp itself can read, or quantise one"
        )
    return "this llama.cpp does not know tensors of type %d" % number, (
        "Install a newer llama.cpp on all machines; if the newest does not know it either, the file is damaged or a fork's"
    )


# Operations of ggml/src/ggml-cuda by their files, where the file says more than its name.
_OPERATIONS = {"fattn": "flash attention", "ssm-scan": "the scan of a state space (Mamba)", "ssm-conv": "the convolution of a state space (Mamba)"}


def _explain_no_kernel(match: "t.Match[str]", story: _Story) -> t.Tuple[str, str]:
    """ggml_backend_rpc_device_supports_op (ggml/src/ggml-rpc/ggml-rpc.cpp) says yes to all, so that a worker aborts where a GPU of the
    head's own would have left the operation to the CPU."""
    name, said = match.group(1), match.group(2).strip().rstrip(".")
    operation = _OPERATIONS.get(name) or _OPERATIONS.get(name.partition("-")[0]) or name
    more = "" if said == "fatal error" else " (%s)" % said
    remedy = "Use another model, or devices that are CPUs: over RPC llama.cpp leaves nothing that a GPU cannot do to a CPU"
    if operation == "flash attention":
        remedy = "Turn flash attention off (--flash-attn off, which takes more memory and no quantised V cache), or use another model"
    return "the GPU backend has no kernel for %s with this model's sizes or cache types%s, and %s aborted" % (operation, more, story.program), remedy


_FEWER_LAYERS = "Lower the context size or give this machine fewer layers"

# What "what else prints this line?" left undecided is said in the sentence, or in the remedy how to tell.
_SAME_EVERYWHERE = (
    _Rule("no_kernel", re.compile(r"ggml-cuda/(fattn[\w-]{0,40})\.cuh?:\d{1,6}: (?!GGML_ASSERT)(.{1,200})"), _explain_no_kernel, when_running=True),
    _Rule("no_kernel", re.compile(r"ggml-cuda/([\w-]{1,40})\.cuh?:\d{1,6}: (doesn't support .{1,200}|.{0,60}[Uu]nsupported .{1,200})"), _explain_no_kernel,
          when_running=True),
    _rule("library_missing", r"error while loading shared libraries: (\S+?): (.*)", "{program} cannot load the shared library {0}: {1}",
          "Build with a run path that holds it (CMAKE_INSTALL_RPATH) or install it; ldd on the program lists what is missing", when_running=True),
    _rule("library_missing", r"version `([A-Z]+_[\d.]+)' not found \(required by ([^)]*)\)",
          "{program} was built on a newer system: {1} needs {0}, which this machine lacks",
          "Build on a machine as old as the oldest that must run it", when_running=True),
    _rule("program_missing", r"Failed to (?:locate executable|execute(?: command)?:?) ?(.*)|status=203/EXEC", "systemd cannot start the program {0}",
          "Check that the path in the unit exists, is executable, of this machine's architecture, and on no file system mounted noexec", when_running=True),
    _rule("wrong_processor", r"Illegal instruction|status=4/ILL|killed by signal 4\b",
          "{program} met an instruction that this machine's processor does not have",
          "Build on this machine or with GGML_NATIVE=OFF for the oldest processor", when_running=True),
    _rule("killed_out_of_memory", r"killed by the OOM killer|Failed with result 'oom-kill'|[Oo]ut of memory: Killed process",
          "{program} was killed because the machine, or what its unit may use (MemoryMax), ran out of memory",
          "Lower the context size, give this machine fewer layers or more memory", when_running=True),
    _rule("driver_too_old", r"CUDA driver version is insufficient for CUDA runtime version|provided PTX was compiled with an unsupported toolchain",
          "the NVIDIA driver is older than the CUDA toolkit that llama.cpp was built with, or not there",
          "See with nvidia-smi which it is; then update the driver or build with an older CUDA toolkit", when_running=True),
    _rule("driver_too_old", r"unsupported display driver / cuda driver combination|forward compatibility was attempted on non supported HW",
          "the NVIDIA driver that is loaded and its libraries are of two versions, or a compatibility library is in the way",
          "Reboot after a driver's update, and let no libcuda of a toolkit (compat) come before the driver's", when_running=True),
    _rule("fabric_manager", r"CUDA error: system not yet initialized", "the GPUs' NVLink fabric is not set up",
          "Start nvidia-fabricmanager of the driver's version", when_running=True),
    _rule("wrong_cuda_architecture", r"no kernel image is available for execution on the device", "llama.cpp was not built for this GPU's architecture",
          "Add it to CMAKE_CUDA_ARCHITECTURES and build again", when_running=True),
    _rule("wrong_cuda_architecture", r"device kernel image is invalid",
          "this GPU cannot load what llama.cpp was compiled to: the driver is older than the CUDA toolkit, or the toolkit is none for this GPU's architecture",
          "Compare nvidia-smi's CUDA version with the toolkit's, and the GPU's compute capability with CMAKE_CUDA_ARCHITECTURES; then build again",
          when_running=True),
    _rule("out_of_memory", r"CUDA error: out of memory", "a GPU of this machine has no memory left",
          "See with nvidia-smi who holds it; lower the context size or give this GPU fewer layers", when_running=True),
    _rule("cuda_error", r"CUDA error: (.{1,300})", "CUDA failed: {0}",
          "See whether the kernel's log (dmesg) has an Xid error at that time, which is the GPU's or the driver's; without one it is llama.cpp's own",
          when_running=True),
    _rule("rpc_not_built", r"^error: (?:invalid|unknown) argument: --rpc$|RPC not supported in this build|[Ff]ailed to find RPC (?:backend|add server function)"
          r"|Failed to obtain RPC backend start server function", "this {program} has no RPC backend",
          "Build it with GGML_RPC=ON, and keep the libggml-*.so files beside the program"),
    _rule("unknown_argument", r"^error: (?:invalid|unknown) argument: (\S+)", "this {program} does not know the argument {0}",
          "Remove it, or install a llama.cpp that has it"),
    _Rule("unknown_device", re.compile(r"error while handling argument \"(?:--device|-dev)\": invalid device: (\S+)|^error: unknown device: (\S+)"
                                       r"|ggml_backend_cuda_init: invalid device (\d+)"), _explain_unknown_device),
    _rule("cannot_listen", r"couldn't bind (?:HTTP server|to server) socket,? hostname[:=] ?(?P<host>\S+?),? port[:=] ?(?P<port>\d+)"
          r"|^Failed to create server socket",
          "{program} cannot listen on {host} port {port}: another program has the port, the address is not this machine's, or the port is below 1024",
          "See who has the port with ss -ltnp and which addresses there are with ip address, then change the port or the address"),
)  # fmt: skip

_HEAD_RULES = (
    # Not a worker's: it goes on, and the head may ask for less (see the warning allocation_refused).
    _Rule("out_of_memory", re.compile(r"allocating (\d+(?:\.\d+)?) MiB on device (\d+): cudaMalloc failed: out of memory"), _explain_cuda_no_room),
    _rule("api_key_file", r"error while handling argument \"--api-key-file\": error: failed to open file '([^']*)'",
          "llama-server cannot read its API key file {0}", "Create it, readable by the user of the service"),
    _Rule("bad_argument", re.compile(r'error while handling (?:argument|environment variable) "([^"]{1,200})": (.*)'), _explain_argument),
    _rule("bad_endpoint", r"Failed to parse endpoint: (\S+)", "{0} is not an endpoint of the form address:port", "Correct the list of workers given to --rpc",
          when_running=True),
    _Rule("rpc_version_mismatch", re.compile(r"RPC server version mismatch: |RPC handshake failed"), _explain_version, outlives_start=True, when_running=True,
          telling=re.compile(r"RPC server version mismatch: ")),
    # Before RPC protocol 4 a server of another version was left with these words, too.
    _Rule("worker_unreachable", re.compile(r"Failed to connect to (\S+)"), _explain_unreachable, outlives_start=True, when_running=True,
          unless=re.compile(r"RPC server version mismatch: ")),
    _Rule("worker_lost", re.compile(r"Remote RPC server crashed or returned malformed response|^send failed \(|^recv failed \("), _explain_crashed,
          when_running=True, telling=re.compile(r"Remote RPC server crashed")),
    _rule("too_many_devices", r"GGML_SCHED_MAX_BACKENDS", "llama.cpp takes no more than 15 devices besides the CPU",
          "Use fewer workers, or fewer devices for each", when_running=True),
    _rule("model_not_found", r"failed to open (?:GGUF file )?'?(.+?)'?(?: \(|: )No such file or directory\)?", "there is no file {0}",
          "Correct the path, or put the file there"),
    _rule("model_unreadable", r"failed to open (?:GGUF file )?'?(.+?)'?(?: \(|: )([A-Z][^)]{1,100})\)?$", "the file {0} cannot be opened: {1}",
          "Let the user of the service read the file and all directories above it"),
    _rule("model_not_found", r"failed to open GGUF file '([^']*)'$", "the file {0} cannot be opened",
          "Check that it exists and that the user of the service may read it"),
    _rule("model_incomplete", r"failed to load GGUF split from (.+)", "the part {0} of the split model is missing or damaged",
          "Download the part again; all parts belong in one directory"),
    _rule("model_incomplete", r"illegal split file idx: \d+ \(file: ([^)]*)\)", "{0} is not the first part of the split model",
          "Give llama-server the part whose name ends in -00001-of-N.gguf"),
    _Rule("model_unsupported", re.compile(r"has invalid ggml type (\d+)"), _explain_type),
    _rule("model_unsupported", r"(?:unknown|unsupported) model architecture: ?'([^']*)'", "this llama.cpp does not know models of architecture {0}",
          "Install a newer llama.cpp on all machines; if the newest does not know it either, the model is a fork's"),
    _rule("model_unsupported", r"(unknown pre-tokenizer type: '[^']*'|this GGUF file is version \d+ but this software only supports up to version \d+)",
          "this llama.cpp cannot read the model file: {0}", "Install a newer llama.cpp on all machines; if the newest cannot either, the file is a fork's"),
    _rule("model_unsupported", r"(GGUFv1 is no longer supported|of type \d+ \(.*\) has \d+ elements per row|mismatch between the host and model endianness)",
          "this llama.cpp no longer reads such a model file ({0})", "Get a file of the model that was made for a current llama.cpp on a machine like this"),
    _rule("model_truncated", r"data is not within the file bounds|exceeds remaining file size|unexpectedly reached end of file|corrupted model: ",
          "the model file is cut off or damaged", "Download it again and compare its checksum"),
    _rule("model_truncated", r"failed to read (?:header|key-value pairs|tensor info|tensor data)",
          "the model file's header cannot be read: it is cut off, damaged, or newer than this llama.cpp",
          "Compare its size and checksum with those of where it is from; where they are right, install a newer llama.cpp"),
    _rule("model_invalid", r"invalid magic characters?:? ?'?(.{0,20}?)'?, expected 'GGUF'|failed to read magic|bad GGUF version|invalid magic number",
          "the model file is not a GGUF file", "Give llama-server a GGUF file; a web page saved by a failed download is a common cause"),
    _rule("model_invalid", r"error loading model(?: vocabulary| hyperparameters| architecture)?: (?!unable to allocate|llama_model_loader: failed to load)(.+)",
          "the model cannot be loaded: {0}", "Check the file with gguf_info, and that this llama.cpp is new enough for it"),
    _Rule("out_of_memory", re.compile(r"failed to allocate (\S+) buffer of size (\d+)"), _explain_no_room),
    _Rule("out_of_memory", re.compile(r"unable to allocate (\S+) buffer"), _explain_buffer_refused),
    _Rule("out_of_memory", re.compile(r"insufficient memory \(attempted to allocate +(\d+(?:\.\d+)?) MB\)"),
          lambda match, story: _no_room("CPU", "%.0f MiB" % float(match.group(1)), story)),
    # mlock, too, says this, as a warning
    _rule("out_of_memory", r"std::bad_alloc|^(?!.{0,200}failed to mlock).{0,200}Cannot allocate memory", "this machine has no memory left", _FEWER_LAYERS),
    _rule("bad_flash_attention", r"quantized V cache (?:was requested, but this )?requires (?:Flash Attention|flash_attn)"
          r"|V cache quantization requires flash_attn",
          "a quantised V cache needs flash attention", "Turn flash attention on or take the V cache type f16"),
    _rule("no_backend", r"no backends are loaded|no CPU backend found", "llama-server found no backend library",
          "Keep the libggml-*.so files beside the program, as they were built"),
)  # fmt: skip

_WORKER_RULES = (
    _rule("no_device", r"^No devices found", "rpc-server found no device to serve", "Look at the lines before; name no device to serve them all"),
    _rule("bad_argument", r"^error: (invalid .+)|^Invalid parameters", "rpc-server refuses its arguments: {0}",
          "Check that every option has its value and that the port is from 1 to 65535"),
    _rule("bad_address", r"Invalid host address: (\S+)|Cannot resolve host '([^']*)'", "rpc-server does not take {0}{1} as the address to listen on",
          "Give it an IPv4 address of this machine, not a name"),
    _rule("cache_dir", r"Failed to create cache directory: (.+)", "rpc-server cannot create its cache directory {0}",
          "Let the user of the service write there, or set LLAMA_CACHE to a directory it may write"),
    _rule("device_failed", r"Failed to create backend for device (\S+)", "rpc-server cannot use the device {0}",
          "Look at the lines before it; of a GPU nvidia-smi tells whether the driver works and memory is free"),
)  # fmt: skip

# ggml_abort prints file:line: message; the rules above know the messages that have a cause of their own.
_ABORT = re.compile(r"(?:^|\s)(\S{1,300}\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm):\d{1,6}): (.*)")
_LOOK = "Look at the lines before this one; if they do not say why, report it to llama.cpp with the whole log"
_LAST_RESORT = (
    _Rule("aborted", _ABORT, _explain_abort, when_running=True),
    _rule("aborted", r"terminate called (?:after throwing an instance of|without an active exception)|Aborted \(core dumped\)|status=6/ABRT",
          "{program} aborted", _LOOK, when_running=True),
    _rule("crashed", r"[Ss]egmentation fault|status=11/SEGV", "{program} crashed", "Report it to llama.cpp with the whole log", when_running=True),
    _rule("killed", r"code=killed, status=9/KILL", "{program} was killed",
          "The journal says so where systemd did it, because a stop took too long; else see the kernel's log (dmesg) for want of memory", when_running=True),
    _rule("not_started", r"error loading model|failed to load model|failed to initialize the context|failed to create_context|exiting due to"
          r"|unable to load model",
          "{program} gave up", "Look at the lines before this one; more is said with -lv 4"),
)  # fmt: skip


def _find_failure(
    lines: t.List[_Line], role: str, running_from: t.Optional[int], label: t.Callable[[str], str] = lambda name: name
) -> t.Optional[Failure]:
    """The first line that names a cause; a line that only says that something failed counts when there is no other."""
    own = _HEAD_RULES if role == "head" else _WORKER_RULES
    for rules in (_SAME_EVERYWHERE + own, _LAST_RESORT):
        for index, line in enumerate(lines):
            if not line.text:
                continue
            running = running_from is not None and index > running_from
            for rule in rules:
                if running_from is not None and not (rule.when_running if running else rule.outlives_start):
                    continue
                match = rule.pattern.search(line.text)
                if match and not (rule.unless and any(rule.unless.search(item.text) for item in lines)):
                    problem, remedy = rule.explain(match, _Story(lines, index, role, label))
                    shown = line.shown
                    if rule.telling is not None:
                        shown = next((item.shown for item in lines if rule.telling.search(item.text)), shown)
                    return Failure(rule.kind, shown.strip(), problem, remedy)
    return None


# ---------------------------------------------------------------------------------------------------------------------
# the worker

_WORKER_OLD = re.compile(r"^Starting RPC server on (\S+?), backend memory: (\d+) MB")
_WORKER_NEW = re.compile(r"^Starting RPC server v(\d+\.\d+\.\d+)")
_WORKER_FIELD = re.compile(r"^  (endpoint|local cache|backend memory|transport)\s*: (.*)$")
_WORKER_DEVICE = re.compile(r"^\s+(\w[\w.:/-]*): (.*) \((\d+) MiB, (\d+) MiB free\)$")
_CUDA_DEVICE = re.compile(r"^\s+Device (\d+): (.+?), compute capability ")
_CREATE_BACKEND = re.compile(r"create_backend: using (\w+) backend")
_CUDA_INIT_FAILED = re.compile(r"ggml_cuda_init: failed to initialize|no CUDA-capable device is detected")

_WORKER_WARNINGS = (
    ("cuda_unusable", _CUDA_INIT_FAILED),
    ("other_protocol", re.compile(r"Expected HELLO command, update client|HELLO request size mismatch|^Unknown command: ")),
    ("allocation_refused", re.compile(r"cudaMalloc failed: out of memory|failed to allocate buffer of size \d+")),
    ("connection_broke", re.compile(r"^(?:recv|send) failed \(")),
)


def parse_worker(text: str) -> WorkerLog:
    """The last start of an rpc-server in its log, of any llama.cpp that has one.

    The banner is stdout and not flushed: a worker that has had no client yet may have written nothing to a file, pipe or journal
    unless it runs under ``stdbuf -oL``. An empty log is no failure.
    """
    lines = _last_worker_start(_lines(text))
    log = WorkerLog()
    cuda: t.Dict[str, str] = {}
    backend: t.Optional[str] = None
    memory_mib: t.Optional[int] = None
    in_devices = False
    for line in lines:
        words = line.text
        old = _WORKER_OLD.match(words)
        if old:
            log.started, log.endpoint, memory_mib = True, old.group(1), int(old.group(2))
            continue
        new = _WORKER_NEW.match(words)
        if new:
            log.started, log.protocol_version, in_devices = True, new.group(1), False
            continue
        if words == "Devices:":
            in_devices = True
            continue
        device = _WORKER_DEVICE.match(words)
        if device:
            entry = WorkerDevice(device.group(1), device.group(2), int(device.group(3)), int(device.group(4)))
            (log.devices if in_devices else log.available_devices).append(entry)
            continue
        item = _WORKER_FIELD.match(words)
        if item:
            name, value = item.group(1), item.group(2).strip()
            if name == "endpoint":
                log.endpoint = value
            elif name == "local cache":
                log.cache_dir = None if value == "n/a" else value
            elif name == "transport":
                log.transport, in_devices = value, False
            elif value.split(" ")[0].isdigit():
                memory_mib = int(value.split(" ")[0])
            continue
        if words.startswith("Accepted client connection"):
            log.clients_accepted += 1
        elif words.startswith("Client connection closed"):
            log.clients_closed += 1
        named = _CREATE_BACKEND.search(words)
        if named:
            backend = named.group(1)
        gpu = _CUDA_DEVICE.match(words)
        if gpu:
            cuda["CUDA" + gpu.group(1)] = gpu.group(2)
        for kind, pattern in _WORKER_WARNINGS:
            if pattern.search(words) and Warn(kind, line.shown.strip()) not in log.warnings:
                log.warnings.append(Warn(kind, line.shown.strip()))
    if not log.devices and log.started:
        # These builds serve one device and do not name it. Their "MB" are MiB: free_mem / (1024 * 1024).
        name = "CUDA0" if backend == "CUDA" or (backend is None and cuda) else (backend or "")
        if name or memory_mib is not None:
            log.devices.append(WorkerDevice(name or "unknown", cuda.get(name, ""), None, memory_mib))
    log.failure = _find_failure(lines, "worker", None)
    return log


def check_worker(log: WorkerLog, expect_devices: t.Sequence[str]) -> t.Optional[Failure]:
    """Whether the worker serves what it should: ``CUDA`` stands for CUDA0, CUDA1 ...; a full name for itself.

    An rpc-server that finds no GPU serves the CPU and says nothing of it (``get_devices`` in ``tools/rpc/rpc-server.cpp``).
    """
    if log.failure or not log.started:
        return log.failure
    served = [device.name for device in log.devices]
    missing = [name for name in expect_devices if not any(_is_device(name, have) for have in served)]
    if not missing:
        return None
    reason = [item.line for item in log.warnings if item.kind == "cuda_unusable"]
    line = reason[0] if reason else "%s" % ", ".join("%s: %s" % (device.name, device.description) for device in log.devices)
    if served and all(name.upper().startswith("CPU") for name in served):
        return Failure(
            "cpu_fallback",
            line,
            "the rpc-server%s serves its CPU in place of %s" % (" at " + log.endpoint if log.endpoint else "", ", ".join(missing)),
            "Check with nvidia-smi that the driver is loaded and that llama.cpp was built with CUDA; name the device (-d) so that it cannot happen",
        )
    return Failure(
        "device_missing",
        line,
        "the rpc-server%s serves %s and not %s"
        % (" at " + log.endpoint if log.endpoint else "", ", ".join(served) or "nothing", ", ".join(missing)),
        "Check the devices of this machine and the -d option of its service",
    )


def _is_device(expected: str, name: str) -> bool:
    if expected == name:
        return True
    return not expected[-1:].isdigit() and re.fullmatch(re.escape(expected) + r"\d*", name) is not None


# ---------------------------------------------------------------------------------------------------------------------
# the head

_USING_DEVICE = re.compile(r"using device (\S+?) \((.*)\) - +(\d+) MiB free$")
_DEVICE_ID = re.compile(r"^(.*?)\) \(([^()]*)$")
_DEVICE_INFO = re.compile(r"^(?:cmn\s+\S+:)?\s+- (\S+)\s*: (.*) \((\d+) MiB, (\d+) MiB free\)$")
_WEIGHTS = re.compile(r"load_tensors:\s+(\S+)\s+(?:model )?buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
_BUFFER = re.compile(r":\s+(\S+)\s+(KV|RS|DSV4 \S+ state|compute|output|LoRA)\s+buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
# What stands beside the model comes after it: what drafts (common/speculative.cpp), then a projector (tools/mtmd/clip.cpp).
_DRAFTS = re.compile(r"common_speculative_init_result: (?:loading draft model|creating MTP draft context)")
_PROJECTS = re.compile(r"clip_ctx: CLIP using (\S+) backend")
_PROJECTOR_SIZE = re.compile(r"load_hparams: model size:\s+(\d+(?:\.\d+)?) MiB")
_CACHE_SIZE = re.compile(r":\s+size\s*=\s*\d+(?:\.\d+)? MiB \(\s*\d+ cells,\s*(\d+) layers,")
_CACHE_SIZE_OLD = re.compile(r"KV self size\s*=")
# src/llama-kv-cache-dsa.cpp, -dsv4.cpp, -msa.cpp, llama-memory-hybrid-idx.cpp: of layers that have another cache already
_INDEXER_CACHE = re.compile(r"creating (?:\S+ )*\S*indexer KV cache")
_ASSIGNED = re.compile(r"load_tensors: layer\s+(\d+) assigned to device ([^\s,]+)")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_RPC_BUFFER = re.compile(r"^RPC(\d*)\[(.+)\]$")
_BUILD = re.compile(r"\bbuild(?: =|:)? (\d+) \(([0-9A-Za-z]+)\)|build_info: b(\d+)-([0-9A-Za-z]+)")
_NUMBER = re.compile(r"(?:^|:\s+)(n_layer_all|n_layer|n_ctx_train|n_ctx)\s+= (\d+)\b")
_ARCHITECTURE = re.compile(r"(?:print_info|llm_load_print_meta): arch\s+= (\S+)")
_SLOTS = re.compile(r"n_slots = (\d+)(?:, n_ctx_slot = (\d+), kv_unified = '(\w+)')?")
_SLOT_CONTEXT = re.compile(r"new slot,? (?:n_ctx|n_ctx_slot) = (\d+)")
# Builds that say it in one of the last two ways do so before they load the model: it counts once that is done.
_LISTENING = (
    re.compile(r"listening on ((?:https?|unix)://\S+)"),
    re.compile(r"server is listening on ([\w.:\[\]-]+:\d+)"),
    re.compile(r"HTTP server (?:is )?listening, hostname: (\S+), port: (\d+)"),
    re.compile(r"HTTP server listening \|(?=.{0,200}? hostname=\"([^\"]+)\")(?=.{0,200}? port=\"(\d+)\")"),
)
_FIT_SHRANK = re.compile(r"context size reduced from (\d+) to (\d+)")
_KEYS = re.compile(r"api_keys: (?:\*\*\*\*|(\d+) keys loaded)")

_HEAD_WARNINGS = (
    ("no_api_key", re.compile(r"no API key is set")),
    ("context_beyond_training", re.compile(r"n_ctx_(?:seq|per_seq) \(\d+\) > n_ctx_train")),
    ("context_shrunk", _FIT_SHRANK),
    ("fit_failed", re.compile(r"failed to fit params to free device memory")),
    ("no_pipeline_parallelism", re.compile(r"compute buffer allocation failed, retrying without pipeline parallelism")),
    ("cuda_unusable", _CUDA_INIT_FAILED),
    ("slot_context_capped", re.compile(r"the slot context \(\d+\) exceeds the training context of the model")),
)


@dataclass
class _Cache:
    """One cache (of several in some models) as printed: a size per buffer, then how many layers they are."""

    recurrent: bool
    indexer: bool = False
    sizes: t.List[t.Tuple[str, float]] = field(default_factory=list)
    n_layers: t.Optional[int] = None
    closed: bool = False


class _Head:
    def __init__(self) -> None:
        self.log = HeadLog()
        self.used: t.List[HeadDevice] = []
        self.known: t.List[HeadDevice] = []  # all that the machine sees, used or not
        self.weights: t.List[t.Tuple[str, float]] = []
        self.output: t.List[t.Tuple[str, float]] = []
        self.compute: t.Dict[str, float] = {}
        self.caches: t.List[_Cache] = []
        self.indexer_follows = False
        # of what stands beside the model, by buffer and kind; what is read belongs to ``part``, the model where it is empty
        self.beside: t.Dict[t.Tuple[str, str], float] = {}
        self.part = ""
        self.projects_on = ""
        self.assigned: t.Dict[int, str] = {}
        self.n_layer_all: t.Optional[int] = None
        self.running_from: t.Optional[int] = None
        self.bound_url: t.Optional[str] = None

    # -- reading

    def read(self, index: int, line: _Line) -> None:
        words, log = line.text, self.log
        assigned = _ASSIGNED.search(words)
        if assigned and not self.part:
            self.assigned[int(assigned.group(1))] = assigned.group(2)
            return
        # At -lv 5 the trial loads of --fit print what would be there; common/fit.cpp lowers them to level D.
        if line.level == "D":
            return
        if self._read_beside(words) or self._read_buffer(words) or self._read_device(words):
            return
        for pattern in _LISTENING:
            found = pattern.search(words)
            if found:
                groups = found.groups()
                where = groups[0] if len(groups) == 1 else "%s:%s" % groups
                self.bound_url = where if "://" in where else "http://" + where
                log.model_loaded = log.model_loaded or len(groups) == 1
                break
        number = None if self.part else _NUMBER.search(words)
        if number:
            name, value = number.group(1), int(number.group(2))
            if name == "n_layer_all":
                self.n_layer_all = value
            else:
                setattr(log, name, value)
            return
        self._read_rest(words)
        if log.model_loaded and self.bound_url and self.bound_url != log.listening_url:
            log.listening_url, self.running_from = self.bound_url, index
        for kind, pattern in _HEAD_WARNINGS:
            warning = Warn(kind, line.shown.strip())
            if pattern.search(words) and warning not in log.warnings:
                log.warnings.append(warning)

    def _read_rest(self, words: str) -> None:
        log = self.log
        build = _BUILD.search(words)
        if build and log.build_number is None:
            log.build_number, log.build_commit = int(build.group(1) or build.group(3)), build.group(2) or build.group(4)
        verbosity = re.search(r"verbosity = (\d+) \(adjust", words)
        if verbosity:
            log.verbosity = int(verbosity.group(1))
        model = re.search(r"loading model '(.*)'$", words)
        if model:
            log.model_path = model.group(1)
        architecture = _ARCHITECTURE.search(words)
        if architecture and not self.part:
            log.architecture = architecture.group(1)
        offloaded = _OFFLOADED.search(words)
        if offloaded and not self.part:
            log.offloaded_layers, log.offloadable_layers = int(offloaded.group(1)), int(offloaded.group(2))
        slots = _SLOTS.search(words)
        if slots:
            log.n_slots = int(slots.group(1))
            if slots.group(2):
                log.n_ctx_slot = int(slots.group(2))
                log.kv_unified = slots.group(3) == "true"
        slot = _SLOT_CONTEXT.search(words)
        if slot and log.n_ctx_slot is None:
            log.n_ctx_slot = int(slot.group(1))
        shrank = _FIT_SHRANK.search(words)
        if shrank:
            log.fit_context_before, log.fit_context_after = int(shrank.group(1)), int(shrank.group(2))
        if _KEYS.search(words):
            log.api_key_set = _KEYS.search(words).group(1) != "0"  # type: ignore[union-attr]
        if "no API key is set" in words:
            log.api_key_set = False
        if re.search(r"model loaded(?: \||$)|starting the main loop", words):
            log.model_loaded = True
        if "cleaning up before exit" in words:
            log.stopped = True

    def _read_beside(self, words: str) -> bool:
        """Sizes of what stands beside the model, which must not count as the model's."""
        projects, size = _PROJECTS.search(words), _PROJECTOR_SIZE.search(words)
        if _DRAFTS.search(words):
            self.part = "draft"
        elif projects:
            self.part, self.projects_on = "projector", projects.group(1)
        elif size and self.projects_on:
            self.beside[self.projects_on, "projector weights"] = float(size.group(1))
        elif not (self.part and _CACHE_SIZE.search(words)):
            found = _BUFFER.search(words) or (_WEIGHTS.search(words) if self.part else None)
            if not found or not (self.part or "LoRA" in found.groups()):
                return False
            groups = found.groups()
            name, what, number = groups[0], groups[1] if len(groups) == 3 else "weights", float(groups[-1])
            if what == "LoRA":
                self.beside[name, what] = self.beside.get((name, what), 0.0) + number
            else:
                # a graph that is reserved again says so again, and recurrent states and caches of two lengths are several lines
                more = 0.0 if what == "compute" else self.beside.get((name, self.part + what), 0.0)
                self.beside[name, self.part + what] = more + number
        return True

    def _read_buffer(self, words: str) -> bool:
        weights = _WEIGHTS.search(words)
        if weights:
            self.weights.append((weights.group(1), float(weights.group(2))))
            return True
        buffer = _BUFFER.search(words)
        if buffer:
            name, what, size = buffer.group(1), buffer.group(2), float(buffer.group(3))
            if what == "compute":
                self.compute[name] = size  # printed again when the graph is reserved again
            elif what == "output":
                self.output.append((name, size))
            else:
                recurrent = what != "KV"
                if not self.caches or self.caches[-1].closed or self.caches[-1].recurrent != recurrent:
                    self.caches.append(_Cache(recurrent, self.indexer_follows and not recurrent))
                    self.indexer_follows = self.indexer_follows and recurrent
                self.caches[-1].sizes.append((name, size))
            return True
        if _INDEXER_CACHE.search(words):
            self.indexer_follows = True
            return True
        size_line = _CACHE_SIZE.search(words)
        if (size_line or _CACHE_SIZE_OLD.search(words)) and self.caches:
            self.caches[-1].closed = True
            if size_line:
                self.caches[-1].n_layers = int(size_line.group(1))
            return True
        return False

    def _read_device(self, words: str) -> bool:
        using = _USING_DEVICE.search(words)
        if using:
            name, rest, free = using.groups()
            # "(description) (id)"; builds without an id print the description alone, and it may have parentheses itself
            described = _DEVICE_ID.match(rest)
            device = _new_device(name, described.group(1) if described else rest)
            device.free_mib = int(free)
            if not any(item.name == name for item in self.used):
                self.used.append(device)
            return True
        info = _DEVICE_INFO.match(words)
        if info:
            device = _new_device(info.group(1), info.group(2))
            device.total_mib, device.free_mib = int(info.group(3)), int(info.group(4))
            self.known.append(device)
            return True
        return False

    # -- concluding

    def device_name(self, buffer: str) -> str:
        """The device of a buffer.

        RPC devices are named RPC0, RPC1 ... through all servers, but their buffers ``RPC<device of that server>[endpoint]``
        (``ggml_backend_rpc_buffer_type_name``), so two servers both have an RPC0[...].
        """
        match = _RPC_BUFFER.match(buffer)
        if not match:
            return "CPU" if _is_host(buffer) else buffer
        if not match.group(1):
            return buffer  # the old name of the device itself
        position, endpoint = int(match.group(1)), match.group(2)
        for devices in (self.known, self.used):
            there = [device.name for device in devices if device.endpoint == endpoint]
            if position < len(there) and (devices is self.known or len(there) == 1 or not self.known):
                return sorted(there, key=_trailing_number)[position]
        return buffer

    def label(self, buffer: str) -> str:
        name = self.device_name(buffer)
        match = _RPC_BUFFER.match(buffer)
        if match:
            return "%s (the worker at %s)" % (name, match.group(2)) if name != buffer else "the worker at %s" % match.group(2)
        return "the head's own memory" if name == "CPU" else name

    def _entry(self, table: t.Dict[str, HeadDevice], buffer: str) -> HeadDevice:
        name = self.device_name(buffer)
        if name not in table:
            known = [device for device in self.known if device.name == name]
            match = _RPC_BUFFER.match(buffer)
            table[name] = known[0] if known else _new_device(name, match.group(2) if match else "")
        entry = table[name]
        if buffer not in entry.buffers:
            entry.buffers.append(buffer)
        return entry

    def conclude(self) -> HeadLog:
        table: t.Dict[str, HeadDevice] = {}
        for device in self.used:
            known = [item for item in self.known if item.name == device.name]
            if known:
                device.total_mib = known[0].total_mib
            table[device.name] = device
        for sizes, what in ((self.weights, "weights_mib"), (self.output, "output_mib"), (list(self.compute.items()), "compute_mib")):
            for buffer, size in sizes:
                entry = self._entry(table, buffer)
                setattr(entry, what, round((getattr(entry, what) or 0.0) + size, 2))
        for (buffer, _kind), size in self.beside.items():
            entry = self._entry(table, buffer)
            entry.beside_mib = round((entry.beside_mib or 0.0) + size, 2)
        for cache in self.caches:
            what = "recurrent_mib" if cache.recurrent else "kv_mib"
            for buffer, size in cache.sizes:
                entry = self._entry(table, buffer)
                setattr(entry, what, round((getattr(entry, what) or 0.0) + size, 2))
        # Own memory last: it is the head's, and a reader looks for the devices first.
        devices = [device for device in table.values() if not device.host] + [device for device in table.values() if device.host]
        self._set_layers(devices)
        self._set_output(devices)
        self.log.devices = devices
        if self.log.n_layer is None:
            self.log.n_layer = self.n_layer_all
        return self.log

    def _set_layers(self, devices: t.List[HeadDevice]) -> None:
        counts: t.Optional[t.Dict[str, int]] = None
        if self.assigned:
            last = max(self.assigned)  # the output's slot
            if len(self.assigned) == last + 1 and (self.log.n_layer is None or last >= self.log.n_layer):
                counts = {}
                for layer, name in self.assigned.items():
                    if layer != last:
                        counts[name] = counts.get(name, 0) + 1
                self.log.layers_source = "assigned"
        if counts is None:
            counts = self._layers_by_cache()
            if counts is not None:
                self.log.layers_source = "kv"
        if counts is not None:
            for device in devices:
                device.layers = counts.get(device.name, 0)

    def _layers_by_cache(self) -> t.Optional[t.Dict[str, int]]:
        totals = {value for value in (self.log.n_layer, self.n_layer_all) if value}
        if not totals or not self.caches:
            return None
        own = [cache for cache in self.caches if not cache.recurrent and not cache.indexer]
        state = [cache for cache in self.caches if cache.recurrent]
        if len(own) == 1 and not state and own[0].n_layers is None:
            own[0].n_layers = self.log.n_layer  # builds that print "KV self size" do not say how many
        if any(cache.n_layers is None for cache in own) or len(state) > 1:
            return None
        held = sum(cache.n_layers or 0 for cache in own)
        if state:
            # The line of a recurrent cache counts the model's layers, not its own: they are those without a KV cache.
            state[0].n_layers = max(totals) - held
            groups = own + state
        elif held in totals:
            groups = own
        elif own and own[0].n_layers in totals:
            groups = own[:1]  # the others index the same layers
        else:
            return None
        counts: t.Dict[str, int] = {}
        for cache in groups:
            part = _share(cache)
            if part is None:
                return None
            for buffer, layers in part:
                name = self.device_name(buffer)
                counts[name] = counts.get(name, 0) + layers
        return counts

    def _set_output(self, devices: t.List[HeadDevice]) -> None:
        if self.assigned and self.log.layers_source == "assigned":
            name = self.assigned[max(self.assigned)]
        elif self.log.offloaded_layers is None or not self.weights:
            return
        elif self.log.offloaded_layers == 0 or all(device.host for device in devices):
            name = "CPU"
        else:
            # The output is the slot after the last layer, so it is on the last device in order that got any weights. Builds that do
            # not print the order leave it open.
            with_weights = [device for device in self.used if device.weights_mib]
            if not with_weights:
                return
            name = with_weights[-1].name
        for device in devices:
            device.holds_output = device.name == name


def _share(cache: _Cache) -> t.Optional[t.List[t.Tuple[str, int]]]:
    """The layers behind each size, when all are of one size; else None."""
    total, n_layers = sum(size for _name, size in cache.sizes), cache.n_layers or 0
    if n_layers == 0 or total <= 0:
        return [] if n_layers == 0 else None
    one = total / n_layers
    slack = 0.02 + 0.01 / one  # the log rounds to a hundredth of a MiB
    if slack > 0.4:
        return None
    counts = [(name, size / one) for name, size in cache.sizes]
    if any(abs(count - round(count)) > slack for _name, count in counts):
        return None
    whole = [(name, int(round(count))) for name, count in counts]
    return whole if sum(count for _name, count in whole) == n_layers else None


def _is_host(buffer: str) -> bool:
    """Buffers in the head's own memory: CPU_Mapped, CPU_REPACK, the pinned CUDA_Host ..."""
    return buffer.split("_", 1)[0] == "CPU" or buffer.endswith("_Host") or buffer in ("AMX", "BLAS", "HBM", "Host")


def _trailing_number(name: str) -> int:
    match = re.search(r"(\d{1,9})$", name)
    return int(match.group(1)) if match else 0


def _new_device(name: str, description: str) -> HeadDevice:
    host = _is_host(name)
    old = re.match(r"^RPC\[(.+)\]$", name)
    if host:
        kind = "cpu"
    else:
        letters = re.match(r"[A-Za-z]+", name)
        kind = letters.group(0).lower() if letters else "unknown"
    endpoint = old.group(1) if old else (description if kind == "rpc" else None)
    return HeadDevice(name=name, kind=kind, endpoint=endpoint, description=description, host=host)


def parse_head(text: str) -> HeadLog:
    """The last start of a llama-server in its log, of any llama.cpp that has RPC."""
    lines = _last_head_start(_lines(text))
    head = _Head()
    for index, line in enumerate(lines):
        if line.text:
            head.read(index, line)
    log = head.conclude()
    log.failure = _find_failure(lines, "head", head.running_from, head.label)
    return log


def check_head(
    log: HeadLog,
    expect_endpoints: t.Sequence[str] = (),
    expect_context_size: t.Optional[int] = None,
    expect_full_offload: bool = False,
    expect_api_key: bool = False,
) -> t.Optional[Failure]:
    """Whether a head that started is the head that was asked for."""
    if log.failure:
        return log.failure
    if log.listening_url is None:
        return None
    if (expect_endpoints or expect_full_offload) and not any(device.weights_mib for device in log.devices):
        return Failure(
            "log_too_quiet",
            "",
            "the log of llama-server does not say where the model is",
            "Run llama-server with -lv 4; at the default verbosity it prints no line about memory",
        )
    holding = {device.endpoint for device in log.devices if device.endpoint and device.weights_mib}
    idle = [endpoint for endpoint in expect_endpoints if endpoint not in holding]
    if idle:
        return Failure(
            "worker_unused",
            "",
            "llama-server put nothing on the worker at %s" % ", ".join(idle),
            "Check --rpc, --device and --tensor-split, and that the worker was up when llama-server started",
        )
    # "offloaded 31/31 layers to GPU" is what load_tensors prints even where there is no device but the CPU.
    host_layers = sum(device.layers or 0 for device in log.devices if device.host)
    if expect_full_offload and (host_layers or log.offloaded_layers != log.offloadable_layers):
        on_cpu = host_layers or (log.offloadable_layers or 0) - (log.offloaded_layers or 0)
        return Failure(
            "partly_on_cpu",
            "offloaded %s/%s layers to GPU" % (log.offloaded_layers, log.offloadable_layers),
            "llama-server keeps %d layers on the head's CPU" % on_cpu,
            "Give it all layers (-ngl all, --fit off) and devices with room for them",
        )
    context = log.n_ctx
    if context is None and log.n_ctx_slot is not None:
        context = log.n_ctx_slot * (1 if log.kv_unified else log.n_slots or 1)
    if expect_context_size is not None and context is not None and context < expect_context_size:
        lines = [item.line for item in log.warnings if item.kind == "context_shrunk"]
        return Failure(
            "context_shrunk",
            lines[0] if lines else "n_ctx = %d" % context,
            "llama-server gave the context %d tokens and not the %d asked for" % (context, expect_context_size),
            "Give it devices with room for the context and --fit off, or ask for a smaller context",
        )
    if expect_api_key and log.api_key_set is False:
        lines = [item.line for item in log.warnings if item.kind == "no_api_key"]
        return Failure(
            "no_api_key",
            lines[0] if lines else "",
            "llama-server runs without an API key",
            "Put a key into the file given to --api-key-file: an empty file means no key, and llama-server starts all the same",
        )
    return None
