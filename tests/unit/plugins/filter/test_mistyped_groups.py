# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.herd.llama_cpp.plugins.filter.mistyped_groups import mistyped_groups

USED = ["llama_host", "llama_rpc", "llama_client"]


@pytest.mark.parametrize(("groups", "found"), [
    ({"llama_host": ["a"], "llama_rcp": ["b"]}, {"llama_rcp": "llama_rpc"}),
    ({"llama_hosts": ["a"], "llama_rpc": ["b"]}, {"llama_hosts": "llama_host"}),
    ({"lama_rpc": ["a"]}, {"lama_rpc": "llama_rpc"}),
    ({"llama-rpc": ["a"], "llama_rpc": []}, {"llama-rpc": "llama_rpc"}),
    # What is meant is there, and what is similar has another purpose.
    ({"llama_host": ["a"], "llama_rpc": ["b"], "llama_rpc_old": ["c"], "llama_clients": []}, {}),
    ({"llama_host": ["a"], "virtual_lab": ["a"], "gpu": ["a"], "all": ["a"], "ungrouped": []}, {}),
])
def test_a_name_that_is_nearly_one_that_is_missing(groups, found):
    assert mistyped_groups(groups, USED) == found


def test_what_is_no_group_is_refused():
    with pytest.raises(AnsibleFilterError, match="takes groups"):
        mistyped_groups(["a"], USED)
