# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watchdog sees of real sockets, processes and HTTP servers on this machine's loopback address."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "watchdog" / "files"
sys.path.insert(0, str(FILES))
sys.path.insert(0, str(FILES.parents[1] / "llama_server" / "files"))

import llama_watchdog  # noqa: E402  pylint: disable=wrong-import-position
import model_check  # noqa: E402  pylint: disable=wrong-import-position
import observe  # noqa: E402  pylint: disable=wrong-import-position
import verdict  # noqa: E402  pylint: disable=wrong-import-position


def soon(condition):
    """What the kernel does it does soon, and not at once."""
    ends = time.monotonic() + 5
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        yield server


def test_a_connection_is_counted_in_both_directions(listener):
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as served:
        client.sendall(b"x" * 1000)
        served.sendall(b"y" * 77)

        def seen():
            return observe.connections_to({"a": ("127.0.0.1", port), "b": ("127.0.0.1", 1)})

        soon(lambda: seen()[0]["a"][0].received == 77)
        (one,), pairs = seen()[0]["a"], seen()[1]
        # The kernel counts the SYN as one.
        assert (one.state, one.acked - 1, one.unacked, one.retransmits) == ("established", 1000, 0, 0)
        assert seen()[0]["b"] == []
        assert pairs == ["127.0.0.1:%d>127.0.0.1:%d" % (client.getsockname()[1], port)]
        # With data unread it would be a reset, after which there is no connection at all.
        assert served.recv(2000) == b"x" * 1000
        served.close()
        soon(lambda: seen()[0]["a"][0].state == "closing")


def test_a_port_shows_who_is_served_and_who_waits(listener):
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as first, socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
        first.sendall(b"x" * 123)
        soon(lambda: observe.clients_of(os.getpid(), port).waiting == 1 and observe.clients_of(os.getpid(), port).clients[0].unread)
        assert observe.clients_of(os.getpid(), port).clients == (verdict.Client("127.0.0.1:%d" % first.getsockname()[1], unread=123),)
        first.close()
        soon(lambda: observe.clients_of(os.getpid(), port).clients[0].state == "closing")


def test_nothing_of_a_process_that_is_gone():
    assert observe.clients_of(2**22 + 1, 80) == observe.Port((), 0)
    assert observe.process_of("no-such-unit.service") is None


def test_processor_time_is_seen_while_a_process_computes_and_stands_still_while_it_is_stopped(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        monkeypatch.setattr(observe, "pids_of", lambda unit: [process.pid])
        try:
            begin = observe.process_of("x")
            soon(lambda: observe.process_of("x").cpu_ns > begin.cpu_ns + 50_000_000)
            process.send_signal(19)
            soon(lambda: observe.process_of("x").state == "T")
            still = observe.process_of("x")
            time.sleep(0.2)
            assert observe.process_of("x") == still
        finally:
            process.kill()


def test_a_refused_and_a_silent_server_are_two_things(listener):
    with pytest.raises(observe.NoAnswer) as silent:
        observe.ask("127.0.0.1", listener.getsockname()[1], "/", 0.2)
    assert silent.value.link == "silent"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(observe.NoAnswer) as refused:
        observe.ask("127.0.0.1", port, "/", 0.2)
    assert refused.value.link == "refused"


@contextlib.contextmanager
def page(answer, context=None):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("answer", [[], {}, {"workers": []}, {"workers": {"u": 1}}, {"connections": 7}, "x", None])
def test_a_page_that_is_no_watchdogs_is_no_evidence(answer):
    with page(answer) as port:
        assert observe.report_of("127.0.0.1", port, "u", 2).link == "refused"
        assert observe.peer_exists("127.0.0.1:5", "", port, 2) is None


def test_a_watchdogs_page_is_understood():
    with page({"workers": {"u": {"state": "hung", "reason": "r", "process_state": "T", "cpu_ns": 5}}, "connections": ["127.0.0.1:5>10.0.0.1:6"]}) as port:
        assert observe.report_of("127.0.0.1", port, "u", 2) == verdict.Report("ok", "T", 5, "hung", "r")
        assert observe.peer_exists("127.0.0.1:5", "", port, 2) is True
        assert observe.peer_exists("127.0.0.1:55", "", port, 2) is False


def test_what_another_watchdog_says_is_no_order_to_a_terminal():
    evil = "\x1b[2J\u202eall is well\nworker2: hung" + "x" * 1000
    with page({"workers": {"u": {"state": evil, "reason": evil, "process_state": evil}}, "build": {"version": evil, "protocol": evil}}) as port:
        report = observe.report_of("127.0.0.1", port, "u", 2)
    assert report.reason.startswith("?all is well worker2: hung") and len(report.reason) <= 200
    for text in (report.reason, report.state, report.process_state, report.build.version, report.build.protocol):
        assert text.isprintable() and len(text) <= 200


def test_a_server_is_asked_by_its_socket(tmp_path):
    path = str(tmp_path / "api.sock")
    with pytest.raises(observe.NoAnswer, match="refused"):
        observe.ask("127.0.0.1", 1, "/slots", 2, way=observe.Way(socket=path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def answer():
            with listening.accept()[0] as served:
                served.recv(4096)
                served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

        threading.Thread(target=answer, daemon=True).start()
        assert observe.ask("127.0.0.1", 1, "/slots", 2, way=observe.Way(socket=path)) == (200, [])
    with pytest.raises(observe.NoAnswer, match="refused"):
        observe.ask("127.0.0.1", 1, "/slots", 2, way=observe.Way(socket=path))


@pytest.mark.parametrize(("trusts", "name", "answered"), [
    (True, "", True), (True, "chat.example.com", True), (True, "other.example.com", False), (False, "", False)])
def test_a_server_is_asked_by_tls_that_can_be_trusted(certificate, trusts, name, answered):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    way = observe.Way(tls=True, name=name, ca=observe.read(certificate[0]) if trusts else "")
    with page([7], context) as port:
        if answered:
            assert observe.ask("127.0.0.1", port, "/", 2, way=way) == (200, [7])
        else:
            with pytest.raises(observe.NoAnswer, match="its certificate is not trusted"):
                observe.ask("127.0.0.1", port, "/", 2, way=way)


def test_work_is_read_from_slots():
    idle = [{"id": 0, "is_processing": False}, {"id": 1, "is_processing": False, "id_task": 3, "next_token": [{"n_decoded": 9}]}]
    busy = [{"id": 0, "is_processing": True, "id_task": 4, "n_prompt_tokens_processed": 5, "next_token": {"n_decoded": 2}}, idle[1]]
    assert observe.work_of(idle)[0] is False
    assert observe.work_of(busy)[0] is True
    assert observe.work_of(busy)[1] > observe.work_of(idle)[1]
    assert observe.work_of({"error": "no slots"}) == (False, 0)


def test_health_is_good_only_after_an_answer_of_the_process_that_runs(tmp_path):
    config = {
        "address": "127.0.0.1", "port": 0, "runtime_dir": str(tmp_path), "interval_s": 1, "probe_interval_s": 30, "probe_timeout_s": 5,
        "answer_max_age_s": 90, "backoff_s": 10, "backoff_longest_s": 600, "workers": [],
        "head": {"unit": "llama-server.service", "address": "127.0.0.1", "port": 1, "workers": [], "model_state": "/nowhere"},
        "bin_dir": "/nowhere/bin",
    }
    head = llama_watchdog.Head(config, "secret")
    dog = llama_watchdog.Watchdog(config, head)
    assert dog.health()[0] == 503

    def see(pid):
        head.seen = verdict.HeadSeen(observe.monotonic(), verdict.Process(pid, 1, "S", 0), "ready")
        head.unit.take(verdict.Verdict("idle"), head.seen.at, head.seen.process)

    see(7)
    assert dog.health()[0] == 503
    head.proved(observe.monotonic())
    assert dog.health()[0] == 200
    see(8)
    assert dog.health()[0] == 503
    head.proved(observe.monotonic() - 91)
    assert dog.health()[1]["reason"].startswith("no answer for 91 s")
    assert "secret" not in json.dumps([dog.health(), dog.status()])


def test_the_reason_lies_where_the_api_finds_it_for_as_long_as_there_is_one(tmp_path):
    said = tmp_path / "unready.json"
    for _twice in range(2):
        llama_watchdog.leave_reason(
            str(said), verdict.Verdict("down", "its machine does not answer, and llama-server needs it", "w (10.0.0.1:50052, u)"))
        assert json.loads(said.read_text()) == {"error": {
            "code": 503, "type": "unavailable_error",
            "message": "llama-server does not serve (down): w (10.0.0.1:50052, u): its machine does not answer, and llama-server needs it"}}
    for _twice in range(2):
        llama_watchdog.leave_reason(str(said), verdict.Verdict("idle"))
        assert not list(tmp_path.iterdir())


def test_a_head_tells_of_the_connections_behind_its_tunnels(tmp_path, monkeypatch, listener):
    """A worker's watchdog asks for what it sees itself."""
    port = listener.getsockname()[1]
    worker = {"endpoint": f"127.1.2.3:{port}", "machine": "w", "unit": "u", "watchdog": "127.0.0.1:1"}
    config = {
        "address": "127.0.0.1", "port": 0, "runtime_dir": str(tmp_path), "interval_s": 1, "probe_interval_s": 30, "probe_timeout_s": 5,
        "answer_max_age_s": 90, "backoff_s": 10, "backoff_longest_s": 600, "workers": [], "bin_dir": "/nowhere/bin",
        "head": {"unit": "no-such.service", "address": "127.0.0.1", "port": 1, "workers": [worker], "model_state": "/nowhere"},
    }
    monkeypatch.setattr(llama_watchdog.Repeat, "start", lambda _self: None)
    head = llama_watchdog.Head(config, "secret")
    with socket.create_connection(("127.0.0.1", port)) as client:
        soon(lambda: (head.look(), head.connections)[1] == [f"127.0.0.1:{client.getsockname()[1]}>127.0.0.1:{port}"])


def test_a_suspect_cache_waits_for_no_pause(tmp_path):
    (tmp_path / "restart").mkdir()
    unit = llama_watchdog.Unit("x.service", {"backoff_s": 10, "backoff_longest_s": 600, "runtime_dir": str(tmp_path)})
    for at in (100.0, 101.0):
        unit.take(verdict.Verdict("suspect", "full", "", True), at, verdict.Process(7, 1, "S", 0))
        (tmp_path / "restart" / "x.service").unlink()


def test_a_restart_is_asked_for_by_a_file_once(tmp_path):
    (tmp_path / "restart").mkdir()
    unit = llama_watchdog.Unit("x.service", {"backoff_s": 10, "backoff_longest_s": 600, "runtime_dir": str(tmp_path)})
    process, bad = verdict.Process(7, 1, "T", 0), verdict.Verdict("hung", "stopped", "", True, 5)
    request = tmp_path / "restart" / "x.service"
    unit.take(bad, 100.0, process)
    assert request.exists()
    request.unlink()
    unit.take(bad, 101.0, process)
    assert not request.exists()
    unit.take(bad, 110.0, process)
    assert request.exists()
    assert [one["unit"] for one in unit.actions] == ["x.service"] * 2


def test_the_llama_cpp_of_a_machine_is_read_through_the_link_to_it(tmp_path):
    (tmp_path / "builds" / "a" / "bin").mkdir(parents=True)
    (tmp_path / "current").symlink_to("builds/a")
    bin_dir = str(tmp_path / "current" / "bin")
    assert observe.build_of(bin_dir) == verdict.Build()
    (tmp_path / "builds" / "a" / "stamp.json").write_text('{"version": "b1", "protocol": "4.0.0"}')
    assert str(observe.build_of(bin_dir)) == "b1 (RPC protocol 4.0.0)"
    with page({"workers": {"u": {"state": "idle"}}, "build": {"version": "b1", "protocol": "4.0.0"}}) as port:
        assert observe.report_of("127.0.0.1", port, "u", 2).build == verdict.Build("b1", "4.0.0")


def test_a_model_that_is_written_to_is_noticed_and_one_that_is_replaced_is_another(tmp_path):
    model, said = tmp_path / "m.gguf", tmp_path / "model.json"
    model.write_bytes(b"GGUF" * 100)
    assert observe.model_of(str(said)) == verdict.Model()
    assert model_check.main([str(known_files(model)), str(tmp_path / "read"), str(said)]) == 0
    assert observe.model_of(str(said)) == verdict.Model()
    copy = tmp_path / "copy"
    copy.write_bytes(b"x" * 400)
    with model.open("r+b") as stream:
        stream.write(b"X")
    os.utime(model, ns=(5, 5))
    assert observe.model_of(str(said)).altered == str(model)
    copy.replace(model)
    assert observe.model_of(str(said)) == verdict.Model()
    assert model_check.main([str(tmp_path / "known.json"), str(tmp_path / "read"), str(said)]) == 1
    assert str(model) in observe.model_of(str(said)).refused


def known_files(model):
    """What the role llama_server hands to the check."""
    size, mtime_ns = model_check.look(str(model))
    path = model.parent / "known.json"
    path.write_text(json.dumps([{"path": str(model), "size_bytes": size, "mtime_ns": mtime_ns, "sha256": model_check.sha256(str(model))}]))
    return path


def test_the_check_before_the_start_reads_only_what_changed_and_that_once(tmp_path, monkeypatch, capsys):
    model, read, said = tmp_path / "m.gguf", tmp_path / "read", tmp_path / "said"
    content = b"GGUF" * 100
    model.write_bytes(content)
    arguments = [str(known_files(model)), str(read), str(said)]
    hashed, sha256 = [], model_check.sha256
    monkeypatch.setattr(model_check, "sha256", lambda path: hashed.append(path) or sha256(path))
    assert model_check.main(arguments) == 0 and not hashed
    # Damaged, with its size kept: read once however often it is tried.
    model.write_bytes(content[:-1] + b"X")
    os.utime(model, ns=(5, 5))
    assert [model_check.main(arguments) for _name in range(3)] == [1, 1, 1]
    assert len(hashed) == 1
    out = capsys.readouterr().out
    assert f"refused: {model} is not the model that was deployed: it has the SHA-256" in out and "deploy.yml" in out
    # Put back by a copy, which is of another time.
    model.write_bytes(content)
    os.utime(model, ns=(6, 6))
    assert [model_check.main(arguments) for _name in range(3)] == [0, 0, 0]
    assert len(hashed) == 2
    # Cut short, or gone: nothing to read.
    model.write_bytes(content[:-1])
    assert model_check.main(arguments) == 1
    assert "it has 399 bytes instead of 400" in json.loads(said.read_text())["refused"]
    model.unlink()
    assert model_check.main(arguments) == 1
    assert "cannot be read: No such file" in json.loads(said.read_text())["refused"]
    assert len(hashed) == 2
    assert (said.stat().st_mode & 0o777, read.stat().st_mode & 0o777) == (0o644, 0o600)


def test_a_changed_file_whose_checksum_nobody_knows_is_refused(tmp_path):
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    files = json.loads(known_files(model).read_text())
    (tmp_path / "known.json").write_text(json.dumps([dict(files[0], sha256="")]))
    os.utime(model, ns=(5, 5))
    assert model_check.main([str(tmp_path / "known.json"), str(tmp_path / "read"), str(tmp_path / "said")]) == 1
    assert "its SHA-256 is not known" in json.loads((tmp_path / "said").read_text())["refused"]


def test_a_disk_is_full_when_no_tensor_fits(tmp_path, monkeypatch):
    assert not observe.disk_full(str(tmp_path / "nothing"))
    real = os.statvfs(tmp_path)
    for free, full in ((15, True), (17, False)):
        monkeypatch.setattr(os, "statvfs", lambda _path, free=free: os.statvfs_result((4096, 4096, *real[2:4], free * 256, *real[5:])))
        assert observe.disk_full(str(tmp_path)) is full


def test_a_tensor_that_was_cached_since_the_check_is_seen_by_the_directory_alone(tmp_path):
    tensors, checked = tmp_path / "rpc", tmp_path / "checked.json"
    assert not observe.cached_since_check(str(tmp_path))
    tensors.mkdir()
    assert not observe.cached_since_check(str(tmp_path))
    checked.touch()
    os.utime(tensors, ns=(5, 5))
    assert not observe.cached_since_check(str(tmp_path))
    (tensors / "0123456789abcdef").touch()
    os.utime(checked, ns=(5, 5))
    assert observe.cached_since_check(str(tmp_path))
