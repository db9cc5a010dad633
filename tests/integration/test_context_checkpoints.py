# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A context checkpoint takes what the plan counts for it, by what the pinned llama-server logs of those that it makes."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import architectures
import pytest
import sampled

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import caches
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import model_from_facts
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import accounts_of

# One of each sort: a window, a state, both kinds of cache beside each other, a bound, and none.
SOME = ("gemma3-dense", "mamba2-dense", "qwen3next-moe", "kimi-linear-moe", "llama-dense")
# Whose window is longer than the prompt, whose whole cache is kept, of which the prompt fills a part, and whose states of compression are bounded.
MORE = ("llama4-moe", "smallthinker-moe", "exaone4-dense", "deepseek4-moe")
RUN = caches.RunSettings(context_size=512, parallel=2)
PROMPT = list(range(2, 102)) * 2


@pytest.mark.parametrize("name", architectures.names() if sampled.every() else SOME)
def test_it_takes_what_the_plan_counts(llama_cpp_bin: Path, tmp_path: Path, name: str) -> None:
    model = architectures.write(name, tmp_path / "model.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(llama_cpp_bin / "llama-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", str(RUN.context_size), "-np",
               str(RUN.parallel), "--no-kv-unified", "-b", "32", "-ub", "32", "--ctx-checkpoints", "3", "--fit", "off", "--no-warmup", "-fa", "on", "-t", "1",
               "-lv", "4"]
    log = tmp_path / "log"
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 60
            while "all slots are idle" not in log.read_text(errors="replace"):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
                time.sleep(0.1)
            body = json.dumps({"prompt": PROMPT, "n_predict": 1}).encode()
            with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%d/completion" % port, body), timeout=250) as answer:
                assert answer.status == 200
        except urllib.error.HTTPError as error:
            # diffusion models
            assert b"does not support logits" in error.read()
            pytest.skip("it completes nothing")
        finally:
            process.terminate()
            process.wait(30)
    said_mib = max([float(size) for size in re.findall(r"created context checkpoint .*, size = ([0-9.]+) MiB", log.read_text(errors="replace"))] or [0.0])
    counted_mib = accounts_of(model_from_facts(architectures.facts(name)), RUN).checkpoint_bytes() / (1 << 20)
    assert bool(said_mib) == bool(counted_mib)
    # its log has thousandths, and where each cell is takes a few bytes
    assert said_mib <= counted_mib + 0.0015 and (counted_mib <= said_mib + 0.0015 or name in MORE)
