# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tensor that is damaged on a worker's disk is found before it is used, and on request."""

from __future__ import annotations

import json

import pytest
from answers import capital_of_france
from clusters import API_PORT, journal
from playbook_run import run_playbook

testinfra_hosts = ["local://"]
CACHE = "/var/cache/llama-rpc-server/0"
UNIT = "llama-rpc-server@0.service"
# Notes a file as found whole, as it is now.
NOTE = "import json,os,sys; path,marks=sys.argv[1:]; s=os.stat(path); d=json.load(open(marks)); " \
       "d[os.path.basename(path)]=[s.st_ino,s.st_size,s.st_mtime_ns,s.st_ctime_ns]; json.dump(d,open(marks,'w'))"


@pytest.fixture
def cached(cluster):
    """A worker that has cached a tensor, and the file; only tensors of more than 10 MiB are cached."""
    for name in ("worker1", "worker-2.lab"):
        files = cluster.machine(name).check_output(f"find {CACHE}/rpc -type f -size +1M").split()
        if files:
            return cluster.machine(name), files[0]
    return pytest.fail("no worker has cached a tensor")


def start_again(cluster, worker) -> str:
    """What the worker says when it is started; the head is stopped meanwhile."""
    head = cluster.machine("head")
    head.check_output("systemctl stop llama-server")
    worker.check_output(f"systemctl restart {UNIT}")
    invocation = worker.check_output(f"systemctl show -P InvocationID {UNIT}")
    head.check_output("systemctl start llama-server")
    cluster.settle()
    return journal(worker, f"_SYSTEMD_INVOCATION_ID={invocation}")


def answer(cluster) -> str:
    return capital_of_france(cluster.machine("head"), cluster.addresses["head"], API_PORT)


def test_a_file_that_was_cut_short_is_removed_and_named_at_the_start(cluster, cached):
    worker, file = cached
    worker.check_output(f"truncate -s -1000 {file}")
    said = start_again(cluster, worker)
    assert f"removed {file}: it is damaged" in said, said
    assert "Paris" in answer(cluster)
    assert worker.file(file).exists, "it was not sent again"


def test_a_file_that_rots_without_a_trace_is_found_on_request(cluster, cached):
    """One whose size and times are those of the last check: reading it is all that helps."""
    worker, file = cached
    worker.check_output(f"printf XXXXXXXX | dd of={file} bs=1 seek=5000 conv=notrunc status=none")
    worker.check_output("python3 -c %s %s %s", NOTE, file, f"{CACHE}/checked.json")
    assert "removed" not in start_again(cluster, worker)
    run = run_playbook("../molecule/default/check_cache.yml", cluster.inventory)
    assert run.rc == 0, run.output[-3000:]
    assert run.says(f"removed {file}: it is damaged"), run.output[-3000:]
    assert run.changed == 1, run.recap
    assert not worker.file(file).exists
    assert json.loads(worker.file(f"{CACHE}/checked.json").content_string).get(file.rpartition("/")[2]) is None
    start_again(cluster, worker)
    assert "Paris" in answer(cluster)
    assert run_playbook("../molecule/default/check_cache.yml", cluster.inventory).changed == 0
