# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display

display = Display()
MODULE = "herd.llama_cpp.service_files"
# Literally so in the text of a file: a template that names it is rendered once, whoever renders it.
CONFIG_ID = "@HERD_CONFIG_ID@"


class ActionModule(ActionBase):
    """Make the contents on the control node, and have the module of the same name write all of them at once; see its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        files: t.List[t.Dict[str, t.Any]] = []
        texts: t.Dict[str, str] = {}
        secrets: t.Set[str] = set()
        started: t.Dict[str, t.Tuple[str, t.List[str], str]] = {}
        for entry in self._task.args.get("files") or []:
            for path, source, name in _places(entry):
                item = {"item": entry["each"][name]} if name is not None else {}
                texts[path] = str(entry["content"]) if source is None else self._text(source, dict(variables, **item))
                if boolean(entry.get("secret", False)):
                    secrets.add(path)
                if entry.get("unit"):
                    started[_named(entry["unit"], name)] = (path, [_named(part, name) for part in entry.get("parts") or []], str(entry.get("identity") or ""))
                files.append({"path": path, "mode": str(entry.get("mode", "0644")), "force": entry.get("force", True), "secret": path in secrets})
        ids = {unit: _config_id(texts, secrets, path, parts, identity) for unit, (path, parts, identity) in started.items()}
        for unit, (path, _parts, _identity) in started.items():
            texts[path] = texts[path].replace(CONFIG_ID, ids[unit])
        for file in files:
            file["content"] = None if file["secret"] else texts[file["path"]]
        arguments = dict(self._task.args, files=files, secrets={path: texts[path] for path in secrets})
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars), config_ids=ids)
        # Also of a machine on which nothing changed, whose result a callback may not show.
        for one in result.get("ignored") or []:
            display.warning("%(file)s line %(line)d: %(reason)s What it should do is not done on this machine." % one)
        return result

    def _text(self, name: str, variables: t.Dict[str, t.Any]) -> str:
        """The text of one of the role's files, or what comes of one of its templates."""
        kind = "templates" if name.endswith(".j2") else "files"
        source = self._find_needle(kind, name)
        text = self._loader.get_text_file_contents(source)
        if kind == "files":
            return str(text)
        templar = self._templar.copy_with_new_env(searchpath=[os.path.dirname(source)], available_variables=variables)
        return str(templar.template(trust_as_template(text), escape_backslashes=False))


def _places(entry: t.Mapping[str, t.Any]) -> t.Iterator[t.Tuple[str, t.Optional[str], t.Optional[str]]]:
    """The paths of an entry's files, each with the name of its source, if it has one, and that of ``each`` which it is made for."""
    path, sources, each = str(entry.get("path") or ""), entry.get("src"), entry.get("each")
    if not path:
        raise AnsibleActionFail("Every file of service_files needs a path.")
    if (sources is None) == (entry.get("content") is None):
        raise AnsibleActionFail("%s needs content or src, and one of them only." % path)
    if sources is None:
        yield path, None, None
        return
    for source in [sources] if isinstance(sources, str) else sources:
        full = path + os.path.basename(source).removesuffix(".j2") if path.endswith("/") else path
        if each is None:
            yield full, source, None
        for name in each or {}:
            yield _named(full, name), source, name


def _named(text: str, name: t.Optional[str]) -> str:
    return str(text) if name is None else str(text).replace("*", str(name))


def _config_id(texts: t.Mapping[str, str], secrets: t.Container[str], path: str, parts: t.Sequence[str], identity: str) -> str:
    """The ID of all that a unit is started from. No secret is part of it: it is readable in the unit and in the process's environment."""
    for part in (path, *parts):
        if part not in texts or part in secrets:
            raise AnsibleActionFail("%s has %s as a part, which is secret or none of the files." % (path, part))
    return hashlib.sha256("\0".join([*(texts[part] for part in (path, *parts)), identity]).encode("utf-8", "surrogateescape")).hexdigest()
