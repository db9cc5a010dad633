# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog's decisions: observations in, verdicts out, for every fault it must see and for all that it must leave alone."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "watchdog" / "files"
sys.path.insert(0, str(FILES))

import verdict  # noqa: E402  pylint: disable=wrong-import-position

A, B = "10.0.0.1:50052", "10.0.0.2:50052"
MS = 10**6


def head(at: float, cpu_ns: int = 0, api: str = "ready", busy: bool = False, tokens: int = 0, state: str = "S", pid: int = 7, **workers):
    """A head with two workers, all well unless said otherwise."""
    seen = {endpoint: workers.get(name, worker(name)) for name, endpoint in (("a", A), ("b", B))}
    return verdict.HeadSeen(at, verdict.Process(pid, 1, state, cpu_ns), api, busy, tokens, seen)


def worker(name: str, moved: int = 0, state: str = "established", unacked: int = 0, retransmits: int = 0, **report):
    connections = (verdict.Connection(state, moved, moved, unacked, retransmits),) if state else ()
    return verdict.WorkerSeen(name, connections, verdict.Report(**{"link": "ok", "process_state": "S", "cpu_ns": 0, **report}))


def server(at: float, cpu_ns: int = 0, state: str = "S", waiting: int = 0, clients=None, pid: int = 7):
    if clients is None:
        clients = (verdict.Client("10.0.0.9:4000"),)
    return verdict.ServerSeen(at, verdict.Process(pid, 1, state, cpu_ns), tuple(clients), waiting)


def run(judge, see, seconds: int):
    """The verdicts of each second."""
    return [judge.judge(see(float(at))) for at in range(seconds)]


def first_restart(verdicts):
    return next((second for second, one in enumerate(verdicts) if one.restart), None)


# --- the head -------------------------------------------------------------------------------------------------------------


def test_an_idle_cluster_is_left_alone_for_a_day():
    judge = verdict.HeadJudge()
    assert {judge.judge(head(float(at))).state for at in range(0, 86400, 5)} == {"idle"}


def test_no_process_is_systemds_business():
    verdicts = run(verdict.HeadJudge(), lambda at: verdict.HeadSeen(at, None, "down"), 300)
    assert {one.state for one in verdicts} == {"down"}
    assert first_restart(verdicts) is None


@pytest.mark.parametrize("api", ["down", "loading"])
def test_a_load_in_silence_is_left_alone_for_an_hour(api):
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, api=api), 3600)
    assert {one.state for one in verdicts} == {"loading"}


def test_a_stopped_head_is_restarted():
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, state="T", api="silent"), 10)
    assert first_restart(verdicts) == verdict.Limits().stopped
    assert verdicts[5].state == "hung"


@pytest.mark.parametrize("state", ["closing", ""])
def test_a_lost_worker_is_named_and_the_head_restarted(state):
    judge = verdict.HeadJudge()
    run(judge, lambda at: head(at - 100), 10)
    verdicts = run(judge, lambda at: head(at, b=worker("b", state=state)), 5)
    assert (verdicts[2].state, verdicts[2].worker) == ("dead", "b")
    assert first_restart(verdicts) == verdict.Limits().dead


def test_a_worker_that_was_never_connected_is_not_missed():
    """llama-server keeps no connection to a worker that holds nothing."""
    assert first_restart(run(verdict.HeadJudge(), lambda at: head(at, b=worker("b", state="")), 100)) is None


def test_connections_that_come_and_go_while_loading_are_not_missed():
    judge = verdict.HeadJudge()
    assert first_restart(run(judge, lambda at: head(at, api="loading", b=worker("b", state="established" if at % 2 else "")), 100)) is None


def test_the_next_process_does_not_inherit_what_the_last_one_did():
    judge = verdict.HeadJudge()
    run(judge, head, 10)
    assert first_restart(run(judge, lambda at: head(at + 10, pid=8, api="down", a=worker("a", state=""), b=worker("b", state="")), 100)) is None


def test_a_short_cut_is_left_to_tcp():
    judge = verdict.HeadJudge()

    def see(at):
        cut = 10 <= at < 17
        return head(at, busy=True, b=worker("b", int(at) if not cut else 10, unacked=500 * cut, retransmits=4 * cut, link="unreachable" if cut else "ok"))

    verdicts = run(judge, see, 60)
    assert first_restart(verdicts) is None
    assert "cut" in {one.state for one in verdicts}


@pytest.mark.parametrize("link", ["unreachable", "unknown", "refused"])
def test_a_long_cut_with_data_in_flight_is_acted_upon(link):
    judge = verdict.HeadJudge()
    verdicts = run(judge, lambda at: head(at, busy=True, b=worker("b", unacked=500, retransmits=min(int(at), 9), link=link)), 60)
    found = first_restart(verdicts)
    assert 15 <= found <= 20
    assert (verdicts[found].state, verdicts[found].worker) == ("cut", "b")


def test_a_long_cut_while_a_worker_computes_is_acted_upon():
    """Nothing is in flight from here: the worker's answer is lost, and only its machine's silence tells."""
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, busy=True, b=worker("b", link="unreachable")), 60)
    assert 15 <= first_restart(verdicts) <= 20


def test_a_cut_while_idle_says_so_and_waits():
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, b=worker("b", link="unreachable")), 300)
    assert verdicts[-1].state == "cut"
    assert first_restart(verdicts) is None


@pytest.mark.parametrize("link", ["refused", "silent", "unknown"])
def test_a_worker_whose_watchdog_is_away_is_no_fault(link):
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, b=worker("b", link=link, cpu_ns=None)), 300)
    assert {one.state for one in verdicts} == {"idle"}


def test_a_hung_worker_is_left_to_its_own_watchdog():
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, b=worker("b", state="established", process_state="T")), 30)
    assert first_restart(verdicts) is None
    told = verdict.Report("ok", "T", 0, "hung", "the process is stopped (state T)")
    seen = dataclasses.replace(worker("b"), report=told)
    found = verdict.HeadJudge().judge(head(0, b=seen))
    assert (found.state, found.worker, found.restart) == ("hung", "b", False)


def test_a_deadlock_is_acted_upon():
    """All say they are there, a request is under way, and nothing moves anywhere."""
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, busy=True), 120)
    assert verdicts[30].state == "stalled"
    assert first_restart(verdicts) == verdict.Limits().stall


def test_a_deadlock_is_given_longer_where_a_worker_is_not_seen():
    verdicts = run(verdict.HeadJudge(), lambda at: head(at, busy=True, b=worker("b", link="refused", cpu_ns=None)), 400)
    assert first_restart(verdicts) == verdict.Limits().stall_unseen


def test_a_server_that_no_longer_answers_http_is_restarted_and_one_that_loads_is_not():
    judge = verdict.HeadJudge()
    run(judge, head, 3)
    assert first_restart(run(judge, lambda at: head(at + 3, api="silent"), 120)) is not None
    assert first_restart(run(verdict.HeadJudge(), lambda at: head(at, api="down"), 1200)) is None


@pytest.mark.parametrize("progress", ["its own processor", "a worker's processor", "bytes"])
def test_a_server_that_is_asked_in_the_middle_of_a_long_batch_is_busy(progress):
    """It answers between two batches, and one of them may take a minute of somebody's work."""
    judge = verdict.HeadJudge()
    run(judge, head, 3)

    def see(at):
        moved = int(at) * 1000 * MS
        b = worker("b", moved if progress == "bytes" else 0, cpu_ns=moved if progress == "a worker's processor" else 0)
        return head(at + 3, moved if progress == "its own processor" else 0, api="silent", b=b)

    verdicts = run(judge, see, 600)
    assert {one.state for one in verdicts} == {"busy"}
    assert first_restart(verdicts) is None


def test_a_silent_server_is_called_hung_once_nothing_has_moved_for_a_moment():
    """One question that waited too long is no evidence, a port that is closed is."""
    judge = verdict.HeadJudge()
    run(judge, head, 9)
    assert [one.state for one in run(judge, lambda at: head(at + 9, api="silent"), 4)] == ["busy", "busy", "hung", "hung"]
    assert judge.judge(head(13.0)).state == "idle"
    assert judge.judge(head(14.0, api="down")).state == "hung"


def test_a_refused_model_is_the_reason_whatever_runs_in_the_units_name():
    judge, refused = verdict.HeadJudge(), verdict.Model(refused="m.gguf is not the model that was deployed")
    for process in (None, verdict.Process(8, 1, "R", 0)):
        said = judge.judge(verdict.HeadSeen(1.0, process, "down", model=refused))
        assert (said.state, said.reason, said.restart) == ("refused", refused.refused, False)


def test_a_model_that_is_written_to_ends_who_maps_it_and_not_who_checks_it():
    altered = verdict.Model(altered="m.gguf")
    judge = verdict.HeadJudge()
    assert judge.judge(head(0.0)).state == "idle"
    said = judge.judge(dataclasses.replace(head(1.0), model=altered))
    assert (said.state, said.restart) == ("altered", True) and "m.gguf" in said.reason
    # The next process of the unit is the check, which may read for minutes.
    verdicts = [judge.judge(dataclasses.replace(head(float(at), api="down", pid=8), model=altered)) for at in range(2, 600)]
    assert not any(one.restart for one in verdicts) and verdicts[0].state == "loading"


@pytest.mark.parametrize(("there", "state"), [("b2", "mismatch"), ("b1", "loading"), ("", "loading")])
def test_a_worker_of_another_version_is_the_reason_where_the_head_does_not_get_ready(there, state):
    judge, build = verdict.HeadJudge(), verdict.Build("b1")
    other = worker("a", build=verdict.Build(there, "4.0.0"))
    said = judge.judge(dataclasses.replace(head(0.0, api="loading", a=other), build=build))
    assert said.state == state and not said.restart
    if state == "mismatch":
        assert said.worker == "a" and "it has b2 (RPC protocol 4.0.0), and the head has b1" in said.reason
        assert judge.judge(dataclasses.replace(head(1.0, a=other), build=build, process=None)).state == "mismatch"
    # One that works is not spoken against.
    assert judge.judge(dataclasses.replace(head(2.0, a=other, pid=9), build=build)).state == "idle"


@pytest.mark.parametrize(("api", "state"), [("down", "down"), ("loading", "loading")])
def test_whoever_keeps_the_head_from_getting_ready_is_named_at_every_look(api, state):
    """It ends and begins again every few seconds: an operator who asks shall be told the same each time."""
    judge = verdict.HeadJudge()
    process = None if api == "down" else verdict.Process(7, 1, "S", 0)
    for report, reason in (
        (verdict.Report("unreachable"), "its machine does not answer, and llama-server needs it"),
        (verdict.Report("ok", state="down", reason="it does not run"), "its own watchdog says: it does not run"),
    ):
        other = verdict.WorkerSeen("a", (), report)
        said = judge.judge(dataclasses.replace(head(0.0, api=api, a=other, b=worker("b", state="")), process=process))
        assert (said.state, said.worker, said.restart) == (state, "a", False) and said.reason == reason
    said = judge.judge(dataclasses.replace(head(0.0, api=api, a=worker("a", state=""), b=worker("b", state="")), process=process))
    assert (said.state, said.worker) == (state, "")


def test_a_connection_attempt_is_begun_anew_once_the_machine_answers():
    """SYN after SYN with doubling pauses: the machine is back long before the next one."""

    def see(at):
        return head(at, api="down", b=worker("b", state="connecting", link="ok" if at >= 30 else "unreachable"))

    assert first_restart(run(verdict.HeadJudge(), see, 60)) == 30 + verdict.Limits().connect


PROGRESS = ["bytes", "tokens", "head's processor", "worker's processor"]


@pytest.mark.parametrize("seed", range(200))
def test_progress_is_never_called_hung(seed):
    """Whatever moves, however rarely within the limit, and whatever else is missing: nothing is restarted."""
    chance = random.Random(seed)
    judge = verdict.HeadJudge()
    moved = tokens = cpu = worker_cpu = 0
    due, at = chance.uniform(1, 50), 0.0
    report = {"link": chance.choice(["ok", "refused", "silent", "unknown"])}
    only = chance.choice(PROGRESS) if report["link"] == "ok" else chance.choice(PROGRESS[:3])
    while at < 1200:
        at += chance.choice([0.5, 1, 1, 2, 3])
        if at >= due:
            due = at + chance.uniform(1, 50)
            # A burst of work, as a slow prompt is computed: the processor's share of the whole pause counts.
            moved += only == "bytes"
            tokens += only == "tokens"
            cpu += 5000 * MS * (only == "head's processor")
            worker_cpu += 5000 * MS * (only == "worker's processor")
        seen = worker("b", moved, retransmits=chance.choice([0, 0, 1, 2]), cpu_ns=worker_cpu, **report)
        found = judge.judge(head(at, cpu, busy=True, tokens=tokens, a=worker("a"), b=seen))
        assert not found.restart, (only, at, found)


@pytest.mark.parametrize("seed", range(50))
def test_a_server_without_work_is_never_called_hung(seed):
    chance = random.Random(seed)
    judge, at = verdict.HeadJudge(), 0.0
    while at < 3600:
        at += chance.uniform(0.5, 30)
        link = chance.choice(["ok", "ok", "refused", "silent", "unknown"])
        found = judge.judge(head(at, int(at * MS * 10), b=worker("b", link=link, cpu_ns=chance.choice([None, 0]))))
        assert found.state == "idle"


# --- a worker -------------------------------------------------------------------------------------------------------------


def test_an_idle_worker_is_left_alone_for_a_day():
    judge = verdict.WorkerJudge()
    assert {judge.judge(server(float(at))).restart for at in range(0, 86400, 5)} == {False}


def test_a_stopped_worker_is_restarted():
    verdicts = run(verdict.WorkerJudge(), lambda at: server(at, state="T"), 10)
    assert first_restart(verdicts) == verdict.Limits().stopped


@pytest.mark.parametrize("judge", [verdict.WorkerJudge, verdict.HeadJudge])
def test_a_process_that_runs_between_its_stops_is_not_restarted(judge):
    """Whoever slows a process down by stopping it again and again is seen to let it run."""
    see = server if judge is verdict.WorkerJudge else head
    assert first_restart(run(judge(), lambda at: see(at, int(at * 10 * MS), state="T"), 300)) is None


def test_a_worker_slowed_down_to_a_hundredth_makes_progress():
    """A prompt under a limit of 1 % of a core: no byte for minutes, and neither watchdog may end it."""
    clients = [verdict.Client("10.0.0.9:4000", unread=4096)]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, int(at * 10 * MS), clients=clients), 1000)) is None
    slow = verdict.HeadJudge()
    assert first_restart(run(slow, lambda at: head(at, busy=True, b=worker("b", cpu_ns=int(at * 10 * MS))), 1000)) is None


def test_a_worker_that_leaves_its_client_unread_is_restarted():
    clients = [verdict.Client("10.0.0.9:4000", unread=4096)]
    verdicts = run(verdict.WorkerJudge(), lambda at: server(at, clients=clients), 60)
    assert first_restart(verdicts) == verdict.Limits().worker_stall


def test_a_worker_in_the_kernel_is_given_longer():
    clients = [verdict.Client("10.0.0.9:4000", unread=4096)]
    verdicts = run(verdict.WorkerJudge(), lambda at: server(at, state="D", clients=clients), 100)
    assert first_restart(verdicts) == 4 * verdict.Limits().worker_stall


def test_a_worker_that_computes_may_leave_its_client_unread():
    clients = [verdict.Client("10.0.0.9:4000", unread=4096)]
    verdicts = run(verdict.WorkerJudge(), lambda at: server(at, int(at * 200 * MS), state="R", clients=clients), 1000)
    assert {one.state for one in verdicts} == {"busy"}


def test_a_worker_that_does_not_notice_that_its_client_left_is_restarted():
    clients = [verdict.Client("10.0.0.9:4000", "closing")]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, clients=clients), 30)) == verdict.Limits().left


def test_a_worker_whose_client_is_unreachable_is_restarted_and_one_whose_answer_is_late_is_not():
    lost = [verdict.Client("10.0.0.9:4000", unacked=100, retransmits=5)]
    assert 15 <= first_restart(run(verdict.WorkerJudge(), lambda at: server(at, clients=lost), 40)) <= 16
    late = [verdict.Client("10.0.0.9:4000", unacked=100, retransmits=1)]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, clients=late), 400)) is None


def test_a_worker_whose_client_is_unreachable_behind_a_tunnel_is_restarted():
    """The tunnel acknowledges all; its own connection does not get through, and would be tried for a minute more once it could."""
    inside, judge = (verdict.Client("127.0.0.1:4000"),), verdict.WorkerJudge()
    cut_off = (verdict.Client("10.0.0.9:5000", unacked=100, retransmits=3),)
    verdicts = run(judge, lambda at: dataclasses.replace(server(at, clients=inside), outside=cut_off if at >= 5 else inside), 30)
    assert first_restart(verdicts) == 20
    # What is left of it is nobody's client.
    assert first_restart(run(verdict.WorkerJudge(), lambda at: dataclasses.replace(server(at, clients=()), outside=cut_off), 60)) is None


def test_a_client_that_no_longer_exists_makes_room_for_the_one_that_waits():
    gone = [verdict.Client("10.0.0.9:4000", exists=False)]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, waiting=1, clients=gone), 40)) == verdict.Limits().stale


def test_a_client_behind_a_tunnel_that_no_longer_exists_makes_room():
    inside = (verdict.Client("127.0.0.1:4000"),)
    stale, new, unknown = (verdict.Client(f"10.0.0.9:{port}", exists=exists) for port, exists in ((5000, False), (5001, True), (5002, None)))

    def restarts(waiting, *outside):
        return first_restart(run(verdict.WorkerJudge(), lambda at: dataclasses.replace(server(at, clients=inside, waiting=waiting), outside=outside), 30))

    assert restarts(1, stale, new) == 4
    assert restarts(1, stale) == 4
    # Nobody waits; nobody was asked; the client exists, and so does who waits.
    assert restarts(0, stale) is None
    assert restarts(1, unknown, unknown) is None
    assert restarts(1, new, new) is None
    assert restarts(1, stale, new, new) is None


def test_a_client_that_exists_keeps_its_place_whoever_waits():
    there = [verdict.Client("10.0.0.9:4000", exists=True)]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, waiting=2, clients=there), 4000)) is None


def test_an_unknown_client_keeps_its_place_while_it_says_something():
    """An idle head is asked for a token every half minute, which the worker spends a few milliseconds on."""
    unknown = [verdict.Client("10.0.0.9:4000")]
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, int(at // 30) * MS, waiting=1, clients=unknown), 4000)) is None
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, waiting=1, clients=unknown), 400)) == verdict.Limits().stale_unasked


def caching(at: float, *peers: str, full: bool = True, cached: bool = True, pid: int = 7):
    return dataclasses.replace(server(at, pid=pid, clients=[verdict.Client(peer) for peer in peers]), disk_full=full, cached=cached)


@pytest.mark.parametrize("after", [(), ("10.0.0.9:4001",)], ids=["nobody yet", "the next one already"])
@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_a_worker_whose_disk_was_full_is_restarted_when_its_client_has_left(after, seconds):
    """Only its start checks what it wrote, and its next client may come in a second; a client that is served has got everything."""
    judge = verdict.WorkerJudge()
    for at in range(seconds):
        assert not judge.judge(caching(float(at), "10.0.0.9:4000", full=at == 0)).restart
    # In 0 s one came and went unseen.
    said = judge.judge(caching(float(seconds), *(after if seconds else ())))
    assert (said.state, said.restart) == ("suspect", True)
    # The next process has checked its cache.
    assert not any(judge.judge(caching(float(at), *after, cached=False, pid=8)).restart for at in range(seconds + 1, 60))


def test_a_head_that_asks_before_it_loads_is_let_load_where_the_disk_is_full():
    """It asks by connections of some ms, may then read for long, and sends by one that stays."""
    judge = verdict.WorkerJudge()
    for at in range(60):
        assert not judge.judge(caching(float(at), *(["127.0.0.1:%d" % at] if at % 20 < 5 else []), cached=False)).restart
    for at in range(60, 100):
        assert not judge.judge(caching(float(at), "127.0.0.1:4000", cached=at > 70)).restart


def test_clients_come_and_go_where_the_disk_has_room():
    judge = verdict.WorkerJudge()
    assert not any(judge.judge(caching(float(at), *(["127.0.0.1:%d" % at] if at % 2 else []), full=False)).restart for at in range(100))


def test_a_worker_that_accepts_nobody_is_restarted():
    assert first_restart(run(verdict.WorkerJudge(), lambda at: server(at, waiting=1, clients=[]), 60)) == verdict.Limits().worker_stall


@pytest.mark.parametrize("seed", range(100))
def test_a_worker_that_makes_progress_is_never_restarted(seed):
    """It computes in bursts at most 15 s apart, and whatever it has not read meanwhile waits."""
    chance = random.Random(seed)
    judge, at, cpu, due = verdict.WorkerJudge(), 0.0, 0, chance.uniform(1, 15)
    while at < 1200:
        at += chance.choice([0.5, 1, 2])
        if at >= due:
            due, cpu = at + chance.uniform(1, 15), cpu + 2000 * MS
        clients = [verdict.Client("10.0.0.9:4000", unread=chance.choice([0, 1, 9999]), unacked=chance.choice([0, 50]), retransmits=chance.choice([0, 1]))]
        assert not judge.judge(server(at, cpu, state=chance.choice("RSD"), clients=clients, waiting=chance.choice([0, 0, 1]))).restart


# --- a machine that stood still -------------------------------------------------------------------------------------------


def cut_head(at):
    return head(at, busy=True, b=worker("b", unacked=500, retransmits=9, link="unreachable"))


SUSPICIONS = {
    "stopped head": (verdict.HeadJudge, lambda at: head(at, state="T", api="silent")),
    "silent head": (verdict.HeadJudge, lambda at: head(at, api="silent")),
    "stalled head": (verdict.HeadJudge, lambda at: head(at, busy=True)),
    "cut head": (verdict.HeadJudge, cut_head),
    "lost worker": (verdict.HeadJudge, lambda at: head(at, b=worker("b", state="closing"))),
    "connecting head": (verdict.HeadJudge, lambda at: head(at, b=worker("b", state="connecting"))),
    "stopped worker": (verdict.WorkerJudge, lambda at: server(at, state="T")),
    "stalled worker": (verdict.WorkerJudge, lambda at: server(at, clients=[verdict.Client("10.0.0.9:4000", unread=9)])),
    "left worker": (verdict.WorkerJudge, lambda at: server(at, clients=[verdict.Client("10.0.0.9:4000", "closing")])),
    "cut worker": (verdict.WorkerJudge, lambda at: server(at, clients=[verdict.Client("10.0.0.9:4000", unacked=9, retransmits=9)])),
    "stale worker": (verdict.WorkerJudge, lambda at: server(at, waiting=1, clients=[verdict.Client("10.0.0.9:4000", exists=False)])),
    "unasked worker": (verdict.WorkerJudge, lambda at: server(at, waiting=1)),
    "deaf worker": (verdict.WorkerJudge, lambda at: server(at, waiting=1, clients=[])),
    "stopped proxy": (verdict.ProxyJudge, lambda at: proxy(at, state="T")),
    "silent proxy": (verdict.ProxyJudge, lambda at: proxy(at, "silent")),
}


def proxy(at, link="ok", state="S", pid=7):
    return verdict.ProxySeen(at, verdict.Process(pid, 1, state, 0), link)


def well(judge, at):
    if isinstance(judge, verdict.ProxyJudge):
        return proxy(at)
    return head(at) if isinstance(judge, verdict.HeadJudge) else server(at)


def after_a_pause(judge, see):
    """Whether one look after 600 s that nobody saw is enough for a restart: the last look before it saw the same for the first time."""
    for at in range(3):
        assert not judge.judge(well(judge, float(at))).restart
    assert not judge.judge(see(3.0)).restart
    return judge.judge(see(603.0)).restart


@pytest.mark.parametrize("name", SUSPICIONS)
def test_what_was_suspected_before_a_pause_is_to_be_seen_anew(name):
    """What goes on is acted upon as if it had begun after the pause."""
    kind, see = SUSPICIONS[name]
    judge, other = kind(), kind()
    assert not after_a_pause(judge, see)
    again = first_restart([judge.judge(see(603.0 + at)) for at in range(400)])
    other.judge(well(other, 0.0))
    assert again is not None and abs(again - first_restart([other.judge(see(1.0 + at)) for at in range(400)])) <= 1


@pytest.mark.parametrize("name", sorted(set(SUSPICIONS) - {"cut head"}))
def test_without_that_a_pause_is_enough_for_a_restart(name):
    """The test above can fail. A cut head has to be seen cut twice in any case."""
    kind, see = SUSPICIONS[name]
    assert after_a_pause(kind(verdict.Limits(gap=float("inf"))), see)


def test_who_was_connected_before_a_pause_is_missed_after_it():
    judge = verdict.HeadJudge()
    judge.judge(head(0.0))
    assert first_restart([judge.judge(head(600.0 + at, b=worker("b", state=""))) for at in range(9)]) == verdict.Limits().dead


# --- the proxy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["silent", "unreachable"])
def test_a_silent_proxy_is_restarted(link):
    verdicts = run(verdict.ProxyJudge(), lambda at: proxy(at, link), 30)
    assert first_restart(verdicts) == verdict.Limits().proxy
    assert {one.state for one in verdicts[2:]} == {"hung"}


@pytest.mark.parametrize(("link", "state"), [
    ("ok", "idle"), ("closed", "idle"), ("refused", "down"), ("its certificate is not trusted: expired", "untrusted")])
def test_a_proxy_that_says_something_is_left_alone(link, state):
    verdicts = run(verdict.ProxyJudge(), lambda at: proxy(at, link), 900)
    assert {one.state for one in verdicts} == {state}
    assert first_restart(verdicts) is None


def test_a_proxy_that_is_slow_now_and_then_is_left_alone():
    assert first_restart(run(verdict.ProxyJudge(), lambda at: proxy(at, "ok" if at % 10 == 0 else "silent"), 900)) is None


def test_the_next_proxy_does_not_inherit_what_the_last_one_did():
    judge = verdict.ProxyJudge()
    run(judge, lambda at: proxy(at, "silent"), 9)
    assert first_restart([judge.judge(proxy(9.0 + at, "silent", pid=8)) for at in range(9)]) is None
    assert judge.judge(verdict.ProxySeen(19.0, None)).state == "down"


# --- the pauses -----------------------------------------------------------------------------------------------------------


def test_restarts_come_at_once_then_ever_more_rarely_and_at_once_again_after_an_answer():
    backoff = verdict.Backoff(first=10, longest=60)
    acted = []
    for at in range(400):
        if backoff.allows(at):
            acted.append(at)
            backoff.acted(at)
    assert acted == [0, 10, 30, 70, 130, 190, 250, 310, 370]
    backoff.proved()
    assert backoff.allows(400)
