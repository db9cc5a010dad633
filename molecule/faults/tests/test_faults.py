# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault is followed by a right answer with nobody's help, within a limit: 10 s and the load of the model for a death, 45 s for
a hang or a cut cable, counted from when the machine or the cable is back.

In the order of the file; those marked slow run with HERD_FAULTS=all only.
"""

from __future__ import annotations

import os
import threading
import time

import pinned
import pytest
import requests
from fault_lab import HEAD_UNIT, PROXY_UNIT, WORKER_UNIT, FaultLab
from playbook_run import ROOT, run_playbook

testinfra_hosts = ["local://"]

ALL = os.environ.get("HERD_FAULTS") == "all"
slow = pytest.mark.skipif(not ALL, reason="slow; make test-faults runs it.")

# The model is 98 MB; on two busy cores it is loaded in 2 to 6 s.
LOAD_S = 10
DEATH_S, HANG_S = 10 + LOAD_S, 45
BOOT_S = 30
UNITS = {"head": ["llama-server-tunnel.service", HEAD_UNIT, "llama-watchdog.service"],
         "worker1": ["llama-rpc-tls@0.service", WORKER_UNIT, "llama-watchdog.service"]}


def test_a_long_generation_is_not_harmed(lab: FaultLab) -> None:
    """A worker that is slow for minutes: each token takes long, and it is let be."""
    seconds = 200 if ALL else 40
    before = [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)]

    def word() -> tuple[int, str]:
        code, said = lab.health()
        return code, str(said.get("state"))

    with lab.slowed("worker1", 3):
        began = time.monotonic()
        request = lab.generate(max_tokens=1900)
        while request.is_alive() and time.monotonic() - began < seconds:
            time.sleep(1)
        lasted, tokens = time.monotonic() - began, request.tokens
        lab.wait(lambda: word() == (200, "busy"), 10, "the watchdog did not say that it is busy")
    assert not request.error
    assert lasted >= seconds, f"it was over after {lasted:.0f} s: not slow enough to prove anything"
    assert tokens > 5
    request.join(200)
    assert not request.error
    assert before == [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)]
    print(f"\n  a generation slowed down for {lasted:.0f} s, with {tokens} tokens in that time, at most {request.longest_gap:.1f} s apart:"
          " nothing was restarted")


@slow
def test_a_slow_prompt_is_not_harmed(lab: FaultLab) -> None:
    """No token and no byte for tens of seconds, while a worker computes its part of a long prompt."""
    before = [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)]
    began = time.monotonic()
    with lab.slowed("worker1", 3):
        request = lab.generate(max_tokens=1, prompt="".join(f"{began} says the raven number {number}. " for number in range(60)))
        request.join(300)
    lasted = time.monotonic() - began
    assert request.tokens and not request.error
    assert lasted > 60, f"it was over after {lasted:.0f} s: not slow enough to prove anything"
    assert before == [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)]
    print(f"\n  a prompt of {lasted:.0f} s: nothing was restarted")


def test_worker_killed_while_idle(lab: FaultLab) -> None:
    began = time.monotonic()
    lab.signal_unit("worker1", WORKER_UNIT, "KILL")
    lab.heals_unasked()
    lab.recovers("worker killed while idle", began, DEATH_S)


def test_worker_killed_while_generating(lab: FaultLab) -> None:
    lab.generating()
    began = time.monotonic()
    lab.signal_unit("worker2", WORKER_UNIT, "KILL")
    lab.recovers("worker killed while generating", began, DEATH_S)


@pytest.mark.parametrize(("machine", "unit"), [("worker1", "llama-rpc-tls@0.service"), ("head", "llama-server-tunnel.service")])
def test_tunnel_killed(lab: FaultLab, machine: str, unit: str) -> None:
    began = time.monotonic()
    lab.signal_unit(machine, unit, "KILL")
    lab.heals_unasked()
    lab.recovers(f"stunnel killed on {machine}", began, DEATH_S)


def test_tunnel_started_before_its_worker(lab: FaultLab) -> None:
    """As a boot may do it. Each in a network of its own, they would not find each other until somebody restarted them."""
    began = time.monotonic()
    tunnel = "llama-rpc-tls@0"
    lab.run("worker2", f"systemctl stop {tunnel}.socket {tunnel}.service {WORKER_UNIT}; systemctl start {tunnel}.service; systemctl start {WORKER_UNIT}")
    lab.heals_unasked()
    lab.recovers("stunnel started before its worker", began, DEATH_S)


def caching_worker(lab: FaultLab) -> tuple[str, str]:
    """A worker that has cached a tensor (of more than 10 MiB, which not all of them have), and the file."""
    files = {machine: lab.run(machine, "find /var/cache/llama-rpc-server/0/rpc -type f -size +1M").split() for machine in ("worker1", "worker2")}
    return next((machine, found[0]) for machine, found in files.items() if found)


def test_cache_file_cut_short(lab: FaultLab) -> None:
    """llama.cpp itself would use it and answer garbage."""
    machine, path = caching_worker(lab)
    lab.run(machine, f"truncate -s 1000000 {path}")
    began, clock = time.monotonic(), time.time()
    lab.signal_unit(machine, WORKER_UNIT, "KILL")
    lab.heals_unasked()
    lab.recovers("cache file cut short, its worker killed", began, DEATH_S)
    lab.says(machine, clock, f"removed {path}: it is damaged", unit=WORKER_UNIT)


def test_head_killed(lab: FaultLab) -> None:
    lab.generating()
    began = time.monotonic()
    lab.signal_unit("head", HEAD_UNIT, "KILL")
    lab.recovers("llama-server killed", began, DEATH_S)


def test_head_stopped(lab: FaultLab) -> None:
    began = time.monotonic()
    lab.signal_unit("head", HEAD_UNIT, "STOP")
    lab.recovers("llama-server hangs (SIGSTOP)", began, HANG_S)


@pytest.mark.parametrize("who", ["all of it", "its workers"])
def test_proxy_stopped(lab: FaultLab, who: str) -> None:
    """The proxy before llama-server hangs, and that is its own trouble: it alone is restarted, and nobody says that llama-server hangs."""
    before, clock = [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)], time.time()
    proxy = lab.pid("head", PROXY_UNIT)
    began = time.monotonic()
    if who == "all of it":
        lab.signal_unit("head", PROXY_UNIT, "STOP")
    else:
        lab.run("head", f"pkill -STOP -P {proxy}")

    def blamed() -> bool:
        code, said = lab.health()
        return code == 503 and (said["state"], said["reason"].partition(":")[0], said["worker"]) == ("hung", PROXY_UNIT, "")

    lab.wait(blamed, 20, "the watchdog did not blame the proxy")
    lab.recovers(f"proxy before llama-server hangs (SIGSTOP of {who})", began, HANG_S)
    lab.wait(lambda: lab.health()[0] == 200, 30, "the watchdog did not see that it is well again")
    # llama-server itself would be restarted after 60 s at the earliest, by a watchdog that takes the one for the other.
    assert lab.pid("head", PROXY_UNIT) != proxy
    assert before == [lab.pid("head", HEAD_UNIT), lab.pid("worker1", WORKER_UNIT), lab.pid("worker2", WORKER_UNIT)]
    lab.says("head", clock, f"{PROXY_UNIT}: restarting it (pid {proxy}): hung, ")
    said = lab.journal("head", clock)
    assert f"{HEAD_UNIT}: " not in said, said


@pytest.mark.parametrize(("machine", "unit"), [("worker1", WORKER_UNIT), ("head", HEAD_UNIT)])
def test_machine_frozen(lab: FaultLab, machine: str, unit: str) -> None:
    """As a host may do to its virtual machines. What the watchdog suspected just before is to be seen anew after it, so that nothing is restarted."""
    seconds = 60 if ALL else 15
    before = [lab.pid(one, of) for one, units in UNITS.items() for of in units]
    request, clock, stood_still = lab.generating(), time.time(), "stood still for a while"
    # What would be a hang if it went on, and is restarted when it has been seen for 5 s.
    with lab.stopped_until_said(machine, unit, stood_still):
        lab.wait(lambda: lab.health(machine)[1].get("state") == "hung", 15, "the watchdog did not see that it is stopped")
        began = time.monotonic()
        with lab.frozen(machine):
            time.sleep(seconds)
            tokens = request.tokens
        thawed = time.monotonic()
        lab.says(machine, clock, stood_still)
    lab.recovers(f"{'head' if machine == 'head' else 'machine of a worker'} frozen for {seconds} s while generating", began, HANG_S, thawed)
    lab.wait(lambda: lab.health()[0] == 200, 30, "the watchdog did not see that all is well")
    lab.wait(lambda: request.tokens > tokens + 5 or not request.is_alive(), 60, "the generation did not go on")
    assert not request.error
    assert before == [lab.pid(one, of) for one, units in UNITS.items() for of in units]


def test_worker_hangs_while_idle(lab: FaultLab) -> None:
    began = time.monotonic()
    lab.signal_unit("worker1", WORKER_UNIT, "STOP")
    lab.heals_unasked()
    lab.recovers("worker hangs (SIGSTOP) while idle", began, HANG_S)


def test_worker_hangs_while_generating(lab: FaultLab) -> None:
    lab.generating()
    began, clock = time.monotonic(), time.time()
    lab.signal_unit("worker2", WORKER_UNIT, "STOP")
    lab.recovers("worker hangs (SIGSTOP) while generating", began, HANG_S)
    lab.says("worker2", clock, "restarting it (pid", "stopped (state T), seen for")


def status(url: str) -> int:
    """What an HTTP server says; 0 where it says nothing."""
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def test_without_the_watchdog_a_hang_stays(lab: FaultLab) -> None:
    """The tests above must be able to fail: it is the watchdog that mends, and nothing else does."""
    for machine in ("worker1", "worker2", "head"):
        lab.run(machine, "systemctl stop llama-watchdog")
    began = time.monotonic()
    try:
        lab.signal_unit("worker2", WORKER_UNIT, "STOP")
        while time.monotonic() - began < HANG_S:
            assert not lab.ask(), "it answered without its watchdog"
        lab.wait(lambda: status(f"{lab.url}/health") == 200, 10, "llama-server itself, which notices nothing, did not say 200 at its /health")
    finally:
        for machine in ("worker1", "worker2", "head"):
            lab.run(machine, "systemctl start llama-watchdog")
    healed = time.monotonic()
    lab.recovers("the same without the watchdog for 45 s, then with it", began, HANG_S, healed)


def test_cable_out_for_5_s(lab: FaultLab) -> None:
    lab.generating()
    began = time.monotonic()
    with lab.cut("worker1"):
        time.sleep(5)
    lab.recovers("cable of a worker out for 5 s while generating", began, HANG_S, time.monotonic())


@slow
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "generating"])
def test_cable_out_for_60_s(lab: FaultLab, busy: bool) -> None:
    if busy:
        lab.generating()
    began = time.monotonic()
    with lab.cut("worker1"):
        lab.wait(lambda: lab.blames("worker1"), 30, "the worker was not named")
        time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    lab.recovers(f"cable of a worker out for 60 s while {'generating' if busy else 'idle'}", began, HANG_S, time.monotonic())


@slow
def test_port_of_a_worker_taken_at_its_start(lab: FaultLab) -> None:
    """Somebody was quicker, and leaves after 20 s."""
    address = lab.cluster.addresses["worker2"]
    squatter = f"import socket,time; s=socket.create_server(('{address}', 50052)); time.sleep(20)"
    began = time.monotonic()
    lab.run("worker2", f"systemctl stop {WORKER_UNIT}; systemd-run --quiet --collect --unit=squatter python3 -c \"{squatter}\"; sleep 1;"
                       f" systemctl start {WORKER_UNIT}")
    lab.wait(lambda: lab.health()[0] == 503, 20, "the watchdog noticed nothing")
    lab.wait(lambda: lab.run("worker2", "systemctl is-active squatter", check=False).strip() != "active", 40, "the other program did not end")
    lab.recovers("port of a worker taken by another program for 20 s", began, HANG_S, time.monotonic())


@slow
def test_disk_of_a_cache_full(lab: FaultLab) -> None:
    """rpc-server writes what fits, says nothing, and gives it to its next client; a load that it serves itself is right."""
    machine, began = caching_worker(lab)[0], time.monotonic()
    with lab.small_disk(machine, "/var/cache/llama-rpc-server", 2):
        lab.signal_unit(machine, WORKER_UNIT, "KILL")
        lab.heals_unasked()
        lab.recovers("disk of a worker's cache full, its worker killed", began, DEATH_S)
        cut = lab.run(machine, "find /var/cache/llama-rpc-server/0/rpc -type f -size -10M")
        assert cut, "no tensor was cut short: nothing is proved"
        began, clock = time.monotonic(), time.time()
        lab.signal_unit("head", HEAD_UNIT, "KILL")
        lab.recovers("disk of a worker's cache full, llama-server killed", began, DEATH_S + LOAD_S)
        lab.says(machine, clock, "its disk was full")
        lab.says(machine, clock, "it is damaged", unit=WORKER_UNIT)
    lab.signal_unit(machine, WORKER_UNIT, "KILL")


MODEL = "/var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf"
# In the weights, far from the header: what every part of the answer goes through.
SPOIL = f"dd if=/dev/urandom of={MODEL} bs=1M seek=30 count=8 conv=notrunc status=none"


@slow
@pytest.mark.parametrize("how", ["written to", "cut short"])
def test_model_file_damaged_and_put_back(lab: FaultLab, how: str) -> None:
    """Refused and named for as long as it is there; who puts it back need do no more."""
    lab.run("head", f"cp {MODEL} /root/model")
    began, clock = time.monotonic(), time.time()
    try:
        lab.run("head", SPOIL if how == "written to" else f"truncate -s 50M {MODEL}")
        lab.wait(lambda: MODEL in lab.health()[1].get("reason", ""), 20, "the file was not named")
        lab.wait(lambda: lab.health()[1].get("state") == "refused", 20, "the model was not refused")
        lab.wait(lambda: all(word in lab.health()[1].get("reason", "") for word in (MODEL, "deploy.yml")), 10, "file and remedy were not named")
        for _round in range(5):
            assert not lab.ask(), "it answered by a damaged model"
            time.sleep(1)
        lab.says("head", clock, f"model: refused: {MODEL} is not", unit=HEAD_UNIT)
    finally:
        lab.run("head", f"cp /root/model {MODEL} && rm /root/model")
    lab.recovers(f"model file on the head {how}, until it was put back", began, HANG_S, time.monotonic())


@slow
def test_model_file_damaged_and_deployed_anew(lab: FaultLab) -> None:
    lab.run("head", "systemctl stop llama-server")
    lab.run("head", SPOIL)
    lab.run("head", "systemctl start llama-server", check=False)
    lab.wait(lambda: lab.health()[1].get("state") == "refused", 20, "the model was not refused")
    run = run_playbook("deploy.yml", lab.cluster.inventory)
    assert run.rc == 0, run.output[-3000:]
    assert run.says(MODEL, "has the SHA-256", "instead of"), run.output[-3000:]
    assert lab.ask(30)


DAY_S = 86400


@slow
@pytest.mark.parametrize("machine", ["head", "worker1"])
def test_clock_set_off_by_a_day(lab: FaultLab, machine: str) -> None:
    """While generating forward and then back: nothing that runs minds, and what starts under another date gets on with the others."""
    with lab.own_clock(machine, UNITS[machine]) as set_clock:
        lab.settle()
        before = [lab.pid(one, unit) for one, units in UNITS.items() for unit in units]
        for offset in (DAY_S, -DAY_S):
            request, began = lab.generating(), time.monotonic()
            set_clock(offset)
            lab.wait(lambda offset=offset: abs(lab.clock_of(machine) - offset) < 60, 10, "the clock was not set")
            lab.recovers(f"clock of {machine} set off by {'+' if offset > 0 else '-'}1 day while generating", began, DEATH_S)
            ends = time.monotonic() + 35  # longer than an idle head goes without a question of its watchdog
            while time.monotonic() < ends:
                assert lab.health()[0] == 200, lab.health()
                time.sleep(1)
            assert not request.error
        assert before == [lab.pid(one, unit) for one, units in UNITS.items() for unit in units]
        # All of the cluster's processes on that machine begin a day too early.
        began = time.monotonic()
        lab.signal_unit(machine, UNITS[machine][1], "KILL")
        lab.recovers(f"{'llama-server' if machine == 'head' else 'a worker'} killed on a machine a day behind", began, DEATH_S)
    lab.settle()


@slow
def test_worker_of_another_protocol(lab: FaultLab) -> None:
    """One machine was left behind by an upgrade. Named, with its version; right again once its version is, by hand or by deploy.yml."""
    name = pinned.source_name(ROOT / "molecule" / "upgrade" / "vars" / "old.yml")
    other = run_playbook("../molecule/faults/other_version.yml", lab.cluster.inventory, timeout_s=1500)
    assert other.rc == 0, other.output[-3000:]
    current = lab.run("worker1", "readlink /opt/llama.cpp/current").strip()
    old = lab.run("worker1", f"grep -l '\"{name}\"' /opt/llama.cpp/builds/*/stamp.json").strip().removesuffix("/stamp.json")
    # As that version calls the program otherwise, it would not even start.
    lab.run("worker1", f"ln -sfn rpc-server {old}/bin/ggml-rpc-server")

    def use(build: str) -> None:
        lab.run("worker1", f"ln -sfn {build} /opt/llama.cpp/current; systemctl restart {WORKER_UNIT}")

    def is_named() -> bool:
        code, said = lab.health()
        return (code, said.get("state"), said.get("worker", "").partition(" ")[0]) == (503, "mismatch", "worker1") and "4.0.0" in said["reason"]

    began = time.monotonic()
    use(old)
    lab.wait(is_named, 40, "the machine and its version were not named")
    for _round in range(5):
        assert not lab.ask()
        time.sleep(1)
    status = run_playbook("status.yml", lab.cluster.inventory)
    assert status.says("llama-server.service", "mismatch, worker1", name), status.output[-3000:]
    use(current)
    lab.recovers("worker of another RPC protocol, until its version was put back", began, HANG_S, time.monotonic())
    use(old)
    lab.wait(is_named, 40, "the machine and its version were not named")
    deployed = run_playbook("deploy.yml", lab.cluster.inventory)
    assert deployed.rc == 0, deployed.output[-3000:]
    assert lab.run("worker1", "readlink /opt/llama.cpp/current").strip() == current
    assert lab.ask(30)


@pytest.mark.parametrize("machines", [["worker1"], ["head"], ["worker1", "worker2", "head"]], ids=["worker", "head", "all"])
def test_reboot(lab: FaultLab, machines: list[str]) -> None:
    if not ALL and len(machines) == 1:
        pytest.skip("slow; make test-faults runs it.")
    before = {machine: lab.boot(machine) for machine in machines}
    began = time.monotonic()
    for machine in machines:
        lab.run(machine, "systemctl reboot", check=False)
    # An answer that came before they went down would prove nothing.
    lab.wait(lambda: all(lab.boot(machine) not in ("", before[machine]) for machine in machines), 90, "the machines did not boot again")
    lab.recovers(f"reboot of {'all machines' if len(machines) > 1 else 'the head' if machines == ['head'] else 'a worker'}", began, HANG_S + BOOT_S)


@slow
@pytest.mark.parametrize(("machine", "away"), [("worker2", 60), ("head", 10)])
def test_power_lost(lab: FaultLab, machine: str, away: int) -> None:
    began, said = time.monotonic(), set()
    lab.kill_machine(machine)
    try:
        if machine != "head":
            lab.wait(lambda: lab.blames("worker2"), 40, "the worker was not named")
        while time.monotonic() - began < away:
            assert not lab.ask(2)
            if machine != "head" and time.monotonic() - began > 40:
                # For all it knows the worker never comes back: it goes on saying so, and which.
                code, health = lab.health()
                assert code == 503 and health["reason"] and health["worker"].startswith("worker2 "), health
                # Clients are told why too, and that they may try again.
                said.add(lab.excuse())
        if machine != "head":
            assert said and all(one.startswith("503 llama-server does not serve") and "worker2 (" in one for one in said), said
    finally:
        lab.start_machines()
    what = "a worker's machine for 60 s" if machine != "head" else "the head's machine for 10 s"
    lab.recovers(f"power lost on {what}", began, HANG_S, time.monotonic())


WORDS = (
    "anchor apple basket bottle button candle castle dragon engine forest garden hammer island jacket kitten ladder lemon mirror needle orange"
    " pencil pepper pillow rabbit river rocket silver summer tiger turtle umbrella valley violin wagon window winter yellow zebra"
).split()


def secret(lab: FaultLab, word: str) -> str:
    """What the model goes on with after a word that no other client's question holds.

    Told once, it names some of them by a margin so narrow that what is computed beside it decides; told so often, each by 40 to 1 or more.
    """
    prompt = f"The secret word is {word}. Remember: the secret word is {word}. Once more: the secret word is {word}. Again: the secret word is"
    answer = requests.post(
        f"{lab.url}/v1/completions", json={"prompt": prompt, "temperature": 0, "max_tokens": 6},
        headers={"Authorization": f"Bearer {lab.key}"}, timeout=120,
    )
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["text"])


def test_many_clients_each_get_their_own_answer(lab: FaultLab) -> None:
    most, seconds = (32, 120) if ALL else (16, 15)
    # Which words the model remembers depends on what the processor rounds, and so does how many clients can be told apart.
    known = [word for word in WORDS if word in secret(lab, word)][:most]
    clients = len(known)
    assert clients >= 8, f"the model remembers too few words: {known}"
    ends = time.monotonic() + seconds
    answered, wrong = [0] * clients, []

    def client(number: int) -> None:
        while time.monotonic() < ends:
            try:
                text = secret(lab, known[number])
            except requests.RequestException as error:
                wrong.append(f"{known[number]}: lost: {error}")
                return
            if known[number] not in text or any(other in text for other in known if other != known[number]):
                wrong.append(f"{known[number]}: {text}")
            answered[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    print(f"\n  {clients} clients for {seconds} s: {sum(answered)} answers, the least of one client {min(answered)}, wrong or lost {len(wrong)}")
    assert not wrong
    assert min(answered) >= 1
