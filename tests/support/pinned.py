# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which llama.cpp this collection is made and tested with, and where else in the checkout it is named.

It is said once: ``llama_cpp_git_version`` in the role's defaults. ``make pin VERSION=b12345`` (tools/pin.py) moves it.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).absolute().parents[2]
DEFAULTS = ROOT / "roles" / "llama_cpp" / "defaults" / "main.yml"
LAB = ROOT / "inventories" / "lab" / "group_vars" / "all.yml"
FORMULAS = ROOT / "plugins" / "module_utils" / "_plan" / "model.py"
PLANS = ROOT / "tests" / "fixtures" / "plan"
# b11434, build 11434, build_number: 11434, and 11434.0.0, the version of the package on PyPI.
BUILD = re.compile(r"(?<![\w.])(?:b|build )(?P<tag>\d{4,6})(?![\w-])|(?<![\w.])(?P<package>\d{4,6})\.0\.0(?![\w.])")
# What people read. A comment in code that cites a source file says in which version it was read, and that may be an older one.
_DOCUMENTS = ("*.md", "docs/**/*.md", "inventories/**/*.yml", "inventories/**/*.md", "roles/*/README.md", "roles/*/defaults/main.yml",
              "roles/*/meta/argument_specs.yml", "plugins/modules/*.py", "plugins/filter/*.py", "tests/fixtures/**/README.md")
# Paragraphs and rows about what was seen with the build of that day and is not recorded anew with another one.
_SEEN = re.compile(r"NVIDIA H200|(?m:^\| head/beside_)")
_COMPARED = re.compile(r'(?m)^COMPARED_BUILD = "(\w+)"$')


def version() -> str:
    """Such as b11434."""
    return yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))["llama_cpp_git_version"]


def compared() -> str:
    """The build that the planner's formulas were compared with."""
    return _COMPARED.search(FORMULAS.read_text(encoding="utf-8")).group(1)


def note_compared(version_: str) -> None:
    text = FORMULAS.read_text(encoding="utf-8")
    FORMULAS.write_text(_COMPARED.sub(f'COMPARED_BUILD = "{version_}"', text), encoding="utf-8")


def blocks(text: str) -> list[str]:
    """A document's paragraphs, rows of tables, and what is between them; together they are the text."""
    return re.split(r"(\n\s*\n|\n(?=\|))", text)


def is_seen(block: str) -> bool:
    """Whether it says what was seen once, so that the version in it stays."""
    return bool(_SEEN.search(block))


def fixture(name: str) -> Path:
    """The recorded answers of the pinned build, ``tests/fixtures/plan/NAME_b11434.json``."""
    return PLANS / f"{name}_{version()}.json"


def source_name(variables: Path) -> str:
    """How a deployment calls the source that a file of variables sets."""
    values = yaml.safe_load(variables.read_text(encoding="utf-8"))
    return f"{values['llama_cpp_pypi_name']} {values['llama_cpp_pypi_version']}"


def documents() -> list[Path]:
    """The files that name a version for people."""
    return [path for pattern in _DOCUMENTS for path in sorted(ROOT.glob(pattern)) if not path.is_symlink() and path.name != "CHANGELOG.md"]
