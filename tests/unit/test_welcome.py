import json
import shlex

from router.welcome import welcome


def test_welcome_shows_a_command_that_can_be_copied():
    """A shell and a JSON reader understand it; it asks for the first model."""
    said = welcome("http://127.0.0.1:8001", ["demo", "other"], with_key=False)
    assert said.startswith("\nReady at http://127.0.0.1:8001/v1 with demo, other. Try:\n\n")
    assert said.endswith("\n\nor open http://127.0.0.1:8001/ in a browser.\n")
    words = shlex.split(said.partition("Try:")[2].partition("\n\nor ")[0])
    assert words[:2] == ["curl", "http://127.0.0.1:8001/v1/chat/completions"]
    assert words[words.index("-H") + 1] == "content-type: application/json"
    assert words.count("-H") == 1
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "demo"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_welcome_asks_for_a_key_where_one_is_needed():
    """And shows none."""
    words = shlex.split(welcome("http://a:1", ["demo"], with_key=True).partition("Try:")[2].partition("\n\nor ")[0])
    assert "authorization: Bearer YOUR_KEY" in words


def test_welcome_without_a_model_says_where_to_look():
    """Nothing is to be tried then."""
    said = welcome("http://a:1", [], with_key=True)
    assert "no model can be served yet" in said
    assert "http://a:1/ready" in said
    assert "curl" not in said


def test_welcome_names_the_certificate_where_programs_must_be_given_it():
    """One without a CA."""
    said = welcome("https://a:1", ["demo"], with_key=False, cert="/etc/my tls/a.crt")
    words = shlex.split(said.partition("Try:")[2].partition("\n\nor ")[0])
    assert words[words.index("--cacert") + 1] == "/etc/my tls/a.crt"
