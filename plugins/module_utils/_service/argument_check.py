# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let llama-server or rpc-server read a command line and do nothing else.

With ``--help`` it reads all arguments, and all variables of its environment, before it prints its usage and ends with 0 (common/arg.cpp of
llama.cpp b11434, common_params_parse). One that it does not take ends it with 1 and a line that begins with "error". No model is opened.

rpc-server prints its usage as soon as it comes to ``--help``, so that comes last. Where it does not know an argument before it, "error: " and why
comes first, then the usage too, and it ends with 0 all the same (tools/rpc/rpc-server.cpp of b11434).
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence

# What reaches out to the workers, or names their devices, while it is read: who serves a head must not be spoken to. And what makes a directory
# while it is read. By their number of values.
_REACHING: Dict[str, int] = {
    "--rpc": 1, "-dev": 1, "--device": 1, "-devd": 1, "--device-draft": 1, "--spec-draft-device": 1, "-mmdev": 1, "--mmproj-device": 1,
    "-ot": 1, "--override-tensor": 1, "-otd": 1, "--override-tensor-draft": 1, "--spec-draft-override-tensor": 1, "--log-prompts-dir": 1,
}
_REACHING_VARIABLES = re.compile(r"LLAMA_ARG_(?:SPEC_DRAFT_)?(?:RPC|(?:MMPROJ_)?DEVICE(?:_DRAFT)?|OVERRIDE_TENSOR(?:_DRAFT)?)$")
# The beginning of a line of the log may come before it: that is written by a thread of its own.
_ERROR = re.compile(r"(?:[0-9.]+ [EWID] +)?error(?:: | while handling (?:argument )?)(.*)")
_SECONDS = 60.0


def readable_arguments(arguments: Sequence[str]) -> List[str]:
    """Of a command line what can be read without anybody being reached."""
    kept: List[str] = []
    words = iter(arguments)
    for word in words:
        name, has_value, _value = word.partition("=")
        # common/arg.cpp takes _ for - in long ones
        name = name.replace("_", "-") if name.startswith("--") else name
        if name not in _REACHING:
            kept.append(word)
        elif not has_value:
            for _number in range(_REACHING[name]):
                next(words, None)
    return kept


def refusal(returncode: int, output: str) -> str:
    """Why llama-server does not take its arguments, by what it printed; empty where it takes them, or ended for a reason that is none of theirs."""
    if returncode == 0:
        return ""
    for line in output.splitlines():
        found = _ERROR.match(line)
        if found:
            return found.group(1).strip()
    return ""


def rpc_server_refusal(returncode: int, output: str) -> str:
    """The same of rpc-server: where it does not come to its usage, why is in its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    if not errors and any("Usage:" in line for line in lines):
        return ""
    return (errors or lines[-1:] or ["it ends with %d" % returncode])[0].replace("error:", "", 1).strip()


@dataclass(frozen=True)
class Program:
    """How a program is asked for its usage, and how its answer is read."""

    command: Callable[[str, Sequence[str]], List[str]]
    refusal: Callable[[int, str], str]


PROGRAMS: Dict[str, Program] = {
    # First: after a last argument that lacks its value it would be that value, and llama-server would serve.
    "llama-server": Program(lambda binary, arguments: [binary, "--help", *readable_arguments(arguments)], refusal),
    "rpc-server": Program(lambda binary, arguments: [binary, *arguments, "--help"], rpc_server_refusal),
}


def question(executable: str, arguments: Sequence[str], environment: Mapping[str, str], user: str, groups: Sequence[str]) -> str:
    """An ID of what a program is asked: within one run, where it is the same, the answer is.

    Of the environment only the names count. The ID is shown, and whoever guesses a secret could see by it that the guess is right.
    """
    asked = [executable, readable_arguments(arguments), sorted(environment), user, list(groups)]
    return hashlib.sha256(json.dumps(asked).encode("utf-8")).hexdigest()


def refused_arguments(binary: str, arguments: Sequence[str], environment: Mapping[str, str], user: Optional[int] = None, group: Optional[int] = None,
                      groups: Sequence[int] = (), program: str = "llama-server") -> str:
    """Why a program does not take a command line, empty where it does. Raises OSError and subprocess.SubprocessError where it cannot be run."""
    asked = PROGRAMS[program]
    variables = {name: value for name, value in environment.items() if not _REACHING_VARIABLES.match(name)}
    # Which devices the machine has is no matter here, and they may be in use.
    variables.update(PATH="/usr/bin:/bin", LC_ALL="C.UTF-8", CUDA_VISIBLE_DEVICES="", GGML_VK_VISIBLE_DEVICES="")
    as_user = {} if user is None else {"user": user, "group": group, "extra_groups": list(groups)}
    run = subprocess.run(asked.command(binary, arguments), env=variables, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=_SECONDS, check=False, **as_user)  # type: ignore[call-overload]
    return asked.refusal(run.returncode, run.stdout.decode("utf-8", "replace"))
