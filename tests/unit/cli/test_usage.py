import json
from argparse import Namespace

import pytest

from router.cli import usage
from router.cli.exits import CommandError
from router.cli.main import main
from router.management.usage import usage_told
from router.store.database import Database
from router.store.usage import Place, Sums, add

CONFIG = "server: {port: 1}\nbackends: [{url: 'http://127.0.0.1:1', models: [m]}]\n"
USED = {
    Place("2026-11-29", "alice", "qwen"): Sums(1, 0, 12, 4, 40, 0.5),
    Place("2026-11-30", "", "qwen"): Sums(1, 1, 10, 0, 30, 0.0),
}


@pytest.fixture
def file(tmp_path):
    """Give a router.yaml whose router doesn't run, and has counted."""
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG)
    database = Database.of_usage(tmp_path / "state" / "usage.db")
    database.write(lambda db: add(db, USED))
    database.close()
    return str(path)


def test_without_a_router_its_database_is_read(file, capsys):
    """And that is said."""
    assert main(["usage", "--config", file]) == 0
    out, error = capsys.readouterr()
    assert "No router runs there" in error
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["KEY", "MODEL", "REQUESTS", "ESTIMATED", "PROMPT", "CACHED", "GENERATED", "COST"]
    assert lines[1:] == [
        ["-", "qwen", "1", "1", "10", "30"],
        ["alice", "qwen", "1", "12", "4", "40", "0.5000"],
        ["total", "2", "1", "22", "4", "70", "0.5000"],
    ]


def test_for_spreadsheets(file, capsys):
    """A name that looks like a formula isn't one."""
    assert main(["usage", "--config", file, "--by", "day,key", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "day,key,requests,estimated,prompt_tokens,cached_tokens,completion_tokens,cost",
        "2026-11-29,alice,1,0,12,4,40,0.5",
        "2026-11-30,,1,1,10,0,30,0.0",
    ]
    told = usage_told(("key",), "", {("=HYPERLINK()",): Sums(1, 0, 1, 0, 1, 0.0)})
    assert usage.as_csv(told)[1].startswith("'=HYPERLINK(),1,")


def test_for_programs(file, capsys):
    """As the running router would say it."""
    assert main(["usage", "--config", file, "--by", "", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"] == told["rows"][0]
    assert told["total"]["requests"] == 2


@pytest.mark.parametrize(
    ("since", "requests"), [("2026-11-30", 1), ("2026-11-29", 2), ("2026-12-24", 0), ("99999d", 2), ("", 2)]
)
def test_since(file, capsys, since, requests):
    """A day, or so many."""
    assert main(["usage", "--config", file, "--since", since, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["requests"] == requests


def test_nothing_was_used(tmp_path, capsys):
    """A router that never ran has no database, and gets none."""
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG)
    assert main(["usage", "--config", str(path)]) == 0
    assert main(["usage", "--config", str(path), "--since", "2026-11-30"]) == 0
    assert capsys.readouterr().out == "Nothing was used.\nNothing was used since 2026-11-30.\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "colour"], "'colour' is none of key, model, day"),
        (["--since", "yesterday"], "'yesterday' is neither a day"),
        (["--since", "2026-02-30"], "'2026-02-30' is neither a day"),
    ],
)
def test_what_cannot_be_told(file, capsys, options, words):
    assert main(["usage", "--config", file, *options]) == 2
    assert words in capsys.readouterr().err


def test_another_router_has_no_file_here(file, capsys):
    """Where its address is said, what lies here isn't its."""
    assert main(["usage", "--config", file, "--url", "http://127.0.0.1:1"]) == 2
    assert "no router answers" in capsys.readouterr().err


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG)
    (tmp_path / "state").write_text("no folder")
    asked = Namespace(config=path, by="key", since="")
    with pytest.raises(CommandError, match=r"usage\.db can't be read"):
        usage.kept(asked, usage._asked(asked))
