# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two command lines are the same question to the program."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.server_arguments_question import server_arguments_question

ASKED = {"executable": "/b/llama-server", "environment": {"A": "1", "B": 2}, "user": "llama-server", "groups": ["video"]}
LINE = ["--model", "/m", "--ctx-size", 5]


def test_what_names_workers_makes_no_difference():
    known = server_arguments_question(LINE, **ASKED)
    assert known == server_arguments_question([*LINE, "--rpc", "10.0.0.1:50052", "--device", "RPC0"], **{**ASKED, "environment": {"B": "2", "A": 1}})


@pytest.mark.parametrize("other", [{"executable": "/c/llama-server"}, {"environment": {"A": "1"}}, {"user": "root"},
                                   {"groups": []}, {"arguments": [*LINE, "--no-webui"]}, {"arguments": [*LINE[:-1], 6]}])
def test_all_else_does(other):
    assert server_arguments_question(LINE, **ASKED) != server_arguments_question(**{"arguments": LINE, **ASKED, **other})


def test_no_value_of_the_environment_can_be_told_by_it():
    """It is shown with -v, and who guesses a value could see whether it is right."""
    assert server_arguments_question(LINE, **ASKED) == server_arguments_question(LINE, **{**ASKED, "environment": {"A": "1", "B": "a secret"}})


@pytest.mark.parametrize("given", [("--model", "/b"), (LINE, "/b", ["A=1"]), (LINE, "/b", {}, "root", "video"), (None, "/b")])
def test_what_cannot_be_read_is_refused(given):
    with pytest.raises(AnsibleFilterError, match="server_arguments_question"):
        server_arguments_question(*given)
