# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios' tests log in as the inventory's user, and look as root, as an operator would with sudo."""

from __future__ import annotations

import os

import clusters

clusters.look_as_root()

# A test reads of each task what an operator need not see.
os.environ.setdefault("ANSIBLE_DISPLAY_OK_HOSTS", "true")
