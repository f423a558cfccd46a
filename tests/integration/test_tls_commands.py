"""A router with a certificate, as the command line finds it, and as it is looked at before it starts."""

import asyncio
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.certificates import Certificates
from router.cli.main import main
from router.tls.certificate import load
from tests.certificates import Authority, Files
from tests.running import RunningRouter, dead_url, eventually

CONFIG = "server: {port: %d, tls: {cert: own.crt, key: own.key}}\nbackends: [{url: '%s', models: [demo]}]\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give a CA, whose certificate is beside router.yaml."""
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> Files:
    """Give a certificate of other names than those that the commands ask by."""
    return authority.issue("own", "router.lan")


@pytest.fixture
def file(tmp_path: Path, files: Files) -> Path:
    """Give a router.yaml with it."""
    del files
    (tmp_path / "router.yaml").write_text(CONFIG % (8001, dead_url()))
    return tmp_path / "router.yaml"


@pytest.fixture
def command(capsys):
    """Give a function that runs a command: its exit code, and what it says."""

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with capture_logs():
            code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


# Commands that ask a running router


@pytest.fixture
async def url(start_router, fake, files, file):
    """Give where a router with the certificate is found, as its router.yaml says, too."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], server={"port": 0, "tls": files.config})
    port = router.url.rpartition(":")[2]
    file.write_text(CONFIG % (int(port), fake.url))
    return f"https://127.0.0.1:{port}"


@pytest.mark.usefixtures("url")
async def test_a_command_finds_it_by_its_router_yaml(command, file):
    """It must show the certificate that stands there, whatever its names and its CA."""
    code, out, err = await command("status", "--config", str(file))
    assert (code, err) == (0, "")
    assert "demo" in out


async def test_even_once_its_certificate_has_expired(command, file, authority, files, start_router, fake):
    """That is when somebody has to look."""
    authority.issue("own", "router.lan", days=-3)
    late = await start_router([{"url": fake.url, "models": ["demo"]}], server={"port": 0, "tls": files.config})
    file.write_text(CONFIG % (int(late.url.rpartition(":")[2]), fake.url))
    assert (await command("status", "--config", str(file)))[0] == 0


@pytest.mark.usefixtures("url")
async def test_no_other_certificate_is_taken(command, file, authority, tmp_path):
    """Not one of the same CA, either."""
    other = authority.issue("other", "router.lan")
    shutil.copy(other.cert, tmp_path / "other2.crt")
    file.write_text(file.read_text().replace("own.crt", "other2.crt"))
    code, _, err = await command("status", "--config", str(file))
    assert code == 2
    assert f"it shows another certificate than that of {tmp_path}/other2.crt" in err


@pytest.mark.usefixtures("url")
async def test_a_certificate_that_is_gone(command, file, files):
    """The command says which file it is about."""
    files.cert.unlink()
    code, _, err = await command("status", "--config", str(file))
    assert (code, f"{files.cert}: there is no such file" in err) == (2, True)


async def test_by_a_url_it_is_trusted_as_servers_are(command, start_router, fake, authority, monkeypatch):
    """By its CA, or by itself; else the command says what helps."""
    files = authority.issue("here")
    router = await start_router([{"url": fake.url, "models": ["demo"]}], server={"port": 0, "tls": files.config})
    code, _, err = await command("status", "--url", router.url)
    assert code == 2
    assert "its certificate isn't trusted: " in err
    assert "with --ca" in err
    for ca in (authority.pem, files.cert):
        assert (await command("status", "--url", router.url, "--ca", str(ca)))[0] == 0
    monkeypatch.setenv("ROUTER_CA", str(authority.pem))
    assert (await command("status", "--url", router.url))[0] == 0
    code, _, err = await command("status", "--url", router.url, "--ca", str(files.key))
    assert (code, "it has a key, and no certificate" in err) == (2, True)
    code, _, err = await command("status", "--url", router.url.replace("https", "http"))
    assert "begin the URL with https://" in err


async def test_one_for_other_names_is_not_taken_by_a_url(command, url, authority):
    """Whoever says a URL means that host."""
    code, _, err = await command("status", "--url", url, "--ca", str(authority.pem))
    assert (code, "its certificate is for another name than the URL's host" in err) == (2, True)


async def test_a_plain_router_by_an_https_url(command, start_router, fake):
    """It says that no TLS is spoken there."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    code, _, err = await command("status", "--url", router.url.replace("http", "https"))
    assert (code, "speaks no TLS: does its URL begin with http://?" in err) == (2, True)


# Before it starts


async def test_check_and_doctor_tell_of_it(command, file, authority):
    """For whom it is and how long; what is about to end deserves a look."""
    assert (await command("check", "--config", str(file)))[0] == 0
    assert "a certificate for router.lan, until " in (await command("doctor", "--config", str(file)))[1]
    for days, says in ((2.0, "that is soon, and nothing has renewed it yet"), (-2.0, "it has expired, on ")):
        authority.issue("own", "router.lan", days=days)
        code, out, _ = await command("check", "--config", str(file))
        assert code == 0
        assert "tls: router.lan, until " in out
        assert says in out


async def test_what_would_stop_it_is_found_by_check(command, file, files):
    """At its place in router.yaml."""
    files.key.unlink()
    code, _, err = await command("check", "--config", str(file))
    assert code == 1
    assert f"{file}:1:" in err
    assert f"server.tls.key: {files.key}: there is no such file" in err
    code, out, _ = await command("doctor", "--config", str(file))
    assert (code, f"server.tls.key: {files.key}: there is no such file" in out) == (1, True)


async def test_half_of_it_is_a_mistake_of_the_file(command, file):
    """Both files are needed."""
    file.write_text(file.read_text().replace("cert: own.crt, ", ""))
    code, _, err = await command("check", "--config", str(file))
    assert code == 2
    assert "server.tls.cert: " in err


async def test_the_start_says_it_too(tmp_path, files):
    """And nothing is started."""
    files.key.write_bytes(files.cert.read_bytes())
    async with RunningRouter(tmp_path, CONFIG % (0, dead_url())) as router:
        assert await router.exit_code(within=60) == 2
    assert "server.tls.key: " in router.said
    assert "are the two files mixed up?" in router.said
    assert "listening" not in router.said


async def test_a_running_one_says_where_it_is(tmp_path, authority):
    """By a name that its certificate has; programs may stop it as ever."""
    authority.issue("own", "localhost")
    async with RunningRouter(tmp_path, CONFIG % (0, dead_url())) as router:
        await eventually(lambda: router.url)
        assert router.url.startswith("https://localhost:")
        router.signal()
        assert await router.exit_code(within=60) == 0


def test_names_for_this_machine(tmp_path, authority):
    """One of the certificate's, unless the router was told to listen at a name of its own."""

    def host(host: str, *names: str) -> str:
        certificates = Certificates(tmp_path)
        files = authority.issue("own", *names)
        certificates._taken = load(*files)
        return certificates.host(host)

    assert host("127.0.0.1", "router.lan", "127.0.0.1") == "127.0.0.1"
    assert host("127.0.0.1", "router.lan", "localhost") == "localhost"
    assert host("127.0.0.1", "*.lan", "router.lan") == "router.lan"
    assert host("127.0.0.1", "*.lan") == "127.0.0.1"
    assert host("gpu-box", "router.lan") == "gpu-box"
    assert Certificates(tmp_path).host("127.0.0.1") == "127.0.0.1"
    assert Certificates(tmp_path).unknown == ""
