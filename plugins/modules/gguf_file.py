#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_file
short_description: Verify a GGUF model and put it in place
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Keeps a directory of verified models. A new model is put together in a directory of its own below it, verified there (a readable
    header, all of its weights, all of its parts, the SHA-256 where one is given), and only then moved to its name. What was there before
    stays until that moment, and stays altogether when the new one is broken.
  - Remembers what was verified, so that a model that has not changed since is neither read nor hashed again, whatever its size.
  - How the files get there is no concern of this module.
options:
  directory:
    description: The directory of models. It has to be there before a model is put into it.
    type: path
    required: true
  directory_mode:
    description: The mode that O(directory) has to have, where it is there. It stays as it is when this is empty.
    type: str
    default: ""
  source:
    description:
      - Where the model comes from, anything that identifies it. Another source is another model, even under the same name.
      - Required with O(state=present).
    type: dict
  files:
    description:
      - The model's files, the first part first. With O(move=true), names relative to RV(incoming).
      - With O(move=false), files that lie where they belong, relative to O(directory) or absolute. They are taken over when all of them
        are there, each has its SHA-256 in O(sha256), and they prove to be what is wanted.
    type: list
    elements: str
    default: []
  sha256:
    description: Checksums by the files' base names.
    type: dict
    default: {}
  move:
    description: Whether new files were put into RV(incoming) and shall be moved to their place.
    type: bool
    default: false
  name:
    description: Name for a model of one file, its own base name when empty.
    type: str
    default: ""
  recheck:
    description:
      - V(changed) reads a file again when its size or the time of its last change is not what it was when it was verified, V(all) reads
        every file. One with the SHA-256 that is known of it counts as verified.
      - Otherwise the model counts as not there, and a warning and RV(problem) name the file. The file itself is left as it is.
    type: str
    choices: [none, changed, all]
    default: none
  rights:
    description: Whether owner, group and mode are V(set), or only V(seen), and RV(rights_differ) says whether they are others.
    type: str
    choices: [set, seen]
    default: set
  header:
    description: Whether the header of a model that is in place is read, with its metadata and tensors.
    type: bool
    default: false
  state:
    description:
      - V(absent) removes all models that this module put into O(directory), with what it remembers of them. Files that changed since
        are kept, and so is everything else.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - ansible.builtin.files
attributes:
  check_mode:
    description: In check mode nothing is hashed or moved, and O(recheck) does nothing. A model that would have to be is reported as changed.
    support: full
  diff_mode:
    description: Shows which files would come or go.
    support: full
seealso:
  - module: herd.llama_cpp.gguf_info
"""

EXAMPLES = r"""
- name: Check whether the model is installed
  herd.llama_cpp.gguf_file:
    directory: /var/lib/llama.cpp/models
    source:
      url: https://example.com/model.gguf
      sha256: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
  register: model

- name: Download the model
  ansible.builtin.get_url:
    url: https://example.com/model.gguf
    dest: "{{ model.incoming }}/model.gguf"
    mode: "0644"
  when: not model.present

- name: Verify the model and install it
  herd.llama_cpp.gguf_file:
    directory: /var/lib/llama.cpp/models
    source:
      url: https://example.com/model.gguf
      sha256: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
    sha256:
      model.gguf: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
    files: [model.gguf]
    move: true
    mode: "0644"
  when: not model.present
"""

RETURN = r"""
present:
  description: Whether the model of that source is in place and verified.
  returned: O(state=present)
  type: bool
  sample: true
path:
  description: The file to give to llama.cpp, empty where there is none.
  returned: O(state=present)
  type: str
  sample: /var/lib/llama.cpp/models/model.gguf
files:
  description: The model's files.
  returned: O(state=present)
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /var/lib/llama.cpp/models/model.gguf
    size_bytes:
      description: Its size in bytes.
      type: int
      sample: 98362432
    mtime_ns:
      description: When it was changed last, in nanoseconds, as text.
      type: str
      sample: "1795384342454832600"
    sha256:
      description: Its SHA-256.
      type: str
      sample: 0e7b1a3c5d2f4e6889aabbccddeeff00112233445566778899aabbccddeeff00
problem:
  description: Why files that are there were not taken over, or no longer count as verified. Empty when nothing is wrong.
  returned: O(state=present)
  type: str
  sample: ""
rights_differ:
  description: Whether owner, group or mode of the model's files or of O(directory) are others than they shall be.
  returned: O(rights=seen)
  type: bool
  sample: false
gguf:
  description: The header, as RV(herd.llama_cpp.gguf_info#module:gguf) of M(herd.llama_cpp.gguf_info).
  returned: O(header=true), where the model is in place
  type: dict
  sample: {architecture: llama, n_layers: 30}
header_problem:
  description: Why it could not be read.
  returned: O(header=true), where the model is in place and its header cannot be read
  type: str
  sample: /var/lib/llama.cpp/models/model.gguf is no GGUF file.
incoming:
  description: The directory in which new files of that source are put together. It need not be there.
  returned: O(state=present)
  type: str
  sample: /var/lib/llama.cpp/models/.incoming/0123456789abcdef
incoming_bytes:
  description: What is there already, in bytes.
  returned: O(state=present)
  type: int
  sample: 0
free_bytes:
  description: Free space for the directory, in bytes.
  returned: O(state=present)
  type: int
  sample: 107374182400
removed:
  description: What was removed.
  returned: O(state=absent)
  type: list
  elements: str
  sample: [/var/lib/llama.cpp/models/model.gguf]
kept:
  description: Files that were put there once but have changed since.
  returned: O(state=absent)
  type: list
  elements: str
  sample: []
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe_with_kind
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import leads_out
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.store import Store, StoreError, free_bytes, tree_bytes


def set_attributes(module, path, changed):
    """Owner, group and mode of one file."""
    arguments = module.load_file_common_arguments(dict(module.params, path=path), path=path)
    return module.set_fs_attributes_if_different(arguments, changed)


def set_rights(module, files):
    """Those of a model's files and of its directory; whether one of them was different."""
    given, changed = module.params, False
    for entry in files:
        # A file that is somebody else's is only looked at.
        if os.path.dirname(entry["path"]) == given["directory"]:
            changed = set_attributes(module, entry["path"], changed)
    if given["directory_mode"] and os.path.isdir(given["directory"]):
        changed = module.set_mode_if_different(given["directory"], given["directory_mode"], changed)
    return changed


def rights(module, files):
    """Whether they were set, or would have to be."""
    if module.params["rights"] == "set":
        return {"changed": set_rights(module, files)}
    checks, module.check_mode = module.check_mode, True
    differ = set_rights(module, files)
    module.check_mode = checks
    return {"changed": False, "rights_differ": differ}


def header(path):
    """What the model that is in place says of itself, or why it cannot."""
    try:
        model = read_gguf_model(path)
    except GgufError as exc:
        return {"header_problem": "%s." % exc}
    problem = model.incomplete_problem()
    return {"header_problem": "%s." % problem} if problem else {"gguf": describe_with_kind(model, include_tensors=True, include_metadata=True)}


def renamed(incoming, names, name):
    """The paths of the new files, the only one under the name it is to have."""
    for item in names:
        if leads_out(item):
            raise StoreError("%s is no name of a file below %s" % (printable(item), incoming))
    paths = [os.path.join(incoming, item) for item in names]
    if name and len(paths) == 1 and os.path.basename(paths[0]) != name:
        wanted = os.path.join(incoming, name)
        if os.path.exists(paths[0]):
            os.replace(paths[0], wanted)
        paths = [wanted]
    return paths


def present(module, store):
    given = module.params
    source = given["source"]
    incoming = store.incoming(source)
    result = {"changed": False, "problem": "", "incoming": incoming, "incoming_bytes": tree_bytes(incoming)}
    result["free_bytes"] = free_bytes(given["directory"])
    if given["recheck"] != "none" and not module.check_mode:
        result["changed"], problems = store.recheck(source, given["recheck"] == "all")
        for problem in problems:
            module.warn("%s." % problem)
        result["problem"] = "; ".join(problems)
    files = store.find(source)
    if not files and given["move"]:
        result["changed"] = True
        names = [given["name"]] if given["name"] and len(given["files"]) == 1 else [os.path.basename(item) for item in given["files"]]
        result["diff"] = {"before": "", "after": "".join("%s\n" % os.path.join(given["directory"], name) for name in names)}
        if not module.check_mode:
            paths = renamed(incoming, given["files"], given["name"])
            files = store.accept(source, paths, given["sha256"], lambda path: set_attributes(module, path, True))
    elif not files and given["files"]:
        paths = [os.path.join(given["directory"], item) for item in given["files"]]
        known = all(given["sha256"].get(os.path.basename(path)) for path in paths)
        if known and all(os.path.isfile(path) for path in paths):
            if module.check_mode:
                result["changed"] = True
            else:
                try:
                    files = store.adopt(source, paths, given["sha256"])
                    result["changed"] = True
                except StoreError as exc:
                    result["problem"] = "%s." % exc
    seen = rights(module, files)
    result.update(seen, changed=result["changed"] or seen["changed"])
    if given["header"] and files:
        result.update(header(files[0]["path"]))
    result.update(present=bool(files), files=files, path=files[0]["path"] if files else "")
    return result


def absent(module, store):
    removed, kept = store.remove(dry=module.check_mode)
    shown = {"before": "".join("%s\n" % path for path in removed), "after": ""}
    return {"changed": bool(removed), "removed": removed, "kept": kept, "diff": shown}


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "directory_mode": {"type": "str", "default": ""},
            "source": {"type": "dict"},
            "files": {"type": "list", "elements": "str", "default": []},
            "sha256": {"type": "dict", "default": {}},
            "move": {"type": "bool", "default": False},
            "name": {"type": "str", "default": ""},
            "recheck": {"type": "str", "choices": ["none", "changed", "all"], "default": "none"},
            "rights": {"type": "str", "choices": ["set", "seen"], "default": "set"},
            "header": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("source",)), ("move", True, ("files",))],
        add_file_common_args=True,
        supports_check_mode=True,
    )
    module.params["directory"] = os.path.normpath(module.params["directory"])
    store = Store(module.params["directory"])
    if module.params["move"] and not module.params["files"]:
        module.fail_json(msg="files is empty, so there is nothing to move.")
    try:
        result = present(module, store) if module.params["state"] == "present" else absent(module, store)
    except StoreError as exc:
        module.fail_json(msg="%s." % exc)
    except OSError as exc:
        module.fail_json(msg="%s: %s." % (exc.filename or module.params["directory"], exc.strerror))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
