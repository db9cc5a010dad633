# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody tries who has no business with a cluster. Runs on its machines too, by their own python3 and openssl.

    intruder.py scan FIRST LAST ADDRESS...  the TCP ports that take a connection, by address
    intruder.py hello PORT SECONDS          how many bytes an rpc-server answers to HELLO within that time, a list of numbers; standard input
                                            is the list of who is asked and how: [ADDRESS, "plain", "tls" or a pre-shared key]
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# RPC_CMD_HELLO, the length of what follows, and that (ggml/src/ggml-rpc/ggml-rpc.cpp).
HELLO = bytes([14]) + struct.pack("<Q", 24) + bytes(24)
SECONDS = 3


# Most ports refuse at once; one that says nothing costs SECONDS.
AT_ONCE = 50


def scan(address: str, first: int, last: int) -> list[int]:
    def open_ones(ports: range) -> list[int]:
        found = []
        for port in ports:
            with socket.socket() as peer:
                peer.settimeout(SECONDS)
                if peer.connect_ex((address, port)) == 0:
                    found.append(port)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sorted(sum(pool.map(open_ones, (range(first + part, last + 1, AT_ONCE) for part in range(AT_ONCE))), []))


def hello(address: str, port: int, how: str, seconds: float) -> int:
    if how not in ("plain", "tls"):
        return hello_by_key(address, port, how, seconds)
    try:
        with socket.create_connection((address, port), timeout=seconds) as peer:
            if how == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                peer = context.wrap_socket(peer)
            peer.sendall(HELLO)
            return len(peer.recv(64))
    except OSError:
        return 0


def hello_by_key(address: str, port: int, key: str, seconds: float) -> int:
    # Python has pre-shared keys from 3.13 on only. -quiet, so that no byte of HELLO is taken for a command.
    command = ["openssl", "s_client", "-connect", f"{address}:{port}", "-tls1_3", "-psk_identity", "llama-rpc", "-psk", key, "-quiet"]
    with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdin and client.stdout
        try:
            client.stdin.write(HELLO)
            answered = select.select([client.stdout], [], [], seconds)[0]
            return len(os.read(client.stdout.fileno(), 64)) if answered else 0
        except OSError:
            return 0
        finally:
            client.kill()


def hellos(port: int, asked: list[tuple[str, str]], seconds: float) -> list[int]:
    """One after the other at each address, for an rpc-server talks to one at a time; the addresses beside each other."""
    addresses = sorted({address for address, _how in asked})
    with ThreadPoolExecutor(len(addresses)) as pool:
        said = dict(zip(addresses, pool.map(lambda there: [hello(there, port, how, seconds) for address, how in asked if address == there], addresses)))
    return [said[address].pop(0) for address, _how in asked]


def main() -> None:
    what, first, *rest = sys.argv[1:]
    if what == "scan":
        print(json.dumps({address: scan(address, int(first), int(rest[0])) for address in rest[1:]}))
    else:
        print(json.dumps(hellos(int(first), json.load(sys.stdin), float(rest[0]))))


if __name__ == "__main__":
    main()
