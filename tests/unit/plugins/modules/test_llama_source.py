# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module llama_source against real repositories, files and a real HTTP server, and against a pip that answers as pip does."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import os
import resource
import signal
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


class GitServer(http.server.ThreadingHTTPServer):
    """git's own http-backend behind a password, or a server that redirects to another one."""

    daemon_threads = True

    def __init__(self, root: Path, password: str = "", elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), GitHandler)
        self.root, self.password, self.elsewhere = root, password, elsewhere
        self.authorized: list[str] = []
        self.said: list[tuple[str, str, int, bytes, bytes]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def host(self) -> str:
        return "127.0.0.1:%d" % self.server_port


class GitHandler(http.server.BaseHTTPRequestHandler):
    server: GitServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        if given:
            self.server.authorized.append(given)
        expected = "Basic " + base64.b64encode(self.server.password.encode()).decode()
        if self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere + self.path)
            self.end_headers()
        elif self.server.password and given != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        else:
            self.backend()

    do_POST = do_GET

    def backend(self) -> None:
        path, _mark, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = {
            **os.environ, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        environment.pop("GIT_TRACE", None)
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.server.said.append((self.command, self.path, done.returncode, done.stdout, done.stderr))
        head, _empty, answer = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        self.send_response(int(dict(headers).get("Status", "200").split()[0]))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)


PASSWORD = "PasswordOfTheOperator"


@pytest.fixture
def git_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where git writes every command line that it runs."""
    path = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(path))
    # Nothing of whoever runs the tests.
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


@pytest.mark.parametrize("user", ["operator:" + PASSWORD, PASSWORD, PASSWORD + ":x-oauth", "operator:%40" + PASSWORD])
def test_a_password_in_a_git_url_is_in_no_command_line(capsys, tmp_path, repository, git_trace, user) -> None:
    password = user.replace("%40", "@")
    server = GitServer(tmp_path, password if ":" in user else user + ":")
    dest = tmp_path / "c" / "s.tar.gz"
    url = "http://%s@%s/tree/.git" % (user if ":" in user else user + ":", server.host)
    result = run(capsys, type="git", url=url, version="b123", dest=str(dest))
    assert result.get("commit") == repository[1], (result, server.said)
    assert server.authorized
    assert "remote-http" in git_trace.read_text(), "git wrote no trace"
    assert PASSWORD not in git_trace.read_text()
    assert [path.name for path in dest.parent.iterdir()] == ["s.tar.gz"]


def test_a_password_in_a_git_url_goes_to_no_other_server(capsys, tmp_path, repository, git_trace) -> None:
    thief = GitServer(tmp_path, "who:knows")
    server = GitServer(tmp_path, elsewhere="http://%s" % thief.host)
    url = "http://operator:%s@%s/tree/.git" % (PASSWORD, server.host)
    result = run(capsys, type="git", url=url, version="b123", dest=str(tmp_path / "s.tar.gz"))
    assert result["failed"] and result["msg"].startswith("The llama.cpp source is not to be had: git could not fetch b123 from http://127.0.0.1:")
    assert thief.authorized == []
    assert PASSWORD not in result["msg"]


def test_a_git_url_with_a_query_is_refused(capsys, tmp_path) -> None:
    result = run(capsys, type="git", url="http://127.0.0.1:9/x.git?token=" + PASSWORD, version="b1", dest=str(tmp_path / "s.tar.gz"))
    assert result["msg"] == (
        "The llama.cpp source is not to be had: http://127.0.0.1:9/x.git has a query, which git would show in the list of processes;"
        " give user and password before the host instead.")


def move_the_tag(tree: Path) -> str:
    (tree / "src" / "a.cpp").write_text("int evil;\n", encoding="utf-8")
    for arguments in (["commit", "-qam", "y"], ["tag", "-f", "-a", "-m", "moved", "b123"]):
        subprocess.run([*GIT, *arguments], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    return subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_a_tag_that_was_moved_is_named(capsys, tmp_path, tree, repository) -> None:
    url, commit = repository
    dest = tmp_path / "c" / "s.tar.gz"
    assert run(capsys, type="git", url=url, version="b123", commit=commit, dest=str(dest))["commit"] == commit
    dest.unlink()
    moved = move_the_tag(tree)
    result = run(capsys, type="git", url=url, version="b123", commit=commit, dest=str(dest))
    assert result["msg"] == "The llama.cpp source is not to be had: b123 of %s is the commit %s now, and not %s." % (url, moved, commit)
    assert list(dest.parent.iterdir()) == []
    assert run(capsys, type="git", url=url, version="b123", dest=str(dest))["commit"] == moved


def test_an_archive_that_is_there_has_to_be_of_that_commit(capsys, tmp_path, repository) -> None:
    dest = tmp_path / "s.tar.gz"
    run(capsys, type="git", url=repository[0], version="b123", dest=str(dest))
    result = run(capsys, type="git", url=repository[0], version="b123", commit="1" * 40, dest=str(dest))
    assert result["msg"] == "The llama.cpp source is not to be had: %s, which was fetched before, is of the commit %s, and not %s." % (
        dest, repository[1], "1" * 40)


def in_a_process(arguments: dict[str, object]) -> dict[str, object]:
    """The module in a process of its own, which a limit on its files holds for."""
    script = "from ansible_collections.herd.llama_cpp.plugins.modules.llama_source import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[:0] = %r\nfrom ansible.module_utils.testing import patch_module_args\nwith patch_module_args(%r):\n    %s"
         % (sys.path, arguments, script.replace("\n", "\n    "))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_DFL))
    assert done.stdout.strip().startswith("{"), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["git", "archive"])
def test_a_source_without_end_is_not_fetched(tmp_path, tree, archive, repository, server, kind) -> None:
    (tree / "big").write_bytes(os.urandom(3 << 20))
    if kind == "git":
        for arguments in (["add", "-A"], ["commit", "-qm", "z"], ["tag", "-f", "b123"]):
            subprocess.run([*GIT, *arguments], cwd=tree, check=True, stdout=subprocess.DEVNULL)
        given, place = {"url": repository[0], "version": "b123"}, repository[0]
    else:
        archive[0].write_bytes(os.urandom(3 << 20))
        place = server + "/x-1.tar.gz"
        given = {"url": place + "?sig=" + PASSWORD, "sha256": archive[1]}
    result = in_a_process({"type": kind, "dest": str(tmp_path / "c" / "s.tar.gz"), "max_mib": 2, **given})
    assert result["msg"] == "The llama.cpp source is not to be had: what comes from %s is larger than 2 MiB (max_mib)." % place
    assert list((tmp_path / "c").iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_signature_in_an_archives_url_is_in_no_message(capsys, tmp_path, archive, server) -> None:
    for path, digest in (("/none.tar.gz", "0" * 64), ("/x-1.tar.gz", "0" * 64)):
        result = run(capsys, type="archive", url=server + path + "?sig=" + PASSWORD, sha256=digest, dest=str(tmp_path / "s.tar.gz"))
        assert server + path in result["msg"] and PASSWORD not in result["msg"]


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
