# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex
import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.herd.llama_cpp.plugins.module_utils._build.progress import Sample, duration, pause_s, read_progress, report

display = Display()

_ARGUMENTS = {
    "command": {"type": "list", "elements": "str", "required": True},
    "chdir": {"type": "path", "required": True},
    "log": {"type": "str", "default": "build.log"},
    "append": {"type": "bool", "default": False},
    "lock": {"type": "str", "default": "build.lock"},
    "label": {"type": "str", "default": "llama.cpp"},
    "timeout_s": {"type": "int", "default": 14400},
    "report_every_s": {"type": "float", "default": 15.0},
    "poll_s": {"type": "float", "default": 5.0},
    "lost_after_s": {"type": "int", "default": 300},
}


class _Lost(Exception):
    """The machine could not be asked this time."""


class ActionModule(ActionBase):
    """Run a build in the background and say how far it is; see the module of the same name for its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(_ARGUMENTS)
        if self._task.check_mode:
            result.update(changed=False, skipped=True, msg="A build is not run in check mode.")
            return result
        self._task_vars = task_vars or {}
        self._arguments = arguments
        self._machine = str(self._task.delegate_to or self._task_vars.get("inventory_hostname", ""))
        self._reports: t.List[str] = []
        self._interruptions = 0
        self._async_dir = str(self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async")))
        begin = time.monotonic()
        job = self._start()
        try:
            outcome = self._follow(job, begin)
        finally:
            result.update(reports=self._reports, interruptions=self._interruptions)
        self._clean_up(job)
        if "rc" not in outcome:
            raise AnsibleActionFail("The build could not be run on %s: %s" % (self._machine, outcome.get("msg", "no reason given")), result=result)
        result.update(
            changed=True,
            # Ansible takes any other code than 0 for a failure where nothing is said.
            failed=False,
            rc=outcome["rc"],
            seconds=int(round(time.monotonic() - begin)),
            # What the shell around the command says, such as that there is no flock; the command itself prints to the log.
            stdout=outcome.get("stdout", ""),
            stderr=outcome.get("stderr", ""),
        )
        return result

    # ---- the background job: Ansible's own, as with the keyword async

    def _start(self) -> t.Dict[str, t.Any]:
        arguments = self._arguments
        script = "exec 9> %s; flock 9; exec %s %s %s 2>&1" % (
            shlex.quote(arguments["lock"]),
            " ".join(shlex.quote(word) for word in arguments["command"]),
            ">>" if arguments["append"] else ">",
            shlex.quote(arguments["log"]),
        )
        # The limit is asked of the task, which has no keyword async: Ansible itself would follow the job then, and print its own lines.
        before = self._task.async_val
        self._task.async_val = arguments["timeout_s"]
        try:
            job = self._execute_module(
                module_name="ansible.legacy.command",
                module_args={"argv": ["/bin/sh", "-c", script], "chdir": arguments["chdir"]},
                task_vars=self._task_vars,
                wrap_async=True,
            )
        finally:
            self._task.async_val = before
        if job.get("failed") or not job.get("ansible_job_id"):
            raise AnsibleActionFail("The build could not be started on %s: %s" % (self._machine, job.get("msg", "no reason given")), result=job)
        return job

    def _ask(self, module: str, arguments: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
        """Run a module; raises _Lost where it is the connection that failed."""
        try:
            answer = self._execute_module(module_name=module, module_args=arguments, task_vars=self._task_vars)
        except AnsibleConnectionFailure as error:
            raise _Lost(str(error)) from error
        # A connection that breaks while a module runs leaves an answer that is none.
        if answer.get("unreachable") or (answer.get("failed") and "module_stdout" in answer):
            raise _Lost(str(answer.get("msg", "the connection broke")))
        return answer

    def _status(self, job: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
        return self._ask("ansible.legacy.async_status", {"jid": job["ansible_job_id"], "mode": "status", "_async_dir": self._async_dir})

    def _clean_up(self, job: t.Dict[str, t.Any]) -> None:
        try:
            self._ask("ansible.legacy.async_status", {"jid": job["ansible_job_id"], "mode": "cleanup", "_async_dir": self._async_dir})
        except _Lost:
            # Only a small file stays behind.
            return

    # ---- following it

    def _last_steps(self) -> str:
        # Not the end of the log: a compiler's warnings about one file can be hundreds of kilobytes.
        script = "grep -a '^\\[[ 0-9]' -- %s | tail -n 5" % shlex.quote(self._arguments["log"])
        answer = self._ask("ansible.legacy.command", {"argv": ["/bin/sh", "-c", script], "chdir": self._arguments["chdir"]})
        return str(answer.get("stdout") or "")

    def _say(self, line: str) -> None:
        self._reports.append(line)
        display.display(line)

    def _follow(self, job: t.Dict[str, t.Any], begin: float) -> t.Dict[str, t.Any]:
        """Return the job's result once it has ended."""
        arguments = self._arguments
        samples = [Sample(0.0, None)]
        reported, lost_since = begin, 0.0
        while True:
            time.sleep(max(arguments["poll_s"], 0.2))
            now = time.monotonic()
            try:
                status = self._status(job)
                if status.get("finished"):
                    return status
                # Of a job that was killed, or whose machine was restarted, nothing more is heard: the time limit must end it here too.
                if now - begin > arguments["timeout_s"] + 60:
                    return {"msg": "it did not end within %s" % duration(arguments["timeout_s"])}
                if now - reported >= pause_s(len(self._reports), arguments["report_every_s"]):
                    samples.append(Sample(now - begin, read_progress(self._last_steps())))
                    self._say(report(self._machine, arguments["label"], samples))
                    reported = now
            except _Lost as error:
                self._interruptions += 1
                if not lost_since:
                    lost_since = now
                    self._say("%s: the connection was lost (%s); the build goes on there, trying again" % (self._machine, " ".join(str(error).split())))
                if now - lost_since > arguments["lost_after_s"]:
                    raise AnsibleConnectionFailure(
                        "%s was not to be reached for %s while it was building. The build goes on there: run it again to follow it."
                        % (self._machine, duration(arguments["lost_after_s"]))
                    ) from error
            else:
                lost_since = 0.0
