# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The RPC connections: nobody gets in without the key, nobody gets around it, and the keys are nowhere to be read."""

from __future__ import annotations

import re

import pytest
from clusters import RPC_PORT, journal, tunnel_end, wait
from playbook_run import run_playbook

testinfra_hosts = ["local://"]
KEY = "/etc/llama-rpc-server/tls-key"
WORKER = "worker1"
# Seconds in which an answer must have come that is expected, and after which one that is not is taken to be refused.
ANSWER_S, REFUSAL_S = 30, 4
# HELLO of the RPC protocol: whoever gets an answer is a client. Prints how many bytes came back.
HELLO = """
import socket, ssl, struct, sys
try:
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[4]))
    if sys.argv[3] == 'tls':
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        peer = context.wrap_socket(peer)
    peer.sendall(bytes([14]) + struct.pack('<Q', 24) + bytes(24))
    print(len(peer.recv(64)))
except OSError as error:
    print(0, type(error).__name__)
"""
STUNNEL = """foreground = yes
pid =
syslog = no
client = yes
sslVersion = TLSv1.3
ciphers = PSK
ciphersuites = TLS_AES_128_GCM_SHA256
[try]
accept = 127.0.0.1:45678
connect = {address}:{port}
PSKsecrets = /root/try.key
PSKidentity = llama-rpc
"""


def hello(machine, address: str, port: int = RPC_PORT, how: str = "plain", user: str = "root", within: int = REFUSAL_S) -> int:
    """How many bytes a worker answered to whoever says HELLO."""
    output = machine.check_output(f"runuser -u %s -- timeout {4 * within} python3 -c %s %s %s %s {within}", user, HELLO, address, str(port), how)
    return int(output.split()[0])


def hello_by_key(machine, address: str, key: str, within: int = REFUSAL_S) -> int:
    """The same through a stunnel with this key."""
    machine.check_output("umask 077; printf '%%s\n' %s > /root/try.key; printf %%s %s > /root/try.conf", key,
                         STUNNEL.format(address=address, port=RPC_PORT))
    machine.check_output("systemd-run --quiet --collect --unit=try-stunnel /usr/bin/stunnel4 /root/try.conf")
    try:
        machine.check_output("timeout 30 bash -c 'until ss -Hltn | grep -q :45678; do sleep 0.1; done'")
        return hello(machine, "127.0.0.1", 45678, within=within)
    finally:
        machine.run("systemctl stop try-stunnel; rm -f /root/try.key /root/try.conf")


@pytest.fixture
def idle_head(cluster):
    """The head with its llama-server stopped, so that a worker has time for somebody else."""
    head = cluster.machine("head")
    head.check_output("systemctl stop llama-server")
    try:
        wait(lambda: cluster.clients(WORKER) == 0, 30, f"{WORKER} was not left by the head")
        yield head
    finally:
        head.check_output("systemctl start llama-server")
        cluster.settle()


@pytest.mark.parametrize("how", ["plain", "tls"])
def test_an_allowed_address_is_not_enough(cluster, idle_head, how):
    assert hello(idle_head, cluster.addresses[WORKER], how=how) == 0


def test_only_the_right_key_opens_the_port(cluster, idle_head):
    key = cluster.machine(WORKER).check_output(f"cat {KEY}")
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert hello_by_key(idle_head, cluster.addresses[WORKER], wrong) == 0
    assert hello_by_key(idle_head, cluster.addresses[WORKER], key, ANSWER_S) == 36


@pytest.mark.parametrize("user", ["nobody", "llama-rpc"])
def test_no_user_of_the_worker_gets_around_the_key(cluster, user):
    worker = cluster.machine(WORKER)
    own = cluster.addresses[WORKER]
    for address in ("127.0.0.1", tunnel_end(own).split(":", maxsplit=1)[0], own):
        assert hello(worker, address, user=user) == 0


def test_the_workers_own_network_is_what_hides_its_port(cluster, idle_head):
    """The test above must be able to fail: inside that network the port answers."""
    worker = cluster.machine(WORKER)
    pid = worker.check_output("systemctl show -P MainPID llama-rpc-server@0")
    said = worker.check_output(f"nsenter -t {pid} -n timeout {4 * ANSWER_S} python3 -c %s 127.0.0.1 {RPC_PORT} plain {ANSWER_S}", HELLO)
    assert int(said.split()[0]) == 36


def test_no_user_of_the_head_reaches_a_tunnel(cluster, idle_head):
    address = tunnel_end(cluster.addresses[WORKER]).split(":", maxsplit=1)[0]
    assert hello(idle_head, address, user="nobody") == 0
    saved = idle_head.check_output("nft list table inet llama_server_tunnel")
    try:
        idle_head.check_output("nft delete table inet llama_server_tunnel")
        assert hello(idle_head, address, user="nobody", within=ANSWER_S) == 36, "the rules are not what keeps others out"
    finally:
        idle_head.check_output("echo %s | nft -f -", saved)
    assert hello(idle_head, address, user="nobody") == 0


def test_the_tunnel_refuses_a_worker_without_the_key(cluster, idle_head):
    """Somebody who answers at the worker's address with a certificate is not the worker."""
    worker = cluster.machine(WORKER)
    worker.check_output("systemctl stop llama-rpc-tls@0.socket")
    worker.check_output("cd /root && openssl req -x509 -newkey rsa:2048 -nodes -keyout i.key -out i.pem -days 1 -subj /CN=impostor 2>/dev/null")
    try:
        worker.check_output(
            "systemd-run --quiet --collect --unit=try-impostor -p StandardInput=null"
            f" openssl s_server -accept {cluster.addresses[WORKER]}:{RPC_PORT} -key /root/i.key -cert /root/i.pem -tls1_3 -rev -naccept 4")
        worker.check_output(f"timeout 30 bash -c 'until ss -Hltn | grep -q :{RPC_PORT}; do sleep 0.1; done'")
        since = idle_head.check_output("date +%s")
        assert hello(idle_head, tunnel_end(cluster.addresses[WORKER]).split(":", maxsplit=1)[0]) == 0
        wait(lambda: "Rejected by CERT" in journal(idle_head, "-u llama-server-tunnel", f"--since=@{since}"), 10, "the tunnel did not say why")
    finally:
        worker.run("systemctl stop try-impostor; rm -f /root/i.key /root/i.pem")
        worker.check_output("systemctl start llama-rpc-tls@0.service")


@pytest.mark.parametrize("machine", ["head", "worker1", "worker-2.lab"])
def test_keys_are_nowhere_to_be_read(cluster, machine):
    host = cluster.machine(machine)
    found = host.check_output("cat /etc/llama-server/rpc-keys/* 2>/dev/null || cat /etc/llama-rpc-server/tls-key").split()
    secrets = {line.split(":")[1] for line in found} | {cluster.api_key}
    assert all(len(secret) >= 48 for secret in secrets)
    for where in ("ps -eo args", "journalctl --no-pager -o cat", "systemctl cat 'llama-*'", "nft list ruleset"):
        said = host.check_output(where)
        assert not [secret for secret in secrets if secret in said], where
    # Every file is read once, for all of them.
    any_of = " ".join(["-e %s"] * len(secrets))
    for look in ("find / /tmp -xdev -type f -perm -o=r -not -path '/proc/*' -exec grep -lF {} {{}} +", "grep -lzF {} /proc/[0-9]*/environ"):
        assert host.run(look.format(any_of), *secrets).stdout == ""


def every_key(cluster) -> list[str]:
    """Every key of every machine."""
    files = "cat /etc/llama-server/rpc-keys/* /etc/llama-rpc-server/tls-key 2>/dev/null || true"
    keys = [line.split(":")[1] for machine in cluster.addresses for line in cluster.machine(machine).check_output(files).split()]
    assert len(keys) == 2 * (len(cluster.addresses) - 1) and all(len(key) >= 64 for key in keys)
    return [*keys, cluster.api_key]


def test_rotation_changes_every_key_and_a_second_deployment_changes_nothing_and_neither_shows_one(cluster):
    """At -vvv and with --diff: of a run that writes new keys, and of one that reads them and hands them on."""
    before = every_key(cluster)
    rotated = run_playbook("rotate_keys.yml", cluster.inventory, "-vvv", "--diff")
    assert rotated.rc == 0, rotated.output[-3000:]
    # No other deployment came between: what the first one left to do would be done here.
    again = run_playbook("deploy.yml", cluster.inventory, "-vvv", "--diff")
    assert again.rc == 0, again.output[-3000:]
    assert again.changed == 0, again.recap
    after = every_key(cluster)
    assert not set(before) & set(after)
    for output in (rotated.output, again.output):
        # The same words that hide a secret show that the tasks with one ran.
        assert "the output has been hidden" in output
        assert not [secret for secret in before + after if secret in output]
        assert not re.search(r"Authorization: Bearer (?!\$|\{)\S{20}", output)
