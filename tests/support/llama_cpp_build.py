# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pinned llama.cpp and the lab's model on this machine: made by the collection's own roles, once, and kept in the control node's cache.

It is the very build that a deployment of the lab installs on Debian machines like this one: whoever comes second takes it from the cache.
``python tests/support/llama_cpp_build.py`` makes it where it is not there and prints the directory of its executables; what stands behind it is given
to ansible-playbook, with which another one is made in another place (docs/planner.md).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import playbook_run


class Here(NamedTuple):
    """Where things are on this machine."""

    bin: Path
    id: str
    model: Path


def have(*arguments: str, timeout_s: int = 3600) -> Here:
    """The build and the model, made and fetched where they are not there (some minutes of two processors); RuntimeError says why not.

    ``arguments`` are ansible-playbook's, such as variables that make another build.
    """
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "here.json"
        run = playbook_run.run_playbook(
            "../tests/support/llama_cpp_build.yml", "localhost,", "-e", json.dumps({"result_file": str(result), "ansible_python_interpreter": sys.executable}),
            *arguments, timeout_s=timeout_s)
        if run.rc != 0:
            raise RuntimeError("llama.cpp could not be made on this machine:\n" + run.output[-6000:])
        found = json.loads(result.read_text(encoding="utf-8"))
    return Here(Path(found["bin"]), found["id"], Path(found["model"]))


if __name__ == "__main__":
    print(have(*sys.argv[1:]).bin)
