#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_chat
short_description: Ask an OpenAI-compatible server one question and judge the answer
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Asks llama-server, or any server with the same protocol, one question with the openai client, as a user's own program would.
  - Fails, in one sentence, when no answer comes, when it is empty, or when it does not match O(expect).
  - Asks once. Nothing is retried, so that a fault is seen.
requirements:
  - openai (Python package, 1.60 or newer) in the Python that runs the module
options:
  url:
    description: The server, C(http://ADDRESS:PORT), with or without C(/v1).
    type: str
    required: true
  question:
    description: What to ask.
    type: str
    required: true
  api_key:
    description: The server's API key. Leave it out where the server wants none.
    type: str
  api_key_file:
    description: A file on the machine the module runs on with the server's API keys, one a line. The first one is used.
    type: path
  model:
    description: The model's name. Empty takes the first that the server lists.
    type: str
    default: ""
  system_prompt:
    description: What the model is told about its part. Empty sends none.
    type: str
    default: You are a helpful assistant.
  temperature:
    description: 0 makes the answer as repeatable as the server can.
    type: float
    default: 0.0
  seed:
    description: The sampler's seed, for temperatures above 0.
    type: int
  max_tokens:
    description: The most tokens that thinking and answer may have together. Without it the model decides.
    type: int
  timeout_s:
    description: Seconds to wait for the answer.
    type: float
    default: 120.0
  expect:
    description: A Python regular expression that must be found in the answer. Empty accepts any answer with text in it.
    type: str
    default: ""
  expect_ignore_case:
    description: Whether O(expect) pays no heed to upper and lower case.
    type: bool
    default: true
  use_proxy:
    description:
      - Whether the machine's proxy variables are obeyed. A cluster is mostly on a network of its own, where a proxy leads nowhere.
    type: bool
    default: false
  ca_file:
    description: A file with the certificate authority that a server with C(https) is trusted by, when it is not a public one.
    type: path
  ca:
    description: The same as text in PEM, such as a certificate that was read on the server.
    type: str
attributes:
  check_mode:
    description: The question changes nothing on the server, so it is asked in check mode too.
    support: full
  diff_mode:
    description: The module changes nothing, so there is nothing to show.
    support: none
seealso:
  - name: llama-server
    description: The server's own account of its endpoints.
    link: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

EXAMPLES = r"""
- name: Ask for the capital of France
  herd.llama_cpp.llama_chat:
    url: http://192.168.1.100:8080
    api_key_file: /etc/llama-server/api-key
    question: What is the capital of France?
    expect: '\bParis\b'
  register: chat

- name: Show the answer
  ansible.builtin.debug:
    msg: "{{ chat.answer }} ({{ chat.tokens_per_second | round(1) }} tokens/s)"
"""

RETURN = r"""
answer:
  description: What the model said. Also returned with a failure when there was an answer.
  returned: when the server answered
  type: str
  sample: The capital of France is Paris.
thinking:
  description: What the model thought before it answered, which is no part of the answer. Empty where it did not.
  returned: when the server answered
  type: str
  sample: ""
finish_reason:
  description: Why the model stopped, V(stop) or V(length).
  returned: when the server answered
  type: str
  sample: stop
model:
  description: The model that answered, by the server's account.
  returned: when the server answered
  type: str
  sample: SmolLM2-135M-Instruct.Q4_1.gguf
prompt_tokens:
  description: Tokens of the question with everything around it.
  returned: when the server answered
  type: int
  sample: 37
completion_tokens:
  description: Tokens of the answer.
  returned: when the server answered
  type: int
  sample: 8
evaluated_prompt_tokens:
  description: Tokens of the prompt that were computed for this answer. Null when the server is not llama-server.
  returned: when the server answered
  type: int
  sample: 1
cached_prompt_tokens:
  description: Tokens of the prompt that llama-server still knew from before. Null when the server is not llama-server.
  returned: when the server answered
  type: int
  sample: 36
tokens_per_second:
  description: How fast the answer was generated, by llama-server's own C(timings). Null when the server is not llama-server.
  returned: when the server answered
  type: float
  sample: 50.98
prompt_tokens_per_second:
  description: How fast the prompt was evaluated, from the same source.
  returned: when the server answered
  type: float
  sample: 154.2
seconds:
  description: From question to answer as the client saw it.
  returned: when the server answered
  type: float
  sample: 0.412
n_embd:
  description: The model's embedding length, which llama-server tells with its list of models. Null when it does not.
  returned: when the server answered
  type: int
  sample: 576
n_vocab:
  description: The size of the model's vocabulary, from the same source.
  returned: when the server answered
  type: int
  sample: 49152
failure_kind:
  description:
    - Which way it went wrong, one of V(wrong_answer), V(empty), V(timeout), V(refused), V(lost), V(connection), V(tls),
      V(unauthorized), V(loading), V(http), V(protocol), V(url), V(expectation), V(missing_package) and V(api_key_file).
  returned: failure
  type: str
  sample: wrong_answer
"""

import os
import sys

try:
    import openai

    HAS_OPENAI = True
except ImportError:
    openai = None
    HAS_OPENAI = False

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._service.api_keys import read_api_keys
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.chat import (
    ChatError,
    ChatRequest,
    ask,
    compiled,
    judge,
)


def read_key(path):
    try:
        keys = read_api_keys(path)
    except OSError as error:
        raise ChatError("api_key_file", "The API key file %s cannot be read: %s." % (path, error.strerror)) from error
    if not keys:
        raise ChatError("api_key_file", "The API key file %s has no key." % path)
    return keys[0]


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "question": {"type": "str", "required": True},
            "api_key": {"type": "str", "no_log": True},
            "api_key_file": {"type": "path", "no_log": False},
            "model": {"type": "str", "default": ""},
            "system_prompt": {"type": "str", "default": "You are a helpful assistant."},
            "temperature": {"type": "float", "default": 0.0},
            "seed": {"type": "int"},
            "max_tokens": {"type": "int", "no_log": False},
            "timeout_s": {"type": "float", "default": 120.0},
            "expect": {"type": "str", "default": ""},
            "expect_ignore_case": {"type": "bool", "default": True},
            "use_proxy": {"type": "bool", "default": False},
            "ca_file": {"type": "path"},
            "ca": {"type": "str"},
        },
        mutually_exclusive=[("api_key", "api_key_file"), ("ca_file", "ca")],
        supports_check_mode=True,
    )
    params = module.params
    if not HAS_OPENAI:
        python = sys.executable or "python3"
        module.fail_json(
            msg="%s on %s has no openai package; install it with '%s -m pip install openai', or let "
            "ansible_python_interpreter name a Python that has it." % (python, os.uname().nodename, python),
            failure_kind="missing_package",
        )
    answered = {}
    try:
        compiled(params["expect"], params["expect_ignore_case"])
        answer = ask(
            openai,
            ChatRequest(
                url=params["url"],
                question=params["question"],
                api_key=read_key(params["api_key_file"]) if params["api_key_file"] else (params["api_key"] or ""),
                model=params["model"],
                system_prompt=params["system_prompt"],
                temperature=params["temperature"],
                seed=params["seed"],
                max_tokens=params["max_tokens"],
                timeout_s=params["timeout_s"],
                use_proxy=params["use_proxy"],
                ca_file=params["ca_file"] or "",
                ca=params["ca"] or "",
            ),
        )
        answered = answer.as_dict()
        judge(answer, params["question"], params["expect"], params["expect_ignore_case"])
    except ChatError as error:
        module.fail_json(msg=str(error), failure_kind=error.kind, **answered)
    module.exit_json(changed=False, **answered)


if __name__ == "__main__":
    main()
