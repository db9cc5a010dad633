# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan decides what runs where, and a cluster that runs otherwise is found out."""

from __future__ import annotations

import json
import re

import clusters
import compared
import pinned
import pytest
import sparse_gguf
from playbook_run import run_playbook

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.check import deviations
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import parse_head

CLUSTER = clusters.scenario("default")
INVENTORY = CLUSTER.inventory
UNIT = "/etc/systemd/system/llama-server.service"

testinfra_hosts = ["local://"]


def on(machine: str, command: str) -> str:
    """Run a command on a lab machine, which must succeed."""
    return CLUSTER.machine(machine).check_output(command)


def plan() -> dict:
    """The plan that is kept on the head."""
    return json.loads(on("head", "cat /etc/llama.cpp/cluster.json"))["plan"]


def running() -> list[str]:
    """llama-server's arguments as the process has them."""
    return on("head", "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID llama-server)/cmdline").split("\n")


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_llama_server_runs_as_planned():
    words, planned = running(), plan()
    assert planned["machines"] == ["head", "worker1", "worker-2.lab"] and sum(planned["tensor_split"]) == 31
    assert after(words, "--tensor-split") == ",".join(map(str, planned["tensor_split"]))
    assert after(words, "--device") == planned["device_option"] == "RPC0,RPC1"
    assert (after(words, "--fit"), after(words, "--n-gpu-layers"), after(words, "--ctx-size")) == ("off", "all", "8192")
    endpoints = [clusters.tunnel_end(CLUSTER.addresses[entry["machine"]]) for entry in planned["rpc"]]
    assert after(words, "--rpc") == ",".join(endpoints)


def figures() -> list[dict]:
    """For each device, and the head's CPU, what was planned, what llama-server said before its start, and what its log says of that start."""
    log = on("head", "journalctl --sync; journalctl --no-pager --quiet -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID llama-server)")
    return deviations(plan(), parse_head(log).to_dict())["rows"]


def test_the_plan_is_what_the_built_llama_server_said_over_its_workers_and_holds():
    known = plan()["figures"]
    assert (known["source"], known["build"]) == ("asked", pinned.version())
    assert known["over_workers"] is known["exact"] is known["complete"] is True
    rows = figures()
    assert {row["machine"] for row in rows} == {"worker1", "worker-2.lab", "head"}
    assert compared.differences(rows, lost=1) == []


def test_the_report_has_planned_asked_and_real_figures():
    run = run_playbook("verify.yml", INVENTORY)
    assert run.rc == 0 and run.changed == 0, run.output[-3000:]
    table = run.output.partition("Layers and MiB, as planned, as llama.cpp itself said before the start, and as it is:")[2]
    shown = [line.split() for line in table.splitlines()]
    for row in figures():
        cells = [row["machine"], row["device"], row["planned_layers"], row["layers"]]
        for key in ("weights_mib", "kv_mib", "compute_mib"):
            cells += [row["planned_" + key], *("-" if mib is None else f"{mib:.2f}" for mib in (row["word_" + key], row[key]))]
        assert list(map(str, cells)) in shown, (cells, table[:2000])


@pytest.mark.parametrize(("change", "says"), [
    ("s/--n-gpu-layers all/--n-gpu-layers 10/", ("head", "21 layers of the model are on the CPU", "all 30 were planned on devices")),
    ("s/--tensor-split [0-9]*,[0-9]*/--tensor-split 10,21/", ("RPC0", "holds 10 layers", "planned")),
    ("s/--ctx-size 8192/--ctx-size 16384/", ("worker1", "MiB of KV cache (", "planned)")),
])
def test_a_cluster_that_runs_otherwise_fails_with_both_figures(change, says):
    on("head", f"cp -n {UNIT} /root/planned.service; sed '{change}' /root/planned.service > {UNIT}")
    on("head", "systemctl daemon-reload && systemctl restart llama-server")
    CLUSTER.settle()
    run = run_playbook("verify.yml", INVENTORY)
    assert run.rc != 0 and "not as planned" in run.output, run.output[-3000:]
    assert run.says(*says), run.output[-3000:]


def test_the_next_deploy_puts_it_right_and_nothing_else():
    """tests_bad_input ended with a deployment that finished an interrupted one: it has left nothing to do."""
    on("head", "rm /root/planned.service")
    run = run_playbook("deploy.yml", INVENTORY)
    assert run.rc == 0, run.output[-3000:]
    assert after(running(), "--tensor-split") == ",".join(map(str, plan()["tensor_split"]))
    changed = {machine: counts["changed"] for machine, counts in run.recap.items()}
    assert {machine for machine, tasks in changed.items() if tasks} == {"head"}, changed


def test_a_model_that_does_not_fit_stops_before_anything_is_changed(tmp_path):
    small = {"name": "CPU", "total_mib": 600, "free_mib": 560, "reserve_mib": 500}
    hosts = {name: {"llama_devices": [small]} for name in ("worker1", "worker-2.lab")}
    (tmp_path / "small.json").write_text(json.dumps({"llama_rpc": {"hosts": hosts}}), encoding="utf-8")
    run = run_playbook("deploy.yml", INVENTORY, "-i", str(tmp_path / "small.json"))
    assert run.rc != 0 and run.changed == 0, run.recap
    assert run.says("MiB short in the best split. What would make it fit:"), run.output[-3000:]


def starts() -> list[str]:
    """Of each service of the cluster the start that it runs by."""
    units = {"head": "llama-server llama-server-tunnel", "worker1": "'llama-rpc-*'", "worker-2.lab": "'llama-rpc-*'"}
    return [on(machine, f"systemctl show -P Id -P InvocationID {names}") for machine, names in units.items()]


def test_what_llama_cpp_itself_says_does_not_fit_is_refused_before_anything_is_stopped():
    """Without flash attention there is only a bound before the build, which may be far too much."""
    before, planned = starts(), plan()
    room = sum(d["free_mib"] - d["reserve_mib"] - d["weights_mib"] - d["kv_mib"] for d in planned["devices"])
    # Weights and caches leave 40 MiB more than that on each device; the scores of 9 heads for a micro batch are 9 x 512 x 8192 x 4 bytes.
    headroom = room // len(planned["devices"]) - 40
    run = run_playbook("deploy.yml", INVENTORY, "-e", "llama_server_flash_attention=off", "-e", f"cluster_plan_headroom_mib={headroom}",
                       "-e", "cluster_plan_beyond_bound=true")
    assert run.rc != 0 and run.changed == 0, run.recap
    by_bound, went_on, then = run.output.partition("goes on because cluster_plan_beyond_bound is set")
    assert went_on and "It does not fit by that bound, though it may in truth" in by_bound, by_bound[-3000:]
    assert f"Every figure is what llama.cpp {pinned.version()} itself says" in then, then[-3000:]
    assert re.search(r"\d+ MiB short in the best split[.] What would make it fit:", then), then[-3000:]
    assert starts() == before and plan() == planned


def test_machines_that_are_not_described_are_measured(tmp_path):
    """What our own workers hold counts as free, so a plan for a running cluster sees nearly all of the memory."""
    listing = CLUSTER.listing()
    for machine in listing["_meta"]["hostvars"].values():
        machine.pop("llama_devices", None)
    script = tmp_path / "inventory.py"
    script.write_text(f"#!/usr/bin/env python3\nprint({json.dumps(listing)!r})\n", encoding="utf-8")
    script.chmod(0o755)
    model = sparse_gguf.write(sparse_gguf.SHAPES["llama-1b-tied"](), tmp_path / "model.gguf")
    run = run_playbook("plan.yml", script, "-e", f"plan_model={model}", "-e", f"plan_page={tmp_path}/plan.html")
    assert run.rc == 0 and run.changed == 1, run.output[-3000:]
    free = [int(line.split()[-2]) for line in run.output.splitlines() if re.match(r"worker(1|-2[.]lab) +CPU as RPC", line)]
    total = int(on("worker1", "awk '/MemTotal/ {print $2}' /proc/meminfo")) // 1024
    assert len(free) == 2 and all(total // 4 < n <= total for n in free), run.output[-3000:]
