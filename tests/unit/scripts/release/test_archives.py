"""The archive of the sources and the sums: what differs between two builds of one commit is taken out."""

import hashlib
import io
import tarfile

from scripts.release.archives import empty, settled, sums

AT = 1_700_000_000


def packed(names: list[str], time: int, user: str) -> bytes:
    """Pack files as setuptools does: in any order, of now and of whoever runs it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname, member.mode = 2, time, user, 0o775 if "run" in name else 0o664
            archive.addfile(member, io.BytesIO(b"x\n"))
    return file.getvalue()


def test_two_builds_are_the_same_bytes():
    """Whenever, in whichever order, and by whomever they are made."""
    one, other = packed(["p/a", "p/run"], AT + 1, "alice"), packed(["p/run", "p/a"], AT + 99, "bob")
    assert one != other
    assert settled(one, AT) == settled(other, AT)


def test_the_files_stay_as_they_are():
    """But for their time, their owner, and bits that a umask sets."""
    with tarfile.open(fileobj=io.BytesIO(settled(packed(["p/run", "p/a"], AT + 1, "alice"), AT))) as archive:
        found = {each.name: (each.mtime, each.uname, each.mode) for each in archive.getmembers()}
        assert found == {"p/a": (AT, "", 0o644), "p/run": (AT, "", 0o755)}
        file = archive.extractfile("p/a")
        assert file is not None
        assert file.read() == b"x\n"


def test_sums_are_as_sha256sum_reads_them(tmp_path):
    """Each file but the list itself."""
    dist = tmp_path / "dist"
    empty(dist)
    (dist / "b").write_bytes(b"2")
    (dist / "a").write_bytes(b"1")
    wanted = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in (("a", b"1"), ("b", b"2"))]
    assert sums(dist) == wanted
    assert sums(dist) == wanted
    assert (dist / "SHA256SUMS").read_text() == "\n".join([*wanted, ""])


def test_an_older_release_leaves_nothing(tmp_path):
    """Else it would be uploaded with the next one."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "old.whl").touch()
    empty(tmp_path / "dist")
    assert list((tmp_path / "dist").iterdir()) == []
