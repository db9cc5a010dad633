# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Write docs/plugins.md's tables of modules and filters from the plugins' own documentation; --check only compares."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def short_description(plugin: Path) -> str:
    """The plugin's one line, without importing it."""
    for node in ast.parse(plugin.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            line = yaml.safe_load(ast.literal_eval(node.value))["short_description"]
            return line if line[:2].isalpha() and line[:2].isupper() else line[0].lower() + line[1:]
    sys.exit(f"{plugin.relative_to(ROOT)} has no DOCUMENTATION")


def with_tables(text: str) -> str:
    """The document with both tables made anew."""
    for heading, folder in (("module", "modules"), ("filter", "filter")):
        rows = "".join(f"| `{path.stem}` | {short_description(path)} |\n" for path in sorted((ROOT / "plugins" / folder).glob("*.py")))
        top = f"| {heading} | what it does |\n|---|---|\n"
        text = re.sub(re.escape(top) + r"(?:\|.*\n)*", lambda _match, table=top + rows: table, text)
    return text


def main() -> int:
    """0 when docs/plugins.md is as it should be, or was made so."""
    page = ROOT / "docs" / "plugins.md"
    old = page.read_text(encoding="utf-8")
    new = with_tables(old)
    if new != old and "--check" in sys.argv:
        print("docs/plugins.md's tables are not what the plugins say of themselves: run `make docs`.")
        return 1
    if new != old:
        page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
