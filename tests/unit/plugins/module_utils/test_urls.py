# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an address is shown, and which address is whose."""

from __future__ import annotations

import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import origin, user_and_password, without_secrets


@pytest.mark.parametrize(
    ("url", "shown", "user"),
    [
        ("https://example.com/a.gguf", "https://example.com/a.gguf", ""),
        ("https://user:pa@ss@example.com:8443/a%20b.gguf?X-Signature=1#f", "https://example.com:8443/a%20b.gguf", "user:pa@ss"),
        ("https://token@[2001:db8::1]:80/a", "https://[2001:db8::1]:80/a", "token"),
        ("https://example.com?sig=1", "https://example.com", ""),
        ("https://example.com/a@b?c@d", "https://example.com/a@b", ""),
        ("https://user:pw@example.com:port/a", "https://example.com:port/a", "user:pw"),
        ("https://user:pw@", "https://", "user:pw"),
        ("https://user\n:pw@example.com/\na?s", "https://example.com/\na", "user\n:pw"),
        ("ssh://git@example.com/a.git", "ssh://example.com/a.git", "git"),
        ("git@example.com:a/b.git", "git@example.com:a/b.git", ""),
        ("/srv/models/what?.gguf", "/srv/models/what?.gguf", ""),
        ("", "", ""),
    ],
)
def test_without_secrets(url: str, shown: str, user: str) -> None:
    assert (without_secrets(url), user_and_password(url)) == (shown, user)


def test_origin() -> None:
    assert origin("https://a/x") == origin("https://A:443/y") != origin("http://a/x")
    assert origin("http://a:8080/") != origin("http://a/") == origin("http://user@a:80/")
