# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MODULE = "herd.llama_cpp.service_files"


class ActionModule(ActionBase):
    """Make the contents on the control node, and have the module of the same name write all of them at once; see its documentation."""

    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        files: t.List[t.Dict[str, t.Any]] = []
        secrets: t.Dict[str, str] = {}
        for entry in self._task.args.get("files") or []:
            for path, source, extra in _places(entry):
                content = str(entry["content"]) if source is None else self._text(source, dict(variables, **extra))
                secret = boolean(entry.get("secret", False))
                if secret:
                    secrets[path] = content
                files.append({
                    "path": path, "mode": str(entry.get("mode", "0644")), "force": entry.get("force", True), "secret": secret,
                    "content": None if secret else content,
                })
        arguments = dict(self._task.args, files=files, secrets=secrets)
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
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


def _places(entry: t.Mapping[str, t.Any]) -> t.Iterator[t.Tuple[str, t.Optional[str], t.Dict[str, t.Any]]]:
    """The paths of an entry's files, each with the name of its source, if it has one, and the variables that this has besides."""
    path, sources, each = str(entry.get("path") or ""), entry.get("src"), entry.get("each")
    if not path:
        raise AnsibleActionFail("Every file of service_files needs a path.")
    if (sources is None) == (entry.get("content") is None):
        raise AnsibleActionFail("%s needs content or src, and one of them only." % path)
    if sources is None:
        yield path, None, {}
        return
    for source in [sources] if isinstance(sources, str) else sources:
        full = path + os.path.basename(source).removesuffix(".j2") if path.endswith("/") else path
        if each is None:
            yield full, source, {}
        for name, item in (each or {}).items():
            yield full.replace("*", str(name)), source, {"item": item}
