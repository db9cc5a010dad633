# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report has one line for each problem."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.problem_report import problem_report


def test_one_line_each_with_the_remedy_as_a_sentence():
    report = problem_report(
        [
            {"machine": "w1", "problem": "port 50052 is in use by nginx", "remedy": "stop it or set rpc_server_port"},
            {"machine": "head", "problem": "it has 3 MiB free."},
        ]
    )
    assert report.splitlines() == [
        "w1: port 50052 is in use by nginx. Stop it or set rpc_server_port.",
        "head: it has 3 MiB free.",
    ]


def test_nothing_wrong_is_an_empty_report():
    assert problem_report([]) == ""


def test_a_problem_with_line_breaks_stays_one_line():
    assert problem_report([{"machine": "w1", "problem": "a\n  b\n", "remedy": None}]) == "w1: a b."


def test_the_same_problem_is_said_once_and_machines_stay_together():
    problem = {"machine": "w1", "problem": "x", "remedy": "y"}
    report = problem_report([problem, {"machine": "w2", "problem": "x"}, dict(problem), {"machine": "w1", "problem": "z"}])
    assert report.splitlines() == ["w1: x. Y.", "w1: z.", "w2: x."]


@pytest.mark.parametrize("remedy", ["rpc_server_port must change", "/etc/x must go", "apt-get update"])
def test_a_remedy_that_begins_with_a_name_keeps_its_spelling(remedy):
    assert problem_report([{"machine": "w", "problem": "x", "remedy": remedy}]) == "w: x. %s." % remedy


def test_keys_for_programs_do_not_show():
    assert problem_report([{"machine": "w", "problem": "x", "found": True}]) == "w: x."


@pytest.mark.parametrize(
    ("problems", "words"),
    [
        ("text", "expected a list"),
        (None, "expected a list"),
        (["text"], "problem 1 is a str"),
        ([{"machine": "w"}], "problem 1 has no problem"),
        ([{"machine": "w", "problem": "x"}, {"problem": "x"}], "problem 2 has no machine"),
    ],
)
def test_a_malformed_list_is_named(problems, words):
    with pytest.raises(AnsibleFilterError, match=words):
        problem_report(problems)


def test_what_others_wrote_does_not_reach_the_terminal_as_it_is():
    evil = "w\x1b[2J1: all is well\n\u202eknil\x07 x"
    report = problem_report([{"machine": "w1", "problem": "the file says %s" % evil, "remedy": evil}])
    assert report == "w1: the file says w1: all is well ?knil? x. w1: all is well ?knil? x."
    assert len(problem_report([{"machine": "w1", "problem": "x" * 10**6}])) < 5000
