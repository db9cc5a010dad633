# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_contents
short_description: What a bundle is made of
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Names the files of a bundle for a site without the internet, as its manifest has them and as the roles that use it take them.
options:
  _input:
    description:
      - What is asked about. For V(carried) C(collected), the fact C(gguf_model_collected); for V(fetched) C(model), as the manifest names it, and
        C(directory), the bundle's.
      - For V(files) C(cached), the paths in the control node's cache, C(model) and C(closures), the results of M(herd.llama_cpp.apt_closure).
    type: dict
    required: true
  question:
    description: V(carried) is the model as the manifest names it, V(fetched) as the role gguf_model takes it, V(files) is every file and what it is.
    type: str
    choices: [carried, fetched, files]
    required: true
seealso:
  - module: herd.llama_cpp.bundle_manifest
"""

EXAMPLES = r"""
- name: Show where the model lies in the bundle
  ansible.builtin.debug:
    msg: "{{ ({'collected': gguf_model_collected} | herd.llama_cpp.bundle_contents('carried')).files }}"
"""

RETURN = r"""
_value:
  description: The model, or the files.
  type: raw
  sample:
    - what: model
      file: models/model.gguf
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._offline.contents import bundle_files, carried_model, fetched_model

_QUESTIONS: t.Dict[str, t.Callable[..., t.Any]] = {"carried": carried_model, "fetched": fetched_model, "files": bundle_files}


def bundle_contents(given: t.Any, question: str) -> t.Any:
    """Return what a bundle is made of."""
    if question not in _QUESTIONS or not isinstance(given, t.Mapping):
        raise AnsibleFilterError("bundle_contents takes a mapping and one of %s, not %s." % (", ".join(_QUESTIONS), question))
    try:
        return _QUESTIONS[question](**given)
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError("bundle_contents cannot read what it was given for %s: %s." % (question, error)) from error


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"bundle_contents": bundle_contents}
