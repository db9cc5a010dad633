# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which address the machines of a cluster reach each other."""

from __future__ import annotations

import typing as t


def cluster_address(own: t.Mapping[str, t.Any]) -> str:
    """The address of a machine in its cluster, by its variables: ``llama_cluster_address``, or that of its default route, empty where neither is known."""
    route = (own.get("ansible_facts") or {}).get("default_ipv4") or {}
    return str(own.get("llama_cluster_address") or route.get("address") or "")
