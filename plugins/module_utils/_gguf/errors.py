# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a GGUF file."""

from __future__ import annotations


class GgufError(Exception):
    """The file is not a usable GGUF file. The text is one sentence without the final full stop."""


class GgufMissing(GgufError):
    """There is no such file."""
