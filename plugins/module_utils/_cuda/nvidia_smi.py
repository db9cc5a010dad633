# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA GPUs as ``nvidia-smi -q -x`` describes them.

The XML and not ``--query-gpu`` alone: it has the processes too, and an element that a driver does not know is missing instead of
making the whole query fail. Only the compute capability has to be asked for by ``--query-gpu=uuid,compute_cap``, which drivers
older than 510 do not know.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import typing as t
from dataclasses import asdict, dataclass, replace
from xml.etree import ElementTree

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.machine import memory_mib, read_text

# Where it is when not in the PATH: WSL, and hosts whose driver comes from a container.
DIRECTORIES = ["/usr/lib/wsl/lib", "/usr/local/nvidia/bin", "/run/nvidia/driver/usr/bin"]
XML_ARGUMENTS = ("-q", "-x")
COMPUTE_CAPABILITY_ARGUMENTS = ("--query-gpu=uuid,compute_cap", "--format=csv,noheader")

# "Return code reflects whether the operation succeeded" in nvidia-smi(1): 14 is a damaged infoROM, said beside a whole report.
_WHOLE_REPORT_CODES = (0, 14)
_NO_DEVICES = "No devices were found"
_END = "</nvidia_smi_log>"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MEMORY = re.compile(r"(\d+) (?:MiB|MB)")
_BUS_ID = re.compile(r"([0-9A-Fa-f]+):([0-9A-Fa-f]+):([0-9A-Fa-f]+)\.([0-9A-Fa-f]+)")
_DOTTED = re.compile(r"\d+(?:\.\d+)+")
_PLACEHOLDERS = ("N/A", "Not Supported", "Not Found", "Function Not Found", "Not Available", "None", "Unknown", "Unknown Error", "ERR!", "Timeout",
                 "Insufficient Permissions", "GPU is lost", "GPU requires reset", "Uninitialized")
_COMPUTE_CAPABILITY = re.compile(r"\d+\.\d+")
_MAX_QUOTE = 300

# What nvidia-smi says instead of a report, and what to do. The messages are nvidia-smi's own and NVML's (nvmlErrorString in nvml.h); for
# those with more than one cause the sentence says how to tell them apart.
_LOAD = "load the driver (modprobe nvidia) or install the one for the running kernel"
_REMEDIES = (
    ("couldn't communicate with the NVIDIA driver", _LOAD),
    ("Driver Not Loaded", _LOAD),
    ("version mismatch", "the driver that is loaded is not the one that is installed: reboot, or unload the old one"),
    ("couldn't find libnvidia-ml.so", "install the driver's library of the same version as the kernel module (Debian: libnvidia-ml1; in a container:"
     " NVIDIA's container toolkit)"),
    ("NVML Shared Library Not Found", "install the driver's library of the same version as the kernel module (Debian: libnvidia-ml1)"),
    ("GPU is lost", "the GPU fell off the bus: look for Xid errors in the kernel's log (dmesg), check power and slot, and reboot"),
    ("Unable to determine the device handle", "that GPU does not answer, as one that fell off the bus: look for Xid errors in the kernel's log"
     " (dmesg), check power and slot, and reboot"),
    ("GPU requires reset", "reset the GPU (nvidia-smi --gpu-reset) or reboot"),
    ("Failed to initialize NVML: Unknown Error", "the device nodes /dev/nvidia* cannot be opened, as in a container that was not given them or lost them"
     " (start it anew); on a machine itself, look into the kernel's log (dmesg)"),
    ("Insufficient Permissions", "run as a user who may open /dev/nvidia*"),
)

# GPUs on the chip of the processor, whose memory is the machine's RAM. nvidia-smi calls them "NVIDIA GB10", "NVIDIA Thor", "Orin (nvgpu)" and
# "Xavier"; of their memory it says N/A or Not Supported, and some drivers figures that have to do with RAM only by chance.
_SHARED_MEMORY = re.compile(r"(?:NVIDIA[ -])?(?:GB10|(?:Jetson |AGX |DRIVE )*(?:Thor|Orin|Xavier|Tegra))\b", re.IGNORECASE)

_PCI_NVIDIA = "0x10de"
# VGA and 3D controllers: the audio and USB functions of a card have classes of their own.
_PCI_DISPLAY = "0x03"


class NvidiaSmiError(Exception):
    """The GPUs cannot be told. The text is a sentence without its full stop."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    kind: str
    used_mib: t.Optional[int]


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory is None where the driver does not tell it; of one that shares the machine's RAM it is that RAM."""

    index: int
    pci_bus_id: str
    name: str
    uuid: str
    total_mib: t.Optional[int]
    reserved_mib: t.Optional[int]
    used_mib: t.Optional[int]
    free_mib: t.Optional[int]
    mig_enabled: bool
    processes: t.Tuple[GpuProcess, ...]
    shared_memory: bool = False


@dataclass(frozen=True)
class GpuReport:
    """The GPUs of a machine in nvidia-smi's order; the CUDA version is empty where the driver is too old to say it."""

    driver_version: str
    cuda_version: str
    gpus: t.Tuple[Gpu, ...]
    warning: str


@dataclass(frozen=True)
class Finished:
    """What a program ended with."""

    code: int
    output: str


def run_nvidia_smi(command: t.Sequence[str], timeout_s: float) -> Finished:
    """Run nvidia-smi, and give up on one that hangs in the driver, which not even SIGKILL ends."""
    environment = dict(os.environ, LC_ALL="C")
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        except OSError as error:
            raise NvidiaSmiError("%s cannot be run: %s" % (command[0], error.strerror or error)) from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                # It ended after all.
                pass
            raise NvidiaSmiError(
                "nvidia-smi did not end within %g s: the driver or a GPU hangs; look for Xid errors in the kernel's log and reboot" % timeout_s
            ) from error
        output.seek(0)
        return Finished(code, output.read().decode("utf-8", "replace"))


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return '"%s"' % (words if len(words) <= _MAX_QUOTE else words[:_MAX_QUOTE] + "...")


def failure(finished: Finished) -> NvidiaSmiError:
    """The error for an nvidia-smi that did not report, with its own words and what helps."""
    said = finished.output
    remedy = next((help_ for words, help_ in _REMEDIES if words in said), "run nvidia-smi on the machine to see more")
    if not said.strip():
        return NvidiaSmiError("nvidia-smi ended with code %d and said nothing; %s" % (finished.code, remedy))
    return NvidiaSmiError("nvidia-smi cannot reach the GPUs, it says %s; %s" % (_quoted(said), remedy))


def says_no_devices(finished: Finished) -> bool:
    """Whether the driver works and has no GPU."""
    return _NO_DEVICES in finished.output and _END not in finished.output


def _text(element: t.Optional[ElementTree.Element], path: str) -> str:
    """The text of a child; empty when there is none or the driver has nothing to say."""
    text = (element.findtext(path) or "").strip() if element is not None else ""
    # also in brackets; and "Requested functionality has been deprecated"
    plain = text.strip("[]")
    return "" if plain in _PLACEHOLDERS or "deprecated" in plain else text


def _version(root: ElementTree.Element, *paths: str) -> str:
    """The first of these elements that has a version."""
    return next((text for text in (_text(root, path) for path in paths) if _DOTTED.fullmatch(text)), "")


def _mib(element: t.Optional[ElementTree.Element], path: str) -> t.Optional[int]:
    match = _MEMORY.fullmatch(_text(element, path))
    return int(match.group(1)) if match else None


def _process(element: ElementTree.Element) -> t.Optional[GpuProcess]:
    pid = _text(element, "pid")
    if not pid.isdigit():
        return None
    return GpuProcess(int(pid), (element.findtext("process_name") or "").strip(), _text(element, "type"), _mib(element, "used_memory"))


def _gpu(index: int, element: ElementTree.Element) -> Gpu:
    memory = element.find("fb_memory_usage")
    found = (_process(process) for process in element.iterfind("processes/process_info"))
    return Gpu(
        index=index,
        pci_bus_id=_text(element, "pci/pci_bus_id") or element.get("id", ""),
        name=_text(element, "product_name"),
        uuid=_text(element, "uuid"),
        total_mib=_mib(memory, "total"),
        reserved_mib=_mib(memory, "reserved"),
        used_mib=_mib(memory, "used"),
        free_mib=_mib(memory, "free"),
        mig_enabled=_text(element, "mig_mode/current_mig") == "Enabled",
        processes=tuple(process for process in found if process is not None),
        shared_memory=_SHARED_MEMORY.match(_text(element, "product_name")) is not None,
    )


def with_ram(report: GpuReport, meminfo: str) -> GpuReport:
    """The report with the RAM's figures for each GPU that shares it, from the text of /proc/meminfo.

    What is available counts as free, as for llama.cpp (ggml/src/ggml-cuda/ggml-cuda.cu, ggml_backend_cuda_device_get_memory).
    """
    total, free = memory_mib(meminfo), memory_mib(meminfo, "MemAvailable")
    if not total:
        return report
    return replace(report, gpus=tuple(
        replace(gpu, total_mib=total, reserved_mib=0, used_mib=total - free, free_mib=free) if gpu.shared_memory else gpu for gpu in report.gpus))


def parse_xml(finished: Finished) -> GpuReport:
    """The report in what ``nvidia-smi -q -x`` wrote; an error that quotes it when there is none."""
    text = _NOT_XML.sub("\ufffd", finished.output)
    begin, end = text.find("<nvidia_smi_log"), text.find(_END)
    if finished.code not in _WHOLE_REPORT_CODES or begin < 0 or end < 0:
        # A report that broke off is of no use in the sentence, only what was said about it.
        said = text if begin < 0 else text[:begin] + (text[end + len(_END):] if end >= 0 else "")
        said = re.sub(r"<[?!][^>]*>", "", said)
        if not said.strip() and begin >= 0:
            said = "(a report that is not whole)" if end < 0 else "(a report)"
            raise NvidiaSmiError("nvidia-smi ended with code %d after %s; run nvidia-smi on the machine to see more" % (finished.code, said))
        raise failure(Finished(finished.code, said))
    try:
        root = ElementTree.fromstring(text[begin:end + len(_END)])
    except ElementTree.ParseError as error:
        raise NvidiaSmiError("nvidia-smi wrote a report that is not XML (%s); run nvidia-smi -q -x on the machine to see it" % error) from error
    around = re.sub(r"<[?!][^>]*>", "", text[:begin]) + text[end + len(_END):]
    if "Not Found" in (root.findtext("cuda_version") or root.findtext("cuda_umd_version") or ""):
        around += " nvidia-smi does not find libcuda.so.1, the part of the driver that CUDA programs need (Debian: libcuda1)"
    return GpuReport(
        # Since 610 the kernel's and the user's part of the driver are named apart, and some drivers have only these elements.
        driver_version=_version(root, "driver_version", "kmd_version"),
        cuda_version=_version(root, "cuda_version", "cuda_umd_version"),
        gpus=tuple(_gpu(index, element) for index, element in enumerate(root.iterfind("gpu"))),
        warning=" ".join(around.split()),
    )


def parse_compute_capabilities(finished: Finished) -> t.Dict[str, str]:
    """UUID to compute capability; nothing from a driver that does not know the field."""
    found = {}
    if finished.code in _WHOLE_REPORT_CODES:
        for line in finished.output.splitlines():
            uuid, _comma, capability = line.partition(",")
            if _COMPUTE_CAPABILITY.fullmatch(capability.strip()):
                found[uuid.strip()] = capability.strip()
    return found


def _bus_order(bus_id: str) -> t.Tuple[int, ...]:
    match = _BUS_ID.fullmatch(bus_id)
    return tuple(int(part, 16) for part in match.groups()) if match else ()


def cuda_indices(gpus: t.Sequence[Gpu]) -> t.List[t.Dict[str, t.Optional[int]]]:
    """Each GPU's number for CUDA programs, with CUDA_DEVICE_ORDER=PCI_BUS_ID and by CUDA's own default.

    The CUDA C++ Programming Guide says of the default FASTEST_FIRST that CUDA guesses the fastest device, makes it device 0 and
    leaves the order of the others unspecified. So that number is known only for a GPU without others. A GPU in MIG mode has none: CUDA
    sees its instances.
    """
    whole = [gpu for gpu in gpus if not gpu.mig_enabled]
    ordered = all(_bus_order(gpu.pci_bus_id) for gpu in whole)
    by_bus = sorted(whole, key=lambda gpu: _bus_order(gpu.pci_bus_id))
    return [
        {
            "pci_bus_id": None if gpu.mig_enabled or len(whole) < len(gpus) or not (ordered or len(gpus) == 1) else by_bus.index(gpu),
            "fastest_first": 0 if len(gpus) == 1 and not gpu.mig_enabled else None,
        }
        for gpu in gpus
    ]


def nvidia_pci_devices(sys_directory: str = "/sys") -> t.List[str]:
    """PCI addresses of the NVIDIA GPUs the machine has for itself, driver or not."""
    base = os.path.join(sys_directory, "bus", "pci", "devices")
    found = []
    try:
        addresses = sorted(os.listdir(base))
    except OSError:
        return []
    for address in addresses:
        directory = os.path.join(base, address)
        try:
            with open(os.path.join(directory, "vendor"), encoding="ascii") as stream:
                vendor = stream.read().strip()
            with open(os.path.join(directory, "class"), encoding="ascii") as stream:
                device_class = stream.read().strip()
        except (OSError, ValueError):
            continue
        if vendor != _PCI_NVIDIA or not device_class.startswith(_PCI_DISPLAY):
            continue
        try:
            driver = os.path.basename(os.readlink(os.path.join(directory, "driver")))
        except OSError:
            driver = ""
        # Handed through to a virtual machine.
        if driver != "vfio-pci":
            found.append(address)
    return found


def read_gpus(program: t.Optional[str], timeout_s: float, sys_directory: str = "/sys",
              meminfo: str = "/proc/meminfo") -> t.Tuple[GpuReport, t.Dict[str, str]]:
    """The machine's GPUs and their compute capabilities by UUID; ``program`` is nvidia-smi's path, None where it is missing."""
    nothing = GpuReport("", "", (), "")
    if program is None:
        devices = nvidia_pci_devices(sys_directory)
        if devices:
            raise NvidiaSmiError(
                "the machine has an NVIDIA GPU (PCI %s) and no nvidia-smi; install NVIDIA's driver" % ", ".join(devices)
            )
        return nothing, {}
    finished = run_nvidia_smi([program, *XML_ARGUMENTS], timeout_s)
    if says_no_devices(finished):
        devices = nvidia_pci_devices(sys_directory)
        if devices:
            raise NvidiaSmiError(
                "nvidia-smi says %s, but the machine has an NVIDIA GPU (PCI %s); look into the kernel's log for why the driver does not"
                " take it" % (_quoted(finished.output), ", ".join(devices))
            )
        return nothing, {}
    report = with_ram(parse_xml(finished), read_text(meminfo))
    if not report.gpus:
        return report, {}
    return report, parse_compute_capabilities(run_nvidia_smi([program, *COMPUTE_CAPABILITY_ARGUMENTS], timeout_s))


def seen_gpus(program: t.Optional[str], timeout_s: float) -> t.Tuple[GpuReport, t.List[t.Dict[str, t.Any]]]:
    """The report, and each GPU as the modules return it. Raises NvidiaSmiError."""
    report, capabilities = read_gpus(program, timeout_s)
    gpus = [
        dict(asdict(gpu), cuda_index=cuda_index, compute_capability=capabilities.get(gpu.uuid, ""))
        for gpu, cuda_index in zip(report.gpus, cuda_indices(report.gpus))
    ]
    return report, gpus


def sentence(error: NvidiaSmiError) -> str:
    """The error as a sentence; nvidia-smi keeps its small letter."""
    text = str(error)
    return "%s%s." % (text[0].upper() if text.startswith("the ") else text[0], text[1:])
