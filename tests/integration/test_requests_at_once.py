# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that each fit into their part of the context are all answered, by the pinned llama-server with the role's own defaults."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import report
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import head_log

DEFAULTS = yaml.safe_load((Path(__file__).absolute().parents[2] / "roles/llama_server/defaults/main.yml").read_text(encoding="utf-8"))
CONTEXT, AT_ONCE = 512, 4


def ask(port: int, prompt: str, n_predict: int) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"prompt": prompt, "n_predict": n_predict, "ignore_eos": True, "temperature": 0}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/completion", body), timeout=250) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.parametrize("shared", [False, True], ids=["the defaults", "one cache for all"])
def test_what_each_fits_is_answered(shared: bool, llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    parallel = AT_ONCE if shared else DEFAULTS["llama_server_parallel"]
    unified = shared or DEFAULTS["llama_server_kv_unified"]
    words = ([] if parallel is None else ["--parallel", str(parallel)]) + (
        [] if unified is None else ["--kv-unified" if unified else "--no-kv-unified"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(llama_cpp_bin / "llama-server"), "-m", str(smollm2), "--host", "127.0.0.1", "--port", str(port), "-c", str(CONTEXT), "--fit", "off",
               "-t", "1", "-tb", "1", "-lv", "4", *words]
    with (tmp_path / "log").open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 120
            while not healthy(port):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text(errors="replace")[-2000:]
                time.sleep(0.3)
            # 4 + 180 tokens each: less than half of the context, more than the context together.
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                answers = list(pool.map(lambda number: ask(port, f"{number} is", 180), range(AT_ONCE)))
            long = ask(port, "word " * (CONTEXT + 100), 1)
        finally:
            process.terminate()
            process.wait(30)
    found = head_log.parse_head((tmp_path / "log").read_text(errors="replace"))
    said = report.requests(caches.RunSettings(context_size=CONTEXT, parallel=parallel or 4, kv_unified=bool(unified or parallel is None)))
    assert long[0] == 400 and long[1]["type"] == "exceed_context_size_error"
    if shared:
        assert [status for status, _answer in answers] == [500] * AT_ONCE and "all of them fail with HTTP 500" in said
    else:
        assert [(status, answer.get("tokens_predicted")) for status, answer in answers] == [(200, 180)] * AT_ONCE, answers
        assert said.startswith(f"{found.n_slots} requests at a time, each of up to {found.n_ctx_slot} tokens"), said
