#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_build
short_description: Run a long build and show how far it is
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Runs a build by Ninja or Make in the background of the machine and prints a line now and then that says at which step it is, how long
    it takes already and about how long it will take on.
  - The build outlives the connection. One that is lost for less than O(lost_after_s) seconds is made up again, and where the play is
    interrupted the build goes on; a later one waits for it, because both take the O(lock), and then finds its work done.
  - It does not judge. It succeeds whatever the exit code, unless the command could not be run or took too long, and
    M(herd.llama_cpp.llama_build_log) says what the log comes to.
options:
  command:
    description: The build's command and its arguments. No shell interprets them.
    type: list
    elements: str
    required: true
  chdir:
    description: The directory to run in.
    type: path
    required: true
  log:
    description: The file, in O(chdir) unless it is absolute, that gets all the command prints.
    type: str
    default: build.log
  append:
    description: Whether O(log) keeps what it holds. It is emptied first otherwise.
    type: bool
    default: false
  lock:
    description: The file, in O(chdir) unless it is absolute, whose lock (see C(flock(1))) is held while the command runs.
    type: str
    default: build.lock
  label:
    description: What is built, for the lines on the terminal.
    type: str
    default: llama.cpp
  timeout_s:
    description: After how many seconds, waiting for the lock included, the build is ended and the task fails.
    type: int
    default: 14400
  report_every_s:
    description: Seconds between the first lines on the terminal. They become rarer with time, up to once in 60 seconds.
    type: float
    default: 15
  poll_s:
    description: Seconds between two looks whether the build has ended.
    type: float
    default: 5
  lost_after_s:
    description: How many seconds the connection may fail before the task does.
    type: int
    default: 300
attributes:
  action:
    description: It is an action plugin, which runs M(ansible.builtin.command) as a background job.
    support: full
  async:
    description: It is in the background already.
    support: none
  check_mode:
    description: Builds nothing and is skipped.
    support: none
  diff_mode:
    description: Has nothing to show.
    support: none
  platform:
    description: Where it can run. The machine needs C(flock) from util-linux.
    support: full
    platforms: linux
seealso:
  - module: herd.llama_cpp.llama_build_log
"""

EXAMPLES = r"""
- name: Compile llama.cpp
  herd.llama_cpp.llama_build:
    command: [cmake, --build, build, --parallel, "8", --target, llama-server]
    chdir: /var/cache/llama.cpp
    label: llama.cpp b11434
  register: compiled

- name: Show the result of the build
  herd.llama_cpp.llama_build_log:
    paths: [/var/cache/llama.cpp/build.log]
  when: compiled.rc != 0
"""

RETURN = r"""
rc:
  description: The command's exit code.
  returned: when it was run
  type: int
  sample: 0
seconds:
  description: How many seconds it took, waiting for the lock included.
  returned: when it was run
  type: int
  sample: 614
reports:
  description: The lines that were printed.
  returned: always
  type: list
  elements: str
  sample:
    - "head: building llama.cpp b11434: step 40 of 220 (18 %), src/llama-vocab.cpp, 30 s so far, about 2 min 15 s left"
interruptions:
  description: How many looks failed because the connection did.
  returned: always
  type: int
  sample: 0
"""
