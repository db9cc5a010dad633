# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Hugging Face's hub, or a mirror of it, says of a model in a repository."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import quote

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.http_range import fetch_document
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import SelectError, hub_files

# The largest repositories have some ten thousand files, of which each takes about 300 bytes in the answer.
MAX_LISTING_BYTES = 32 << 20


@dataclass(frozen=True)
class HubAnswer:
    """The model's files, each with ``name``, ``size_bytes`` and ``sha256``, and their commit; or what is wrong and what helps."""

    problem: str = ""
    remedy: str = ""
    commit: str = ""
    files: t.List[t.Dict[str, t.Any]] = field(default_factory=list)


def look(endpoint: str, repo: str, file: str, revision: str, token: str = "", sha256_required: bool = True, timeout_seconds: float = 30) -> HubAnswer:
    """Ask the hub at ``endpoint`` for the model that ``file`` (a name or a pattern) means in ``repo`` at ``revision``."""
    place = without_secrets(endpoint)
    url = "%s/api/models/%s/revision/%s?blobs=true" % (endpoint.rstrip("/"), quote(repo), quote(revision, safe=""))
    try:
        status, body = fetch_document(url, token or None, timeout_seconds, MAX_LISTING_BYTES)
    except GgufError as exc:
        return HubAnswer(str(exc), "Correct gguf_model_huggingface_endpoint or the machine's network")
    if status in (401, 403):
        who, remedy = "anyone without a token", "Correct gguf_model_huggingface_repo, or set gguf_model_huggingface_token"
        if token:
            who, remedy = "the given token", "Accept its conditions on its page, or use another token"
        return HubAnswer("%s at %s does not exist or is not open to %s (HTTP status %d)" % (repo, place, who, status), remedy)
    if status == 404:
        return HubAnswer(
            "%s at %s does not exist, or has no revision %s" % (repo, place, revision),
            "Correct gguf_model_huggingface_repo or gguf_model_huggingface_revision",
        )
    strange = HubAnswer(
        "%s does not answer like the hub (HTTP status %d)" % (place, status), "Correct gguf_model_huggingface_endpoint, or try again later"
    )
    if status != 200:
        return strange
    try:
        description = json.loads(body)
    except (ValueError, RecursionError):
        return strange
    commit = description.get("sha", revision) if isinstance(description, dict) else None
    if not isinstance(commit, str) or (commit != revision and not re.fullmatch("[0-9a-f]{40}", commit)):
        return strange
    try:
        files = hub_files(description, file, repo)
    except SelectError as exc:
        return HubAnswer(str(exc), "Correct gguf_model_huggingface_file")
    unknown = [entry["name"] for entry in files if not entry["sha256"]]
    if unknown and sha256_required:
        return HubAnswer(
            "%s does not say the SHA-256 of %s, so nothing would tell whether the right file came" % (place, ", ".join(unknown)),
            "Set gguf_model_sha256, or gguf_model_sha256_required to false to go without",
        )
    return HubAnswer(commit=commit, files=files)
