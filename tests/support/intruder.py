# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody tries who has no business with a cluster. Runs on its machines too, by their own python3 and openssl.

    intruder.py scan ADDRESS [FIRST LAST]   the TCP ports that take a connection
    intruder.py hello ADDRESS PORT          how many bytes an rpc-server answers to HELLO; standard input says how it is asked: plain,
                                            tls, or by a pre-shared key
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys

# RPC_CMD_HELLO, the length of what follows, and that (ggml/src/ggml-rpc/ggml-rpc.cpp).
HELLO = bytes([14]) + struct.pack("<Q", 24) + bytes(24)
SECONDS = 3


async def scan(address: str, first: int, last: int) -> list[int]:
    found: list[int] = []
    free = asyncio.Semaphore(400)

    async def look(port: int) -> None:
        async with free:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                _reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), SECONDS)
                found.append(port)
                writer.close()

    await asyncio.gather(*(look(port) for port in range(first, last + 1)))
    return sorted(found)


def hello(address: str, port: int, how: str) -> int:
    if how not in ("plain", "tls"):
        return hello_by_key(address, port, how)
    try:
        with socket.create_connection((address, port), timeout=SECONDS) as peer:
            if how == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                peer = context.wrap_socket(peer)
            peer.sendall(HELLO)
            return len(peer.recv(64))
    except OSError:
        return 0


def hello_by_key(address: str, port: int, key: str) -> int:
    # Python has pre-shared keys from 3.13 on only. -quiet, so that no byte of HELLO is taken for a command.
    command = ["openssl", "s_client", "-connect", f"{address}:{port}", "-tls1_3", "-psk_identity", "llama-rpc", "-psk", key, "-quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        try:
            return len(client.communicate(HELLO, timeout=SECONDS)[0])
        except subprocess.TimeoutExpired:
            client.kill()
            return len(client.communicate()[0])


def main() -> None:
    what, address, *rest = sys.argv[1:]
    if what == "scan":
        first, last = (int(port) for port in rest) if rest else (1, 65535)
        print(json.dumps(asyncio.run(scan(address, first, last))))
    else:
        print(json.dumps(hello(address, int(rest[0]), sys.stdin.read().strip())))


if __name__ == "__main__":
    main()
