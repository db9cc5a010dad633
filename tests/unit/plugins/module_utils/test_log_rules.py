# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine behind the rules of build logs and start logs."""

from __future__ import annotations

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.log_rules import Failure, Story, find, plain, rule

CAUSES = (
    rule("disk_full", r"disk (\w+) is full", "there is no room on {0}", "Free some of {0} for {program}"),
    rule("port_taken", r"cannot listen(?: on (?P<host>\S+):(?P<port>\d+))?", "{program} cannot listen[ on {host} port {port}]", "See who does"),
    rule("lost", r"connection lost", "it lost its worker", "Start it", outlives_start=True, when_running=True, telling="worker \\w+ died"),
    rule("crashed", r"segfault", lambda match, story: ("it crashed after %d lines" % len(story.texts), "Report it"), when_running=True, unless="lost"),
)
LAST_RESORT = (rule("failed", r"^gave up$", "it gave up", "Look above", when_running=True),)


def found(*texts, running_from=None):
    return find(Story(texts, {"program": "prog"}), (CAUSES, LAST_RESORT), running_from)


def test_the_first_line_with_a_cause_counts_and_not_the_cascade():
    cause = found("", "gave up", "disk sda is full", "cannot listen")
    assert (cause.kind, cause.problem, cause.remedy, cause.index) == ("disk_full", "there is no room on sda", "Free some of sda for prog", 2)
    assert found("", "gave up").kind == "failed"
    assert found("all is well") is None


def test_of_two_rules_for_a_line_the_first_counts():
    assert found("cannot listen, disk sda is full").kind == "disk_full"


def test_what_a_line_leaves_out_falls_away():
    assert found("cannot listen on ::1:80").problem == "prog cannot listen on ::1 port 80"
    assert found("cannot listen").problem == "prog cannot listen"
    assert found("cannot listen on {0}[x]:80").problem == "prog cannot listen on {0}[x] port 80"


def test_begin_and_end_are_those_of_a_line():
    assert found("it\ngave up\nat last").kind == "failed"
    assert found("it gave up at last") is None


def test_a_program_that_runs_has_got_over_what_it_said_before():
    assert found("disk sda is full", "running", running_from=1) is None
    assert found("connection lost", "running", running_from=1).kind == "lost"
    assert found("running", "disk sda is full", running_from=0) is None
    assert found("running", "segfault", running_from=0).problem == "it crashed after 2 lines"


def test_the_line_that_tells_is_quoted_wherever_it_stands():
    assert [(cause.index, cause.telling) for cause in (found("connection lost", "worker a died"), found("connection lost"))] == [(0, 1), (0, 0)]


def test_where_another_rule_knows_the_cause_a_rule_is_silent():
    assert found("segfault").kind == "crashed"
    assert found("segfault", "connection lost").kind == "lost"


def test_a_failure_is_one_message():
    assert Failure("k", "a line", "no room", "Free some.").message() == "No room. Free some. The log says: a line"
    assert Failure("k", "", "nvcc refuses", "Look").message() == "nvcc refuses. Look."


def test_colours_do_not_count():
    assert plain("\x1b[31mred\x1b[0m \r") == "red"
