# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before anything is installed: what cannot work is said in a sentence, and nothing is changed."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = ROOT / "molecule" / "toolchain"
REPORT = ROOT / "tests" / "fixtures" / "nvidia_smi" / "documented_535_rtx3090_rtx4090.xml"

testinfra_hosts = ["ansible://workshop"]


@pytest.fixture
def preflight(tmp_path):
    """What the preflight says with these variables, and the identity it arrives at."""

    def run(**variables):
        result = tmp_path / "result.json"
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), str(SCENARIO / "preflight.yml"), "-i", str(SCENARIO / "inventory"),
             "-e", json.dumps({"result_file": str(result), **variables})],
            cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        assert "changed=0" in done.stdout
        return json.loads(result.read_text())

    return run


@pytest.fixture
def nvidia_smi(host):
    """A driver's word, for there is none to ask: nvidia-smi that prints a recorded report."""

    def put(driver, cuda):
        report = re.sub(r"(<driver_version>)[^<]*", rf"\g<1>{driver}", REPORT.read_text(encoding="utf-8"))
        report = re.sub(r"(<cuda_version>)[^<]*", rf"\g<1>{cuda}", report)
        program = f"#!/bin/sh\ncase \"$*\" in *-x*) cat <<'END'\n{report}\nEND\n;; esac\n"
        host.check_output("echo %s | base64 -d > /usr/local/bin/nvidia-smi", base64.b64encode(program.encode()).decode())
        host.check_output("chmod 755 /usr/local/bin/nvidia-smi")

    yield put
    host.check_output("rm -f /usr/local/bin/nvidia-smi")


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"cuda_toolkit_modules": ["anaconda3/1999"]}, "The environment modules anaconda3/1999 cannot be loaded (ERROR: Unable to locate a modulefile for"),
        ({"cuda_toolkit_modules": []}, "there is no conda, mamba or micromamba, and cuda_toolkit_conda_installer_sha256 is not a SHA-256"),
        ({"cuda_toolkit_modules": [], "cuda_toolkit_conda": "/opt/nothing"}, "there is no conda at /opt/nothing (cuda_toolkit_conda). Correct it"),
        ({"cuda_toolkit_version": "12.7"}, "have no cuda-toolkit 12.7, but 13.0. Set cuda_toolkit_version to one of these"),
        ({"cuda_toolkit_version": "new"}, "cuda_toolkit_version is new. Give major and minor version, such as 12.4"),
        ({"cuda_toolkit_gcc_version": "16"}, "nvcc 13.0 takes gcc up to 15, and cuda_toolkit_gcc_version is 16. Ask for an older gcc"),
        ({"cuda_toolkit_space_mib": 99999999}, "MiB free, and the toolkit takes 99999999 MiB"),
        ({"cuda_toolkit_dir": "/opt/toolchain"}, "its user cannot write to /opt/toolchain"),
        ({"cuda_toolkit_provider": "system"}, "there is no CUDA toolkit: no bin/nvcc in /usr/local/cuda, /opt/cuda"),
        ({"cuda_toolkit_conda_channels": ["file:///srv/parts/none"]}, "The channel file:///srv/parts/none cannot be had"),
    ],
)  # fmt: skip
def test_it_says_what_is_wrong(preflight, variables, said):
    assert said in preflight(**variables)["problems"]


def test_the_driver_limits_the_choice(preflight, nvidia_smi):
    channels = {"cuda_toolkit_conda_channels": ["file:///srv/parts/v1/channels/standins"], "cuda_toolkit_gcc_version": ""}
    nvidia_smi("525.60.13", "12.0")
    assert preflight(**channels) == {"problems": "", "identity": "conda-cuda12.0-gcc12-x86_64-glibc-2.36"}
    assert (
        "its NVIDIA driver 525.60.13 serves CUDA up to 12.0, and cuda_toolkit_version is CUDA 12.4. Update the driver to 550.54.14 or newer, or take"
        in preflight(cuda_toolkit_version="12.4", **channels)["problems"]
    )
    assert (
        "cuda-toolkit 13.0, and what is needed is 12.0 or newer, and no newer than 12.0 because of the NVIDIA driver 525.60.13"
        in preflight()["problems"]
    )
    nvidia_smi("550.54.14", "12.4")
    assert preflight(**channels)["identity"] == "conda-cuda12.4-gcc13-x86_64-glibc-2.36"
    nvidia_smi("470.57.02", "11.4")
    assert (
        "its NVIDIA driver 470.57.02 serves CUDA up to 11.4, and llama.cpp is built with 12.0 or newer. Update the driver to 525.60.13"
        in preflight()["problems"]
    )


def test_nothing_was_changed(host):
    # Conda keeps the channel's index in its cache; Ansible has a directory of its own.
    left_out = " ".join(f"-not -path '/home/maker/{name}*'" for name in (".ssh", ".ansible", ".c"))
    assert host.check_output(f"find /home/maker -mindepth 1 {left_out} -newer /home/maker/.ssh") == ""
