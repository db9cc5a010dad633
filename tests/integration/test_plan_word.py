# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pinned llama-server is asked over real workers, which are idle and alive afterwards, and load the model then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import asking
import pytest

from ansible_collections.herd.llama_cpp.plugins.module_utils._common import unprivileged
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask as plan_ask
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import rounds
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import word as plan_word
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import head_log

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
# An address of this machine that nothing else uses.
ADDRESS = "127.0.0.61"
PORTS = (50061, 50062)
SPLIT = (16, 15)


@pytest.fixture
def workers(llama_cpp_bin: Path, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two rpc-servers as systemd starts them: without SIGPIPE (systemd.exec(5), IgnoreSIGPIPE=), which Python ignores as well."""
    started = []
    try:
        for port in PORTS:
            with (tmp_path / ("worker%d" % port)).open("wb") as log:
                started.append(subprocess.Popen([str(llama_cpp_bin / "ggml-rpc-server"), "-H", ADDRESS, "-p", str(port), "-t", "1", "-d", "CPU"],
                                                stdout=log, stderr=log, restore_signals=False))
        until = time.monotonic() + 30
        for port in PORTS:
            while "%s:%d" % (ADDRESS, port) not in listening():
                assert time.monotonic() < until, "a worker does not listen"
                time.sleep(0.05)
        yield started
    finally:
        for process in started:
            # one that a test has stopped
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def listening() -> list[str]:
    found = []
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        place, state = line.split()[1], line.split()[3]
        if state == "0A":
            found.append("%s:%d" % (socket.inet_ntoa(bytes.fromhex(place[:8])[::-1]), int(place[9:], 16)))
    return found


def the_question(bin_dir: Path, model: Path) -> plan_word.Question:
    endpoints = ",".join("%s:%d" % (ADDRESS, port) for port in PORTS)
    words = [*asking.ARGUMENTS, "--rpc", endpoints, "--device", "RPC0,RPC1", "--tensor-split", "16,15", "--api-key-file", "${CREDENTIALS_DIRECTORY}/api-key"]
    return plan_word.Question(str(bin_dir), str(model), words, {"GGML_NO_BACKTRACE": "1"}, endpoints, ("RPC0", "RPC1"), SPLIT, "llama-server")


def ask(asked: plan_word.Question, timeout_s: float = 60) -> plan_ask.Answer:
    number = unprivileged.own_user_id()
    assert number is not None, "only root can be another user"
    return plan_word.ask_over_workers(asked, number, number, timeout_s)


def same(answer: plan_ask.Answer) -> plan_ask.Answer:
    return replace(answer, seconds=0.0)


def test_over_cpus_it_says_what_it_says_over_stand_ins(llama_cpp_bin: Path, smollm2: Path, workers: Any) -> None:
    def stood_in(asker: plan_ask.Asker) -> Any:
        return rounds.answer_as_dict(SPLIT, asker.ask(SPLIT))

    said = rounds.answer_from_dict(asking.in_private(llama_cpp_bin, smollm2, asking.ARGUMENTS, stood_in, 2))[1]
    assert same(ask(the_question(llama_cpp_bin, smollm2))) == same(said)


def test_the_workers_are_idle_and_alive_afterwards(llama_cpp_bin: Path, smollm2: Path, workers: Any) -> None:
    """Asked three times in turn, then llama-server loads the model over them and holds what it said."""
    asked = the_question(llama_cpp_bin, smollm2)
    answers = [same(ask(asked)) for _time in range(3)]
    assert answers == [answers[0]] * 3
    assert [worker.poll() for worker in workers] == [None, None]
    number = unprivileged.own_user_id()
    assert number is not None

    def load() -> Any:
        over = plan_ask.Workers(asked.endpoints, asked.devices, number, number)
        with plan_ask.Asker(asked.bin_dir, asked.model, 2, asked.arguments, workers=over) as asker:
            log = head_log.parse_head(asking.start(asker, SPLIT))
            return [[device.weights_mib, device.kv_mib, device.compute_mib] for device in log.devices if not device.host]

    real = plan_ask.ask_in_private(load, own_network=False)
    assert [[int(weights), int(kv), compute] for weights, kv, compute in real] == [
        [said.weights_mib, said.kv_mib, said.compute_mib] for said in answers[0].devices]
    assert [worker.poll() for worker in workers] == [None, None]


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_they_outlive_a_question_that_is_cut_off(llama_cpp_bin: Path, smollm2: Path, workers: Any, after_s: float) -> None:
    asked = the_question(llama_cpp_bin, smollm2)
    for _time in range(3):
        with pytest.raises(plan_ask.CannotBeAsked, match="not enough after 0 answers"):
            ask(asked, after_s)
            raise plan_ask.CannotBeAsked("it was quick: not enough after 0 answers")
    assert ask(asked).devices and [worker.poll() for worker in workers] == [None, None]


def test_one_that_serves_somebody_else_is_not_waited_for(llama_cpp_bin: Path, smollm2: Path, workers: Any) -> None:
    asked = the_question(llama_cpp_bin, smollm2)
    with socket.create_connection((ADDRESS, PORTS[1]), timeout=5):
        began = time.monotonic()
        with pytest.raises(plan_ask.CannotBeAsked, match="there were 2 s"):
            ask(asked, 2)
        assert time.monotonic() - began < 6
    assert ask(asked).devices and [worker.poll() for worker in workers] == [None, None]


def test_one_that_is_away_is_the_reason_it_gives(llama_cpp_bin: Path, smollm2: Path, workers: Any) -> None:
    workers[1].kill()
    workers[1].wait()
    with pytest.raises(plan_ask.AskError, match="its last line is: .*Failed to connect to 127.0.0.61:50062"):
        ask(the_question(llama_cpp_bin, smollm2))


def test_a_build_without_the_measuring_library_is_not_asked_over_workers(llama_cpp_bin: Path, smollm2: Path, tmp_path: Path) -> None:
    """Its word would be more than it takes, and once it has given it, it would load the model."""
    (tmp_path / "llama-server").symlink_to(llama_cpp_bin / "llama-server")
    with pytest.raises(plan_ask.CannotBeAsked, match="no libllama-measure.so"):
        ask(the_question(tmp_path, smollm2))


def test_it_runs_as_the_user_that_may_reach_them(llama_cpp_bin: Path, smollm2: Path, workers: Any) -> None:
    """nftables lets nobody but llama-server's user into the tunnels. Stopped workers keep it until it is looked at."""
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    number = unprivileged.own_user_id()
    assert number is not None
    child = os.fork()
    if child == 0:
        try:
            plan_word.ask_over_workers(the_question(llama_cpp_bin, smollm2), number, number + 1, 20)
        except plan_ask.AskError:
            pass
        finally:
            os._exit(0)
    try:
        until = time.monotonic() + 10
        found: list[str] = []
        while not found:
            assert time.monotonic() < until, "nobody asks"
            for entry in Path("/proc").glob("[0-9]*/status"):
                try:
                    lines = dict(line.split(":\t", 1) for line in entry.read_text().splitlines() if ":\t" in line)
                    exe = os.readlink(entry.parent / "exe")
                except OSError:
                    continue
                if exe.endswith("/llama-server") and lines["Uid"].split()[0] == str(number):
                    found = [lines["Uid"], lines["Gid"], lines["Groups"], lines["NoNewPrivs"]]
            time.sleep(0.02)
        assert [set(found[0].split()), set(found[1].split()), found[2].split(), found[3]] == [{str(number)}, {str(number + 1)}, [], "1"]
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    assert ask(the_question(llama_cpp_bin, smollm2)).devices
