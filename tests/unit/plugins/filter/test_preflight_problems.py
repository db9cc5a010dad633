# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way a machine or an inventory can be unfit, without having such a machine."""

from __future__ import annotations

import copy

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.preflight_cluster_problems import preflight_cluster_problems
from ansible_collections.herd.llama_cpp.plugins.filter.preflight_idle_endpoints import preflight_idle_endpoints
from ansible_collections.herd.llama_cpp.plugins.filter.preflight_machine_problems import preflight_machine_problems
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.preflight import (
    CONTROL_NODE,
    clock_offset_s,
    machine_problems,
    older,
    parse_shell,
    cluster_problems,
    said,
)
from playbook_run import ROOT

LIMITS = {
    "architectures": ["x86_64"],
    "distributions": {"Debian": "11", "Ubuntu": "22.04"},
    "allow_other_distributions": False,
    "python_min": "3.8",
    "memory_mib_min": 900,
    "disk_free_mib_min": {"/opt": 512},
    "clock_tolerance_s": 60,
}
SHELL = {
    "asked": "1000",
    "epoch": "1001",
    "kernel": "Linux",
    "architecture": "x86_64",
    "machine_id": "m1",
    "boot_id": "b1",
    "systemd": "yes",
    "python": "3.11.2",
    "disk /opt": "9000",
}
FACTS = {
    "ansible_python_version": "3.11.2",
    "ansible_distribution": "Debian",
    "ansible_distribution_version": "12",
    "ansible_memtotal_mb": 4096,
    "ansible_all_ipv4_addresses": ["198.18.0.11"],
}


def seen(shell=None, facts=None, **changes):
    result = {
        "machine": "w1",
        "serves": True,
        "now": 1002,
        "reached": True,
        "shell_stdout": "\r\n".join("%s=%s" % item for item in {**SHELL, **(shell or {})}.items()),
        "is_root": True,
        "facts": {**copy.deepcopy(FACTS), **(facts or {})},
        "cluster_address": "198.18.0.11",
    }
    result.update(changes)
    return result


def problems_of(**changes):
    return [problem["problem"] for problem in machine_problems(seen(**changes), LIMITS)]


def test_a_fit_machine_has_no_problem():
    assert machine_problems(seen(), LIMITS) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"reached": False, "reach_message": "Failed to connect to the host via ssh: ssh: connect to host 198.18.0.99 port 22: No route"},
            "it is out of reach: connect to host 198.18.0.99 port 22: No route",
        ),
        ({"shell_stdout": "", "shell_stderr": "This account is disabled"}, "cannot run a shell command: This account is disabled"),
        ({"shell": {"kernel": "FreeBSD"}}, "runs FreeBSD, not Linux"),
        ({"shell": {"systemd": "no"}}, "systemd does not run it"),
        ({"shell": {"architecture": "aarch64"}}, "its architecture is aarch64"),
        ({"shell": {"epoch": "4601"}}, "its clock is 60 minutes ahead of"),
        ({"shell": {"epoch": "900"}}, "its clock is 100 s behind"),
        ({"is_root": False, "become_message": "Missing sudo password"}, "cannot become root there: Missing sudo password"),
        ({"shell": {"disk /opt": "100"}}, "has 100 MiB of disk free for /opt, and 512 MiB is the least"),
        ({"shell": {"python": ""}, "facts": {"ansible_python_version": ""}}, "has no Python 3"),
        ({"shell": {"python": "3.7.3"}, "facts": {"ansible_python_version": ""}}, "its Python is 3.7.3, and 3.8"),
        ({"facts": {"ansible_python_version": "3.6.9"}}, "its Python is 3.6.9, and 3.8"),
        ({"facts": {"ansible_python_version": ""}, "facts_stderr": "not found"}, "modules do not run there: not found"),
        ({"facts": {"ansible_distribution": "Rocky"}}, "runs Rocky 12, and only Debian and Ubuntu are known to work"),
        ({"facts": {"ansible_distribution_version": "9"}}, "runs Debian 9, and 11 is the oldest"),
        ({"facts": {"ansible_memtotal_mb": 512}}, "has 512 MiB of memory"),
    ],
)
def test_each_way_to_be_unfit_is_one_problem_with_a_remedy(changes, words):
    problems = machine_problems(seen(**changes), LIMITS)
    assert [words in problem["problem"] for problem in problems] == [True], problems
    assert problems[0]["machine"] == "w1"
    assert problems[0]["remedy"]


def test_all_that_is_wrong_is_said_at_once():
    assert len(problems_of(shell={"systemd": "no", "epoch": "1", "disk /opt": "1"}, is_root=False, facts={"ansible_memtotal_mb": 1})) == 5


def test_a_client_needs_neither_root_nor_systemd_nor_room():
    assert problems_of(serves=False, is_root=False, shell={"systemd": "no", "architecture": "aarch64", "disk /opt": "1"}, cluster_address="") == []


def test_another_distribution_may_be_allowed():
    assert machine_problems(seen(facts={"ansible_distribution": "Rocky"}), {**LIMITS, "allow_other_distributions": True}) == []


@pytest.mark.parametrize(
    ("asked", "machine", "now", "offset"),
    [(10, 10, 10, 0), (10, 12, 15, 0), (10, 20, 15, 5), (10, 4, 15, -6), (10, 15, 15, 0)],
)
def test_a_slow_answer_is_no_clock_error(asked, machine, now, offset):
    assert clock_offset_s(asked, machine, now) == offset


@pytest.mark.parametrize(
    ("version", "oldest", "verdict"),
    [
        ("9", "11", True),
        ("12.1", "12", False),
        ("12", "12.1", True),
        ("22.04", "22.04", False),
        ("3.10", "3.8", False),
        ("sid", "11", False),
        ("11.0rc1", "11", False),
    ],
)
def test_versions_compare_as_numbers(version, oldest, verdict):
    assert older(version, oldest) is verdict


def test_a_banner_is_not_taken_for_values():
    assert parse_shell("Welcome!\nTotal=5 but Not=ours\nepoch=7\r\ndisk /var/lib=12\n") == {"epoch": "7", "disk /var/lib": "12"}


@pytest.mark.parametrize("name", ["a/b", "50%", "a b", "-rf", "w\n1", "w\u202e1", ".", "a;b", "x" * 201, "a=b", "w\u00f6rker"])
def test_a_name_that_no_file_or_unit_can_have_is_named(name):
    machines = [{"machine": name, "finished": True}]
    problems = [problem for problem in cluster_problems(["head"], machines) if "inventory" in problem["remedy"]]
    assert len(problems) == 1 and "letters" in problems[0]["problem"] + problems[0]["remedy"]


@pytest.mark.parametrize("name", ["worker1", "gpu-1.example.com", "worker_2", "2001:db8::1", "10.0.0.1", "X"])
def test_an_ordinary_name_is_none(name):
    assert cluster_problems(["head"], [{"machine": name, "finished": True}]) == []


def test_the_control_node_is_no_machine_of_the_inventory():
    """The role's vars give its probes under a name that no machine may have."""
    role = (ROOT / "roles/preflight/vars/main.yml").read_text(encoding="utf-8")
    assert "{'machine': '%s', " % CONTROL_NODE in role
    assert cluster_problems(["head"], [{"machine": CONTROL_NODE, "finished": True, "probes": []}]) == []


def test_a_message_of_another_machine_is_cleaned():
    assert said("\x1b[31mno\n\u202eroute") == "no ?route"


def test_a_long_message_is_shortened_and_none_is_said():
    assert len(said("x" * 1000)) == 300
    assert said("", None) == "no reason was given"


def machine(name, address="", shell=None, **more):
    return {"machine": name, "finished": True, "cluster_address": address, "shell_stdout": shell or "", **more}


@pytest.mark.parametrize(
    ("heads", "words"), [([], "no machine is in the group llama_host"), (["a", "b"], "llama_host has 2 machines (a, b)")]
)
def test_there_must_be_one_head(heads, words):
    problems = preflight_cluster_problems([], heads)
    assert [problem["machine"] for problem in problems] == ["inventory"]
    assert words in problems[0]["problem"]


def test_a_machine_that_dropped_out_is_named():
    problems = preflight_cluster_problems([{"machine": "w1", "finished": False}], ["h"])
    assert problems[0]["machine"] == "w1"


def test_one_machine_under_two_names_is_one_problem_even_with_the_same_address():
    shell = "machine_id=a\nboot_id=b"
    problems = preflight_cluster_problems(
        [machine("h", "198.18.0.1", shell, endpoints=["198.18.0.1:1"]), machine("w", "198.18.0.1", shell, endpoints=["198.18.0.1:1"])], ["h"]
    )
    assert [problem["problem"] for problem in problems] == ["it is the same machine as w"]


def test_clones_are_not_the_same_machine():
    machines = [machine("h", "198.18.0.1", "machine_id=a\nboot_id=b"), machine("w", "198.18.0.2", "machine_id=a\nboot_id=c")]
    assert preflight_cluster_problems(machines, ["h"]) == []


def test_one_address_on_two_machines():
    problems = preflight_cluster_problems([machine("h", "198.18.0.1"), machine("w", "198.18.0.1")], ["h"])
    assert "has the address 198.18.0.1, and so has w" in problems[0]["problem"]


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [((["1.2.3.4:5"], ["1.2.3.4:5"]), "here and on w"), ((["1.2.3.4:5", "1.2.3.4:5"], []), "is there twice")],
)
def test_one_endpoint_twice(endpoints, words):
    problems = preflight_cluster_problems([machine("h", "1.2.3.4", endpoints=endpoints[0]), machine("w", "1.2.3.5", endpoints=endpoints[1])], ["h"])
    assert len(problems) == 1
    assert words in problems[0]["problem"]


def test_who_cannot_reach_whom():
    probe = {"endpoint": "1.2.3.5:50052", "port": 50052, "state": "timeout", "reachable": False, "detail": "Connection timed out"}
    fine = {"endpoint": "1.2.3.5:50053", "port": 50053, "state": "refused", "reachable": True, "detail": "Connection refused"}
    problems = preflight_cluster_problems(
        [machine("h", "1.2.3.4", probes=[probe, fine]), machine("w", "1.2.3.5", endpoints=["1.2.3.5:50052"])], ["h"]
    )
    assert [problem["problem"] for problem in problems] == [
        "it cannot reach w at 1.2.3.5:50052: the connection got no answer within the time it had"
    ]
    assert "50052" in problems[0]["remedy"]


@pytest.mark.parametrize(("peer", "count"), [("1.2.3.4", 0), ("10.0.0.1", 0), ("127.0.0.1", 0), ("1.2.3.9", 1)])
def test_a_worker_that_serves_a_stranger(peer, count):
    problems = preflight_cluster_problems(
        [machine("h", "1.2.3.4", own_addresses=["10.0.0.1"]), machine("w", "1.2.3.5", peers=[peer])], ["h"]
    )
    assert len(problems) == count


def test_what_is_no_observation_is_refused():
    with pytest.raises(AnsibleFilterError, match="two mappings"):
        preflight_machine_problems("text", LIMITS)
    with pytest.raises(AnsibleFilterError, match="misses 'reached'"):
        preflight_machine_problems({"machine": "w"}, LIMITS)
    with pytest.raises(AnsibleFilterError, match="misses 'finished'"):
        preflight_cluster_problems([{"machine": "w"}], ["h"])
    with pytest.raises(AnsibleFilterError, match="cannot read"):
        preflight_cluster_problems(None, ["h"])


@pytest.mark.parametrize("former", [["o"], ["10.0.0.9"]])
def test_a_former_head_that_goes_is_in_nobodys_way(former):
    machines = [machine("h", "1.2.3.4", own_addresses=["10.0.0.1"]), machine("w", "1.2.3.5", peers=["10.0.0.9"]),
                machine("o", "1.2.3.6", own_addresses=["10.0.0.9"])]
    assert len(preflight_cluster_problems(machines, ["h"])) == 1
    assert preflight_cluster_problems(machines, ["h"], former) == []


def test_a_machine_of_which_nothing_came_back_was_not_looked_at_to_the_end():
    seen_one = {"machine": "h", "finished": True}
    problems = preflight_cluster_problems([seen_one], ["h"], expected=["h", "w1"])
    assert [(one["machine"], one["problem"]) for one in problems] == [("w1", "it could not be looked at to the end")]
    assert preflight_cluster_problems([seen_one], ["h"], expected=["h"]) == []


def test_the_head_tries_no_worker_that_somebody_is_connected_to():
    instances = [{"port": 50052, "listens_on": "192.0.2.1:50052"}, {"port": 50053, "listens_on": "192.0.2.1:50053"}]
    busy = {"rpc_server_instances": instances, "rpc_server_connected": [{"local_port": 50052, "state": "established"}]}
    unseen = {"rpc_server_instances": [{"port": 50052, "listens_on": "192.0.2.2:50052"}], "rpc_server_connected": []}
    assert preflight_idle_endpoints([busy, unseen, unseen, {}]) == ["192.0.2.1:50053", "192.0.2.2:50052"]
    with pytest.raises(AnsibleFilterError, match="cannot read its input"):
        preflight_idle_endpoints([{"rpc_server_instances": [{}]}])
