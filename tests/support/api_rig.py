# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real llama-server and the role's own nginx before it on this machine, without systemd. It needs nginx with its stream module, and root."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import healthy

ROOT = Path(__file__).absolute().parents[2]
NOBODY = (65534, 65534)
# The last ones are what a key file may hold besides the one key that the role makes.
KEY, SECOND, REGEX, CYRILLIC = "aB3" * 16, "second-key", "k.+$()[]{}|^\\\"'*?;#", "ключ"
KEYS = f"# who may ask\n{KEY}\n\n{SECOND}\n{REGEX}\n{CYRILLIC}\n"
FRIEND = "127.0.0.9"

PLAY = """
- name: Write what the role would
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Read the role's settings
      ansible.builtin.include_vars: "{{ role }}/{{ item }}/main.yml"
      loop: [defaults, vars]

    - name: Look at the version of nginx
      ansible.builtin.command:
        argv: [nginx, -v]
      changed_when: false
      register: __llama_server_nginx_look

    - name: Write the settings and the unit
      ansible.builtin.template:
        src: "{{ role }}/templates/{{ item }}.j2"
        dest: "{{ folder }}/{{ item }}"
        mode: "0600"
      loop: [proxy.conf, llama-server-proxy.service]
"""


class Proxy:
    """nginx, started by the command lines of its unit."""

    def __init__(self, llama_server: Path, port: int, **settings: Any) -> None:
        self.port, self.folder = port, llama_server / str(port)
        folder = self.folder
        folder.mkdir()
        (folder / "api-key").write_text(KEYS, encoding="utf-8")
        variables = {
            "role": str(ROOT / "roles" / "llama_server"), "folder": str(folder), "llama_server_address": "127.0.0.1", "llama_server_port": port,
            "__llama_server_socket": str(llama_server / "api.sock"), "__llama_server_proxy_credentials": str(folder),
            "__llama_server_unready_file": str(folder / "unready.json"), "__llama_server_code_dir": str(ROOT / "roles" / "llama_server" / "files"),
            "__llama_server_proxy_runtime_dir": str(folder), "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **settings}
        if "llama_server_tls" in settings:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "tls-key"), "-out",
                 str(folder / "tls-certificate"), "-days", "9", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        (folder / "play.yml").write_text(PLAY, encoding="utf-8")
        (folder / "vars.json").write_text(json.dumps(variables), encoding="utf-8")
        run = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", f"@{folder / 'vars.json'}", str(folder / "play.yml")],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        unit = (folder / "llama-server-proxy.service").read_text(encoding="utf-8")
        files = int(re.search(r"(?m)^LimitNOFILE=(\d+)$", unit)[1])
        commands = [shlex.split(line.replace("${CREDENTIALS_DIRECTORY}", str(folder))) for line in re.findall(r"(?m)^ExecStart(?:Pre)?=(.*)$", unit)]
        for path in (llama_server, folder, *folder.iterdir()):
            os.chown(path, *NOBODY)
        for command in commands[:-1]:
            subprocess.run(command, check=True, user=NOBODY[0], group=NOBODY[1], extra_groups=[])
        script = "mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /var/log/nginx && exec setpriv --reuid=%d --regid=%d --clear-groups -- %s" % (
            *NOBODY, shlex.join(commands[-1]))
        # Where this machine gives no more, with less than its unit has.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self._log = (folder / "nginx.log").open("wb")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=self._log, stderr=self._log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, most), most)))
        ends = time.monotonic() + 10
        while not self.listens():
            assert self.process.poll() is None and time.monotonic() < ends, (folder / "nginx.log").read_text(errors="replace")
            time.sleep(0.02)

    def listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def stored(self) -> int:
        """Bytes of requests on its disk; it unlinks the files that it writes, so they are found among those it has open."""
        group = [self.process.pid, *map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())]
        sizes = 0
        for pid in group:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(entry).startswith("/tmp/"):
                        sizes += entry.stat().st_size
        return sizes

    def ask(self, method: str = "GET", path: str = "/v1/models", key: str | None = KEY, address: str = FRIEND, timeout: float = 20,
            body: bytes | None = None, **headers: Any) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=(address, 0))
        if key is not None:
            headers["Authorization"] = ("Bearer " + key).encode()
        try:
            client.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def completes(self, address: str = FRIEND) -> int:
        """The status that who has the key gets for one token."""
        return self.ask("POST", "/v1/completions", address=address, body=b'{"prompt": "1, 2,", "max_tokens": 1}', Content_Type="application/json")[0]


@contextlib.contextmanager
def llama_server(bin_dir: Path, model: Path) -> Iterator[Path]:
    """The directory of the socket on which a real one has loaded its model; its process is in the file ``pid`` there."""
    folder = Path(tempfile.mkdtemp(prefix="herd-proxy-", dir="/var/tmp"))
    (folder / "own-key").write_text(KEYS, encoding="utf-8")
    log = (folder / "llama-server.log").open("wb")
    server = subprocess.Popen(
        [str(bin_dir / "llama-server"), "-m", str(model), "--host", str(folder / "api.sock"), "--threads-http", "72", "-c", "1024", "-np", "2",
         "--api-key-file", str(folder / "own-key"), "--no-webui"], stdout=log, stderr=log, umask=0)
    try:
        healthy.wait(folder / "api.sock", server, lambda: (folder / "llama-server.log").read_text(errors="replace"))
        (folder / "pid").write_text(str(server.pid))
        yield folder
    finally:
        server.kill()
        server.wait()
        log.close()
        shutil.rmtree(folder)
