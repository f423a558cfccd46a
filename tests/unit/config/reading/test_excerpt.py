import pytest

from router.config.reading.excerpt import excerpt


@pytest.mark.parametrize(
    ("line", "column", "hidden", "shown"),
    [
        ("  port: 80", 3, [], "      port: 80\n      ^"),
        ("  - {key: sk-1, key: sk-2}", 17, [(10, 14), (21, 25)], "      - {key: …, key: …}\n                 ^"),
        ("  api_key: sk-1 sk-2", 3, [(11, 20)], "      api_key: …\n      ^"),
        ("  api_key: sk-1", 12, [(11, 15)], "      api_key: …\n               ^"),
        ("  port: 80  # sk-1", 3, [], "      port: 80\n      ^"),
        ("# sk-1", 1, [], ""),
    ],
)
def test_a_line_without_what_is_hidden(line, column, hidden, shown):
    """Its comment is not shown, and the caret stands where its place is then."""
    assert excerpt(line, column, hidden) == shown
