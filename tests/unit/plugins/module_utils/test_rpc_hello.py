# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out a protocol by running an executable: small programs that behave as servers and clients of old and new protocols do.

tests/integration/test_rpc_protocol_info.py does the same with real ones.
"""

from __future__ import annotations

import stat
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._rpc.hello import HelloError, ask_client, ask_server, parse_version

SERVER = """
import socket, struct, sys
port = int(sys.argv[sys.argv.index("-p") + 1])
listener = socket.create_server((sys.argv[sys.argv.index("-H") + 1], port))
while True:
    connection, _ = listener.accept()
    command, size = struct.unpack("<BQ", connection.recv(9))
    if size:
        connection.recv(size)
    if command == 14 and size == {greeting}:
        answer = bytes({version}) + bytes({rest})
        connection.sendall(struct.pack("<Q", len(answer)) + answer)
    connection.close()
"""

CLIENT = """
import socket, struct, sys
host, port = sys.argv[sys.argv.index("--rpc") + 1].split(":")
connection = socket.create_connection((host, int(port)))
connection.sendall(struct.pack("<BQ", 14, {greeting}) + bytes({greeting}))
size, = struct.unpack("<Q", connection.recv(8))
major, minor, _patch = connection.recv(size)[:3]
if (major, minor) <= {own} and major == {own}[0]:
    connection.sendall(struct.pack("<BQ", 15, 0))
    connection.recv(8)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Make an executable of a Python text. The directory is the test's own, so it does not run as nobody."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    def make(text: str) -> str:
        path: Path = tmp_path / "program"
        path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("greeting", "version", "rest"), [(24, (7, 0, 0), 25), (24, (4, 0, 2), 25), (0, (3, 6, 1), 0), (0, (2, 0, 0), 0)]
)
def test_servers_of_new_and_old_protocols(program, greeting, version, rest):
    path = program(SERVER.format(greeting=greeting, version=version, rest=rest))
    assert ask_server(path, 20) == "%d.%d.%d" % version


@pytest.mark.parametrize("greeting", [24, 0])
@pytest.mark.parametrize(
    ("worker", "accepted"), [("7.1.0", True), ("7.0.9", True), ("7.2.0", False), ("6.0.0", False), ("8.0.0", False)]
)
def test_a_client_goes_on_or_hangs_up(program, greeting, worker, accepted):
    assert ask_client(program(CLIENT.format(greeting=greeting, own=(7, 1))), worker, 20) is accepted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('no such device'); raise SystemExit(1)", "ended with code 1 before it was asked: no such device"),
        ("import time; time.sleep(60)", "does not listen"),
        (SERVER.format(greeting=7, version=(9, 9, 9), rest=0), "in no way that is known"),
    ],
)
def test_a_server_that_cannot_be_asked(program, text, said):
    begin = time.monotonic()
    with pytest.raises(HelloError, match=said):
        ask_server(program(text), 2)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit('unknown argument: --rpc')", "without greeting a worker: unknown argument: --rpc"),
        ("import time; time.sleep(60)", "did not greet a worker"),
    ],
)
def test_a_client_that_cannot_be_asked(program, text, said):
    with pytest.raises(HelloError, match=said):
        ask_client(program(text), "7.0.0", 2)


def test_what_is_not_there():
    with pytest.raises(HelloError, match="cannot be run"):
        ask_server("/nonexistent/rpc-server")


@pytest.mark.parametrize("text", ["", "7", "7.0", "7.0.0.0", "7.0.256", "a.b.c"])
def test_what_is_no_version(text):
    with pytest.raises(HelloError, match="no protocol version"):
        parse_version(text)
