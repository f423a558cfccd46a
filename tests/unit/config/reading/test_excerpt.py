import pytest

from router.config.reading.excerpt import excerpt


def hidden_nothing(text):
    return text


@pytest.mark.parametrize(
    ("line", "column", "shown"),
    [
        ("  - {key: sk-1, key: sk-2}", 17, "      - {key: …, key: …}\n                 ^"),
        ("  api_key: sk-1 sk-2", 3, "      api_key: …\n      ^"),
        ("  {token: sk-1, model: a}", 17, "      {token: …, model: a}\n                 ^"),
        ("  port: 80", 3, "      port: 80\n      ^"),
        ("  max_tokens: 80", 3, "      max_tokens: …\n      ^"),
        ("  key: ${KEY}", 3, "      key: ${KEY}\n      ^"),
    ],
)
def test_a_value_behind_a_secrets_name_is_not_shown(line, column, shown):
    """Whatever the file's data says of it: of a key that stands twice, the first value is in no data."""
    said = excerpt(line, column, hidden_nothing)
    assert said == shown
    assert "sk-" not in said
