# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs out of what nvidia-smi prints by its documentation, and from a stand-in for the program itself."""

from __future__ import annotations

import dataclasses
import shlex
import time
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._cuda.nvidia_smi import (
    Finished,
    Gpu,
    GpuProcess,
    NvidiaSmiError,
    cuda_indices,
    nvidia_pci_devices,
    parse_compute_capabilities,
    parse_xml,
    read_gpus,
    with_ram,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
UUID = "GPU-22222222-aaaa-bbbb-cccc-00000000000%d"


def printed(name: str, code: int = 0) -> Finished:
    return Finished(code, (FIXTURES / ("documented_" + name)).read_text(encoding="utf-8"))


def test_a_current_machine_whole():
    report = parse_xml(printed("535_rtx3090_rtx4090.xml"))
    assert (report.driver_version, report.cuda_version, report.warning) == ("535.183.01", "12.2", "")
    assert report.gpus == (
        Gpu(0, "00000000:01:00.0", "NVIDIA GeForce RTX 3090", UUID % 1, 24576, 317, 1204, 23054, False, (
            GpuProcess(2214, "/usr/lib/xorg/Xorg", "G", 180),
            GpuProcess(3301, '/opt/a & b/game --title="x"', "C+G", 1011),
            GpuProcess(3999, "[Not Found]", "C", None),
        )),
        Gpu(1, "00000000:0A:00.0", "NVIDIA GeForce RTX 4090", UUID % 2, 24564, 346, 1, 24216, False, ()),
    )


def test_a_real_machine():
    """Total less reserved is what CUDA says the device has, 143155 MiB; used and free are of that."""
    report = parse_xml(Finished(0, (FIXTURES / "580_h200.xml").read_text(encoding="utf-8")))
    assert (report.driver_version, report.cuda_version, report.warning) == ("580.159.04", "13.0", "")
    assert report.gpus == (
        Gpu(0, "00000000:00:06.0", "NVIDIA H200", UUID % 0, 143771, 616, 527, 142630, False, (GpuProcess(1861, "/opt/llama.cpp/ggml-rpc-server", "C", 518),)),
    )


def test_an_old_driver_tells_less():
    report = parse_xml(printed("390_gtx580.xml"))
    assert (report.driver_version, report.cuda_version) == ("390.157", "")
    (gpu,) = report.gpus
    assert (gpu.total_mib, gpu.reserved_mib, gpu.used_mib, gpu.free_mib, gpu.processes) == (1539, None, 53, 1486, ())


def test_the_window_to_the_memory_is_not_the_memory():
    # bar1_memory_usage has the same elements.
    assert parse_xml(printed("470_p40_k80.xml")).gpus[0].total_mib == 22919


def test_a_chip_without_memory_of_its_own_has_no_figures():
    (gpu,) = parse_xml(printed("580_gb10.xml")).gpus
    assert (gpu.total_mib, gpu.used_mib, gpu.free_mib) == (None, None, None)
    assert gpu.processes == (GpuProcess(900, "/opt/llama.cpp/current/bin/ggml-rpc-server", "C", 312),)


@pytest.mark.parametrize(("name", "shared"), [
    ("NVIDIA GB10", True), ("Orin (nvgpu)", True), ("NVIDIA Thor", True), ("NVIDIA Jetson AGX Orin", True), ("Xavier", True),
    ("NVIDIA GB100", False), ("NVIDIA GB200", False), ("NVIDIA GeForce RTX 4090", False), ("NVIDIA GH200 480GB", False), ("NVIDIA TITAN Xp", False),
])
def test_a_gpu_without_memory_of_its_own_has_the_machine_s(name: str, shared: bool):
    text = printed("580_gb10.xml").output.replace("<product_name>NVIDIA GB10<", "<product_name>%s<" % name)
    assert name in text
    meminfo = "MemTotal:       127600748 kB\nMemFree:         1234 kB\nMemAvailable:   118566368 kB\n"
    (gpu,) = with_ram(parse_xml(Finished(0, text)), meminfo).gpus
    assert gpu.shared_memory is shared
    assert (gpu.total_mib, gpu.used_mib, gpu.free_mib) == ((124610, 8823, 115787) if shared else (None, None, None))


def test_a_driver_s_own_figures_for_shared_memory_do_not_count():
    text = printed("580_gb10.xml").output.replace("<total>N/A</total>", "<total>4096 MiB</total>").replace("<free>N/A</free>", "<free>4000 MiB</free>")
    (gpu,) = with_ram(parse_xml(Finished(0, text)), "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n").gpus
    assert (gpu.total_mib, gpu.free_mib) == (2, 1)


def test_a_warning_does_not_spoil_the_report():
    report = parse_xml(printed("550_a100_mig.xml", 14))
    assert report.warning == "WARNING: infoROM is corrupted at gpu 0000:07:00.0"
    # The instances' memory is not the card's.
    assert [(gpu.total_mib, gpu.mig_enabled) for gpu in report.gpus] == [(40960, True), (40960, False)]


def test_numbers_for_cuda():
    two = parse_xml(printed("535_rtx3090_rtx4090.xml")).gpus
    assert cuda_indices(two) == [{"pci_bus_id": 0, "fastest_first": None}, {"pci_bus_id": 1, "fastest_first": None}]
    assert cuda_indices(two[:1]) == [{"pci_bus_id": 0, "fastest_first": 0}]
    assert cuda_indices(parse_xml(printed("580_gb10.xml")).gpus) == [{"pci_bus_id": 0, "fastest_first": 0}]
    unknown = {"pci_bus_id": None, "fastest_first": None}
    assert cuda_indices(parse_xml(printed("550_a100_mig.xml", 14)).gpus) == [unknown, unknown]
    assert cuda_indices(()) == []


def test_the_bus_order_is_that_of_numbers():
    gpu = parse_xml(printed("535_rtx3090_rtx4090.xml")).gpus[0]
    listed = [dataclasses.replace(gpu, index=i, pci_bus_id=bus) for i, bus in enumerate(["00000001:02:00.0", "0000:0a:00.0", "00000000:09:00.0"])]
    assert [number["pci_bus_id"] for number in cuda_indices(listed)] == [2, 1, 0]


def test_compute_capabilities():
    assert parse_compute_capabilities(printed("compute_cap.csv")) == {UUID % 1: "8.6", UUID % 2: "8.9"}
    assert parse_compute_capabilities(printed("compute_cap_unknown.txt", 2)) == {}
    assert parse_compute_capabilities(Finished(0, "GPU-1, [N/A]\nnonsense\n")) == {}


@pytest.mark.parametrize(
    ("finished", "quote", "remedy"),
    [
        (printed("driver_not_running.txt", 9), "couldn't communicate with the NVIDIA driver. Make sure that the latest", "modprobe nvidia"),
        (printed("version_mismatch.txt", 18), "Driver/library version mismatch NVML library version: 535.183", "reboot"),
        (printed("gpu_lost.txt", 15), "GPU 0000:01:00.0: GPU is lost. Reboot the system", "Xid"),
        (Finished(15, "Unable to determine the device handle for GPU0000:41:00.0: Unknown Error\n"), "device handle", "fell off the bus"),
        (Finished(255, "Failed to initialize NVML: Unknown Error\n"), "Unknown Error", "/dev/nvidia*"),
        (Finished(12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n"), "libnvidia-ml.so", "install the driver's library"),
        (Finished(18, "Failed to initialize NVML: RM has detected an NVML/RM version mismatch.\n"), "NVML/RM", "reboot"),
        (Finished(255, "something new\n"), '"something new"', "run nvidia-smi"),
        (Finished(1, ""), "ended with code 1 and said nothing", "run nvidia-smi"),
        (Finished(0, ""), "ended with code 0 and said nothing", "run nvidia-smi"),
        (Finished(0, '<?xml version="1.0" ?>\n<nvidia_smi_log>\n<gpu>'), "a report that is not whole", "run nvidia-smi"),
        (Finished(0, "<nvidia_smi_log><gpu></nvidia_smi_log>"), "a report that is not XML", "run nvidia-smi"),
        (Finished(15, "<nvidia_smi_log></nvidia_smi_log>\nGPU is lost"), '"GPU is lost"', "reboot"),
        (Finished(9, "x" * 5000), "xxx...", "run nvidia-smi"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_its_words(finished, quote, remedy):
    with pytest.raises(NvidiaSmiError) as caught:
        parse_xml(finished)
    message = str(caught.value)
    assert quote in message and remedy in message
    assert "\n" not in message and len(message) < 500


@pytest.mark.parametrize(
    ("elements", "driver", "cuda"),
    [
        ("<driver_version>595.44.01</driver_version><cuda_version>Not Found</cuda_version>", "595.44.01", ""),
        ("<driver_version>610.1.2</driver_version><cuda_version>13.3</cuda_version><kmd_version>610.1.2</kmd_version>", "610.1.2", "13.3"),
        ("<kmd_version>620.1.2</kmd_version><cuda_umd_version>13.4</cuda_umd_version>", "620.1.2", "13.4"),
        ("<driver_version>[N/A]</driver_version><kmd_version>620.1.2</kmd_version><cuda_version>ERR!</cuda_version>", "620.1.2", ""),
    ],
)
def test_versions_are_versions_and_no_placeholders(elements, driver, cuda):
    report = parse_xml(Finished(0, "<nvidia_smi_log>%s</nvidia_smi_log>" % elements))
    assert (report.driver_version, report.cuda_version) == (driver, cuda)
    assert ("libcuda" in report.warning) == ("Not Found" in elements)


def test_characters_that_xml_forbids():
    text = printed("535_rtx3090_rtx4090.xml").output.replace("Xorg<", "Xorg\x01\ufffd<")
    assert parse_xml(Finished(0, text)).gpus[0].processes[0].name == "/usr/lib/xorg/Xorg\ufffd\ufffd"


def pci(directory: Path, address: str, vendor: str, device_class: str, driver: str = "") -> None:
    device = directory / "bus" / "pci" / "devices" / address
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(device_class + "\n")
    if driver:
        (device / "driver").symlink_to(Path("../../../bus/pci/drivers") / driver)


def test_pci_devices(tmp_path):
    assert nvidia_pci_devices(str(tmp_path)) == []
    pci(tmp_path, "0000:00:02.0", "0x8086", "0x030000", "i915")
    pci(tmp_path, "0000:01:00.0", "0x10de", "0x030000", "nouveau")
    pci(tmp_path, "0000:01:00.1", "0x10de", "0x040300", "snd_hda_intel")
    pci(tmp_path, "0000:02:00.0", "0x10de", "0x030200")
    pci(tmp_path, "0000:03:00.0", "0x10de", "0x030200", "vfio-pci")
    assert nvidia_pci_devices(str(tmp_path)) == ["0000:01:00.0", "0000:02:00.0"]


def program(directory: Path, xml: str, code: int = 0, query: str = "compute_cap.csv", query_code: int = 0) -> str:
    """An nvidia-smi that prints fixtures."""
    path = directory / "nvidia-smi"
    whole = {name: shlex.quote(str(FIXTURES / ("documented_" + name))) for name in (xml, query)}
    path.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'"-q -x") cat {whole[xml]}; exit {code};;\n'
        f'"--query-gpu=uuid,compute_cap --format=csv,noheader") cat {whole[query]} >&2; exit {query_code};;\n'
        "esac\nexit 99\n"
    )
    path.chmod(0o755)
    return str(path)


def test_the_program_is_run(tmp_path):
    report, capabilities = read_gpus(program(tmp_path, "535_rtx3090_rtx4090.xml"), 10)
    assert len(report.gpus) == 2 and capabilities[UUID % 2] == "8.9"
    report, capabilities = read_gpus(program(tmp_path, "470_p40_k80.xml", 0, "compute_cap_unknown.txt", 2), 10)
    assert len(report.gpus) == 3 and capabilities == {}


def test_no_gpu_is_an_empty_list_and_no_driver_is_an_error(tmp_path):
    none = program(tmp_path, "no_devices.txt", 6)
    for missing_or_without in (None, none):
        report, capabilities = read_gpus(missing_or_without, 10, str(tmp_path / "sys"))
        assert (report.gpus, report.driver_version, capabilities) == ((), "", {})
    pci(tmp_path / "sys", "0000:01:00.0", "0x10de", "0x030000")
    with pytest.raises(NvidiaSmiError, match=r"has an NVIDIA GPU \(PCI 0000:01:00.0\) and no nvidia-smi"):
        read_gpus(None, 10, str(tmp_path / "sys"))
    with pytest.raises(NvidiaSmiError, match='says "No devices were found", but the machine has an NVIDIA GPU'):
        read_gpus(none, 10, str(tmp_path / "sys"))


def test_a_driver_that_does_not_run(tmp_path):
    with pytest.raises(NvidiaSmiError, match="couldn't communicate with the NVIDIA driver"):
        read_gpus(program(tmp_path, "driver_not_running.txt", 9), 10, str(tmp_path))


def test_a_program_that_hangs_or_cannot_be_run(tmp_path):
    path = tmp_path / "nvidia-smi"
    path.write_text("#!/bin/sh\nsleep 30\n")
    with pytest.raises(NvidiaSmiError, match="cannot be run: Permission denied"):
        read_gpus(str(path), 1)
    path.chmod(0o755)
    begin = time.monotonic()
    with pytest.raises(NvidiaSmiError, match="did not end within 0.3 s"):
        read_gpus(str(path), 0.3)
    assert time.monotonic() - begin < 5
