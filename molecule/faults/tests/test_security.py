# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who tries to get in, from a machine that is not of the cluster (this one) and as another user of each of its machines.

Each probe is shown to succeed where the protection is taken away.
"""

from __future__ import annotations

import functools
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from clusters import API_PORT, RPC_PORT, WATCHDOG_PORT, tunnel_end
from fault_lab import HEAD_UNIT, FaultLab
from playbook_run import run_playbook

testinfra_hosts = ["local://"]

MACHINES = ("head", "worker1", "worker2")
PROBE = Path(__file__).parents[3] / "tests" / "support" / "intruder.py"
TABLES = {"head": "llama_server_tunnel", "worker1": "llama_rpc_server", "worker2": "llama_rpc_server"}
# What llama.cpp answers to anybody, because load balancers ask it (middleware_validate_api_key in tools/server of llama.cpp).
PUBLIC = {"/health", "/v1/health"}
AROUND = (str(RPC_PORT - 20), str(RPC_PORT + 20))


def from_here(*arguments: str, given: str = "") -> Any:
    done = subprocess.run([sys.executable, str(PROBE), *arguments], input=given, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


def from_a_user(lab: FaultLab, machine: str, *arguments: str, given: str = "") -> Any:
    """The same as another user of a machine of the cluster."""
    lab.run(machine, "cat > /tmp/intruder.py && chmod 755 /tmp/intruder.py", given=PROBE.read_text())
    return json.loads(lab.run(machine, "runuser -u nobody -- python3 /tmp/intruder.py " + " ".join(arguments), timeout=300, given=given))


def answers(ask: Callable[..., Any], *asked: tuple[str, str], within: int = 3) -> dict[tuple[str, str], int]:
    """How many bytes came back of each HELLO, an address and how it was said, by ``from_here`` or a partial ``from_a_user``.

    Where an answer is expected it is waited for longer than for one that must not come.
    """
    return dict(zip(asked, ask("hello", str(RPC_PORT), str(within), given=json.dumps(asked))))


def own_key(lab: FaultLab, machine: str) -> str:
    return lab.run(machine, "cut -d: -f2 /etc/llama-rpc-server/tls-key").strip()


def wrong(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


class Without:
    """A table of the firewall taken away for a while."""

    def __init__(self, lab: FaultLab, machine: str) -> None:
        self.lab, self.machine, self.table = lab, machine, TABLES[machine]

    def __enter__(self) -> None:
        self.saved = self.lab.run(self.machine, f"nft list table inet {self.table}")
        self.lab.run(self.machine, f"nft delete table inet {self.table}")

    def __exit__(self, *_error: object) -> None:
        self.lab.run(self.machine, f"nft -f - <<'END'\n{self.saved}\nEND")


@pytest.fixture
def idle_head(lab: FaultLab) -> Any:
    """llama-server stopped, so that a worker has time for somebody else. The next test waits until it is well again."""
    lab.run("head", f"systemctl stop {HEAD_UNIT}")
    try:
        lab.wait(lambda: not any(lab.cluster.clients(worker) for worker in MACHINES[1:]), 30, "the workers were not left by the head")
        yield
    finally:
        lab.run("head", f"systemctl start {HEAD_UNIT}")


# --- ports ---


def test_a_stranger_finds_no_port_but_those_that_are_meant(lab: FaultLab) -> None:
    found = from_here("scan", "1", "65535", *lab.cluster.addresses.values())
    for machine in MACHINES:
        meant = {22, WATCHDOG_PORT} | ({API_PORT} if machine == "head" else set())
        assert set(found[lab.cluster.addresses[machine]]) == meant, machine
        assert lab.run(machine, "ss -Hlun").strip() == "", f"{machine} listens on UDP"
    worker = lab.cluster.addresses["worker1"]
    with Without(lab, "worker1"):
        assert from_here("scan", *AROUND, worker) == {worker: [RPC_PORT]}, "the scan finds nothing where there is something"


def test_another_user_finds_no_rpc_port_on_any_address(lab: FaultLab) -> None:
    addresses = ["127.0.0.1", *lab.cluster.addresses.values(), *(tunnel_end(lab.cluster.addresses[one]).split(":", maxsplit=1)[0] for one in MACHINES[1:])]
    for machine in MACHINES:
        assert from_a_user(lab, machine, "scan", *AROUND, *addresses) == {address: [] for address in addresses}, machine
    with Without(lab, "head"):
        address = tunnel_end(lab.cluster.addresses["worker1"]).split(":", maxsplit=1)[0]
        assert from_a_user(lab, "head", "scan", str(RPC_PORT), str(RPC_PORT), address) == {address: [RPC_PORT]}


# --- the RPC protocol ---


def test_hello_is_answered_to_nobody_without_the_key(lab: FaultLab, idle_head: Any) -> None:
    """By every address, in plain, by TLS without a key, and with a wrong one; from here and as another user of each machine."""
    keys = {"worker1": own_key(lab, "worker1"), "worker2": own_key(lab, "worker2")}
    from_outside, from_inside = [], []
    for worker, key in keys.items():
        address, tunnel = lab.cluster.addresses[worker], tunnel_end(lab.cluster.addresses[worker]).split(":", maxsplit=1)[0]
        hows = ("plain", "tls", wrong(key), keys["worker1" if worker == "worker2" else "worker2"])
        # Even with it, from where the firewall lets nobody try.
        from_outside += [(address, how) for how in (*hows, key)]
        from_inside += [(target, how) for target in ("127.0.0.1", address, tunnel) for how in hows]
    assert set(answers(from_here, *from_outside).values()) == {0}
    for machine in MACHINES:
        said = answers(functools.partial(from_a_user, lab, machine), *from_inside)
        assert not [asked for asked, size in said.items() if size], machine


def test_it_is_the_key_that_a_stranger_lacks_and_the_firewall_that_keeps_users_out(lab: FaultLab, idle_head: Any) -> None:
    address, key = lab.cluster.addresses["worker1"], own_key(lab, "worker1")
    with Without(lab, "worker1"):
        said = answers(from_here, *((address, how) for how in ("plain", "tls", wrong(key))))
        assert set(said.values()) == {0} and len(said) == 3
        assert answers(from_here, (address, key), within=30)[address, key] > 0
    from_head, tunnel = functools.partial(from_a_user, lab, "head"), (tunnel_end(address).split(":", maxsplit=1)[0], "plain")
    with Without(lab, "head"):
        assert answers(from_head, tunnel, within=30)[tunnel] > 0
    assert answers(from_head, tunnel)[tunnel] == 0


# --- the API ---


def test_what_keeps_the_head_from_an_idle_worker_is_named(lab: FaultLab, idle_head: Any) -> None:
    """Preflight asks as root: the head's own firewall resets what other users send there, as if a worker had refused it."""
    rules = f"table inet other {{ chain others {{ type filter hook input priority 0; tcp dport {RPC_PORT} drop; }}; }}"
    lab.run("worker1", "nft -f -", given=rules)
    try:
        run = run_playbook("preflight.yml", lab.cluster.inventory)
    finally:
        lab.run("worker1", "nft delete table inet other")
    assert run.rc != 0 and run.says("it cannot reach worker1", str(RPC_PORT)), run.output[-3000:]


def endpoints(lab: FaultLab) -> list[str]:
    """Every route, from the program itself; the linker keeps a word once that is the end of another."""
    words = lab.run("head", "grep -aohzP '^/[a-z0-9_/:-]{2,40}$' /opt/llama.cpp/current/bin/libllama-server-impl.so /opt/llama.cpp/current/bin/llama-server"
                            " | tr '\\0' '\\n' | sort -u").split()
    found = set(words) | {word.removeprefix("/v1") for word in words} | PUBLIC
    assert {"/v1/chat/completions", "/completion", "/slots", "/props", "/tokenize", "/metrics"} <= found, found
    return sorted(word.replace(":id_slot", "0") for word in found)


def statuses(url: str, paths: list[str], key: str) -> dict[str, int]:
    """What each route says: the least of GET and POST, so that one of them that gets in is seen."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {
        path: min(requests.request(method, url + path, headers=headers, json={} if method == "POST" else None, timeout=20, stream=True).status_code
                  for method in ("GET", "POST"))
        for path in paths
    }


def test_every_endpoint_asks_for_the_key(lab: FaultLab) -> None:
    paths = endpoints(lab)
    for key in ("", wrong(lab.key), lab.key[:-1], lab.key + "0"):
        said = statuses(lab.url, paths, key)
        assert {path for path, status in said.items() if status not in (401, 404)} == PUBLIC, said
        if key:
            headers = {"x-api-key": key}
            assert requests.post(f"{lab.url}/completion", json={"prompt": "1", "n_predict": 1}, headers=headers, timeout=20).status_code == 401


def test_it_is_the_key_that_the_endpoints_ask_for(lab: FaultLab) -> None:
    """The same program without one lets everybody in."""
    command = ("systemd-run --quiet --collect --unit=open-server --setenv=LD_LIBRARY_PATH=/opt/llama.cpp/current/bin -- /opt/llama.cpp/current/bin/llama-server"
               f" --model /var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf --host {lab.cluster.addresses['head']} --port 18080 --ctx-size 256")
    lab.run("head", command)
    url = f"http://{lab.cluster.addresses['head']}:18080"
    try:
        lab.wait(lambda: _status(f"{url}/health") == 200, 120, "the open server did not start")
        said = statuses(url, endpoints(lab), "")
        assert not [path for path, status in said.items() if status == 401]
        assert said["/slots"] == 200 and said["/props"] == 200
    finally:
        lab.run("head", "systemctl stop open-server")


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


# --- secrets ---

PLACES = {
    "ps": "ps -eo args",
    "journal": "journalctl --no-pager -o export",
    "units": "systemctl cat '*' 2>/dev/null; systemctl show '*'",
    "environments": "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'",
    "firewall": "nft list ruleset",
}


def places_of(lab: FaultLab, machine: str, *wanted: str) -> set[str]:
    """Where on a machine one of the secrets is to be read. They go there by standard input, as a command line is one of the places."""
    script = "umask 077; cat > /run/needle; "
    script += "".join(f"( {command} ) | grep -qaFf /run/needle && echo {place}; " for place, command in PLACES.items())
    script += "find / -xdev -type f -perm -o=r -not -path '/proc/*' -exec grep -laFf /run/needle {} + 2>/dev/null | sed 's/^/world-readable /'; "
    script += "rm /run/needle"
    given = "".join(secret + "\n" for secret in wanted)
    return set(filter(None, lab.run(machine, script, check=False, timeout=180, given=given).split("\n")))


def secrets_of(lab: FaultLab, machine: str) -> list[str]:
    keys = lab.run(machine, "cat /etc/llama-server/rpc-keys/* /etc/llama-rpc-server/tls-key 2>/dev/null | cut -d: -f2", check=False).split()
    assert keys and all(len(key) >= 64 for key in keys)
    return [*keys, lab.key]


@pytest.mark.parametrize("machine", MACHINES)
def test_secrets_are_nowhere_to_be_read(lab: FaultLab, machine: str) -> None:
    assert places_of(lab, machine, *secrets_of(lab, machine)) == set()


def test_a_secret_that_is_somewhere_is_found(lab: FaultLab) -> None:
    """A made up one in each of the places, and then a real key that everybody may read."""
    secret = secrets.token_hex(32)
    lab.run("worker1", "cat > /var/tmp/left; chmod 644 /var/tmp/left; systemd-cat < /var/tmp/left; journalctl --sync;"
                       " systemd-run --quiet --collect --unit=left -E LEFT=$(cat /var/tmp/left) sleep 600;"
                       " systemd-run --quiet --collect --unit=left-args bash -c \"sleep 600; : $(cat /var/tmp/left)\"", given=secret)
    try:
        # Among others, as it would be.
        found = places_of(lab, "worker1", secrets.token_hex(32), secret)
        assert {"ps", "journal", "units", "environments", "world-readable /var/tmp/left"} <= found, found
    finally:
        lab.run("worker1", "rm /var/tmp/left; systemctl stop left left-args")
    key = own_key(lab, "worker1")
    lab.run("worker1", "chmod 644 /etc/llama-rpc-server/tls-key")
    try:
        assert places_of(lab, "worker1", key) == {"world-readable /etc/llama-rpc-server/tls-key"}
    finally:
        lab.run("worker1", "chmod 600 /etc/llama-rpc-server/tls-key")


def test_another_user_reads_no_key(lab: FaultLab) -> None:
    paths = {"head": ["/etc/llama-server/api-key", "/etc/llama-server/rpc-keys", "/run/credentials/llama-server.service"],
             "worker1": ["/etc/llama-rpc-server/tls-key", "/run/credentials/llama-rpc-tls@0.service"]}
    for machine, found in paths.items():
        for path in found:
            for user in ("nobody", "llama-watchdog"):
                assert lab.run(machine, f"test -e {path} && ! runuser -u {user} -- cat {path} 2>/dev/null"
                                        f" && ! runuser -u {user} -- ls {path}/ 2>/dev/null && echo no"
                               ).strip() == "no", (machine, path, user)
