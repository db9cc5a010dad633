#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_plan_word_info
short_description: Ask llama-server over its idle workers what each device of a plan will hold
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Where the service of llama-server is stopped, its workers serve nobody. Then llama-server is run for a moment with what its unit starts it
    with and C(--fit on), as the service's own user. Unlike M(herd.llama_cpp.cluster_plan_info), which asks with stand-ins on the CPU, this hears
    what the devices themselves add. No weight is read or sent; compute buffers are reserved on the devices and freed again.
  - Where the service runs, or is about to by itself, nothing is asked, because a worker serves one client at a time.
options:
  plan:
    description: The plan that the unit starts, as the filter P(herd.llama_cpp.cluster_plan#filter) returns it.
    type: dict
    required: true
  unit:
    description: The service of llama-server.
    type: str
    default: llama-server.service
  timeout_s:
    description: Seconds for the answer, from above 0 to 3600. A worker that says nothing for 60 seconds is not waited for any longer.
    type: float
    default: 300.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
notes:
  - In check mode nothing is asked.
seealso:
  - module: herd.llama_cpp.cluster_plan_info
  - plugin: herd.llama_cpp.plan_deviations
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask llama-server what each device will hold
  herd.llama_cpp.cluster_plan_word_info:
    plan: "{{ cluster_plan_result }}"
  register: word

- name: Fail when the model does not fit
  ansible.builtin.fail:
    msg: "{{ word.problems | herd.llama_cpp.problem_report }}"
  when: word.problems | length > 0
"""

RETURN = r"""
asked:
  description: Whether it was asked and gave its answer.
  returned: success
  type: bool
  sample: true
cannot_be_asked:
  description: Why it gave none. Empty where it did, and where it was not asked because it runs.
  returned: success
  type: str
  sample: ""
plan:
  description: O(plan) with that answer as what llama.cpp said of each device, and V(true) for C(over_workers) among its C(figures).
  returned: success
  type: dict
  sample: {}
problems:
  description: Devices that it would not leave their margin, each with C(machine), C(problem) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
notes:
  description: Devices of which it says something else than was planned, and that keep their margin, the same.
  returned: success
  type: list
  elements: dict
  sample: []
"""

import os
import pwd

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import TIMEOUT_SECONDS, AskError
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.check import by_word
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.word import ask_over_workers, question
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SHOW_PROPERTIES, SystemdError, parse_show


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "unit": {"type": "str", "default": "llama-server.service"},
            "timeout_s": {"type": "float", "default": TIMEOUT_SECONDS},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not 0 < given["timeout_s"] <= 3600:
        module.fail_json(msg="timeout_s is %g; give it a value above 0 and up to 3600." % given["timeout_s"])
    result = {"changed": False, "asked": False, "cannot_be_asked": "", "plan": given["plan"], "problems": [], "notes": []}
    # sd_booted(3)
    if module.check_mode or not os.path.isdir("/run/systemd/system"):
        module.exit_json(**result)
    shown = module.run_command(["systemctl", "--no-pager", "show", "--property=" + ",".join(SHOW_PROPERTIES), "--", given["unit"]], check_rc=True)[1]
    try:
        if any(state.load_state != "loaded" or state.active_state not in ("inactive", "failed") for state in parse_show(shown)):
            module.exit_json(**result)
        text = module.run_command(["systemctl", "--no-pager", "cat", "--", given["unit"]])[1]
        asked = question(text, given["plan"])
        account = pwd.getpwnam(asked.user)
        answer = ask_over_workers(asked, account.pw_uid, account.pw_gid, given["timeout_s"])
    except (AskError, SystemdError, OSError) as error:
        result["cannot_be_asked"] = str(error).rstrip(".")
    except KeyError as error:
        result["cannot_be_asked"] = "there is no such user or figure: %s" % error
    else:
        result.update(by_word(given["plan"], answer), asked=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
