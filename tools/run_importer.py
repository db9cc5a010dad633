# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Have galaxy-importer look at the built collection as Galaxy does, with its default configuration. A warning fails it too.

Two things are otherwise. Galaxy refuses a collection without a repository, which nobody has named yet: a stand-in is put into the manifest where
galaxy.yml has none. And its ansible-lint is left out, which only warns and gives up after five minutes: make test-lint runs it, more strictly.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "herd.llama_cpp" / "venvs" / "importer"
STAND_IN = "https://example.com/herd/llama_cpp"


def name_repository(built: Path, named: Path) -> None:
    """Copy the tarball with the stand-in where its manifest names no repository."""
    with tarfile.open(built) as source, tarfile.open(named, "w:gz") as target:
        for member in source:
            content = source.extractfile(member)
            data = content.read() if content else b""
            if member.name == "MANIFEST.json":
                manifest = json.loads(data)
                manifest["collection_info"]["repository"] = manifest["collection_info"]["repository"] or STAND_IN
                data = json.dumps(manifest).encode()
                member.size = len(data)
            target.addfile(member, io.BytesIO(data))


def main() -> int:
    """0 when Galaxy would take it, and finds nothing to say."""
    subprocess.run([ROOT / "tools" / "setup"], env={**os.environ, "VENV": str(CACHE), "REQUIREMENTS": "requirements-importer.txt"}, check=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", folder], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        (built,) = Path(folder).glob("*.tar.gz")
        named = Path(folder, "named", built.name)
        named.parent.mkdir()
        name_repository(built, named)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment |= {"PATH": f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}", "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false"}
        asked = subprocess.run(
            [CACHE / "bin" / "python", "-m", "galaxy_importer.main", named], cwd=folder, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = [line for line in asked.stdout.splitlines() if line.startswith(("WARNING", "ERROR", "CRITICAL"))]
    if asked.returncode or said or "Importer processing completed successfully" not in asked.stdout:
        print(asked.stdout)
        print(f"make test-importer: galaxy-importer ended with {asked.returncode} and {len(said)} warnings or errors.")
        return 1
    print("galaxy-importer takes the collection and has nothing to say.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
