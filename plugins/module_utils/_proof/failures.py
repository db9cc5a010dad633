# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lines of llama-server's and rpc-server's logs mean: why a start failed, or what is worth a warning of one that did not.

Sources: ``common/arg.cpp`` (arguments), ``tools/server/server-http.cpp`` (socket), ``common/fit.cpp``, ``src/llama-model-loader.cpp`` and
``ggml/src/gguf.cpp`` (the model), ``tools/rpc/rpc-server.cpp`` and ``ggml/src/ggml-rpc/ggml-rpc.cpp`` (workers), ``ggml/src/ggml-cuda``.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure, Story, find, rule
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.tensor_types import FIRST_TYPE_OF_FORKS
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.log_lines import ABORT, Line

_MIB = 1024.0 * 1024.0


def _mib(size_bytes: str) -> str:
    return "%.0f MiB" % (int(size_bytes) / _MIB)


def _no_room(device: str, size: str, story: Story) -> t.Tuple[str, str]:
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


def _explain_no_room(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    return _no_room(match.group(1) or "the machine's own memory", _mib(match.group(2)), story)


def _explain_cuda_no_room(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    return _no_room("CUDA" + match.group(2), "%.0f MiB" % float(match.group(1)), story)


def _explain_buffer_refused(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    return "%s has no room for its part of the weights" % story.label(match.group(1)), (
        "Give this device fewer layers (--tensor-split), add a worker or take a smaller quantisation"
    )


def _explain_version(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    version = story.anywhere(r"RPC server version mismatch: (\d+\.\d+\.\d+)")
    endpoint = story.anywhere(r"RPC handshake failed for (\S+)") or story.anywhere(r"Failed to connect to (\S+)")
    who = "the rpc-server at %s" % endpoint.group(1) if endpoint else "an rpc-server"
    speaks = "speaks RPC protocol %s, which this llama-server does not" % version.group(1) if version else (
        "speaks another version of the RPC protocol than this llama-server"
    )
    return "%s %s" % (who, speaks), "Install the same llama.cpp on all machines: the protocol changes between builds"


def _explain_crashed(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
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


def _explain_unknown_device(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    remedy = "Name a device that exists here"
    name = match.group(1) or match.group(2) or "CUDA" + match.group(3)
    if name.upper().startswith("CUDA"):
        remedy = "Check with nvidia-smi that the driver is loaded and the GPU visible, and that llama.cpp was built with CUDA"
    names = _AVAILABLE.findall("\n".join(story.texts))
    if names:
        remedy += "; it has %s" % ", ".join(names)
    return "this machine has no device %s" % name, remedy


_AVAILABLE = re.compile(r"^\s+(\w[\w.-]{0,40}): .{0,200} \(\d+ MiB, \d+ MiB free\)$", re.MULTILINE)


def _explain_argument(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    option, said = match.group(1), match.group(2).strip()
    return "%s does not take what was given to %s: %s" % (story.words["program"], option, re.sub(r"^error: ", "", said)), (
        "Correct the value of %s" % option
    )


def _explain_abort(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    return "%s aborted: %s" % (story.words["program"], match.group(2).strip() or match.group(0)), (
        "Look at the lines before this one; if they do not say why, report it to llama.cpp with the whole log"
    )


def _explain_unreachable(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    return "no rpc-server answers at %s" % match.group(1), (
        "Start the worker there first, and check that its firewall lets this machine in and that both have the same llama.cpp"
    )


def _explain_type(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
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


def _explain_no_kernel(match: "t.Match[str]", story: Story) -> t.Tuple[str, str]:
    """ggml_backend_rpc_device_supports_op (ggml/src/ggml-rpc/ggml-rpc.cpp) says yes to all, so that a worker aborts where a GPU of the
    head's own would have left the operation to the CPU."""
    name, said = match.group(1), match.group(2).strip().rstrip(".")
    operation = _OPERATIONS.get(name) or _OPERATIONS.get(name.partition("-")[0]) or name
    more = "" if said == "fatal error" else " (%s)" % said
    remedy = "Use another model, or devices that are CPUs: over RPC llama.cpp leaves nothing that a GPU cannot do to a CPU"
    if operation == "flash attention":
        remedy = "Turn flash attention off (--flash-attn off, which takes more memory and no quantised V cache), or use another model"
    return "the GPU backend has no kernel for %s with this model's sizes or cache types%s, and %s aborted" % (operation, more, story.words["program"]), remedy


_FEWER_LAYERS = "Lower the context size or give this machine fewer layers"


# What "what else prints this line?" left undecided is said in the sentence, or in the remedy how to tell.
_ANY_PROGRAM = (
    rule("no_kernel", r"ggml-cuda/(fattn[\w-]{0,40})\.cuh?:\d{1,6}: (?!GGML_ASSERT)(.{1,200})", _explain_no_kernel, when_running=True),
    rule("no_kernel", r"ggml-cuda/([\w-]{1,40})\.cuh?:\d{1,6}: (doesn't support .{1,200}|.{0,60}[Uu]nsupported .{1,200})", _explain_no_kernel,
         when_running=True),
    rule("library_missing", r"error while loading shared libraries: (\S+?): (.*)", "{program} cannot load the shared library {0}: {1}",
         "Build with a run path that holds it (CMAKE_INSTALL_RPATH) or install it; ldd on the program lists what is missing", when_running=True),
    rule("library_missing", r"version `([A-Z]+_[\d.]+)' not found \(required by ([^)]*)\)",
         "{program} was built on a newer system: {1} needs {0}, which this machine lacks",
         "Build on a machine as old as the oldest that must run it", when_running=True),
    rule("program_missing", r"Failed to (?:locate executable|execute(?: command)?:?) ?(.*)|status=203/EXEC", "systemd cannot start the program[ {0}]",
         "Check that the path in the unit exists, is executable, of this machine's architecture, and on no file system mounted noexec", when_running=True),
    rule("wrong_processor", r"Illegal instruction|status=4/ILL|killed by signal 4\b",
         "{program} met an instruction that this machine's processor does not have",
         "Build on this machine or with GGML_NATIVE=OFF for the oldest processor", when_running=True),
    rule("killed_out_of_memory", r"killed by the OOM killer|Failed with result 'oom-kill'|[Oo]ut of memory: Killed process",
         "{program} was killed because the machine, or what its unit may use (MemoryMax), ran out of memory",
         "Lower the context size, give this machine fewer layers or more memory", when_running=True),
    rule("driver_too_old", r"CUDA driver version is insufficient for CUDA runtime version|provided PTX was compiled with an unsupported toolchain",
         "the NVIDIA driver is older than the CUDA toolkit that llama.cpp was built with, or not there",
         "See with nvidia-smi which it is; then update the driver or build with an older CUDA toolkit", when_running=True),
    rule("driver_too_old", r"unsupported display driver / cuda driver combination|forward compatibility was attempted on non supported HW",
         "the NVIDIA driver that is loaded and its libraries are of two versions, or a compatibility library is in the way",
         "Reboot after a driver's update, and let no libcuda of a toolkit (compat) come before the driver's", when_running=True),
    rule("fabric_manager", r"CUDA error: system not yet initialized", "the GPUs' NVLink fabric is not set up",
         "Start nvidia-fabricmanager of the driver's version", when_running=True),
    rule("wrong_cuda_architecture", r"no kernel image is available for execution on the device", "llama.cpp was not built for this GPU's architecture",
         "Add it to CMAKE_CUDA_ARCHITECTURES and build again", when_running=True),
    rule("wrong_cuda_architecture", r"device kernel image is invalid",
         "this GPU cannot load what llama.cpp was compiled to: the driver is older than the CUDA toolkit, or the toolkit is none for this GPU's architecture",
         "Compare nvidia-smi's CUDA version with the toolkit's, and the GPU's compute capability with CMAKE_CUDA_ARCHITECTURES; then build again",
         when_running=True),
    rule("out_of_memory", r"CUDA error: out of memory", "a GPU of this machine has no memory left",
         "See with nvidia-smi who holds it; lower the context size or give this GPU fewer layers", when_running=True),
    rule("cuda_error", r"CUDA error: (.{1,300})", "CUDA failed: {0}",
         "See whether the kernel's log (dmesg) has an Xid error at that time, which is the GPU's or the driver's; without one it is llama.cpp's own",
         when_running=True),
    rule("rpc_not_built", r"^error: (?:invalid|unknown) argument: --rpc$|RPC not supported in this build|[Ff]ailed to find RPC (?:backend|add server function)"
         r"|Failed to obtain RPC backend start server function", "this {program} has no RPC backend",
         "Build it with GGML_RPC=ON, and keep the libggml-*.so files beside the program"),
    rule("unknown_argument", r"^error: (?:invalid|unknown) argument: (\S+)", "this {program} does not know the argument {0}",
         "Remove it, or install a llama.cpp that has it"),
    rule("unknown_device", r"error while handling argument \"(?:--device|-dev)\": invalid device: (\S+)|^error: unknown device: (\S+)"
         r"|ggml_backend_cuda_init: invalid device (\d+)", _explain_unknown_device),
    rule("cannot_listen", r"couldn't bind (?:HTTP server|to server) socket,? hostname[:=] ?(?P<host>\S+?),? port[:=] ?(?P<port>\d+)"
         r"|^Failed to create server socket",
         "{program} cannot listen[ on {host} port {port}]: another program has the port, the address is not this machine's, or the port is below 1024",
         "See who has the port with ss -ltnp and which addresses there are with ip address, then change the port or the address"),
)  # fmt: skip

_HEAD_RULES = (
    # Not a worker's: it goes on, and the head may ask for less (see the warning allocation_refused).
    rule("out_of_memory", r"allocating (\d+(?:\.\d+)?) MiB on device (\d+): cudaMalloc failed: out of memory", _explain_cuda_no_room),
    rule("api_key_file", r"error while handling argument \"--api-key-file\": error: failed to open file '([^']*)'",
         "llama-server cannot read its API key file {0}", "Create it, readable by the user of the service"),
    rule("bad_argument", r'error while handling (?:argument|environment variable) "([^"]{1,200})": (.*)', _explain_argument),
    rule("bad_endpoint", r"Failed to parse endpoint: (\S+)", "{0} is not an endpoint of the form address:port", "Correct the list of workers given to --rpc",
         when_running=True),
    rule("rpc_version_mismatch", r"RPC server version mismatch: |RPC handshake failed", _explain_version, outlives_start=True, when_running=True,
         telling=r"RPC server version mismatch: "),
    # Before RPC protocol 4 a server of another version was left with these words, too.
    rule("worker_unreachable", r"Failed to connect to (\S+)", _explain_unreachable, outlives_start=True, when_running=True,
         unless=r"RPC server version mismatch: "),
    rule("worker_lost", r"Remote RPC server crashed or returned malformed response|^send failed \(|^recv failed \(", _explain_crashed,
         when_running=True, telling=r"Remote RPC server crashed"),
    rule("too_many_devices", r"GGML_SCHED_MAX_BACKENDS", "llama.cpp takes no more than 15 devices besides the CPU",
         "Use fewer workers, or fewer devices for each", when_running=True),
    rule("model_not_found", r"failed to open (?:GGUF file )?'?(.+?)'?(?: \(|: )No such file or directory\)?", "there is no file {0}",
         "Correct the path, or put the file there"),
    rule("model_unreadable", r"failed to open (?:GGUF file )?'?(.+?)'?(?: \(|: )([A-Z][^)]{1,100})\)?$", "the file {0} cannot be opened: {1}",
         "Let the user of the service read the file and all directories above it"),
    rule("model_not_found", r"failed to open GGUF file '([^']*)'$", "the file {0} cannot be opened",
         "Check that it exists and that the user of the service may read it"),
    rule("model_incomplete", r"failed to load GGUF split from (.+)", "the part {0} of the split model is missing or damaged",
         "Download the part again; all parts belong in one directory"),
    rule("model_incomplete", r"illegal split file idx: \d+ \(file: ([^)]*)\)", "{0} is not the first part of the split model",
         "Give llama-server the part whose name ends in -00001-of-N.gguf"),
    rule("model_unsupported", r"has invalid ggml type (\d+)", _explain_type),
    rule("model_unsupported", r"(?:unknown|unsupported) model architecture: ?'([^']*)'", "this llama.cpp does not know models of architecture {0}",
         "Install a newer llama.cpp on all machines; if the newest does not know it either, the model is a fork's"),
    rule("model_unsupported", r"(unknown pre-tokenizer type: '[^']*'|this GGUF file is version \d+ but this software only supports up to version \d+)",
         "this llama.cpp cannot read the model file: {0}", "Install a newer llama.cpp on all machines; if the newest cannot either, the file is a fork's"),
    rule("model_unsupported", r"(GGUFv1 is no longer supported|of type \d+ \(.*\) has \d+ elements per row|mismatch between the host and model endianness)",
         "this llama.cpp no longer reads such a model file ({0})", "Get a file of the model that was made for a current llama.cpp on a machine like this"),
    rule("model_truncated", r"data is not within the file bounds|exceeds remaining file size|unexpectedly reached end of file|corrupted model: ",
         "the model file is cut off or damaged", "Download it again and compare its checksum"),
    rule("model_truncated", r"failed to read (?:header|key-value pairs|tensor info|tensor data)",
         "the model file's header cannot be read: it is cut off, damaged, or newer than this llama.cpp",
         "Compare its size and checksum with those of where it is from; where they are right, install a newer llama.cpp"),
    rule("model_invalid", r"invalid magic characters?:? ?'?(.{0,20}?)'?, expected 'GGUF'|failed to read magic|bad GGUF version|invalid magic number",
         "the model file is not a GGUF file", "Give llama-server a GGUF file; a web page saved by a failed download is a common cause"),
    rule("model_invalid", r"error loading model(?: vocabulary| hyperparameters| architecture)?: (?!unable to allocate|llama_model_loader: failed to load)(.+)",
         "the model cannot be loaded: {0}", "Check the file with gguf_info, and that this llama.cpp is new enough for it"),
    rule("out_of_memory", r"failed to allocate (\S+) buffer of size (\d+)", _explain_no_room),
    rule("out_of_memory", r"unable to allocate (\S+) buffer", _explain_buffer_refused),
    rule("out_of_memory", r"insufficient memory \(attempted to allocate +(\d+(?:\.\d+)?) MB\)",
         lambda match, story: _no_room("CPU", "%.0f MiB" % float(match.group(1)), story)),
    # mlock, too, says this, as a warning
    rule("out_of_memory", r"std::bad_alloc|^(?!.{0,200}failed to mlock).{0,200}Cannot allocate memory", "this machine has no memory left", _FEWER_LAYERS),
    rule("bad_flash_attention", r"quantized V cache (?:was requested, but this )?requires (?:Flash Attention|flash_attn)"
         r"|V cache quantization requires flash_attn",
         "a quantised V cache needs flash attention", "Turn flash attention on or take the V cache type f16"),
    rule("no_backend", r"no backends are loaded|no CPU backend found", "llama-server found no backend library",
         "Keep the libggml-*.so files beside the program, as they were built"),
)  # fmt: skip

_WORKER_RULES = (
    rule("no_device", r"^No devices found", "rpc-server found no device to serve", "Look at the lines before; name no device to serve them all"),
    rule("bad_argument", r"^error: (invalid .+)|^Invalid parameters", "rpc-server refuses its arguments[: {0}]",
         "Check that every option has its value and that the port is from 1 to 65535"),
    rule("bad_address", r"Invalid host address: (\S+)|Cannot resolve host '([^']*)'", "rpc-server does not take {0}{1} as the address to listen on",
         "Give it an IPv4 address of this machine, not a name"),
    rule("cache_dir", r"Failed to create cache directory: (.+)", "rpc-server cannot create its cache directory {0}",
         "Let the user of the service write there, or set LLAMA_CACHE to a directory it may write"),
    rule("device_failed", r"Failed to create backend for device (\S+)", "rpc-server cannot use the device {0}",
         "Look at the lines before it; of a GPU nvidia-smi tells whether the driver works and memory is free"),
)  # fmt: skip

_LOOK = "Look at the lines before this one; if they do not say why, report it to llama.cpp with the whole log"
_LAST_RESORT = (
    rule("aborted", ABORT, _explain_abort, when_running=True),
    rule("aborted", r"terminate called (?:after throwing an instance of|without an active exception)|Aborted \(core dumped\)|status=6/ABRT",
         "{program} aborted", _LOOK, when_running=True),
    rule("crashed", r"[Ss]egmentation fault|status=11/SEGV", "{program} crashed", "Report it to llama.cpp with the whole log", when_running=True),
    rule("killed", r"code=killed, status=9/KILL", "{program} was killed",
         "The journal says so where systemd did it, because a stop took too long; else see the kernel's log (dmesg) for want of memory", when_running=True),
    rule("not_started", r"error loading model|failed to load model|failed to initialize the context|failed to create_context|exiting due to"
         r"|unable to load model",
         "{program} gave up", "Look at the lines before this one; more is said with -lv 4"),
)  # fmt: skip
_RULES = {"head": (_ANY_PROGRAM + _HEAD_RULES, _LAST_RESORT), "worker": (_ANY_PROGRAM + _WORKER_RULES, _LAST_RESORT)}
_PROGRAMS = {"head": "llama-server", "worker": "rpc-server"}


def find_failure(
    lines: t.Sequence[Line], role: str, running_from: t.Optional[int] = None, label: t.Callable[[str], str] = str
) -> t.Optional[Failure]:
    """Why a ``head`` or ``worker`` failed, None where no line says that it did.

    ``running_from`` is the number of the line that says that it runs, ``label`` what a person calls a device by the name of its buffer.
    """
    found = find(Story([line.text for line in lines], {"program": _PROGRAMS[role]}, label), _RULES[role], running_from)
    return Failure(found.kind, lines[found.telling].shown.strip(), found.problem, found.remedy) if found else None


# ---------------------------------------------------------------------------------------------------------------------
# what does not stop a start


@dataclass(frozen=True)
class Warn:
    """Something that did not stop the start but that an operator would want to know."""

    kind: str
    line: str


FIT_SHRANK = re.compile(r"context size reduced from (\d+) to (\d+)")
_CUDA_INIT_FAILED = re.compile(r"ggml_cuda_init: failed to initialize|no CUDA-capable device is detected")

_HEAD_WARNINGS = (
    ("no_api_key", re.compile(r"no API key is set")),
    ("context_beyond_training", re.compile(r"n_ctx_(?:seq|per_seq) \(\d+\) > n_ctx_train")),
    ("context_shrunk", FIT_SHRANK),
    ("fit_failed", re.compile(r"failed to fit params to free device memory")),
    ("no_pipeline_parallelism", re.compile(r"compute buffer allocation failed, retrying without pipeline parallelism")),
    ("cuda_unusable", _CUDA_INIT_FAILED),
    ("slot_context_capped", re.compile(r"the slot context \(\d+\) exceeds the training context of the model")),
)
_WORKER_WARNINGS = (
    ("cuda_unusable", _CUDA_INIT_FAILED),
    ("other_protocol", re.compile(r"Expected HELLO command, update client|HELLO request size mismatch|^Unknown command: ")),
    ("allocation_refused", re.compile(r"cudaMalloc failed: out of memory|failed to allocate buffer of size \d+")),
    ("connection_broke", re.compile(r"^(?:recv|send) failed \(")),
)
_WARNINGS = {"head": _HEAD_WARNINGS, "worker": _WORKER_WARNINGS}


def add_warnings(warnings: t.List[Warn], line: Line, role: str) -> None:
    """Add what a line warns of, once."""
    for kind, pattern in _WARNINGS[role]:
        if pattern.search(line.text) and Warn(kind, line.shown.strip()) not in warnings:
            warnings.append(Warn(kind, line.shown.strip()))
