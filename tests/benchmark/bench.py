# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster costs: deploys with 2, 4 and 8 workers, tokens/s against the same binaries started by hand, and TLS against plain RPC.

Runs on virtual machines of its own (lab `herdbench`) and removes them. Prints
one JSON object at the end; ratios compare runs on the same machine, minutes apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import openai
import sparse_gguf
from clusters import root_ssh, tunnel_end
from playbook_run import ROOT, PlaybookRun, run_playbook

STATE = Path("/var/lib/herd.llama_cpp/lab-bench")
HEAD = "198.18.9.10"
BIN = "/opt/llama.cpp/current/bin"
LARGE = "/var/tmp/large.gguf"
MODEL = "/var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTION = [{"role": "user", "content": "Write a long story about a river and the people who live beside it."}]


def write_inventory(directory: Path, workers: int) -> Path:
    """The lab of inventories/lab with `workers` workers, under a name and network of its own."""
    inventory = directory / "inventory"
    shutil.rmtree(inventory, ignore_errors=True)
    lab = ROOT / "inventories" / "lab" / "group_vars"
    variables = inventory / "group_vars" / "all"
    variables.mkdir(parents=True)
    shutil.copy(lab / "all.yml", variables / "lab.yml")
    shutil.copy(lab / "virtual_lab.yml", inventory / "group_vars" / "virtual_lab.yml")
    overrides = {
        "virtual_lab_name": "herdbench",
        "virtual_lab_network": "198.18.9.0/24",
        "virtual_lab_state_dir": str(STATE),
        "virtual_lab_sudo": "nopasswd",
    }
    (variables / "scenario.yml").write_text(json.dumps(overrides), encoding="utf-8")
    rpc = {f"worker{i}": {"virtual_lab_address": f"198.18.9.{10 + i}"} for i in range(1, workers + 1)}
    hosts = {
        "all": {
            "children": {
                "llama_host": {"hosts": {"head": {"virtual_lab_address": HEAD}}},
                "llama_rpc": {"hosts": rpc},
                "virtual_lab": {"children": {"llama_host": {}, "llama_rpc": {}}},
            }
        }
    }
    (inventory / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
    return inventory


def timed(playbook: str, inventory: Path, *arguments: str) -> tuple[float, PlaybookRun]:
    """Seconds a playbook took, which must have passed."""
    start = time.monotonic()
    run = run_playbook(playbook, inventory, *arguments)
    seconds = round(time.monotonic() - start, 1)
    if run.rc != 0:
        sys.exit(run.output[-4000:])
    return seconds, run


def on(address: str, command: str, given: bytes = b"") -> str:
    """Run a command on a machine of the lab as root."""
    return subprocess.run(root_ssh(STATE, address, command), input=given, check=True, capture_output=True, timeout=120).stdout.decode()


def tokens_per_second(port: int, key: str, rounds: int) -> list[float]:
    """Generation speed as llama-server itself reports it, after one unmeasured round."""
    client = openai.OpenAI(base_url=f"http://{HEAD}:{port}/v1", api_key=key, timeout=120, max_retries=2)
    speeds = []
    for _round in range(rounds + 1):
        answer = client.chat.completions.create(model="any", messages=QUESTION, temperature=0, max_tokens=128)
        speeds.append(answer.model_extra["timings"]["predicted_per_second"])
    return speeds[1:]


def bring_large_model() -> None:
    """1.1 GiB of zeros with a llama's header and a vocabulary, which is enough for loading it. Its header travels, and the machine makes the rest."""
    model = sparse_gguf.llama(
        "large", n_layer=32, n_embd=2048, n_ff=8192, n_head=32, n_head_kv=8, n_vocab=32000, n_ctx_train=4096, weights="Q4_0", output="Q4_0",
        rope_freqs=False)
    tokens = [f"t{number}" for number in range(32000)]
    model.metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["t 0"]}
    with tempfile.TemporaryDirectory() as directory:
        path = sparse_gguf.write(model, Path(directory) / "large.gguf")
        with path.open("rb") as stream:
            on(HEAD, f"cat > {LARGE} && truncate -s {path.stat().st_size} {LARGE} && chmod 644 {LARGE}", stream.read(4 << 20))


def large_load_seconds(endpoints: list[str]) -> float:
    """From llama-server's start until that model is in the workers, started by hand as the service's user, whom the tunnels let in."""
    command = f"{BIN}/llama-server -m {LARGE} -c 512 -ngl 99 --fit off --no-warmup --rpc {','.join(endpoints)} --host {HEAD} --port 50001"
    start = time.monotonic()
    on(HEAD, f"systemd-run --quiet --collect --uid=llama-server --unit=by-hand {command}")
    try:
        return seconds_until_ready(50001, start)
    finally:
        on(HEAD, "systemctl stop by-hand || true")


def by_hand(workers: list[str], rounds: int) -> list[float]:
    """The guide's commands on the same machines: rpc-server -H -p, llama-server -c -ngl 99 --rpc."""
    units = []
    for address in workers:
        on(address, f"systemd-run --quiet --collect --unit=by-hand {BIN}/ggml-rpc-server -H {address} -p 50070")
        units.append(address)
    try:
        rpc = ",".join(f"{address}:50070" for address in workers)
        command = f"{BIN}/llama-server -m {MODEL} -c 2048 -ngl 99 --rpc {rpc} --host {HEAD} --port 50001"
        on(HEAD, f"systemd-run --quiet --collect --unit=by-hand {command}")
        units.append(HEAD)
        seconds_until_ready(50001, time.monotonic())
        return tokens_per_second(50001, "none", rounds)
    finally:
        for address in reversed(units):
            on(address, "systemctl stop by-hand || true")


def limit_links(rate: str) -> None:
    """What each machine of the lab may be sent, as its network card would have it; empty for no limit."""
    for port in Path("/sys/class/net/vl-herdbench/brif").iterdir():
        if rate:
            subprocess.run(["tc", "qdisc", "replace", "dev", port.name, "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"], check=True)
        else:
            subprocess.run(["tc", "qdisc", "del", "dev", port.name, "root"], check=False, capture_output=True)


def seconds_until_ready(port: int, start: float) -> float:
    while subprocess.run(["curl", "-sf", "-m", "2", f"http://{HEAD}:{port}/health"], check=False, capture_output=True).returncode != 0:
        if time.monotonic() - start > 180:
            sys.exit("llama-server is not ready after 180 s")
        time.sleep(0.05)
    return round(time.monotonic() - start, 2)


def load_seconds() -> float:
    """From the start of the head's service until its model of 98 MB is loaded into the workers."""
    on(HEAD, "systemctl stop llama-server")
    start = time.monotonic()
    on(HEAD, "systemctl start llama-server")
    return seconds_until_ready(8080, start)


def tls_against_plain(inventory: Path, workers: list[str], rounds: int) -> dict[str, object]:
    """Tokens/s and seconds of loading with RPC over TLS and without, on unlimited links and at 1 Gbit/s."""
    figures: dict[str, object] = {}
    key = on(HEAD, "cat /etc/llama-server/api-key").strip()
    bring_large_model()
    for tls in (True, False):
        timed("deploy.yml", inventory, "-e", json.dumps({"rpc_server_tls": tls}))
        # It would mend a head that is stopped to be measured.
        on(HEAD, "systemctl stop llama-watchdog")
        for rate in ("", "1gbit"):
            limit_links(rate)
            loads = [load_seconds() for _round in range(3)]
            speeds = tokens_per_second(8080, key, rounds)
            on(HEAD, "systemctl stop llama-server")
            endpoints = [tunnel_end(address) if tls else f"{address}:50052" for address in workers]
            large = [large_load_seconds(endpoints) for _round in range(3)]
            on(HEAD, "systemctl start llama-server")
            figures[f"{'tls' if tls else 'plain'} {rate or 'unlimited'}"] = {
                "load_s": statistics.median(loads),
                "large_load_s": statistics.median(large),
                "tokens_per_second": round(statistics.median(speeds), 2),
            }
        limit_links("")
        on(HEAD, "systemctl start llama-watchdog")
    for rate in ("unlimited", "1gbit"):
        ours, plain = (figures[f"{way} {rate}"] for way in ("tls", "plain"))
        figures[f"ratio {rate}"] = {
            "tokens_per_second": round(ours["tokens_per_second"] / plain["tokens_per_second"], 3),
            # As speeds too: more is better.
            "load": round(plain["load_s"] / ours["load_s"], 3),
            "large_load": round(plain["large_load_s"] / ours["large_load_s"], 3),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="2,4,8", help="numbers of workers, smallest first (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="answers to time each way (default %(default)s)")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.workers.split(",")]
    figures: dict[str, object] = {"deploys": {}}
    with tempfile.TemporaryDirectory() as directory:
        inventory = write_inventory(Path(directory), counts[0])
        try:
            for count in counts:
                inventory = write_inventory(Path(directory), count)
                lab_s, _run = timed("parts/lab.yml", inventory)
                first_s, _run = timed("deploy.yml", inventory)
                second_s, second = timed("deploy.yml", inventory)
                figures["deploys"][count] = {
                    "lab_s": lab_s,
                    "deploy_s": first_s,
                    "second_deploy_s": second_s,
                    "second_deploy_changed": second.changed,
                }
                print(count, "workers:", figures["deploys"][count], flush=True)
                if count == counts[0]:
                    key = on(HEAD, "cat /etc/llama-server/api-key").strip()
                    ours = tokens_per_second(8080, key, arguments.rounds)
                    workers = [f"198.18.9.{10 + i}" for i in range(1, count + 1)]
                    on(HEAD, "systemctl stop llama-server")
                    hand = by_hand(workers, arguments.rounds)
                    on(HEAD, "systemctl start llama-server")
                    figures["tokens_per_second"] = {
                        "ours": ours,
                        "by_hand": hand,
                        "ratio": round(statistics.median(ours) / statistics.median(hand), 3),
                    }
                    print("tokens/s:", figures["tokens_per_second"], flush=True)
                    figures["tls_against_plain"] = tls_against_plain(inventory, workers, arguments.rounds)
                    print("TLS against plain RPC:", figures["tls_against_plain"], flush=True)
            few, many = figures["deploys"][counts[0]], figures["deploys"][counts[-1]]
            if len(counts) > 1:
                added = counts[-1] - counts[0]
                figures["second_deploy_s_per_added_worker"] = round((many["second_deploy_s"] - few["second_deploy_s"]) / added, 2)
        finally:
            run_playbook("teardown.yml", inventory, "-e", "teardown_confirm=true")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
