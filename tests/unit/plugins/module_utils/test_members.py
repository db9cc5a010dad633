# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines are no longer what they were."""

from __future__ import annotations

from ansible_collections.herd.llama_cpp.plugins.filter.record_changes import record_changes
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.members import cleaning_command
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import Member, Model, Record, plain

HOSTS = {"head": "192.0.2.10", "w1": "192.0.2.11", "w2": "192.0.2.12", "gpu7": "198.51.100.7"}


def record(head: str = "head", workers: tuple = ("w1", "w2"), left: tuple = (), id: str = "") -> dict:
    machines = {head: Member(["head"], {"host": HOSTS[head]})}
    machines.update({name: Member(["worker"], {"host": HOSTS[name]}) for name in workers})
    return plain(Record(head, machines, Model("/m"), left={name: Member(["worker"], {"host": HOSTS[name]}) for name in left}, id=id))


def seen(name: str, *parts: str, says: dict | None = None, host: str = "", owner: dict | None = None) -> dict:
    return {"inventory_hostname": name, "ansible_host": host or HOSTS.get(name, name),
            "cluster_record_seen": {"parts": list(parts), "record": says or {}, "owner": owner or {}}}


def test_a_cluster_that_is_as_the_inventory_says():
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "worker")], ["head"], ["w1", "w2"])
    assert (found["remove"], found["left"], found["renew"], found["text"]) == ({}, {}, False, "")


def test_bare_machines():
    found = record_changes([seen("head"), seen("w1")], ["head"], ["w1"])
    assert (found["remove"], found["renew"], found["text"]) == ({}, True, "")


def test_head_and_worker_swapped():
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "worker")], ["w1"], ["head", "w2"])
    assert found["remove"] == {"head": ["head"], "w1": ["worker"]}
    assert found["renew"] and found["former"] == ["192.0.2.10", "head"]
    assert found["teardown"] == {"head": ["head", "worker"], "w1": ["head", "worker"], "w2": ["worker"]}


def test_a_worker_that_is_only_in_the_inventory_by_now():
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "worker")], ["head"], ["w1"])
    assert found["remove"] == {"w2": ["worker"]} and not found["renew"]
    assert found["text"] == "w2 has rpc-server, which the inventory no longer says. playbooks/deploy.yml removes it."


def test_a_former_head_in_neither_group_is_known_by_its_record():
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "worker")], ["w1"], ["w2"])
    assert found["remove"] == {"head": ["head"], "w1": ["worker"]}


def test_another_clusters_machines_are_left_alone():
    HOSTS.update(other="192.0.2.20", elsewhere="192.0.2.21")
    machines = [seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "worker"),
                seen("other", "head", says=record("other", ("elsewhere",))), seen("elsewhere", "worker"), seen("web")]
    found = record_changes(machines, ["head"], ["w1", "w2"])
    assert (found["remove"], found["left"], found["unseen"]) == ({}, {}, [])
    assert sorted(found["teardown"]) == ["head", "w1", "w2"]


def test_a_machine_that_another_cluster_has_taken_since_is_left_alone_and_named():
    """It was taken out of its group, and is the head of a cluster of another inventory before the next deployment."""
    HOSTS.update(elsewhere="192.0.2.21")
    machines = [seen("head", "head", says=record()), seen("w1", "worker"), seen("w2", "head", "worker", says=record("w2", ("elsewhere",)))]
    found = record_changes(machines, ["head"], ["w1"])
    assert (found["remove"], found["former"], found["renew"], found["problems"]) == ({}, [], False, [])
    assert sorted(found["teardown"]) == ["head", "w1"] and list(found["left"]) == ["w2"]
    assert found["text"].startswith("w2: it was part of this cluster, and its own record is of another one (w2, elsewhere), so that nothing is taken from it.")
    assert "-e cluster_record_forget=w2;" in found["text"] and "-i 192.0.2.12,`" in found["text"] and "the inventory no longer" not in found["text"]
    forgotten = record_changes(machines, ["head"], ["w1"], "w2")
    assert (forgotten["remove"], forgotten["left"], forgotten["text"]) == ({}, {}, "")
    # By the inventory's word it is one of ours again.
    assert record_changes(machines, ["head"], ["w1", "w2"])["remove"] == {"w2": ["head"]}


def test_a_record_that_cannot_be_read_is_a_problem_where_it_may_be_this_clusters():
    def hidden(name: str, *parts: str) -> dict:
        one = seen(name, *parts)
        one["cluster_record_seen"].update(unread="/r cannot be read: Permission denied", problem=f"{name}: /r cannot be read: Permission denied. Do.")
        return one

    machines = [seen("head", "head", says=record()), seen("w1", "worker"), hidden("w2", "worker"), hidden("web", "head")]
    remedy = "let everyone read it, or become root with --become"
    assert record_changes(machines, ["head"], ["w1"])["problems"] == [{"machine": "w2", "problem": "/r cannot be read: Permission denied", "remedy": remedy}]
    found = record_changes([hidden("head", "head"), seen("w1", "worker")], ["head"], ["w1"])
    assert [one["machine"] for one in found["problems"]] == ["head"]


def test_a_machine_that_left_the_inventory_is_named_until_it_is_forgotten_or_back():
    machines = [seen("head", "head", says=record()), seen("w1", "worker")]
    found = record_changes(machines, ["head"], ["w1"])
    assert list(found["left"]) == ["w2"] and "rpc-server" in found["text"] and "-i 192.0.2.12," in found["text"]
    later = [seen("head", "head", says=record(workers=("w1",), left=("w2",))), seen("w1", "worker")]
    assert list(record_changes(later, ["head"], ["w1"])["left"]) == ["w2"]
    assert record_changes(later, ["head"], ["w1"], "x, w2")["left"] == {}
    assert record_changes([*later, seen("w2", "worker")], ["head"], ["w1", "w2"])["left"] == {}


def test_a_machine_under_another_name_has_not_left():
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), seen("new", "worker", host="192.0.2.12")], ["head"], ["w1", "new"])
    assert (found["left"], found["remove"]) == ({}, {})


def test_a_machine_under_another_name_and_in_no_group_is_cleaned():
    machines = [seen("head", "head", says=record()), seen("w1", "worker"), seen("renamed", "worker", host=HOSTS["w2"])]
    found = record_changes(machines, ["head"], ["w1"])
    assert (found["remove"], found["left"], found["unseen"]) == ({"renamed": ["worker"]}, {}, [])


def test_a_former_worker_that_cannot_be_reached_is_named():
    away = {"inventory_hostname": "w2", "ansible_host": "192.0.2.12", "cluster_record_seen": {"unreachable": True}}
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), away], ["head"], ["w1"])
    assert found["unseen"] == ["w2"] and "cannot be reached" in found["text"]


AWAY = {"inventory_hostname": "w2", "ansible_host": "192.0.2.12", "cluster_record_seen": {"unreachable": True}}


def test_a_former_worker_that_cannot_be_reached_is_remembered_until_it_is_cleaned_or_forgotten():
    machines = [seen("head", "head", says=record()), seen("w1", "worker")]
    found = record_changes([*machines, AWAY], ["head"], ["w1"])
    assert list(found["left"]) == list(found["commands"]) == ["w2"] and found["teardown"]["w2"] == [] and "w2" not in found["words"]
    assert found["commands"]["w2"] in found["text"] and "the inventory no longer" not in found["text"]
    later = [seen("head", "head", says=record(workers=("w1",), left=("w2",))), seen("w1", "worker")]
    assert list(record_changes([*later, AWAY], ["head"], ["w1"])["left"]) == ["w2"]
    assert record_changes([*later, AWAY], ["head"], ["w1"], "w2")["left"] == {}
    back = record_changes([*later, seen("w2", "worker")], ["head"], ["w1"])
    assert (back["remove"], back["left"]) == ({"w2": ["worker"]}, {})


def test_a_former_worker_that_this_run_leaves_out_is_not_called_unreachable():
    machines = [seen("head", "head", says=record()), seen("w1", "worker"), {"inventory_hostname": "w2", "ansible_host": "192.0.2.12"}]
    found = record_changes(machines, ["head"], ["w1"])
    assert "was left out of this run" in found["text"] and "cannot" not in found["text"] and list(found["left"]) == ["w2"]


def test_an_inventory_of_no_group_names_what_is_away():
    assert record_changes([AWAY], [], [])["teardown"] == {"w2": []}


def test_a_head_that_failed_and_came_back_renews_what_the_one_between_knew():
    machines = [seen("head", "head", says=record()), seen("w1", "head", says=record("w1", ("w2",))), seen("w2", "worker")]
    found = record_changes(machines, ["head"], ["w1", "w2"])
    assert found["remove"] == {"w1": ["head"]} and found["renew"]


def test_machines_of_one_address_are_told_by_their_ports():
    said = record()
    for name, port in (("w1", "2201"), ("w2", "2202")):
        said["machines"][name]["connection"] = {"host": "192.0.2.1", "port": port}
    one = {**seen("w1", "worker", host="192.0.2.1"), "ansible_port": 2201}
    assert list(record_changes([seen("head", "head", says=said), one], ["head"], ["w1"])["left"]) == ["w2"]
    again = {**seen("new", "worker", host="192.0.2.1"), "ansible_port": 2202}
    assert record_changes([seen("head", "head", says=said), one, again], ["head"], ["w1", "new"])["left"] == {}


def test_an_inventory_of_no_group_is_of_machines_that_left():
    assert record_changes([seen("192.0.2.12", "worker"), seen("web")], [], [])["teardown"] == {"192.0.2.12": ["worker"]}


def test_a_command_is_quoted_for_the_shell():
    known = {"host": "192.0.2.12", "port": "2222", "user": "ubuntu", "key_file": "/home/me/my key"}
    assert cleaning_command("w2", Member(["worker"], known)) == (
        "ansible-playbook playbooks/teardown.yml -i 192.0.2.12, -u ubuntu --private-key '/home/me/my key' -e ansible_port=2222")


def test_a_command_asks_for_what_this_run_was_asked_for(monkeypatch):
    told = {"remote_user": "admin", "become_ask_pass": True}
    monkeypatch.setattr("ansible.context.CLIARGS", told)
    found = record_changes([seen("head", "head", says=record()), seen("w1", "worker"), AWAY], ["head"], ["w1"])
    assert found["commands"]["w2"].endswith("-i 192.0.2.12, --user admin --ask-become-pass")
    assert found["commands"]["w2"] in found["text"]
    assert "--ask-become-pass" in record_changes([seen("head", "head", says=record()), seen("w1", "worker")], ["head"], ["w1"])["text"]
    # What the inventory says of the machine itself comes last, and counts.
    assert cleaning_command("w2", Member(["worker"], {"user": "ubuntu"}), ["--user", "admin"]).endswith("-i w2, --user admin -u ubuntu")


# --- Whose a worker is ---

OURS = {"id": "a1", "head": "head", "host": "192.0.2.10", "port": ""}
THEIRS = {"id": "b2", "head": "gpu7", "host": "198.51.100.7", "port": ""}
HEAD = seen("head", "head", says=record(id="a1"))
WHOSE = "its rpc-server is of another one, whose head is gpu7 (198.51.100.7)"


def w2(owner: dict, **more: object) -> dict:
    return seen("w2", "worker", owner=owner, **more)


def test_a_worker_that_another_cluster_has_taken_since_is_left_alone_and_named():
    machines = [HEAD, seen("w1", "worker", owner=OURS), w2(THEIRS)]
    found = record_changes(machines, ["head"], ["w1"])
    assert (found["remove"], found["taken"], list(found["left"]), sorted(found["teardown"])) == ({}, [], ["w2"], ["head", "w1"])
    assert found["text"].startswith(f"w2: it was part of this cluster, and {WHOSE}, so that nothing is taken from it. Forget it with -e ")
    forgotten = record_changes(machines, ["head"], ["w1"], "w2")
    assert (forgotten["remove"], forgotten["left"], forgotten["text"]) == ({}, {}, "")
    ours = record_changes([*machines[:2], w2(OURS)], ["head"], ["w1"])
    assert ours["remove"] == {"w2": ["worker"]}


def test_one_that_the_inventory_wants_is_left_alone_until_it_is_taken_over():
    machines = [HEAD, seen("w1", "worker", owner=OURS), w2(THEIRS)]
    found = record_changes(machines, ["head"], ["w1", "w2"])
    (problem,) = found["taken"]
    assert (problem["machine"], problem["problem"]) == ("w2", f"the inventory has it in this cluster, and {WHOSE}")
    assert problem["remedy"].endswith("take it over with -e cluster_record_take_over=w2")
    assert found["text"] == f"w2: {problem['problem']}, so that nothing is taken from it."
    assert (sorted(found["teardown"]), sorted(found["words"]), found["renew"]) == (["head", "w1"], ["head", "w1"], False)
    taken = record_changes(machines, ["head"], ["w1", "w2"], "", "x, w2")
    assert (taken["taken"], taken["text"], taken["renew"], sorted(taken["teardown"])) == ([], "", True, ["head", "w1", "w2"])


def test_what_does_not_say_whose_it_is_goes_on_as_before():
    old = [seen("head", "head", says=record()), seen("w1", "worker"), w2({})]
    for machines in (old, [HEAD, *old[1:]]):
        found = record_changes(machines, ["head"], ["w1"])
        assert (found["remove"], found["taken"], found["left"]) == ({"w2": ["worker"]}, [], {})
        assert record_changes(machines, ["head"], ["w1", "w2"])["text"] == ""


def test_a_worker_of_a_deployment_that_was_broken_off_or_of_a_cluster_that_is_gone_is_nobodys():
    bare = seen("head", "head")
    # The first deployment never came to its record; the second goes on with its ID.
    broken = record_changes([bare, w2(OURS)], ["head"], ["w2"])
    assert (broken["taken"], broken["cluster"]) == ([], OURS)
    # The head was torn down while the worker was away, and the record of the next one has another ID.
    again = record_changes([seen("head", "head", says=record(id="c3")), w2(OURS)], ["head"], ["w2"])
    assert (again["taken"], again["cluster"]["id"]) == ([], "c3")
    # Of another cluster of this inventory that is there, and of one that is not.
    there = [HEAD, seen("gpu7", "head", says=record("gpu7", ("w2",), id="b2")), w2(THEIRS)]
    assert record_changes(there, ["head"], ["w2"])["taken"]
    assert record_changes([HEAD, seen("gpu7"), w2(THEIRS)], ["head"], ["w2"])["taken"] == []


def test_a_head_that_is_replaced_while_it_is_away():
    """Its record cannot be read. Where it stays in the inventory the workers are the cluster's, where it does not they may be anybody's."""
    away = {"inventory_hostname": "head", "ansible_host": "192.0.2.10", "cluster_record_seen": {"unreachable": True}}
    machines = [seen("w1"), w2(OURS)]
    found = record_changes([away, *machines], ["w1"], ["w2"])
    assert (found["taken"], found["cluster"]["id"]) == ([], "a1")
    assert [one["machine"] for one in record_changes(machines, ["w1"], ["w2"])["taken"]] == ["w2"]
    # It is the same as teardown.yml --limit w2 sees.
    assert record_changes([away, w2(OURS)], ["head"], ["w2"])["teardown"]["w2"] == ["worker"]
    # When its own record says who this is, another cluster's worker is left alone also while that one's head is away.
    gpu7 = {"inventory_hostname": "gpu7", "ansible_host": "198.51.100.7", "cluster_record_seen": {"unreachable": True}}
    assert record_changes([HEAD, gpu7, w2(THEIRS)], ["head"], ["w2"])["taken"]


def test_whose_the_machines_are_that_an_inventory_without_groups_cleans_is_said():
    found = record_changes([w2(THEIRS), seen("web")], [], [])
    assert found["teardown"] == {"w2": ["worker"]}
    assert found["words"] == {"w2": "w2: rpc-server of the cluster whose head is gpu7 (198.51.100.7)"}


# --- Clusters whose machines have the same names ---


def test_two_clusters_of_the_same_names_are_told_apart_by_their_ids():
    """What another inventory calls w1 is another machine, and its head is in neither group here."""
    HOSTS.update(other="192.0.2.20")

    def machines(ours: str, theirs: str) -> list[dict]:
        return [seen("head", "head", says=record(id=ours)), seen("w1", "worker"), seen("w2", "worker"),
                seen("other", "head", says=record("other", ("w1",), id=theirs))]

    for ids in (("a1", "b2"), ("a1", "a1"), ("a1", ""), ("", "b2")):
        found = record_changes(machines(*ids), ["head"], ["w1", "w2"])
        assert found["remove"] == ({} if ids == ("a1", "b2") else {"other": ["head"]}), ids
        assert (found["taken"], found["left"]) == ([], {})


def test_the_head_of_another_cluster_in_a_group_is_left_alone_until_it_is_taken_over():
    machines = [HEAD, seen("w1", "worker"), seen("w2", "head", says=record("w2", ("w1",), id="b2"))]
    found = record_changes(machines, ["head"], ["w1", "w2"])
    assert (found["remove"], sorted(found["teardown"])) == ({}, ["head", "w1"])
    assert [one["problem"] for one in found["taken"]] == ["the inventory has it in this cluster, and its own record is of another one (w2, w1)"]
    assert record_changes(machines, ["head"], ["w1", "w2"], "", "w2")["remove"] == {"w2": ["head"]}


def test_a_cluster_has_one_id_made_once_and_kept_by_the_next_head():
    bare = [record_changes([seen("head"), seen("w1")], ["head"], ["w1"])["cluster"] for _time in range(2)]
    assert len({one["id"] for one in bare}) == 2 and all(len(one["id"]) == 16 for one in bare)
    assert {**bare[0], "id": ""} == {"id": "", "head": "head", "host": "192.0.2.10", "port": ""}
    machines = [HEAD, seen("w1", "worker"), seen("w2", "worker")]
    assert record_changes(machines, ["head"], ["w1", "w2"])["cluster"] == OURS
    assert record_changes(machines, ["w1"], ["head", "w2"])["cluster"] == {"id": "a1", "head": "w1", "host": "192.0.2.11", "port": ""}
    # An old record gets one of its own, also where a machine of another cluster has one.
    old = [seen("head", "head", says=record()), seen("w1", "head", says=record("w1", ("w2",), id="b2"))]
    assert record_changes(old, ["head"], ["w1"])["cluster"]["id"] not in ("", "b2")
