#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_server_ready
short_description: Wait until llama-server has answered, or say why it does not
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Runs on the machine of a llama-server unit and waits until the unit's own process listens, has loaded its model and has completed
    one token.
  - C(/health) alone is not enough. It says the server is well while every completion hangs at a worker that does not answer.
  - A unit whose process ended, or which systemd had to start again, is a failure at once. The message quotes the telling line of
    its journal and says what to do.
  - The API key is sent only to the unit's own process.
  - Where a proxy stands before it, the proxy must then say C(/health) of it, over TLS that can be trusted where it speaks TLS.
requirements:
  - systemd, and C(ss) from iproute2
options:
  unit:
    description: Name of the unit.
    type: str
    default: llama-server.service
  url:
    description:
      - Where it serves, C(http://ADDRESS:PORT) with an IPv4 address. With O(socket), where the proxy does, which may be C(https).
    type: str
    required: true
  socket:
    description: The socket in the file system that it listens on instead of a port. Empty when it listens on the port of O(url).
    type: path
    default: ""
  proxy_unit:
    description: The unit of the proxy before O(socket).
    type: str
    default: llama-server-proxy.service
  host_name:
    description: The name in the proxy's certificate. Empty is the address of O(url).
    type: str
    default: ""
  ca_file:
    description: What the proxy's certificate is trusted by, PEM. Empty trusts the public authorities.
    type: path
    default: ""
  api_key_file:
    description: File on the machine that llama-server has its API keys from; its first key is shown. Empty when the server needs none.
    type: path
    default: ""
  model:
    description: Name of the model to send with the request. llama-server that serves one model takes any.
    type: str
    default: default
  timeout_s:
    description: Seconds to wait in all, most of which a large model spends on its way to the workers.
    type: float
    default: 900
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - module: herd.llama_cpp.rpc_server_ready
  - module: herd.llama_cpp.llama_startup_log
  - module: herd.llama_cpp.llama_chat
"""

EXAMPLES = r"""
- name: Wait until llama-server serves
  herd.llama_cpp.llama_server_ready:
    url: http://192.168.1.100:8080
    api_key_file: /etc/llama-server/api-key

- name: Wait until llama-server serves behind its proxy
  herd.llama_cpp.llama_server_ready:
    url: https://192.168.1.100:8080
    socket: /run/llama-server/api.sock
    ca_file: /etc/llama-server/tls/certificate.pem
    api_key_file: /etc/llama-server/api-key
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 4.2
attempts:
  description: How often it was looked at.
  returned: success
  type: int
  sample: 9
pid:
  description: Id of the process that serves.
  returned: success
  type: int
  sample: 812
failure:
  description: What the journal says went wrong, null when it says nothing known.
  returned: failure
  type: dict
  contains:
    kind:
      description: What sort of failure it is.
      type: str
      sample: rpc_connect
    line:
      description: The line of the log that tells it.
      type: str
      sample: Failed to connect to 192.168.1.101:50052
    problem:
      description: The failure in words.
      type: str
      sample: the worker 192.168.1.101:50052 does not answer
    remedy:
      description: What to do.
      type: str
      sample: start that worker first
"""

import http.client
import json
import os
import threading
import time
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.api_connection import Connection, Target
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.api_keys import authorization, read_api_keys
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.readiness import (
    Machine,
    ServiceError,
    StartFailed,
    explain,
    holder,
    listens,
    telling_failure,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._proof.head_log import parse_head
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.sockets import SocketsError
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import SystemdError, UnitWatch

_PAUSE_S = 0.3
_PROXY_S = 30
_ANSWER_LIMIT_BYTES = 1 << 20


class Request(threading.Thread):
    """One HTTP request in the background, so that the unit can be watched while an answer is awaited."""

    def __init__(self, target: Target, timeout_s: float, method: str, path: str, **options: t.Any) -> None:
        super().__init__(daemon=True)
        self._connection = Connection(target, max(timeout_s, 0.1))
        self._arguments = (method, path)
        self._options = options
        self.status = 0
        self.body = ""
        self.error = ""
        self.start()

    def run(self) -> None:
        try:
            self._connection.request(*self._arguments, **self._options)
            response = self._connection.getresponse()
            self.body = response.read(_ANSWER_LIMIT_BYTES).decode("utf-8", "replace")
            self.status = response.status
        # ValueError: a file of authorities that is none.
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = str(error) or type(error).__name__
        finally:
            self._connection.close()


class Head:
    """One llama-server that is expected to come up."""

    def __init__(
        self, machine: Machine, unit: str, address: str, port: int, api_key: str, model: str, socket: str = ""
    ) -> None:
        self._machine = machine
        self._unit = unit
        self._address = address
        self._port = port
        self._socket = socket
        self._api_key = api_key
        self._model = model
        self._watch = UnitWatch()
        self.attempts = 0
        self.pid = 0

    def _failed(self, what: str) -> StartFailed:
        other = "" if self._socket else holder(self._machine.sockets(), self._address, self._port, self._unit)
        runs = self._machine.runs(self._unit)
        failure = telling_failure(runs, parse_head)
        if other:
            failure = {
                "kind": "port_in_use",
                "line": failure["line"] if failure else "",
                "problem": "port %d on %s is taken by %s" % (self._port, self._address, other),
                "remedy": "Stop that program or give llama-server another port",
            }
        return explain(self._unit, what, failure, runs)

    def _look(self) -> bool:
        """Whether the unit's process listens; raises when the unit died."""
        self.attempts += 1
        state = self._machine.unit(self._unit)
        death = self._watch.death(state)
        if death:
            raise self._failed(death)
        self.pid = state.main_pid
        if self._socket:
            # Who listens is seen when it is connected to.
            return self.pid > 0 and os.path.exists(self._socket)
        return listens(self._machine.sockets(), self._address, self._port, state.main_pid)

    def _ask(self, deadline: float, method: str, path: str, **options: t.Any) -> Request:
        """Send a request and watch the unit until the answer is there or the time is up."""
        target = Target(self._address, self._port, path=self._socket, pid=self.pid if self._socket else 0)
        request = Request(target, deadline - time.monotonic(), method, path, **options)
        while request.is_alive() and time.monotonic() < deadline:
            request.join(_PAUSE_S)
            if request.is_alive():
                self._look()
        return request

    def _complete(self, deadline: float) -> Request:
        headers = {"Content-Type": "application/json", **authorization(self._api_key)}
        body = json.dumps({"model": self._model, "prompt": "Hello", "max_tokens": 1, "temperature": 0})
        return self._ask(deadline, "POST", "/v1/completions", body=body, headers=headers)

    def wait(self, timeout_s: float) -> None:
        """Return once one token was completed."""
        deadline = time.monotonic() + timeout_s
        seen = "runs but does not listen on %s" % (self._socket or "%s:%d" % (self._address, self._port))
        # What it said, which tells more than a last question that the deadline cut off.
        said = ""
        while time.monotonic() < deadline:
            if self._look():
                health = self._ask(min(deadline, time.monotonic() + 5), "GET", "/health")
                if health.status == 200:
                    answer = self._complete(deadline)
                    if answer.status == 200 and "choices" in answer.body:
                        return
                    if answer.status in (401, 403):
                        raise StartFailed("%s refuses the API key of this machine's key file." % self._unit)
                    if answer.status:
                        seen = said = "is up but answers a one-token completion with status %d: %s" % (
                            answer.status,
                            answer.body.strip()[:300],
                        )
                        if 400 <= answer.status < 500:
                            raise self._failed(seen)
                    else:
                        seen = said or "is up but completed no token; a worker that hangs looks like this"
                else:
                    seen = "listens but has not finished loading its model"
            time.sleep(_PAUSE_S)
        raise self._failed("%s (waited %d seconds)" % (seen, timeout_s))


class Proxy:
    """What stands before llama-server, and must be running by then."""

    def __init__(self, machine: Machine, unit: str, target: Target) -> None:
        self._machine, self._unit, self._target = machine, unit, target

    def wait(self, deadline: float) -> None:
        """Return once it has said that llama-server is well; a trust that fails does not get better by waiting."""
        watch = UnitWatch()
        seen = "was not asked"
        while time.monotonic() < deadline:
            death = watch.death(self._machine.unit(self._unit))
            if death:
                raise explain(self._unit, death, None, self._machine.runs(self._unit))
            request = Request(self._target, 10, "GET", "/health")
            request.join(11)
            if request.status == 200:
                return
            seen = "says status %d of llama-server's health" % request.status if request.status else request.error or "does not answer"
            if "certificate" in seen.lower():
                break
            time.sleep(_PAUSE_S)
        where = "%s:%d" % (self._target.address, self._target.port)
        raise explain(self._unit, "does not lead to llama-server from %s: %s" % (where, seen), None, self._machine.runs(self._unit))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "llama-server.service"},
            "url": {"type": "str", "required": True},
            "socket": {"type": "path", "default": ""},
            "proxy_unit": {"type": "str", "default": "llama-server-proxy.service"},
            "host_name": {"type": "str", "default": ""},
            "ca_file": {"type": "path", "default": ""},
            # The file's name is no secret; what is in it never leaves the machine.
            "api_key_file": {"type": "path", "default": "", "no_log": False},
            "model": {"type": "str", "default": "default"},
            "timeout_s": {"type": "float", "default": 900},
        },
        supports_check_mode=True,
    )
    url = urllib.parse.urlsplit(module.params["url"])
    try:
        address, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        address, port = None, 0
    socket = module.params["socket"]
    if url.scheme not in ("http", "https") or not address:
        module.fail_json(msg="%s is not http://ADDRESS:PORT." % module.params["url"], failure=None)
    if url.scheme == "https" and not socket:
        module.fail_json(msg="%s is https, which only the proxy before a socket speaks; name the socket." % module.params["url"], failure=None)
    api_key = ""
    if module.params["api_key_file"]:
        try:
            api_key = next(iter(read_api_keys(module.params["api_key_file"])), "")
        except OSError as error:
            module.fail_json(msg="The API key cannot be read: %s." % error, failure=None)
        if api_key:
            module.no_log_values.add(api_key)
    begin = time.monotonic()
    machine = Machine(module.run_command)
    head = Head(machine, module.params["unit"], address, port, api_key, module.params["model"], socket)
    front = Target(address, port, tls=url.scheme == "https", name=module.params["host_name"], ca_file=module.params["ca_file"])
    try:
        head.wait(module.params["timeout_s"])
        if socket:
            Proxy(machine, module.params["proxy_unit"], front).wait(time.monotonic() + _PROXY_S)
    except StartFailed as error:
        module.fail_json(msg=str(error), failure=error.failure)
    except (ServiceError, SocketsError, SystemdError) as error:
        module.fail_json(msg="%s cannot be watched: %s." % (module.params["unit"], error), failure=None)
    module.exit_json(
        changed=False, seconds=round(time.monotonic() - begin, 2), attempts=head.attempts, pid=head.pid
    )


if __name__ == "__main__":
    main()
