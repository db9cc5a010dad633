# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: how one may be shown and kept, and whether two lead to the same server."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_WITH_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:(?P<user>[^/?#]*)@)?(?P<rest>[^?#]*)(?P<query>[?#].*)?", re.DOTALL)


def without_secrets(url: str) -> str:
    """A URL as it may be shown and kept: no user, no password, no query (signed links carry their signature there), no fragment.

    What has none of them is returned as it is, a path or git's ``user@host:path`` too.
    """
    match = _WITH_AUTHORITY.fullmatch(url)
    return match["scheme"] + match["rest"] if match else url


def user_and_password(url: str) -> str:
    """What stands before the host in a URL, as it stands there; empty where there is nothing."""
    match = _WITH_AUTHORITY.fullmatch(url)
    return (match["user"] or "") if match else ""


def origin(url: str) -> t.Tuple[str, str, t.Optional[int]]:
    """Scheme, host and port: what a token may be sent to is what has the same three. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
