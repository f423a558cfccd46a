"""The picture of a session: what differs between two sessions is written alike, and nothing is fetched for it."""

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from router.cli.options import parser
from scripts.make_recording import PICTURE, SESSION, Said, alike, drawn

HERE = Path("/srv/x1")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("12:34:56 listening at http://127.0.0.1:41234", "10:00:00 listening at http://127.0.0.1:8001"),
        ("/srv/x1/models/a.gguf", "~/llm/models/a.gguf"),
        ("when others need it  12s   llama_cpp    768", "when others need it  1s   llama_cpp    4711"),
        ("12:34:56 room for 99 connections: ulimit\n12:34:57 next", "10:00:00 next"),
        ('{"id":"chatcmpl-1-2","created":12}', '{"id":"chatcmpl-4f2a","created":1800000000}'),
        ("profile nvidia: one H100", "profile nvidia: this machine, as `router doctor` describes it"),
    ],
)
def test_two_sessions_look_alike(text, same):
    assert alike(text, HERE, 41234) == same


def test_a_session_is_drawn_by_itself():
    """The same again makes the same picture, which is XML, and names nothing elsewhere."""
    session = [Said("router ps", "MODEL <b>\n"), Said("router", "")]
    picture = drawn(session)
    assert picture == drawn(session)
    ET.fromstring(picture)  # noqa: S314  (it is our own)
    assert "&lt;b&gt;" in picture
    assert re.findall(r"(?:href|src|url)\W+https?:|@import|@font-face", picture) == []


def test_the_picture_shows_the_session():
    """Each of its commands; what is the router's is a command of it, still."""
    root = ET.parse(PICTURE).getroot()  # noqa: S314  (it is our own)
    shown = "".join(root.itertext()).replace("\xa0", " ")
    for command in SESSION:
        assert command.partition(" ")[0] in shown
        if command.startswith("router"):
            assert command in shown
            parser().parse_args(shlex.split(command)[1:])
