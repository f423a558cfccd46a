"""A certificate and its key, as files: what is taken, and what is wrong with what isn't."""

import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from router.tls.certificate import Certificate, load
from router.tls.faults import TlsError
from tests.certificates import Authority, Files

OPENSSL = shutil.which("openssl") or ""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a CA."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """Give a certificate that a test may spoil."""
    return authority.issue("own", "router.lan", "10.0.0.7", folder=tmp_path)


def test_a_good_one(files):
    """With its names and its dates."""
    found = load(*files)
    assert found.names == ("router.lan", "10.0.0.7")
    assert found.late(time.time()) == ""
    assert found.begins < time.time() < found.ends
    assert str(found) == f"router.lan, 10.0.0.7, until {found.until}"
    assert not found.is_self_signed


def test_its_context_is_a_modern_one(files):
    """TLS 1.2 with forward secrecy and authenticated encryption, and 1.3."""
    context = load(*files).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    for each in context.get_ciphers():
        assert each["name"].startswith(("TLS_", "ECDHE-")), each
        assert each["aead"], each


def test_the_digest_is_of_both_files(authority, files, tmp_path):
    """Another pair is another one; the same is the same."""
    first = load(*files)
    assert load(*files).digest == first.digest
    assert load(*authority.issue("own", folder=tmp_path)).digest != first.digest


def test_dates(authority, tmp_path):
    """One that has ended, and one that hasn't begun, are loaded: what that means others decide."""
    now = time.time()
    assert load(*authority.issue(days=-2, folder=tmp_path)).late(now).startswith("it has expired, on ")
    early = Certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), (), now + 90000, now + 180000, "")
    assert early.late(now).startswith("it isn't valid before ")
    assert str(early).startswith("no name, until ")


@pytest.mark.skipif(not OPENSSL, reason="there is no openssl here")
def test_one_without_a_ca(tmp_path):
    """As `openssl req -x509` makes it."""
    cert, key = tmp_path / "a.crt", tmp_path / "a.key"
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
         "-subj", "/CN=router", "-addext", "subjectAltName=DNS:router.lan", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    found = load(cert, key)
    assert found.is_self_signed
    assert found.names == ("router.lan",)


def in_half(path: Path) -> None:
    """Leave the file's first half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def mixed_up(files: Files) -> None:
    """Have each in the other's place."""
    kept = files.cert.read_bytes()
    files.cert.write_bytes(files.key.read_bytes())
    files.key.write_bytes(kept)


def into_a_folder(files: Files) -> None:
    """Have a folder of that name."""
    files.cert.unlink()
    files.cert.mkdir()


def into_a_pipe(files: Files) -> None:
    """Have a pipe of that name, which nobody writes to."""
    files.key.unlink()
    os.mkfifo(files.key)


SPOIL: dict[str, Callable[[Files], object]] = {
    "mixed up": mixed_up,
    "both in the key's place": lambda files: files.key.write_bytes(files.cert.read_bytes()),
    "der": lambda files: files.cert.write_bytes(ssl.PEM_cert_to_DER_cert(files.cert.read_text())),
    "encrypted": lambda files: files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n"),
    "another's key": lambda files: files.key.write_bytes(trustme.CA().issue_cert("a").private_key_pem.bytes()),
    "half a certificate": lambda files: in_half(files.cert),
    "half a key": lambda files: in_half(files.key),
    "no end": lambda files: files.cert.write_bytes(files.cert.read_bytes().replace(b"-----END", b"-----NO")),
    "no certificate": lambda files: files.cert.unlink(),
    "no key": lambda files: files.key.unlink(),
    "a folder": into_a_folder,
    "a pipe": into_a_pipe,
    "an empty certificate": lambda files: files.cert.write_bytes(b""),
    "an empty key": lambda files: files.key.write_bytes(b""),
}


@pytest.mark.parametrize(
    ("how", "key", "says"),
    [
        ("mixed up", "cert", "it has a key, and no certificate: are the two files mixed up?"),
        (
            "both in the key's place",
            "key",
            "it has no private key in PEM form (-----BEGIN PRIVATE KEY-----), but a cer",
        ),
        ("der", "cert", "convert it with `openssl x509 -inform der -in "),
        ("encrypted", "key", "it is encrypted, and nobody is there to give its passphrase: write it without one, with"),
        ("another's key", "key", "it isn't the key of the certificate in "),
        ("half a certificate", "cert", "it is broken, or wasn't written to its end"),
        ("half a key", "key", "it is broken, or wasn't written to its end"),
        ("no end", "cert", "it is broken, or wasn't written to its end"),
        ("no certificate", "cert", "there is no such file"),
        ("no key", "key", "there is no such file"),
        ("a folder", "cert", "it is a folder: name the file"),
        ("a pipe", "key", "it is no ordinary file"),
        ("an empty certificate", "cert", "it has no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        ("an empty key", "key", "it has no private key in PEM form"),
    ],
)
def test_what_is_wrong(files, how, key, says):
    """It is said of the file that is to be put right."""
    SPOIL[how](files)
    with pytest.raises(TlsError) as told:
        load(*files)
    assert told.value.key == key
    assert str(told.value).startswith(f"{getattr(files, key)}: ")
    assert says in str(told.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(files):
    """The user is said to be the one to look at."""
    files.key.chmod(0)
    with pytest.raises(TlsError, match="this user may not read it"):
        load(*files)


def test_files_that_change_while_they_are_read(files, monkeypatch):
    """They aren't taken: the next look finds them whole."""
    from router.tls import certificate  # noqa: PLC0415

    reads = iter([(b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"), (b"other", b"ones")])
    monkeypatch.setattr(certificate, "_read", lambda *_: next(reads))
    with pytest.raises(TlsError, match="is being written"):
        load(*files)
