# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys with which the head's ends of the TLS tunnels prove themselves to the workers, as stunnel reads them: ``IDENTITY:KEY``."""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.checks import HEXADECIMAL_KEY

# stunnel's name for whoever has the key (role rpc_server).
IDENTITY = "llama-rpc"


def tunnel_keys(read: t.Iterable[t.Mapping[str, t.Any]], given: t.Mapping[str, str], machines: t.Iterable[str]) -> t.Dict[str, str]:
    """The lines with the keys by machine: those that were read there, results of ansible.builtin.slurp, and those that are given instead.

    What was read and is none is left out: it would end the tunnels to all machines. Raises ValueError where a content is no base64.
    """
    keys: t.Dict[str, str] = {}
    for result in read:
        identity, _colon, key = base64.b64decode(result.get("content") or "").decode("utf-8", "replace").strip().partition(":")
        if identity == IDENTITY and HEXADECIMAL_KEY.fullmatch(key):
            keys[str(result["item"])] = "%s:%s" % (identity, key)
    keys.update((machine, "%s:%s" % (IDENTITY, given[machine])) for machine in machines if machine in given)
    return keys
