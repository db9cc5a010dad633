# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/status.yml shows each service with what its watchdog sees."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from playbook_run import ROOT

testinfra_hosts = ["local://"]


def test_shows_each_service_with_its_watchdogs_word(cluster):
    cluster.settle()
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "playbooks" / "status.yml"), "-i", str(cluster.inventory)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    shown = run.stdout
    assert run.returncode == 0, shown
    assert re.search(r"^head +llama-server\.service +active \(running\) +\d+ .* (idle|busy) +\d+ s ago ", shown, re.MULTILINE), shown
    assert len(re.findall(r"^worker(?:1|-2[.]lab) +llama-rpc-server@0\.service +active \(running\) +\d+ .* (?:idle|busy) ", shown, re.MULTILINE)) == 2, shown
