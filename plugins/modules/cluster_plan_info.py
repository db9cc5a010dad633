#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_plan_info
short_description: Plan a cluster by what the llama-server that will run says of the model
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - The same plan as the filter P(herd.llama_cpp.cluster_plan#filter) makes, for any model that the built llama.cpp can load. The split is
    found, llama-server is asked what each device takes with it, the estimates are corrected, until a split is found that was asked about.
    Every figure of the plan is then llama.cpp's own.
  - llama-server is run for a moment with the arguments it will serve with and C(--fit on), on a copy of the model's header and with stand-ins
    for the workers' devices, in a network namespace of its own and, where the module runs as root, with a user ID that nothing else has, so
    that everybody must be allowed to read the build. No weight is read, no worker is spoken to, and no GPU is touched. Everything of it ends
    with the module.
  - A stand-in is a CPU. What a GPU takes besides, by alignment, padded rows and copies of a quantised cache, is added by formula.
options:
  model:
    description: The model's file on this machine, or the first of a split model.
    type: path
    required: true
  bin_dir:
    description: The directory with C(llama-server) and C(ggml-rpc-server) of the build that will run.
    type: path
    required: true
  arguments:
    description:
      - The arguments that llama-server will be started with. Those about the model's path, the devices and their split, who may connect, what
        is logged, and what it starts besides (MCP servers, tools, an agent) are left out.
    type: list
    elements: str
    default: []
  environment:
    description: The environment that llama-server will be started with, as far as it is set by hand.
    type: dict
    default: {}
  machines:
    description: The machines, as the filter P(herd.llama_cpp.cluster_plan#filter) takes them.
    type: list
    elements: dict
    required: true
  options:
    description:
      - The options of the filter P(herd.llama_cpp.cluster_plan#filter), by name. C(host) is required.
      - With C(beyond_bound) only the weights count of what stands beside the model (a draft model, a projector) where it does not fit by its bound.
    type: dict
    required: true
  plan:
    description: The plan so far, for RV(starts_otherwise).
    type: dict
    default: {}
  timeout_s:
    description:
      - Seconds for all questions together, from above 0 to 3600. A plan takes a few seconds; for an architecture without formulas, on a machine
        that is busy, it may be a minute.
      - When they are over, the plan is the best of the splits that were asked about, which RV(plan.figures) says with C(complete). Where there is
        none, RV(cannot_be_asked) says so.
    type: float
    default: 300.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - plugin: herd.llama_cpp.cluster_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Plan the cluster from the new llama-server's own figures
  herd.llama_cpp.cluster_plan_info:
    model: /var/lib/llama.cpp/models/model.gguf
    bin_dir: /opt/llama.cpp/builds/0123456789abcdef/bin
    arguments: [--ctx-size, "8192", --parallel, "4", --kv-unified, --n-gpu-layers, all]
    machines:
      - name: head
        ram_free_mib: 60000
        devices:
          - {name: CUDA0, kind: cuda, total_mib: 24564, free_mib: 24100}
      - name: worker1
        devices:
          - {name: CUDA0, kind: cuda, total_mib: 24564, free_mib: 24100}
    options: {host: head, context_size: 8192, parallel: 4, kv_unified: true}
  register: asked
"""

RETURN = r"""
cannot_be_asked:
  description: Why this llama.cpp cannot be asked, an empty string where it was. RV(plan) is empty then.
  returned: success
  type: str
  sample: ""
starts_otherwise:
  description: Whether RV(plan) serves from other machines or devices than O(plan), starts llama-server with other arguments, or does not fit.
  returned: when it was asked
  type: bool
  sample: false
plan:
  description:
    - The plan, as the filter P(herd.llama_cpp.cluster_plan#filter) returns it. RV(plan.figures) says whose figures they are, and each device
      has what llama.cpp said of it.
  returned: success
  type: dict
  contains:
    figures:
      description: Whose figures the plan has, and how many questions and seconds they took.
      type: dict
      sample: {source: asked, build: b11434, questions: 2, seconds: 0.8, rounds: 2, as_formulas: true, exact: true, complete: true}
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.ask import TIMEOUT_SECONDS, AskError, Asker, CannotBeAsked, ask_in_private
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.placement import MAX_DEVICES
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.report import asked_plan_from_facts, starts_otherwise
from ansible_collections.herd.llama_cpp.plugins.module_utils._plan.request import PlanError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "path", "required": True},
            "bin_dir": {"type": "path", "required": True},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "machines": {"type": "list", "elements": "dict", "required": True},
            "options": {"type": "dict", "required": True},
            "plan": {"type": "dict", "default": {}},
            "timeout_s": {"type": "float", "default": TIMEOUT_SECONDS},
        },
        supports_check_mode=True,
    )
    given = module.params
    options = dict(given["options"])
    if "host" not in options:
        module.fail_json(msg="options has no host, which is the machine that runs llama-server.")
    if not 0 < given["timeout_s"] <= 3600:
        module.fail_json(msg="timeout_s is %g; give it a value above 0 and up to 3600." % given["timeout_s"])
    if module.check_mode:
        for path in (given["model"], os.path.join(given["bin_dir"], "llama-server")):
            if not os.path.exists(path):
                module.exit_json(changed=False, plan={}, cannot_be_asked="%s is not there yet" % path)
    began = time.monotonic()
    try:
        facts = describe(read_gguf_model(given["model"]), include_tensors=True, include_metadata=True)

        def work() -> object:
            try:
                with Asker(given["bin_dir"], given["model"], MAX_DEVICES, given["arguments"], given["environment"],
                           timeout_s=given["timeout_s"]) as asker:
                    plan = asked_plan_from_facts(facts, given["machines"], asker.ask, **options)
                    plan["figures"].update(questions=asker.questions, exact=asker.exact)
                    return plan
            except PlanError as error:
                return {"refused": str(error)}

        plan = ask_in_private(work)
    except GgufError as error:
        module.fail_json(msg="%s." % str(error).rstrip("."))
    except CannotBeAsked as error:
        module.exit_json(changed=False, plan={}, cannot_be_asked=str(error))
    except AskError as error:
        module.fail_json(msg="%s." % str(error).rstrip("."))
    except (OSError, TypeError) as error:
        module.fail_json(msg="%s." % str(error).replace("request_from_facts() ", "").rstrip("."))
    if "refused" in plan:
        module.fail_json(msg="%s." % plan["refused"].rstrip("."))
    plan["figures"]["seconds"] = round(time.monotonic() - began, 2)
    module.exit_json(changed=False, plan=plan, cannot_be_asked="", starts_otherwise=starts_otherwise(plan, given["plan"]))


if __name__ == "__main__":
    main()
