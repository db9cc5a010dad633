# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of a file of API keys, for the modules, for the watchdog and for the proxy before llama-server.

What counts as a key is llama-server's rule (common/arg.cpp of llama.cpp b11434, ``--api-key-file``): one a line, without empty lines and lines that
begin with a hash. The file is bytes to it, so a key may have any letter; in text they are UTF-8, and what is none survives (surrogateescape).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

# What no HTTP header can carry (RFC 9110, 5.5): llama-server takes such a line as a key, and nobody can send it.
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What means itself in a regular expression of PCRE and in a quoted word of nginx.
_PLAIN = re.compile(rb"[A-Za-z0-9]")


def api_keys(content: bytes) -> List[str]:
    """The keys in a file's content, in its order; white space around one is none of it, because HTTP takes it off."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    found = [line.strip(" \t\r") for line in lines if not line.startswith("#")]
    return [key for key in found if key and not _UNSENDABLE.search(key)]


def read_api_keys(path: str) -> List[str]:
    """The same of a file. Raises OSError."""
    with open(path, "rb") as stream:
        return api_keys(stream.read())


def authorization(key: str) -> Dict[str, Any]:
    """The header that shows a key, for http.client, which would refuse a text with letters beyond Latin-1; none for no key."""
    return {"Authorization": b"Bearer " + key.encode("utf-8", "surrogateescape")} if key else {}


def nginx_map(keys: List[str]) -> str:
    """Lines for a ``map`` of nginx from what a client shows to 1. Its plain strings would match without regard to case, so these are patterns."""
    lines = []
    for key in keys:
        pattern = b"".join(
            bytes([byte]) if _PLAIN.match(bytes([byte])) else b"\\x%02x" % byte for byte in key.encode("utf-8", "surrogateescape")).decode("ascii")
        lines.append('"~^(Bearer )?%s\\z" 1;\n' % pattern)
    return "".join(lines)
