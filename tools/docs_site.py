# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Build the site of the documentation: a page for each plugin and role by antsibull-docs, and the documents as they are. A warning fails it.

With a directory the site is put there, without one it is only tried. Needs no network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
DOCUMENTS = ("*.md", "docs/*.md", "inventories/*/README.md", "roles/*/README.md")


def gather(source: Path) -> None:
    """Copy the documents, and what they link to or show, to where they find each other; a directory is as good as its README, which is a page."""
    wanted = [path for pattern in DOCUMENTS for path in ROOT.glob(pattern)]
    for document in list(wanted):
        links = re.findall(r"\]\(([^)\s#]+)|src(?:set)?=\"([^\"#]+)", document.read_text(encoding="utf-8"))
        wanted += [path for link in links if (path := (document.parent / "".join(link)).resolve()).is_file()]
    for path in wanted:
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def main() -> int:
    """0 when every page is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        shutil.copytree(ROOT / "docs" / "site", source)
        gather(source)
        # antsibull-docs wants a directory that nobody else may write to.
        (source / "collection").mkdir(mode=0o755)
        paths = {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections")}
        made = subprocess.run(
            [TOOLS / "antsibull-docs", "collection", "--fail-on-error", "--use-current", "--squash-hierarchy", "--dest-dir", source / "collection",
             "herd.llama_cpp"], env={**os.environ, **paths}, check=False)
        built = made.returncode or subprocess.run(
            [TOOLS / "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", source, Path(folder, "site")], check=False).returncode
        if built == 0 and len(sys.argv) > 1:
            shutil.rmtree(sys.argv[1], ignore_errors=True)
            shutil.copytree(Path(folder, "site"), sys.argv[1])
            print(f"{sys.argv[1]}/index.html")
        return built


if __name__ == "__main__":
    sys.exit(main())
