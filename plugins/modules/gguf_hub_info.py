#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_hub_info
short_description: Ask a model hub for the files of one model
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Asks Hugging Face's hub, or a mirror of it, for the files of the one model that a name or pattern means in a repository, with their
    sizes and checksums, and for the commit they are of.
  - Nothing that matches, more than one model, a part missing from a split model, a file name that leads out of a directory, or a hub that
    cannot be asked is no failure but a RV(problem) with a RV(remedy), so that it can be reported together with others.
  - At most 32 MiB are read.
options:
  endpoint:
    description: The hub's address.
    type: str
    default: https://huggingface.co
  repo:
    description: The repository, OWNER/NAME.
    type: str
    required: true
  file:
    description: Name of a GGUF file, of any part of a split one, or a pattern with the wildcards of a shell.
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  token:
    description: A token for repositories that are not open to all. It goes to the hub alone, and not to a host, port or scheme it redirects to.
    type: str
    default: ""
  sha256_required:
    description: Whether a file whose SHA-256 the hub does not say is a problem.
    type: bool
    default: true
  timeout_s:
    description: How long the hub may take for its answer, in seconds.
    type: float
    default: 30.0
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.gguf_info
"""

EXAMPLES = r"""
- name: List the files of the model on Hugging Face
  herd.llama_cpp.gguf_hub_info:
    repo: bartowski/Meta-Llama-3.1-70B-Instruct-GGUF
    file: "*Q4_K_S.gguf"
  register: hub
"""

RETURN = r"""
problem:
  description: What is wrong, empty when nothing is.
  returned: always
  type: str
  sample: owner/repo has no file 'x.gguf'; it has model.Q4_K_M.gguf
remedy:
  description: What helps.
  returned: always
  type: str
  sample: Correct gguf_model_huggingface_file
commit:
  description: The commit that the files are of.
  returned: always
  type: str
  sample: 0d1ac7c1e8f0c1d9d8e2a6d0b6a1f0c9e7d6c5b4
files:
  description: The model's files, the first part first. Empty where there is a problem.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The file's path in the repository.
      type: str
      sample: model.Q4_K_M.gguf
    size_bytes:
      description: Its size in bytes, 0 where the hub does not say it.
      type: int
      sample: 4920734272
    sha256:
      description: Its SHA-256, empty where the hub does not say it.
      type: str
      sample: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.hub import look


def main():
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
            "repo": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "token": {"type": "str", "default": "", "no_log": True},
            "sha256_required": {"type": "bool", "default": True},
            "timeout_s": {"type": "float", "default": 30.0},
        },
        supports_check_mode=True,
    )
    keys = ("endpoint", "repo", "file", "revision", "token", "sha256_required", "timeout_s")
    module.exit_json(changed=False, **asdict(look(*(module.params[key] for key in keys))))


if __name__ == "__main__":
    main()
