#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_build_log
short_description: What configuring and building llama.cpp came to
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Reads what C(cmake) and C(cmake --build) printed, with Make or Ninja, and returns facts. They are whether configuration and build
    succeeded, the backends included, the CUDA toolkit and its compiler, how many objects were compiled.
  - A failure is returned as its first cause, with the line it rests on, what to do, and the lines around it. With O(fail_on_problem) it fails
    the task with just that.
  - Checks that the build is the one that was meant. CMake goes on without what it does not find, and takes any nvcc that is on PATH.
  - Give it standard error too, for that is where compilers and CMake complain.
options:
  text:
    description: The log itself.
    type: str
  paths:
    description: Files with the log on the managed machine in the order they were written, the configuration's first.
    type: list
    elements: path
  expect_backends:
    description: The backends that the build must include, such as V(CPU), V(RPC) and V(CUDA).
    type: list
    elements: str
    default: []
  expect_cuda_prefix:
    description: The directory that the CUDA toolkit and its compiler must be in, a conda environment for instance.
    type: path
  min_cuda_version:
    description: The oldest CUDA that will do.
    type: str
  min_cuda_objects:
    description: How many objects nvcc must have compiled at least. All of llama.cpp are about 144 for one architecture.
    type: int
    default: 0
  finished:
    description: Whether the configuration and the build are over. With V(false) a log that ends in the middle is not a failure, so that
      a build's progress can be read while it runs.
    type: bool
    default: true
  fail_on_problem:
    description: Whether a failure, or a build other than the one meant, fails the task. With V(false) look at RV(failure).
    type: bool
    default: true
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.llama_startup_log
"""

EXAMPLES = r"""
- name: Check that CMake found the intended CUDA toolkit
  herd.llama_cpp.llama_build_log:
    paths: [/var/tmp/llama.cpp/configure.log]
    expect_backends: [CPU, RPC, CUDA]
    expect_cuda_prefix: /opt/conda/envs/llama
    min_cuda_version: "12.0"

- name: Read the progress of the build
  herd.llama_cpp.llama_build_log:
    paths: [/var/tmp/llama.cpp/build.log]
    finished: false
  register: build_log

- name: Show the progress of the build
  ansible.builtin.debug:
    msg: "{{ build_log.steps_done }} of {{ build_log.steps_total }}: {{ build_log.last_step }}"
"""

RETURN = r"""
failure:
  description: Why there is no build or not the one meant, V(null) when nothing is wrong.
  returned: always
  type: dict
  contains:
    kind:
      description:
        - A word for programs. For a configuration V(cmake_missing), V(cmake_too_old), V(build_tool_missing), V(compiler_missing),
          V(compiler_broken), V(cuda_toolkit_missing), V(nvcc_missing), V(cuda_library_missing), V(host_compiler_unsupported), V(glibc_too_new),
          V(unknown_architecture), V(no_source), V(stale_build_dir), V(network), V(configure_failed).
        - For a build V(compile_error), V(header_missing), V(compiler_crashed), V(out_of_memory), V(no_space), V(cuda_driver_stub_missing),
          V(library_missing), V(undefined_reference), V(link_error), V(unknown_target), V(not_configured), V(ccache_failed), V(no_permission),
          V(interrupted), V(build_failed).
        - For what was expected V(backend_missing), V(cuda_elsewhere), V(cuda_unknown), V(cuda_too_old), V(no_cuda_objects),
          V(too_few_cuda_objects), V(no_configure_log).
      type: str
      sample: host_compiler_unsupported
    line:
      description: The line that tells.
      type: str
      sample: "error: #error -- unsupported GNU version! gcc versions later than 12 are not supported!"
    problem:
      description: What is wrong.
      type: str
      sample: "nvcc does not support this host compiler (GNU, newest supported: 12)"
    remedy:
      description: What to do.
      type: str
      sample: Give nvcc an older one with CMAKE_CUDA_HOST_COMPILER
    context:
      description: The line with up to five lines before it and five after.
      type: list
      elements: str
      sample: []
  sample: null
generator:
  description: V(Ninja) or V(Unix Makefiles), V(null) when the log has no build step.
  returned: always
  type: str
  sample: Ninja
configure_ok:
  description: Whether the configuration succeeded, V(null) when the log has none.
  returned: always
  type: bool
  sample: true
build_ok:
  description: Whether the build succeeded, V(null) when the log has none.
  returned: always
  type: bool
  sample: true
llama_cpp_version:
  description: The version that the source gives itself.
  returned: always
  type: str
  sample: 0.6.0-dev
ggml_version:
  description: The version of ggml in it.
  returned: always
  type: str
  sample: 0.25.3
commit:
  description: The commit that the configuration took down.
  returned: always
  type: str
  sample: 0c1e570
build_number:
  description: The build number, only when the log has the output of a program's C(--version).
  returned: always
  type: int
  sample: 11434
build_dir:
  description: The build directory.
  returned: always
  type: str
  sample: /var/tmp/llama.cpp/build
build_type:
  description: CMake's build type.
  returned: always
  type: str
  sample: Release
compilers:
  description: The compilers and their versions by language.
  returned: always
  type: dict
  sample: {"C": "GNU 12.2.0", "CXX": "GNU 12.2.0", "CUDA": "NVIDIA 12.0.76"}
compiler_paths:
  description: Where they are.
  returned: always
  type: dict
  sample: {"C": "/usr/bin/cc", "CXX": "/usr/bin/c++", "CUDA": "/opt/conda/envs/llama/bin/nvcc"}
backends:
  description: The backends included.
  returned: always
  type: list
  elements: str
  sample: [CPU, CUDA, RPC]
cpu_variants:
  description: The CPU backends, one for each kind of processor, or just one.
  returned: always
  type: list
  elements: str
  sample: [ggml-cpu]
cuda_found:
  description: Whether a CUDA toolkit was found, V(null) when none was looked for.
  returned: always
  type: bool
  sample: true
cuda_version:
  description: Its version.
  returned: always
  type: str
  sample: 12.0.76
cuda_include_dir:
  description: Its directory of header files.
  returned: always
  type: str
  sample: /opt/conda/envs/llama/targets/x86_64-linux/include
cuda_compiler:
  description: The nvcc in use.
  returned: always
  type: str
  sample: /opt/conda/envs/llama/bin/nvcc
cuda_host_compiler:
  description: The compiler that nvcc uses for the host's part.
  returned: always
  type: str
  sample: GNU 12.2.0
cuda_architectures:
  description: The GPU architectures it is built for.
  returned: always
  type: list
  elements: str
  sample: ["86", "89"]
rdma:
  description: Whether the RPC backend can use RDMA, V(null) when the log does not say.
  returned: always
  type: bool
  sample: false
openmp:
  description: Whether OpenMP was found, V(null) when the log does not say.
  returned: always
  type: bool
  sample: true
ccache:
  description: Whether ccache is used, V(null) when the log does not say.
  returned: always
  type: bool
  sample: true
steps_done:
  description: How many steps were done. Make numbers none, so its lines are counted.
  returned: always
  type: int
  sample: 218
steps_total:
  description: How many steps there are, V(null) for a build by Make that is not over.
  returned: always
  type: int
  sample: 218
percent_done:
  description: How far the build is, in percent.
  returned: always
  type: int
  sample: 100
last_step:
  description: The last step that was begun (Make) or done (Ninja).
  returned: always
  type: str
  sample: Linking CXX executable bin/ggml-rpc-server
n_objects:
  description: How many objects were compiled.
  returned: always
  type: int
  sample: 195
n_cuda_objects:
  description: How many of them by nvcc.
  returned: always
  type: int
  sample: 156
compiler_warnings:
  description: How many warnings the compilers gave.
  returned: always
  type: int
  sample: 0
cmake_warnings:
  description: How many warnings CMake gave.
  returned: always
  type: int
  sample: 1
evidence:
  description: The lines that the facts rest on.
  returned: always
  type: dict
  sample:
    cuda_found: '-- Found CUDAToolkit: /opt/conda/envs/llama/targets/x86_64-linux/include (found version "12.0.76")'
    backend_CUDA: -- Including CUDA backend
"""

import os
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.log import check_build, parse_build


def _read(module: AnsibleModule, paths: t.List[str]) -> str:
    texts = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                texts.append(file.read().decode("utf-8", "replace"))
        except OSError as error:
            module.fail_json(msg="Cannot read the log %s: %s." % (path, error.strerror or error))
    return "\n".join(texts)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "text": {"type": "str"},
            "paths": {"type": "list", "elements": "path"},
            "expect_backends": {"type": "list", "elements": "str", "default": []},
            "expect_cuda_prefix": {"type": "path"},
            "min_cuda_version": {"type": "str"},
            "min_cuda_objects": {"type": "int", "default": 0},
            "finished": {"type": "bool", "default": True},
            "fail_on_problem": {"type": "bool", "default": True},
        },
        required_one_of=[("text", "paths")],
        mutually_exclusive=[("text", "paths")],
        supports_check_mode=True,
    )
    wanted = module.params
    log = parse_build(wanted["text"] if wanted["text"] is not None else _read(module, wanted["paths"]))
    prefix = wanted["expect_cuda_prefix"]
    # CMake may print the path as given or the one behind its links.
    prefixes = [prefix, os.path.realpath(prefix)] if prefix else []
    failure = check_build(log, wanted["expect_backends"], prefixes, wanted["min_cuda_version"], wanted["finished"], wanted["min_cuda_objects"])
    result = log.to_dict()
    # Ansible prints a result's "warnings" as its own.
    result["compiler_warnings"] = result.pop("warnings")
    result["failure"] = asdict(failure) if failure else None
    if failure and wanted["fail_on_problem"]:
        module.fail_json(msg=failure.message(), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
