# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of every kind to the one kind that is built from, and what is refused."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._build import source as build_source
from ansible_collections.herd.llama_cpp.plugins.module_utils._build.source import SourceError, repack

COMMIT = "4f9ddc6c2c0a1ad0ba2ea1c6fe3bd1cd4d6a28f1"
TREE = {"CMakeLists.txt": b"project(x)", "src/a.cpp": b"int a;", ".git/config": b"[core]", ".github/b.yml": b"b"}


def pack(path: Path, files: dict[str, bytes], mode: str = "w:gz", links: dict[str, str] | None = None, commit: str = "") -> Path:
    headers = {"comment": commit} if commit else {}
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.SYMTYPE
            member.linkname = target
            archive.addfile(member)
    return path


def below(prefix: str) -> dict[str, bytes]:
    return {f"{prefix}/{name}": content for name, content in TREE.items()}


def names(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return set(archive.getnames())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_repack_whatever_the_compression(tmp_path: Path, mode: str) -> None:
    source = pack(tmp_path / "s", below("llama.cpp-b1"), mode)
    repack(str(source), str(tmp_path / "t"), "", "s")
    assert names(tmp_path / "t") == {"llama.cpp/CMakeLists.txt", "llama.cpp/src/a.cpp", "llama.cpp/.github/b.yml"}
    with tarfile.open(tmp_path / "t") as archive:
        assert archive.extractfile("llama.cpp/src/a.cpp").read() == b"int a;"


@pytest.mark.parametrize("subdir", ["vendor/llama.cpp", "vendor/llama.cpp/", "./vendor/llama.cpp"])
def test_repack_a_directory_inside(tmp_path: Path, subdir: str) -> None:
    source = pack(tmp_path / "s", {"p-1/CMakeLists.txt": b"other", "p-1/vendor/x": b"", **below("p-1/vendor/llama.cpp")})
    repack(str(source), str(tmp_path / "t"), subdir, "s")
    assert names(tmp_path / "t") == {"llama.cpp/CMakeLists.txt", "llama.cpp/src/a.cpp", "llama.cpp/.github/b.yml"}


def test_the_commit_is_kept(tmp_path: Path) -> None:
    source = pack(tmp_path / "s", below("x"), commit=COMMIT)
    repack(str(source), str(tmp_path / "t"), "", "s")
    assert build_source.commit_of(str(source)) == COMMIT
    assert build_source.commit_of(str(tmp_path / "t")) == COMMIT


def test_no_commit(tmp_path: Path) -> None:
    assert build_source.commit_of(str(pack(tmp_path / "s", below("x")))) == ""
    assert build_source.commit_of(str(pack(tmp_path / "s", below("x"), commit="Release 1"))) == ""
    assert build_source.commit_of(str(tmp_path / "none")) == ""


def test_links_inside_are_kept(tmp_path: Path) -> None:
    source = pack(tmp_path / "s", below("x"), links={"x/src/b.cpp": "../src/a.cpp"})
    repack(str(source), str(tmp_path / "t"), "", "s")
    assert "llama.cpp/src/b.cpp" in names(tmp_path / "t")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "../.."])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    source = pack(tmp_path / "s", below("x"), links={"x/src/b": target})
    with pytest.raises(SourceError, match="holds the link x/src/b, which points out of it"):
        repack(str(source), str(tmp_path / "t"), "", "s")


@pytest.mark.parametrize("name", ["x/../../etc/cron.d/a", "/etc/cron.d/a"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    source = pack(tmp_path / "s", {**below("x"), name: b""})
    with pytest.raises(SourceError, match="unsafe name"):
        repack(str(source), str(tmp_path / "t"), "", "s")


def test_two_top_directories(tmp_path: Path) -> None:
    source = pack(tmp_path / "s", {**below("x"), "y/z": b""})
    with pytest.raises(SourceError, match=r"s has more than one top directory \(x and y\)"):
        repack(str(source), str(tmp_path / "t"), "", "s")


def test_llama_cpp_is_not_there(tmp_path: Path) -> None:
    source = pack(tmp_path / "s", below("x"))
    with pytest.raises(SourceError, match="s has no x/vendor/CMakeLists.txt, so llama.cpp is not there"):
        repack(str(source), str(tmp_path / "t"), "vendor", "s")


def test_truncated_and_not_an_archive(tmp_path: Path) -> None:
    whole = pack(tmp_path / "s", {**below("x"), "x/big": bytes(range(256)) * 4096}).read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        (tmp_path / "s").write_bytes(content)
        with pytest.raises(SourceError, match="is not a whole tar archive|cannot be unpacked"):
            repack(str(tmp_path / "s"), str(tmp_path / "t"), "", "s")


def odd_archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("x/CMakeLists.txt", "x/a"):
            member = tarfile.TarInfo(name)
            archive.addfile(member)
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def odd_member(name: str, kind: bytes, target: str = "", **pax: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.pax_headers = kind, target, pax
    return member


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([odd_member("x/l", tarfile.LNKTYPE, "x/none")], "s holds the link x/l to x/none, which is not in it"),
        ([odd_member("x/l", tarfile.LNKTYPE, "x/l")], "s holds the link x/l to x/l, which is not in it"),
        ([odd_member("x/d", tarfile.DIRTYPE), odd_member("x/l", tarfile.LNKTYPE, "x/d")], "s holds the link x/l to x/d, which is not in it"),
        ([odd_member("x/f", tarfile.FIFOTYPE), odd_member("x/l", tarfile.LNKTYPE, "x/f")], "s holds the link x/l to x/f, which is not in it"),
        ([odd_member("x/b", tarfile.REGTYPE, mtime="nan")], "s is not a whole tar archive"),
        ([odd_member("x/b", tarfile.REGTYPE, mtime="inf")], "s is not a whole tar archive"),
        ([odd_member("x/b", tarfile.REGTYPE, size="-512")], "s is not a whole tar archive"),
        ([odd_member("x/b\x1b[31m", tarfile.SYMTYPE, "/etc")], "s holds the link x/b, which points out of it"),
    ],
)
def test_odd_archives_are_refused_in_a_sentence(tmp_path: Path, members: list[tarfile.TarInfo], said: str) -> None:
    source = odd_archive(tmp_path / "s", *members)
    with pytest.raises(SourceError) as raised:
        repack(str(source), str(tmp_path / "t"), "", "s")
    assert str(raised.value).startswith(said)


def test_a_hard_link_is_copied(tmp_path: Path) -> None:
    source = odd_archive(tmp_path / "s", odd_member("x/l", tarfile.LNKTYPE, "x/a"))
    repack(str(source), str(tmp_path / "t"), "", "s")
    assert "llama.cpp/l" in names(tmp_path / "t")


@pytest.mark.parametrize("seed", range(300))
def test_damaged_archives_end_in_a_sentence(tmp_path: Path, seed: int) -> None:
    """Bytes of a header are changed, and its checksum is put right where luck would have it: never a traceback."""
    lots = random.Random(seed)
    whole = bytearray(odd_archive(tmp_path / "s", odd_member("x/l", tarfile.LNKTYPE, "x/a"), odd_member("x/p", tarfile.REGTYPE, mtime="1.5")).read_bytes())
    for _change in range(lots.randint(1, 4)):
        block = 512 * lots.randrange(len(whole) // 512)
        whole[block + lots.randrange(345)] = lots.choice([0, 32, 45, 47, 48, 55, 128, 255, lots.randrange(256)])
        header = whole[block:block + 512]
        header[148:156] = b" " * 8
        whole[block + 148:block + 156] = b"%06o\0 " % sum(header)
    (tmp_path / "s").write_bytes(whole)
    try:
        repack(str(tmp_path / "s"), str(tmp_path / "t"), "", "s")
    except SourceError as error:
        assert str(error).isprintable()


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    build_source.check_sha256(str(path), digest.upper(), "s")
    with pytest.raises(SourceError, match=f"the SHA-256 of s is {digest}, not {'0' * 64}"):
        build_source.check_sha256(str(path), "0" * 64, "s")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
            f"    p==1:\n        Expected sha256 {'a' * 64}\n             Got        {'b' * 64}\n",
            f"the SHA-256 of p==1 is {'b' * 64}, not {'a' * 64}",
        ),
        ("/usr/bin/python3: No module named pip\n", "the Python that runs Ansible has no pip, which fetches p==1"),
        (
            "ERROR: Could not find a version that satisfies the requirement p==1\nERROR: No matching distribution found for p==1\n",
            "pip finds no source distribution p==1 in the package index it is set up to use",
        ),
        ("Looking\nERROR: Disk full.\n", "pip could not fetch p==1: Disk full"),
        ("", "pip could not fetch p==1: it said nothing"),
    ],
)
def test_pip_failures(output: str, expected: str) -> None:
    assert build_source.pip_failure(output, "p==1", "a" * 64) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("fatal: couldn't find remote ref b9\n", "u has no tag, branch or commit b9"),
        ("fatal: remote error: upload-pack: not our ref 12\n", "u has no tag, branch or commit b9"),
        ("warning: x\nfatal: unable to access 'u'\n", "git could not fetch b9 from u: unable to access 'u'"),
        ("", "git could not fetch b9 from u: it said nothing"),
    ],
)
def test_git_failures(output: str, expected: str) -> None:
    assert build_source.git_failure(output, "u", "b9") == expected


def test_requirement() -> None:
    assert build_source.requirement_line("p", "1", "AB") == "p==1 --hash=sha256:ab\n"


def test_only_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="pip left 0 files"):
        build_source.only_file(str(tmp_path), "p==1")
    (tmp_path / "a").touch()
    assert build_source.only_file(str(tmp_path), "p==1") == str(tmp_path / "a")
