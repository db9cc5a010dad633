# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: llama_advisories
short_description: The published vulnerabilities that a build of llama.cpp has
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Compares a build number with a table of advisories. The collection's own is C(roles/llama_cpp/vars/advisories.yml).
  - Where the build number is not known, RV(_value.known) is V(false) and nothing can be told. It is not a sign that all is well.
options:
  _input:
    description: The build number, as V(11434) or as the tag V(b11434). V(0), an empty string or anything else is an unknown one.
    type: raw
    required: true
  advisories:
    description:
      - The table, a list of mappings with C(id), C(what), C(components), C(introduced_in), C(fixed_in), C(refuse) and C(confirmed), and
        optionally C(build_option), C(also), C(sources) and C(remark).
    type: list
    elements: dict
    required: true
  options:
    description: The CMake options of the build. An advisory with a C(build_option) counts only where that is on.
    type: dict
    default: {}
  components:
    description: The components whose advisories are wanted.
    type: list
    elements: str
    choices: [head, worker]
    default: [head, worker]
"""

EXAMPLES = r"""
- name: Show the known vulnerabilities of the build
  ansible.builtin.debug:
    msg: "{{ ('b11434' | herd.llama_cpp.llama_advisories(llama_cpp_advisories)).exposed }}"
"""

RETURN = r"""
_value:
  description: What the build is exposed to.
  type: dict
  contains:
    known:
      description: Whether the build number is known.
      type: bool
      sample: true
    build_number:
      description: The build number, V(0) when it is not known.
      type: int
      sample: 9095
    exposed:
      description: The advisories' ids, the one that was fixed first before the others.
      type: list
      elements: str
      sample: [GHSA-2phh-px2f-2qmx, CVE-2026-134540]
    refused:
      description: Those of them for which the role C(llama_cpp) refuses a source.
      type: list
      elements: str
      sample: [GHSA-2phh-px2f-2qmx]
    fixed_in:
      description: The next build without any that is refused, or without any where none is refused. V(0) when there is none at all.
      type: int
      sample: 11393
    summary:
      description: What is to be said of it, as the end of a sentence. Empty where there is nothing to say.
      type: str
      sample: "build 11321 has known vulnerabilities: CVE-2026-107183 (fixed in build 11393), CVE-2026-134540 (fixed in build 12405)"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.advisories import AdvisoryError, exposure_of, read_advisories, summary


def llama_advisories(
    build_number: t.Any, advisories: t.Any, options: t.Any = None, components: t.Any = ("head", "worker")
) -> t.Dict[str, t.Any]:
    """Return what a build is exposed to."""
    if options is not None and not isinstance(options, t.Mapping):
        raise AnsibleFilterError("llama_advisories takes the CMake options as a mapping.")
    if isinstance(components, (str, bytes)) or not isinstance(components, t.Sequence):
        raise AnsibleFilterError("llama_advisories takes the components as a list.")
    try:
        exposure = exposure_of(build_number, read_advisories(advisories), options, [str(component) for component in components])
    except AdvisoryError as error:
        raise AnsibleFilterError("llama_advisories cannot answer: %s." % error) from error
    return {
        "known": exposure.build_number is not None,
        "build_number": exposure.build_number or 0,
        "exposed": [advisory.id for advisory in exposure.advisories],
        "refused": [advisory.id for advisory in exposure.refused],
        "fixed_in": exposure.fixed_in,
        "summary": summary(exposure),
    }


class FilterModule:
    """Filter of the herd.llama_cpp collection."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"llama_advisories": llama_advisories}
