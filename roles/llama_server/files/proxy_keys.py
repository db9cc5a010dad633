# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell nginx which API keys llama-server takes, before each start of the proxy: it refuses all others itself, before it counts or reads anything.

    proxy_keys.py KEY_FILE SETTINGS

SETTINGS is written for this user alone. Where KEY_FILE has no key, nginx refuses everybody.
"""
from __future__ import annotations

import os
import sys

import api_keys


def main(key_file: str, settings: str) -> int:
    try:
        keys = api_keys.read_api_keys(key_file)
    except OSError as error:
        print("the API keys cannot be read: %s" % error)
        return 1
    if not keys:
        print("%s has no API key, so everybody is refused" % key_file)
    with open(settings + ".new", "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        stream.write(api_keys.nginx_map(keys))
    os.replace(settings + ".new", settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
